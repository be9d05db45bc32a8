//! The pool's writing side: where stores are made, published, linked and removed.
//!
//! One writer at a time holds the lock. A store is never changed once it is published; a root's
//! link is the only thing that says which store a root has, and it is replaced in one step. What
//! a crash leaves behind is either unnamed (`partial`, `.removing-*`) or whole.

pub mod damaged;
pub mod gc;
pub mod released;
pub mod wanted;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use binding::Root;
use host::{Pool, RootId, StoreName};
use rustix::fs::{CWD, FlockOperation, RenameFlags};

use crate::system::file::sync_directory;

/// How often a lock that somebody else holds is tried again.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);
/// Begins the name of a file that is being written, and of a link that is being made.
pub(crate) const NEW: &str = ".new-";
/// Begins the name of a store that is being removed.
pub(crate) const REMOVING: &str = ".removing-";

/// The pool, held for writing.
#[derive(Debug)]
pub struct Writer {
    directory: PathBuf,
    /// Holds the lock as long as it is open.
    _lock: File,
}

/// Why the pool cannot be written now.
#[derive(Debug)]
pub enum Unavailable {
    /// Another process holds it.
    Busy(PathBuf),
    /// Anything else.
    Other(anyhow::Error),
}

impl From<anyhow::Error> for Unavailable {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

/// Where the pool is on disk.
#[must_use]
pub fn directory(system: &Root, pool: &Pool) -> PathBuf {
    system.path().join(pool.path())
}

impl Writer {
    /// As [`Writer::open`], but waits for another writer as long as `wait` says.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn wait(directory: &Path, wait: Duration) -> Result<Self, Unavailable> {
        let end = Instant::now() + wait;
        loop {
            match Self::open(directory) {
                Err(Unavailable::Busy(_)) if Instant::now() < end => {
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other,
            }
        }
    }

    /// Takes the pool for writing and makes its directories.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn open(directory: &Path) -> Result<Self, Unavailable> {
        make(directory, 0o700)?;
        require_own(directory)?;
        for name in ["stores", "roots", "wanted", "partial", "released"] {
            let path = directory.join(name);
            make(&path, 0o700)?;
            require_own(&path)?;
        }
        let path = directory.join("lock");
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { directory: directory.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Unavailable::Busy(path)),
            Err(error) => {
                let error = anyhow::Error::from(error);
                Err(error.context(format!("cannot lock {}", path.display())).into())
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the store of a root is made.
    #[must_use]
    pub fn partial(&self, root: &RootId) -> PathBuf {
        self.directory.join("partial").join(root.as_str())
    }

    /// Makes the directory where the store of a root is made, or finds it. What else has its name
    /// there is removed: a symbolic link would lead all that is written somewhere else.
    ///
    /// # Errors
    /// When the disk is at fault.
    pub fn make_partial(&self, root: &RootId) -> anyhow::Result<PathBuf> {
        let path = self.partial(root);
        if fs::symlink_metadata(&path).is_ok_and(|metadata| !metadata.is_dir()) {
            log::warn!("{} is not a directory and is removed", path.display());
            overlay_store::remove_tree(&path)?;
        }
        make(&path, 0o700)?;
        require_own(&path)?;
        Ok(path)
    }

    /// Where a published store is.
    #[must_use]
    pub fn store(&self, name: &StoreName) -> PathBuf {
        self.directory.join("stores").join(name.to_string())
    }

    /// Publishes the finished and synced store `made` under the first name of this id that is free.
    ///
    /// # Errors
    /// When the disk is at fault; then nothing is published.
    pub fn publish(&self, made: &Path, store_id: &str) -> anyhow::Result<StoreName> {
        let stores = self.directory.join("stores");
        let mut name = StoreName { id: store_id.to_owned(), repairs: 0 };
        loop {
            let target = self.store(&name);
            match rustix::fs::renameat_with(CWD, made, CWD, &target, RenameFlags::NOREPLACE) {
                Ok(()) => break,
                Err(rustix::io::Errno::EXIST) if name.repairs < u32::MAX => name.repairs += 1,
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("cannot move {} to {}", made.display(), target.display())
                    });
                }
            }
        }
        let sync = || {
            sync_directory(&stores)?;
            made.parent().map_or(Ok(()), sync_directory)
        };
        sync().with_context(|| format!("cannot sync {}", stores.display()))?;
        Ok(name)
    }

    /// Makes the root's link lead to a store.
    ///
    /// # Errors
    /// When the store is not there or the disk is at fault; then the link is as it was.
    pub fn link(&self, root: &RootId, name: &StoreName) -> anyhow::Result<()> {
        if !self.store(name).is_dir() {
            bail!("there is no store {name} to link {root} to");
        }
        let roots = self.directory.join("roots");
        let (new, link) = (roots.join(format!(".new-{root}")), roots.join(root.as_str()));
        let make = || {
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            symlink(Pool::target(name), &new)?;
            fs::rename(&new, &link)?;
            sync_directory(&roots)
        };
        make().with_context(|| format!("cannot link {} to {name}", link.display()))
    }

    /// Takes the root's link away; nothing when it has none.
    ///
    /// # Errors
    /// When the disk is at fault.
    pub fn unlink(&self, root: &RootId) -> anyhow::Result<()> {
        self.remove_file(&format!("roots/{root}"))
    }

    /// Removes a store. It loses its name first, so that what a crash leaves of it is no store.
    ///
    /// # Errors
    /// When the disk is at fault.
    pub fn remove_store(&self, name: &StoreName) -> anyhow::Result<()> {
        let stores = self.directory.join("stores");
        let (from, to) = (self.store(name), stores.join(format!("{REMOVING}{name}")));
        fs::rename(&from, &to)
            .and_then(|()| sync_directory(&stores))
            .with_context(|| format!("cannot rename {}", from.display()))?;
        Ok(overlay_store::remove_tree(&to)?)
    }

    /// Removes what is in the pool at `path`, with all below it.
    ///
    /// # Errors
    /// When the disk is at fault.
    pub(crate) fn remove_tree(&self, path: &str) -> anyhow::Result<()> {
        Ok(overlay_store::remove_tree(&self.directory.join(path))?)
    }

    pub(crate) fn remove_file(&self, path: &str) -> anyhow::Result<()> {
        let path = self.directory.join(path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => path
                .parent()
                .map_or(Ok(()), sync_directory)
                .with_context(|| format!("cannot sync the directory of {}", path.display())),
        }
    }
}

/// Refuses what is not a directory of root's own, a symbolic link to one included.
fn require_own(path: &Path) -> anyhow::Result<()> {
    let metadata =
        fs::symlink_metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    if !metadata.is_dir() || metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
        bail!("{} is not a directory that only root can write", path.display());
    }
    Ok(())
}

fn make(path: &Path, mode: u32) -> anyhow::Result<()> {
    let made = DirBuilder::new().mode(mode).create(path);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.with_context(|| format!("cannot make {}", path.display())),
    }
}
