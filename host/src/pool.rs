//! Where the stores of a host's roots are: the pool. Reading and names only.
//!
//! ```text
//! POOL/stores/<store id>.<n>   a complete store, never changed; <n> counts its repairs
//!      roots/<root id>         -> ../stores/<store id>.<n>
//!      wanted/<root id>.json   what a root that was staged, and is not complete, binds
//!      partial/<root id>       the store that is being made for it
//!      damaged.json            layers that a deep verification found damaged
//!      released/<root id>.json roots that the operator lets boot without their images
//!      lock                    one writer at a time; readers need no lock
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use anyhow::{Context as _, Result, bail};
use binding::{Kind, RECORD_FILE, Record, Root};
use oci_digest::Digest;

use crate::RootId;

/// Where the pool is unless the configuration says otherwise: on the file system of the
/// deployments, so that stores share inodes and one `sysroot.mount` covers both.
pub const DEFAULT_POOL: &str = "/sysroot/bound-images";

/// The pool of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its path from the top of the running system, without the leading slash.
    path: String,
}

/// The name of a store in a pool: the store id, and the number of its repairs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreName {
    /// The store id, 64 hex digits.
    pub id: String,
    /// How often a store of this record was replaced because it was damaged.
    pub repairs: u32,
}

impl StoreName {
    /// The name in `text`, if it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, repairs) = text.split_once('.')?;
        Digest::from_hex(id).ok()?;
        let number = repairs.parse().ok()?;
        // One store, one name: no `+1`, no `01`.
        (format!("{number}") == repairs).then(|| Self { id: id.to_owned(), repairs: number })
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.repairs)
    }
}

/// Where a root's link leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Linked {
    /// There is no link.
    Nowhere,
    /// To a store, which may be there or not.
    Store(StoreName),
    /// To something that is not a store of the pool: what the link says.
    Elsewhere(String),
}

impl Pool {
    /// The pool at an absolute path.
    #[must_use]
    pub fn at(path: &str) -> Self {
        Self { path: path.trim_matches('/').to_owned() }
    }

    /// Its path, without the leading slash.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path of something in it, without the leading slash.
    #[must_use]
    pub fn below(&self, path: &str) -> String {
        format!("{}/{path}", self.path)
    }

    /// Where the link of a root is.
    #[must_use]
    pub fn link(&self, root: &RootId) -> String {
        self.below(&format!("roots/{root}"))
    }

    /// Where a store is.
    #[must_use]
    pub fn store(&self, name: &StoreName) -> String {
        self.below(&format!("stores/{name}"))
    }

    /// What the link of a root says.
    #[must_use]
    pub fn target(name: &StoreName) -> String {
        format!("../stores/{name}")
    }

    /// Where the link of a root leads.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn linked(&self, system: &Root, root: &RootId) -> Result<Linked> {
        let path = self.link(root);
        match system.kind(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Linked::Nowhere),
            Err(error) => Err(error).with_context(|| format!("cannot look at /{path}")),
            Ok(Kind::Symlink) => {
                let target =
                    system.read_link(&path).with_context(|| format!("cannot read /{path}"))?;
                let target = target.to_string_lossy().into_owned();
                let name = target.strip_prefix("../stores/").and_then(StoreName::parse);
                Ok(name.map_or(Linked::Elsewhere(target), Linked::Store))
            }
            Ok(_) => Ok(Linked::Elsewhere("no symbolic link at all".to_owned())),
        }
    }

    /// The links of all roots. What is not named like a root is left out.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn links(&self, system: &Root) -> Result<BTreeMap<RootId, Linked>> {
        let mut links = BTreeMap::new();
        for name in self.names(system, "roots")? {
            if let Some(id) = RootId::parse(&name) {
                let linked = self.linked(system, &id)?;
                links.insert(id, linked);
            }
        }
        Ok(links)
    }

    /// The stores that are there. What is not named like a store is left out.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn stores(&self, system: &Root) -> Result<Vec<StoreName>> {
        let names = self.names(system, "stores")?;
        let mut stores: Vec<StoreName> =
            names.iter().filter_map(|name| StoreName::parse(name)).collect();
        stores.sort();
        Ok(stores)
    }

    /// Names of what is in a directory of the pool; none when that is not there.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn names(&self, system: &Root, directory: &str) -> Result<Vec<String>> {
        let path = self.below(directory);
        let listed = system.list_optional(&path).with_context(|| format!("cannot list /{path}"))?;
        Ok(listed
            .unwrap_or_default()
            .into_iter()
            .filter_map(|entry| entry.name.into_string().ok())
            .collect())
    }

    /// The record of a store.
    ///
    /// # Errors
    /// When it is missing, cannot be read, or is the record of another store.
    pub fn record(&self, system: &Root, name: &StoreName) -> Result<Record> {
        let path = format!("{}/{RECORD_FILE}", self.store(name));
        let text = system
            .read(&path, binding::record::MAX_RECORD as u64)
            .with_context(|| format!("cannot read /{path}"))?;
        let record = Record::parse(&text).with_context(|| format!("/{path} is not valid"))?;
        // Hashed as it is written, not as we understand it: a newer release may have added fields.
        if Digest::of(&text).hex() != name.id {
            bail!("/{path} is not the record that its store is named after");
        }
        Ok(record)
    }
}
