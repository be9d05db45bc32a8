//! From the files of a root to its bindings.
//!
//! A *binding* is one entry of `usr/lib/bootc/bound-images.d`: a symlink to a `.image` or
//! `.container` Quadlet. This crate reads those links, the Quadlets and their drop-ins as Podman
//! does, and says which image reference, pull options and systemd services each one means, and
//! what is wrong with it. It also holds the record of a store ([`record`]) and the rules by which
//! a store names its images ([`names`]).
//!
//! It never writes, prints, runs a program, opens a socket or leaves the root that it was given:
//! every file is opened below one [`root::Root`] handle.

mod bindings;
pub mod bootc;
pub mod finding;
mod link;
pub mod lint;
pub mod names;
pub mod pull;
pub mod quadlet;
pub mod record;
pub mod reference;
pub mod root;

pub use bindings::{Binding, Bindings, read, read_files};
pub use finding::{Code, Finding, Place, Severity};
pub use names::{Resolved, StoredImage, check_conflicts, plan_names};
pub use pull::{Platform, PullOptions, Secret};
pub use record::{
    BINDINGS_PATH, Mismatch, RECORD_FILE, Record, RecordBinding, RecordLayer, STORE_PATH,
};
pub use reference::{Reference, ReferenceError};
pub use root::{Entry, Kind, Root};
