//! What systemd must know so that bound services find the store of the booted root: the *wiring*.
//!
//! A root comes in, files come out: a mount unit for its store, drop-ins for the services of its
//! bindings, and the configuration that these name. [`generate`] reads the root and decides;
//! [`write()`] alone writes. No network, no D-Bus, no subprocess, and nothing here fails a boot: what
//! cannot be wired is a warning.
//!
//! A store inside the root, at `usr/lib/containers/storage`, needs no mount. Else the one that the
//! pool links to the booted root is mounted there: as part of `local-fs.target` when it is complete
//! already; when not, the mount and all bound services wait for the unit that fetches what is
//! missing. For each service of a binding:
//! * `RequiresMountsFor=` the store;
//! * `CONTAINERS_STORAGE_CONF`, unless the storage.conf that counts lists the store already;
//! * for a container, `CONTAINERS_CONF_OVERRIDE`: never pull, and the annotations by which
//!   `bound-images-hook` knows the container;
//! * for a `.image`, a look into the store in place of a pull, which would ask the registry;
//! * for the `.pod` of a bound container, the first two.
//!
//! Files that a service names in these variables itself are merged into ours. What the
//! administrator changes in `/etc` or `/run` about the image wins: such a service is not wired.
//! `docs/wiring.md` has all of it with its reasons.
//!
//! Limits:
//! * Variables that the manager's `DefaultEnvironment=` sets are not looked at, nor is an
//!   `EnvironmentFile=` that cannot be read when the generator runs.
//! * The check of a `.image` leaves out `GlobalArgs=` and `PodmanArgs=`: the latter are options of a
//!   pull, and either may hide the store that is to be looked into.

mod booted;
mod containers_conf;
mod drop_ins;
mod emit;
mod environment;
mod gather;
mod kmsg;
mod live;
mod model;
mod plan;
mod refresh;
mod store;
mod write;

pub use kmsg::warn;
pub use model::{Base, Content, Generated, OutputFile};
pub use refresh::refresh;
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
    let booted = booted::booted(root);
    let mut generated = match gather::gather(root, host, &booted) {
        Ok(Some(inputs)) => {
            let mut generated = plan::plan(&inputs);
            if let Some(text) = &booted.keep {
                let (path, content) = (booted::KEPT.to_owned(), Content::Text(text.clone()));
                generated.files.push(OutputFile { base: Base::Run, path, content });
            }
            generated
        }
        Ok(None) => Generated::default(),
        Err(error) => {
            let warnings = vec![format!("nothing is wired: {error:#}")];
            Generated { warnings, ..Generated::default() }
        }
    };
    generated.is_another_root = booted.is_another;
    generated
}
