//! The place of a root's store in the pool.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use binding::Record;
use host::{Linked, Role, RootId, StoreName};
use overlay_store::{Builder, Store};

use super::StageError;
use super::home::{Guard, Wish, Work, busy, require_fit};
use super::neighbour::Neighbour;
use crate::machine::Machine;
use crate::pool::damaged::Damaged;
use crate::pool::wanted::{self, Wanted};
use crate::pool::{Unavailable, Writer};
use crate::state::Held;
use crate::system::journal;

/// Where the store of a root of this host goes.
pub(super) struct Pooled {
    directory: PathBuf,
    /// The deepest directory of that path that exists.
    existing: PathBuf,
    id: RootId,
    link: PathBuf,
    wait: Duration,
    wish: Wish,
    /// What the root wants.
    wanted: Wanted,
    /// The stores that are there, that of the booted root first.
    stores: Vec<StoreName>,
    /// Roots whose store is being made.
    partials: Vec<RootId>,
    seen: Seen,
}

/// By what it is told whether another writer was here.
#[derive(PartialEq, Eq)]
struct Seen {
    stores: BTreeSet<OsString>,
    link: Option<PathBuf>,
}

impl Seen {
    /// What cannot be read is not there: later steps say why.
    fn at(directory: &Path, link: &Path) -> Self {
        let entries = std::fs::read_dir(directory.join("stores")).into_iter().flatten();
        let stores = entries.flatten().map(|entry| entry.file_name()).collect();
        Self { stores, link: std::fs::read_link(link).ok() }
    }
}

impl Pooled {
    /// Finds the place of the root `id`. Changes nothing.
    pub(super) fn find(
        machine: &Machine,
        id: &RootId,
        wait: Duration,
        (wish, wanted): (Wish, Wanted),
    ) -> Result<Self, StageError> {
        let directory = machine.pool_directory();
        let link = directory.join("roots").join(id.as_str());
        let seen = Seen::at(&directory, &link);
        let existing = directory.ancestors().find(|path| path.is_dir());
        let existing = existing.unwrap_or(Path::new("/")).to_owned();
        let mut stores = machine.pool.stores(&machine.system)?;
        let host = machine.roots()?;
        if let Some(booted) = host.with(Role::Booted)
            && let Linked::Store(name) = machine.pool.linked(&machine.system, &booted.id)?
        {
            stores.sort_by_key(|known| *known != name);
        }
        let partials = machine.pool.names(&machine.system, "partial")?;
        Ok(Self {
            link,
            seen,
            directory,
            existing,
            id: id.clone(),
            wait,
            wish,
            wanted,
            stores,
            partials: partials.iter().filter_map(|name| RootId::parse(name)).collect(),
        })
    }

    pub(super) fn link(&self) -> &Path {
        &self.link
    }

    pub(super) fn existing(&self) -> &Path {
        &self.existing
    }

    fn partial(&self, id: &RootId) -> PathBuf {
        self.directory.join("partial").join(id.as_str())
    }

    /// What was fetched for this root when it was not staged, with the manifests.
    pub(super) fn prefetched(&self) -> Option<Neighbour> {
        Some(Neighbour::unfinished(self.unfinished(&self.id)?, BTreeSet::new()))
    }

    pub(super) fn unclaimed(&self) -> Option<Builder> {
        Builder::existing(&self.unfinished(&self.id)?)
    }

    /// Where the store of a root is being made; none where a symbolic link leads elsewhere.
    fn unfinished(&self, id: &RootId) -> Option<PathBuf> {
        let partial = self.partial(id);
        let store = partial.join("store");
        let is_directory =
            |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
        (is_directory(&partial) && is_directory(&store)).then_some(store)
    }

    /// Locks the pool. None when another writer changed it since it was looked at, mostly while this
    /// one waited: then what is wanted may be there by now, and all of it has to be looked at again.
    pub(super) async fn claim(&self) -> Result<Option<Work>, StageError> {
        require_fit(&self.existing)?;
        let writer =
            Writer::wait(&self.directory, self.wait).await.map_err(|error| match error {
                Unavailable::Busy(lock) => busy("host", &lock),
                Unavailable::Other(error) => StageError::Other(error),
            })?;
        if Seen::at(&self.directory, &self.link) != self.seen {
            return Ok(None);
        }
        let directory = writer.make_partial(&self.id)?;
        if self.wish != Wish::None {
            wanted::write(&writer, &self.id, &self.wanted)?;
        }
        let builder = Builder::open(&directory.join("store"))?;
        Ok(Some(Work { directory, builder, guard: Guard::Pool(writer) }))
    }

