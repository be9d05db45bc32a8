//! The host: which roots it has, which one is booted, where the stores of its roots are, and how
//! it is configured.
//!
//! Reading only, no subprocess and no D-Bus, so that the generator can use it at boot. Every path
//! is resolved below one [`binding::Root`], the `/` of the running system, so that a directory with
//! the same files in it stands for a host in tests.
//!
//! Three kinds of root are known: deployments of ostree, deployments of bootc's composefs backend,
//! and plain directories, which are named by whoever has them and are not found here.

mod booted;
mod composefs;
pub mod config;
mod entries;
mod id;
mod mountinfo;
mod ostree;
mod pool;
mod roots;

pub use booted::booted;
pub use id::RootId;
pub use mountinfo::{Mount, mount_points, parse as parse_mountinfo};
pub use ostree::{Named, parse_staged};
pub use pool::{DEFAULT_POOL, Linked, Pool, StoreName};
pub use roots::{Deployment, Files, Host, Role, roots};
