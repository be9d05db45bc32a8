//! What is read, what is decided, what is written: the types that pass between them.

use std::collections::BTreeMap;

use binding::Reference;

use crate::live::Live;

/// What was read from a root.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// Bindings whose image the store has, or will have before their services start.
    pub(crate) bound: Vec<Bound>,
    pub(crate) store: Store,
    /// What Podman makes of the Quadlets now.
    pub(crate) live: Live,
    /// Path and text of the storage.conf that counts.
    pub(crate) conf: Option<(String, String)>,
    /// Path and text of the drop-ins of storage.conf, which only Podman 6 reads, in its order.
    pub(crate) drop_ins: Vec<(String, String)>,
    /// Path → text of each file that a service names itself, or why it cannot be read.
    pub(crate) own: BTreeMap<String, Result<String, String>>,
    /// What was wrong so far.
    pub(crate) warnings: Vec<String>,
}

/// A binding to be wired.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) name: String,
    pub(crate) reference: Reference,
    pub(crate) alias: Option<Reference>,
    pub(crate) services: Vec<String>,
    /// Whether the configuration wants a digest that the reference does not have: then its
    /// containers run the recorded image or none.
    pub(crate) require_pin: bool,
}

/// Where the store of the root is.
#[derive(Debug)]
pub(crate) enum Store {
    /// Inside of it.
    Embedded,
    /// In the pool of its host.
    Pool(Pooled),
}

/// A store in the pool, or the place for one.
#[derive(Debug)]
pub(crate) struct Pooled {
    /// The root, for people.
    pub(crate) root: String,
    /// The link in the pool, an absolute path.
    pub(crate) what: String,
    pub(crate) is_complete: bool,
    /// Whether what is missing is fetched after the boot.
    pub(crate) late_binding: bool,
}

impl Pooled {
    /// Whether services wait for what is missing.
    pub(crate) fn waits(&self) -> bool {
        !self.is_complete && self.late_binding
    }
}

/// Below which directory a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Base {
    /// The first directory that systemd gives a generator (systemd.generator(7)).
    Normal,
    /// [`crate::RUN`].
    Run,
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// A regular file with this text.
    Text(String),
    /// A symbolic link to this path.
    Link(String),
}

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutputFile {
    /// Where `path` starts.
    pub base: Base,
    /// Relative path: plain names only, no `..`.
    pub path: String,
    /// The content.
    pub content: Content,
}

/// What the generator has to do.
#[derive(Debug, Default)]
pub struct Generated {
    /// To be written, sorted.
    pub files: Vec<OutputFile>,
    /// What is not wired and why, one line each.
    pub warnings: Vec<String>,
    /// Whether another root was booted when the generator ran before: after a soft reboot.
    pub is_another_root: bool,
}

/// A merged storage.conf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StorageFile {
    /// Where it is.
    pub(crate) path: String,
    /// The service's own file that it was made of; none for the host's.
    pub(crate) source: Option<String>,
}

/// How one service is wired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// `nginx.service`.
    pub(crate) name: String,
    /// The storage.conf to name, if the one that counts does not list the store.
    pub(crate) storage_conf: Option<StorageFile>,
    /// What Podman 6 reads on top of that: the drop-ins, which it does not read with such a file.
    pub(crate) storage_override: Option<String>,
    /// The containers.conf to name.
    pub(crate) containers_conf: Option<String>,
    /// The file that names both, where `Environment=` would not do.
    pub(crate) environment_file: Option<String>,
    /// For the service of a `.image`: the name that must be in the store.
    pub(crate) image: Option<String>,
    /// Whether it waits for what is missing in the store.
    pub(crate) waits: bool,
}
