//! storage.conf as containers/storage reads it: which file counts, which additional image stores
//! it lists, and edits that keep its comments.
//!
//! Text in, values and text out: nothing here opens a file, reads the environment or prints.
//!
//! What is read is what Podman 4.9 to 6 reads when it runs as root (containers/storage 1.51 to 1.62,
//! `types/options.go`, `pkg/config/config.go`, `pkg/configfile`): [`StorageConf`] is one file,
//! [`effective()`] all files and variables that count for a [`Generation`]. Before Podman 6 that is
//! **one** file, the first of [`SEARCH`] that exists; since then, drop-ins too. Keys may be in any
//! letter case, since Go's TOML decoder folds them.
//!
//! Limits: options of a single service (`--root`, `--storage-opt`) are the business of who knows that
//! service; types are checked for the keys of `[storage]`, `[storage.options]` and
//! `[storage.options.overlay]`.

mod conf;
mod drop_in;
mod edit;
mod effective;
mod error;
mod kinds;
mod layer;
mod merge;
mod search;

pub use conf::{StorageConf, Store, main_file};
pub use drop_in::{merge_drop_ins, one_more};
pub use edit::{Disabled, Enabled, MARK, disable, enable, made};
pub use effective::{Effective, Overridden, Place, Text, Valued, effective};
pub use error::{ConfError, MergeError};
pub use merge::merge;
pub use search::{DropIns, Environment, Generation, Search, plan_drop_ins, plan_search};

/// Where Podman looks for storage.conf when it runs as root, first found wins; relative to the
/// root (`types/options_linux.go`).
pub const SEARCH: [&str; 2] = ["etc/containers/storage.conf", "usr/share/containers/storage.conf"];

/// The largest storage.conf that is looked at, in bytes. Debian's, all comments, has 10,000.
pub const MAX_SIZE: usize = 1 << 20;

/// Where Podman puts what does not outlive a boot, unless told (`types/options_linux.go`).
pub const DEFAULT_RUNROOT: &str = "/run/containers/storage";

/// Where Podman keeps its primary store, unless told (`types/options_linux.go`).
pub const DEFAULT_GRAPHROOT: &str = "/var/lib/containers/storage";
