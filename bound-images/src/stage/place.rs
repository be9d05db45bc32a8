//! The place of a root's store: is it fit, who works there, how much room is left.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use binding::{Kind, Root, STORE_PATH};
use overlay_store::Builder;
use rustix::fs::FlockOperation;

use super::StageError;
use super::home::{Guard, Work, require_fit};

/// Where the store of a plain root goes.
pub(super) struct Place {
    /// The directory that holds the store; links resolved.
    parent: PathBuf,
    /// The deepest directory of that path that exists.
    existing: PathBuf,
    store: PathBuf,
}

/// Finds the place and refuses one where no store can be: overlayfs, read-only, in use (`links` are
/// the link ids of the store that is there). Changes nothing.
pub(super) fn find(root: &Root, links: &[String]) -> Result<Place, StageError> {
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
    let place = Place { store: parent.join(store_name), parent, existing };
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

    /// Makes the working directory, or takes over what an earlier attempt left, and locks it.
    pub(super) fn claim(&self) -> Result<Work, StageError> {
        make(&self.parent, 0o755)?;
        let lock = File::open(&self.parent)
            .with_context(|| format!("cannot open {}", self.parent.display()))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let why = format!(
                "another stage of this root is running ({} is locked)",
                self.parent.display()
            );
            return Err(StageError::Refused(why));
        }
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

fn make(path: &Path, mode: u32) -> Result<(), StageError> {
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    Ok(made.with_context(|| format!("cannot make {}", path.display()))?)
}
