//! The place of a root's store: is it fit, who works there, how much room is left.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use binding::{Kind, Root, STORE_PATH};
use overlay_store::Builder;
use rustix::fs::FlockOperation;

use super::StageError;
use super::home::{Guard, Work, busy, require_fit};
use crate::pool::PAUSE;

/// Where the store of a plain root goes.
pub(super) struct Place {
    /// The directory that holds the store; links resolved.
    parent: PathBuf,
    /// The deepest directory of that path that exists.
    existing: PathBuf,
    store: PathBuf,
    /// How long another stage is waited for.
    wait: Duration,
    /// The directory of the store that was there: publishing puts another one into its place.
    seen: Option<u64>,
}

/// Finds the place and refuses one where no store can be: overlayfs, read-only, in use (`links` are
/// the link ids of the store that is there). Changes nothing.
pub(super) fn find(root: &Root, links: &[String], wait: Duration) -> Result<Place, StageError> {
    match root.kind(STORE_PATH) {
        Ok(Kind::Symlink) => {
            let why = format!("{STORE_PATH} is a symbolic link; make it a directory, or remove it");
            return Err(StageError::Refused(why));
        }
        Ok(_) => {}
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
        Err(error) => {
            return Err(anyhow::Error::from(error)
                .context(format!("cannot look at {STORE_PATH}"))
                .into());
        }
    }
    let mut existing = root.path().to_owned();
    let mut missing = PathBuf::new();
    let above: Vec<&str> = STORE_PATH.split('/').collect();
    let (store_name, parts) =
        above.split_last().map_or(("storage", above.as_slice()), |(last, rest)| (*last, rest));
    let mut upto = String::new();
    for part in parts {
        if !missing.as_os_str().is_empty() {
            missing.push(part);
            continue;
        }
        upto = if upto.is_empty() { (*part).to_owned() } else { format!("{upto}/{part}") };
        match root.resolve(&upto) {
            Ok(path) => existing = root.path().join(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound && root.kind(&upto).is_err() => {
                missing.push(part)
            }
            Err(error) => {
                return Err(anyhow::Error::from(error)
                    .context(format!("cannot find {upto} in the root"))
                    .into());
            }
        }
    }
    let parent = existing.join(missing);
    let store = parent.join(store_name);
    let seen = inode(&store);
    let place = Place { store, parent, existing, wait, seen };
    require_fit(&place.existing)?;
    place.require_unused(links)?;
    Ok(place)
}

impl Place {
    /// Where the store will be.
    pub(super) fn store(&self) -> &Path {
        &self.store
    }

    /// A directory that exists, on the file system of the store.
    pub(super) fn existing(&self) -> &Path {
        &self.existing
    }

    /// Refuses a store that something uses: a mount, or a running container.
    pub(super) fn require_unused(&self, links: &[String]) -> Result<(), StageError> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo")
            .context("cannot read /proc/self/mountinfo")?;
        let user = overlay_store::user_of(&self.store, links, &mountinfo)
            .with_context(|| format!("cannot look at {}", self.store.display()))?;
        match user {
            None => Ok(()),
            Some(user) => Err(StageError::Refused(format!(
                "{} is in use ({user}); stop what uses it first",
                self.store.display()
            ))),
        }
    }

    fn work_directory(&self) -> PathBuf {
        self.parent.join(".bound-images")
    }

    /// What an earlier attempt left, to be looked at only.
    pub(super) fn unclaimed(&self) -> Option<Builder> {
        Builder::existing(&self.work_directory().join("store"))
    }

    /// Whether an earlier attempt left anything.
    pub(super) fn has_leftovers(&self) -> bool {
        fs::symlink_metadata(self.work_directory()).is_ok()
    }

    /// Makes the working directory, or takes over what an earlier attempt left, and locks it. None when
    /// another stage published a store since it was looked at, mostly while this one waited.
    pub(super) async fn claim(&self) -> Result<Option<Work>, StageError> {
        make(&self.parent, 0o755)?;
        let end = Instant::now() + self.wait;
        let lock = loop {
            match self.lock()? {
                Some(lock) => break lock,
                None if Instant::now() < end => tokio::time::sleep(PAUSE).await,
                None => return Err(busy("root", &self.parent)),
            }
        };
        if inode(&self.store) != self.seen {
            return Ok(None);
        }
        self.take(lock).map(Some)
    }

    /// Removes what an earlier attempt left; waits for nobody.
    pub(super) fn sweep(&self) -> Result<(), StageError> {
        let lock = self.lock()?.ok_or_else(|| busy("root", &self.parent))?;
        self.take(lock).and_then(Work::remove)
    }

    /// Keeps other stages away; none where one is running.
    fn lock(&self) -> Result<Option<File>, StageError> {
        let lock = File::open(&self.parent)
            .with_context(|| format!("cannot open {}", self.parent.display()))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(lock)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => {
                let error = anyhow::Error::from(error);
                Err(error.context(format!("cannot lock {}", self.parent.display())).into())
            }
        }
    }

    fn take(&self, lock: File) -> Result<Work, StageError> {
        let directory = self.work_directory();
        make(&directory, 0o700)?;
        let ours = fs::symlink_metadata(&directory).is_ok_and(|metadata| {
            metadata.is_dir() && (metadata.uid(), metadata.mode() & 0o7777) == (0, 0o700)
        });
        if !ours {
            // It may come with a root that we do not trust: its links are not walked.
            let why = format!(
                "{} is not a directory of root's own (mode 0700); remove it",
                directory.display()
            );
            return Err(StageError::Refused(why));
        }
        let builder = Builder::open(&directory.join("store"))?;
        Ok(Work { directory, builder, guard: Guard::Inside { _lock: lock } })
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|metadata| metadata.ino())
}

fn make(path: &Path, mode: u32) -> Result<(), StageError> {
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    Ok(made.with_context(|| format!("cannot make {}", path.display()))?)
}
