//! Where the store of a root is made and published: inside the root, or in the host's pool.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use binding::{Record, Root};
use oci_digest::Digest;
use overlay_store::{Budget, Builder};
use rustix::fs::StatVfsMountFlags;

use super::kept;
use super::neighbour::Neighbour;
use super::place::Place;
use super::pooled::Pooled;
use super::{Plan, StageError};
use crate::machine::Machine;
use crate::pool::Writer;
use crate::pool::wanted::Wanted;
use crate::state::{Held, State, StoreState};

/// The kernel's number for overlayfs (`linux/magic.h`, `OVERLAYFS_SUPER_MAGIC`).
const OVERLAYFS: u64 = 0x794c_7630;
/// What a compressed layer grows to when it is unpacked, at the least: Debian's and Fedora's base
/// layers grow to 2.3 to 3 times their size. A stage that would surely fail is refused at once.
const GROWTH: u64 = 2;

/// Where the store of a root belongs.
#[derive(Clone, Copy, Debug)]
pub enum Site<'a> {
    /// Inside of it: a plain directory.
    Inside {
        /// How long another stage of it is waited for.
        wait: Duration,
    },
    /// In the pool of this machine.
    Pool {
        /// The machine.
        machine: &'a Machine,
        /// How long another writer is waited for.
        wait: Duration,
        /// Whether what the root wants is written down until it is complete.
        wish: Wish,
    },
}

/// What is written down of a root while it is not complete, so that others go on after a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing.
    None,
    /// What it wants: it runs already.
    Own,
    /// The same, and what earlier roots wanted is forgotten when it is complete: it is staged.
    Supersede,
}

/// The same, found and fit.
pub(super) enum Home {
    Inside(Place),
    Pool(Pooled),
}

/// The directory in which a store is being made, held by this process.
pub(super) struct Work {
    pub(super) directory: PathBuf,
    pub(super) builder: Builder,
    pub(super) guard: Guard,
}

/// What keeps others away as long as it is open.
pub(super) enum Guard {
    Inside { _lock: File },
    Pool(Writer),
}

impl Home {
    /// Finds the place and refuses one where no store can be. Changes nothing.
    pub(super) fn find(
        site: Site<'_>,
        state: &State,
        held: Option<&Held>,
    ) -> Result<Self, StageError> {
        match (site, &state.id) {
            (Site::Pool { machine, wait, wish }, Some(id)) => {
                let wanted = Wanted::of(&state.bindings.bindings, &state.host);
                Pooled::find(machine, id, wait, (wish, wanted)).map(Self::Pool)
            }
            _ => {
                let root = Root::open(&state.root)
                    .with_context(|| format!("cannot open {}", state.root.display()))?;
                let wait = match site {
                    Site::Inside { wait } | Site::Pool { wait, .. } => wait,
                };
                super::place::find(&root, &links(held), wait).map(Self::Inside)
            }
        }
    }

    /// Where the store will be found.
    pub(super) fn shown(&self) -> &Path {
        match self {
            Self::Inside(place) => place.store(),
            Self::Pool(pooled) => pooled.link(),
        }
    }

    /// A directory that exists, on the file system of the store.
    fn ground(&self) -> &Path {
        match self {
            Self::Inside(place) => place.existing(),
            Self::Pool(pooled) => pooled.existing(),
        }
    }

    /// What is free for us now.
    pub(super) fn budget(&self) -> Result<Budget, StageError> {
        let ground = self.ground();
        Ok(Budget::free_at(ground)
            .with_context(|| format!("cannot look at {}", ground.display()))?)
    }

    /// Removes beginnings of blobs that nothing needs any more, and all of them where the layers would have no room
    /// beside them.
    pub(super) fn make_space(&self, plan: &Plan, builder: &Builder) -> Result<(), StageError> {
        let blobs: Vec<Digest> = plan.layers.iter().map(|layer| layer.blob).collect();
        kept::keep_only(builder.directory(), &blobs);
        if self.require_space(plan, None).is_err() {
            kept::keep_only(builder.directory(), &[]);
        }
        self.require_space(plan, None)
    }

    /// Refuses what surely does not fit; beginnings of blobs in `builder` count as free.
    pub(super) fn require_space(
        &self,
        plan: &Plan,
        builder: Option<&Builder>,
    ) -> Result<(), StageError> {
        let needed = plan.bytes_to_fetch().saturating_mul(GROWTH);
        let kept = builder.map_or(0, |builder| kept::bytes(builder.directory()));
        let available = self.budget()?.bytes().saturating_add(kept);
        if needed <= available {
            return Ok(());
        }
        let remedy = match self {
            Self::Inside(_) => "make room there",
            Self::Pool(_) => "make room there; `bound-images gc` removes what no root uses",
        };
        Err(StageError::NoSpace(format!(
            "the layers need at least {} on {}, {} are free: {remedy}",
            crate::render::bytes(needed),
            self.ground().display(),
            crate::render::bytes(available)
        )))
    }

    /// Whether what lies in the working directory may have been put there by somebody else: then it
    /// is read before it is used.
    pub(super) fn is_foreign_ground(&self) -> bool {
        matches!(self, Self::Inside(_))
    }

