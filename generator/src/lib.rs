//! What systemd must know so that bound services find the store of the booted root: the *wiring*.
//!
//! A root comes in, files come out: drop-ins for the services of its bindings, and the
//! configuration that these name. [`generate`] reads the root and decides; [`write()`] alone writes.
//! No network, no D-Bus, no subprocess, and nothing here fails a boot: what cannot be wired is a
//! warning.
//!
//! What is wired today is a root with its store inside, at `usr/lib/containers/storage`. For each
//! service of a binding whose image the record has:
//! * `RequiresMountsFor=` the store, so that a store which is mounted there is waited for;
//! * `CONTAINERS_STORAGE_CONF`, unless the storage.conf that counts lists the store already;
//! * for a container, `CONTAINERS_CONF_OVERRIDE`: never pull, and the annotations by which
//!   `bound-images-hook` knows the container;
//! * for a `.image`, a look into the store in place of a pull, which would ask the registry.
//!
//! Limits:
//! * Stores outside of the root (a pool) are not mounted, and nothing fetches what is missing:
//!   a binding without its image is left as Podman has it, with a warning.
//! * A service that sets `CONTAINERS_CONF_OVERRIDE` itself keeps its own file, with a warning: it may
//!   pull, and the hook does not see it. One that sets `CONTAINERS_STORAGE_CONF` gets its own file
//!   with our store added. What an `EnvironmentFile=` sets is not looked at.
//! * The service of a `.pod` is not wired, only its containers are.
//! * The check of a `.image` leaves out `GlobalArgs=` and `PodmanArgs=`.
//! * Files below [`RUN`] of services that are bound no more stay until the next boot; nothing
//!   names them.

mod emit;
mod gather;
mod kmsg;
mod plan;
mod write;

pub use kmsg::warn;
pub use plan::{Base, Generated, OutputFile, Service};
pub use write::write;

use binding::{Platform, Root};

/// Where the files that drop-ins name are written, on the running system.
pub const RUN: &str = "/run/bound-images";

/// What must be written for `root`, and what could not be wired and why. A root without bindings
/// gives nothing at all. Deterministic: the same files give the same answer.
///
/// `host` is the platform of images whose Quadlet names none.
#[must_use]
pub fn generate(root: &Root, host: &Platform) -> Generated {
    match gather::gather(root, host) {
        Ok(Some(inputs)) => plan::plan(&inputs),
        Ok(None) => Generated::default(),
        Err(error) => {
            Generated { files: Vec::new(), warnings: vec![format!("nothing is wired: {error:#}")] }
        }
    }
}
