//! Additional image stores for Podman: containers/storage's overlay format, written and read
//! without Podman.
//!
//! A store is a directory that holds images and their layers, is never changed after it was
//! [published](publish()), and is listed in Podman's `additionalimagestores`:
//!
//! ```text
//! STORE/overlay/l/<link id>             -> ../<layer id>/diff
//!       overlay/<layer id>/diff/        the layer's tree
//!       overlay/<layer id>/link, lower  its link id; those of the layers below, nearest first
//!       overlay/<layer id>/verified     ours: its facts, written when it was unpacked and verified
//!       overlay-layers/layers.json, layers.lock, <layer id>.tar-split.gz
//!       overlay-images/images.json, images.lock, <image id>/{manifest,=<base 64 of a key>}
//! ```
//!
//! Two runs over the same images give the same bytes, modes and times. This crate knows nothing
//! of Quadlets, roots or registries: it takes bytes and digests.

mod below;
mod blob;
mod budget;
mod build;
mod check;
mod deep;
mod error;
mod files;
mod foreign;
pub mod id;
mod json;
mod layer;
mod link;
mod mounts;
mod publish;
mod read;
pub mod split;
pub mod tar;
mod time;
mod unpack;

pub use budget::{Budget, Held};
pub use build::{Builder, Image};
pub use check::{Damage, check, limit_damage};
pub use deep::{Watch, check_deep, check_deep_watched};
pub use error::{Error, Expected, Result};
pub use files::remove_tree;
pub use foreign::{Foreign, ForeignLayer};
pub use json::{ImageEntry, LayerEntry, data_file_name};
pub use layer::{Layer, VERIFIED, verified, write as write_layer};
pub use mounts::user_of;
pub use publish::publish;
pub use read::{Occupant, Store, occupant};
