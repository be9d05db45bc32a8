//! storage.conf as containers/storage reads it: which file counts, which additional image stores
//! it lists, and edits that keep its comments.
//!
//! Text in, values and text out: nothing here opens a file, reads the environment or prints.
//!
//! What is read is what Podman 4.9 to 5.8 reads when it runs as root (containers/storage 1.51 to
//! 1.62, `types/options.go` and `pkg/config/config.go`): **one** file, the first of [`SEARCH`]
//! that exists; no drop-ins; keys in any letter case, since Go's TOML decoder folds them.
//!
//! Limits:
//! * Podman 6 also reads `storage.conf.d` and `storage.rootful.conf.d`, a file under `$HOME`, and
//!   the form `["/path", {append=true}]`. None of these is read here; the last is an error, as it
//!   is for Podman 5.
//! * `CONTAINERS_STORAGE_CONF`, `STORAGE_OPTS`, `STORAGE_DRIVER`, `--root` and `--storage-opt` of a
//!   single service are the business of who knows that service.
//! * Only the keys that decide where stores are have their types checked.

mod conf;
mod error;
mod merge;

pub use conf::{StorageConf, Store, main_file};
pub use error::{ConfError, MergeError};
pub use merge::merge;

/// Where Podman looks for storage.conf when it runs as root, first found wins; relative to the
/// root (`types/options_linux.go`).
pub const SEARCH: [&str; 2] = ["etc/containers/storage.conf", "usr/share/containers/storage.conf"];

/// The largest storage.conf that is looked at, in bytes. Debian's, all comments, has 10,000.
pub const MAX_SIZE: usize = 1 << 20;

/// Where Podman puts what does not outlive a boot, unless told (`types/options_linux.go`).
pub const DEFAULT_RUNROOT: &str = "/run/containers/storage";

/// Where Podman keeps its primary store, unless told (`types/options_linux.go`).
pub const DEFAULT_GRAPHROOT: &str = "/var/lib/containers/storage";
