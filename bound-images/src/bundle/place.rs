//! The directory of a bundle, read without trust: what is there, and is it fit. What is written there is in [`super::work`].

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use oci_digest::{Digest, Hasher};
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::BundleError;
use super::work::WORK;
use crate::source::Kind;
use crate::source::blob::PIECE;
use crate::source::layout::Layout;
use crate::source::manifest::{Descriptor, Manifest, parse_manifest};
use crate::system::file::sync_directory;

/// Where a bundle is, or will be.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// The directory, locked unless it is only looked at; none while there is no directory.
    pub(super) directory: Option<OwnedFd>,
    /// What is there of a layout.
    pub(super) layout: Option<Layout>,
    /// `index.json`, byte for byte.
    pub(super) index: Option<Vec<u8>>,
    /// Its entries.
    pub(super) entries: Vec<Descriptor>,
}

/// How a blob is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Blob {
    Absent,
    /// It was read: size and digest are right.
    Right,
    /// Why it cannot be used.
    Wrong(String),
}

impl Place {
    /// Looks at `path`, and keeps others from writing there where `lock` asks for it. Changes nothing.
    pub(super) fn look(path: &Path, lock: bool) -> Result<Self, BundleError> {
        let shown = path.display();
        let mut place = Self {
            path: path.to_owned(),
            directory: None,
            layout: None,
            index: None,
            entries: Vec::new(),
        };
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return refuse(format!("{shown} is not a directory; name another place")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if fs::symlink_metadata(path).is_ok() {
                    return refuse(format!("{shown} is a link to nothing; remove it"));
                }
                // A stick that is not plugged in must not become a directory of the disk below.
                let parent = place.parent();
                if !parent.is_dir() {
                    let parent = parent.display();
                    return refuse(format!("{parent} is not there; make it, or mount it, first"));
                }
                return Ok(place);
            }
            Err(error) => return Err(failed(error, path)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| failed(error.into(), path))?;
        if lock {
            take(&directory, path)?;
        }
        place.directory = Some(directory);
        let marker = fs::symlink_metadata(path.join("oci-layout"));
        if marker.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            place.require_empty()?;
            return Ok(place);
        }
        let layout = Layout::open(path).map_err(|refusal| BundleError::Refused(refusal.why))?;
        place.index = layout.index_bytes().map_err(|refusal| BundleError::Refused(refusal.why))?;
        if let Some(bytes) = &place.index {
            place.entries = match parse_manifest(bytes) {
                Ok(Manifest::List { instances, .. }) => instances,
                Ok(Manifest::Image { .. }) => {
                    return refuse(broken_index(path, "it is no index"));
                }
                Err(refusal) => return refuse(broken_index(path, &refusal.why)),
            };
        }
        place.layout = Some(layout);
        Ok(place)
    }

    /// The directory that it is in.
    fn parent(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// A directory that exists, on its file system.
    pub(super) fn existing(&self) -> &Path {
        if self.directory.is_some() { &self.path } else { self.parent() }
    }

    /// Refuses a directory of something else.
    fn require_empty(&self) -> Result<(), BundleError> {
        let read = fs::read_dir(&self.path).map_err(|error| failed(error, &self.path))?;
        for entry in read {
            let entry = entry.map_err(|error| failed(error, &self.path))?;
            if entry.file_name() != WORK {
                return refuse(format!(
                    "{} holds other things ({}) and is no OCI layout; name an empty or a new directory",
                    self.path.display(),
                    entry.file_name().to_string_lossy()
                ));
            }
        }
        Ok(())
    }

    /// Makes the directory, where there is none, and locks it.
    pub(super) fn make(&mut self) -> Result<(), BundleError> {
        if self.directory.is_some() {
            return Ok(());
        }
        match fs::create_dir(&self.path) {
            Ok(()) => sync_directory(self.parent()).map_err(|error| unfit(error, self.parent()))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return refuse(format!(
                    "{} was made by somebody else meanwhile; run it again",
                    self.path.display()
                ));
            }
            Err(error) => return Err(unfit(error, self.parent())),
        }
        *self = Self::look(&self.path, true)?;
        Ok(())
    }

    /// Reads a blob, all of it.
    pub(super) fn check(&self, digest: Digest, size: u64) -> Blob {
        let Some(layout) = &self.layout else { return Blob::Absent };
        let file = match layout.blob(digest, size) {
            Ok(file) => file,
            Err(refusal) if refusal.kind == Kind::NotFound => return Blob::Absent,
            Err(refusal) => return Blob::Wrong(refusal.why),
        };
        match digest_of(file) {
            Ok(found) if found == digest => Blob::Right,
            Ok(found) => Blob::Wrong(format!("it has the wrong content: its digest is {found}")),
            Err(error) => Blob::Wrong(format!("it cannot be read: {error}")),
        }
    }

    /// Whether a blob has its size still.
    pub(super) fn has(&self, digest: Digest, size: u64) -> bool {
        self.layout.as_ref().is_some_and(|layout| layout.blob(digest, size).is_ok())
    }

    /// Refuses a file system that has not `needed` bytes left.
    pub(super) fn require_space(&self, needed: u64) -> Result<(), BundleError> {
        let at = self.existing();
        let budget = overlay_store::Budget::free_at(at)
            .with_context(|| format!("cannot look at {}", at.display()))?;
        if needed <= budget.bytes() {
            return Ok(());
        }
        let (needed, free) = (crate::render::bytes(needed), crate::render::bytes(budget.bytes()));
        Err(BundleError::NoSpace(format!(
            "it takes {needed} more on {}, {free} are free: make room there",
            at.display()
        )))
    }
}

/// The digest of all that a file has.
pub(super) fn digest_of(mut file: File) -> io::Result<Digest> {
    let (mut hasher, mut piece) = (Hasher::default(), vec![0; PIECE]);
    loop {
        let count = file.read(&mut piece)?;
        match piece.get(..count) {
            Some(filled) if count > 0 => hasher.update(filled),
            _ => return Ok(hasher.finish()),
        }
    }
}

fn take(directory: &OwnedFd, path: &Path) -> Result<(), BundleError> {
    match rustix::fs::flock(directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            refuse(format!("another run is writing {} now; wait for it", path.display()))
        }
        Err(error) => refuse(format!("{} cannot be locked: {error}", path.display())),
    }
}

fn broken_index(path: &Path, why: &str) -> String {
    format!(
        "{}/index.json cannot be read ({why}); remove that file to begin a new index (blobs that are right are kept)",
        path.display()
    )
}

fn refuse<T>(why: String) -> Result<T, BundleError> {
    Err(BundleError::Refused(why))
}

/// Why a place cannot be written.
pub(super) fn unfit(error: io::Error, path: &Path) -> BundleError {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, StorageFull};
    let shown = path.display();
    match error.kind() {
        ReadOnlyFilesystem => BundleError::Refused(format!(
            "{shown} is on a read-only file system; mount it read-write"
        )),
        PermissionDenied => BundleError::Refused(format!("{shown} may not be written: {error}")),
        StorageFull => BundleError::NoSpace(format!("{shown} is full: make room there")),
        _ => failed(error, path),
    }
}

fn failed(error: io::Error, path: &Path) -> BundleError {
    BundleError::Other(anyhow::Error::from(error).context(format!("{}", path.display())))
}