    /// Removes what an earlier attempt left of this root, which is complete.
    pub(super) fn sweep(&self) -> Result<(), StageError> {
        let partial = self.partial(&self.id);
        let wish = self.directory.join("wanted").join(format!("{}.json", self.id));
        if !partial.exists() && !wish.exists() {
            return Ok(());
        }
        let writer = Writer::open(&self.directory).map_err(|error| match error {
            Unavailable::Busy(lock) => StageError::Refused(format!("{} is locked", lock.display())),
            Unavailable::Other(error) => StageError::Other(error),
        })?;
        wanted::remove(&writer, &self.id)?;
        Ok(overlay_store::remove_tree(&partial)?)
    }

    /// All other stores, then those that are being made for other roots.
    pub(super) fn neighbours(&self, held: Option<&Held>) -> Vec<Neighbour> {
        let damaged = Damaged::read(&self.directory).unwrap_or_else(|error| {
            log::warn!("{error:#}");
            Damaged::default()
        });
        let own = held.and_then(|held| held.name.as_ref());
        let stores = self.stores.iter().filter(|name| Some(*name) != own).map(|name| {
            let bad: BTreeSet<String> = damaged.of(&name.to_string()).map(str::to_owned).collect();
            Neighbour::at(self.directory.join("stores").join(name.to_string()), bad)
        });
        let partials = self.partials.iter().filter(|id| **id != self.id);
        let partials = partials
            .filter_map(|id| Some(Neighbour::unfinished(self.unfinished(id)?, BTreeSet::new())));
        stores.chain(partials).collect()
    }

    pub(super) fn resolutions(&self) -> Vec<PathBuf> {
        let same =
            self.partials.iter().filter(|id| **id != self.id && id.content() == self.id.content());
        let ids = std::iter::once(&self.id).chain(same);
        ids.map(|id| self.partial(id).join("resolved.json")).collect()
    }

    /// Links the root to a published store of this record that is whole, if there is one.
    pub(super) fn adopt(&self, writer: &Writer, record: &Record) -> Result<bool, StageError> {
        let id = record.store_id();
        let damaged = Damaged::read(&self.directory)?;
        for name in self.stores.iter().rev().filter(|name| name.id == id) {
            let is_sound = || -> overlay_store::Result<bool> {
                let store = Store::open(&writer.store(name))?;
                let mut found = overlay_store::check(&store)?;
                found.extend(crate::state::record_damage(record, &store));
                Ok(found.is_empty() && damaged.of(&name.to_string()).next().is_none())
            };
            match is_sound() {
                Ok(true) => {
                    self.link_to(writer, name, record)?;
                    return Ok(true);
                }
                Ok(false) => {}
                Err(error) => log::warn!("{error}"),
            }
        }
        Ok(false)
    }

    pub(super) fn publish(
        &self,
        writer: &Writer,
        made: &Path,
        record: &Record,
    ) -> Result<(), StageError> {
        let name = writer.publish(made, &record.store_id())?;
        self.link_to(writer, &name, record)
    }

    fn link_to(
        &self,
        writer: &Writer,
        name: &StoreName,
        record: &Record,
    ) -> Result<(), StageError> {
        writer.link(&self.id, name)?;
        journal::complete(self.id.as_str(), &name.to_string());
        let whole = record.bindings.iter().all(|binding| binding.present || !binding.required);
        if !whole {
            return Ok(());
        }
        match self.wish {
            Wish::None => {}
            Wish::Own => wanted::remove(writer, &self.id)?,
            // What was staged before this root, and held back, is superseded by it.
            Wish::Supersede => {
                for found in wanted::read_all(&self.directory)? {
                    wanted::remove(writer, &found.root)?;
                }
            }
        }
        Ok(())
    }
}