    /// What an earlier attempt left, to be looked at only.
    pub(super) fn unclaimed(&self) -> Option<Builder> {
        match self {
            Self::Inside(place) => place.unclaimed(),
            Self::Pool(pooled) => pooled.unclaimed(),
        }
    }

    /// Makes the working directory, or takes over what an earlier attempt left, and locks it. None
    /// when another stage changed the place meanwhile: look again.
    pub(super) async fn claim(&self) -> Result<Option<Work>, StageError> {
        match self {
            Self::Inside(place) => place.claim().await,
            Self::Pool(pooled) => pooled.claim().await,
        }
    }

    /// The stores to take from, the best first.
    pub(super) fn neighbours(&self, held: Option<&Held>) -> Vec<Neighbour> {
        let own = held.map(Neighbour::of);
        match self {
            Self::Inside(_) => own.into_iter().collect(),
            Self::Pool(pooled) => own.into_iter().chain(pooled.neighbours(held)).collect(),
        }
    }

    /// Where images of this root are that it need not ask for: an earlier attempt fetched them. Their layers
    /// are kept where they are, so it is no neighbour.
    pub(super) fn prefetched(&self) -> Option<Neighbour> {
        match self {
            Self::Inside(_) => None,
            Self::Pool(pooled) => pooled.prefetched(),
        }
    }

    /// Files with what was resolved for this root, or for another one with the same files.
    pub(super) fn resolutions(&self, work: &Work) -> Vec<PathBuf> {
        match self {
            Self::Inside(_) => vec![work.resolved()],
            Self::Pool(pooled) => pooled.resolutions(),
        }
    }

    /// A published store of this very record, if there is one; then the root has it now.
    pub(super) fn adopt(&self, work: &Work, record: &Record) -> Result<bool, StageError> {
        match (self, &work.guard) {
            (Self::Pool(pooled), Guard::Pool(writer)) => pooled.adopt(writer, record),
            _ => Ok(false),
        }
    }

    /// Puts the finished store into its place.
    pub(super) fn publish(
        &self,
        work: &Work,
        record: &Record,
        state: &State,
    ) -> Result<(), StageError> {
        match (self, &work.guard) {
            (Self::Inside(place), _) => {
                let held = match &state.store {
                    StoreState::Ours(held) => Some(held.as_ref()),
                    StoreState::Absent | StoreState::Foreign(_) => None,
                };
                place.require_unused(&links(held))?;
                Ok(overlay_store::publish(work.builder.directory(), place.store())?)
            }
            (Self::Pool(pooled), Guard::Pool(writer)) => {
                pooled.publish(writer, work.builder.directory(), record)
            }
            (Self::Pool(_), Guard::Inside { .. }) => {
                Err(StageError::Refused("the pool is not locked".to_owned()))
            }
        }
    }

    /// Removes what an earlier attempt left, now that nothing needs it; nothing where another stage
    /// is running, or where that cannot be done.
    pub(super) async fn sweep(&self) {
        let swept = match self {
            Self::Inside(place) if !place.has_leftovers() => return,
            Self::Inside(place) => place.sweep(),
            Self::Pool(pooled) => pooled.sweep(),
        };
        if let Err(error) = swept {
            log::info!("{error}");
        }
    }
}

/// Refuses to work where another stage does: one of `what`, which holds `lock`.
pub(super) fn busy(what: &str, lock: &Path) -> StageError {
    StageError::Refused(format!(
        "another stage of this {what} is running ({} is locked); try again when it has ended, or wait for \
         it with `--wait SECONDS`",
        lock.display()
    ))
}

impl Work {
    /// Where resolved references are kept until the store is published.
    pub(super) fn resolved(&self) -> PathBuf {
        self.directory.join("resolved.json")
    }

    /// Removes all of it: the store that was made here is in its place, and what was there is here.
    pub(super) fn remove(self) -> Result<(), StageError> {
        Ok(overlay_store::remove_tree(&self.directory)?)
    }
}

/// Refuses to go on without the rights that unpacking needs.
pub(super) fn require_root() -> Result<(), StageError> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(StageError::NotRoot)
}

/// Refuses a file system on which no store can be; `writable` unless it will be made so.
pub(super) fn require_fit(existing: &Path) -> Result<(), StageError> {
    let shown = existing.display();
    let look = || format!("cannot look at {shown}");
    let statfs = rustix::fs::statfs(existing).with_context(look)?;
    if u64::try_from(statfs.f_type).is_ok_and(|kind| kind == OVERLAYFS) {
        return Err(StageError::Refused(format!(
            "{shown} is on overlayfs, as in a running container build: a store there cannot hold whiteouts. \
             Leave only the links in the image, and stage the finished root from outside, where it is a \
             plain directory or a mounted disk image"
        )));
    }
    let statvfs = rustix::fs::statvfs(existing).with_context(look)?;
    if statvfs.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(StageError::Refused(format!(
            "{shown} is on a read-only file system; mount it read-write"
        )));
    }
    Ok(())
}

/// Link ids of the layers that are held, by which a running container gives itself away.
fn links(held: Option<&Held>) -> Vec<String> {
    let layers = held.into_iter().flat_map(|held| &held.store.layers);
    layers.map(|layer| overlay_store::id::link_id(&layer.id)).collect()
}
