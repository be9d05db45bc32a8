//! Writing into a bundle. A blob gets its name when all of it is on the medium and was read back; the index comes last.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_digest::Digest;
use rustix::fs::{Advice, AtFlags, Mode, OFlags, renameat, unlinkat};
use rustix::io::Errno;
use serde::Serialize;
use tokio::sync::mpsc::Receiver;

use super::BundleError;
use super::parts::{Parts, directory_in};
use super::place::{Place, digest_of, unfit};

/// Where blobs are while they come, below the bundle.
pub(super) const WORK: &str = ".bound-images";
/// What tags resolved to, in it.
pub(super) const RESOLVED: &str = "resolved.json";

/// A bundle that is being written. The lock of its [`Place`] keeps others away.
#[derive(Debug)]
pub(super) struct Work {
    path: PathBuf,
    parts: Parts,
    blobs: OwnedFd,
}

impl Work {
    /// Makes what a layout has, and clears away what an earlier run left half-done.
    pub(super) fn begin(place: &mut Place) -> Result<Self, BundleError> {
        place.make()?;
        let path = place.path.clone();
        let made = Self::make(place).map_err(|error| unfit(error, &path))?;
        // What is there can be found from now on.
        if place.layout.is_none() {
            let lock = place.directory.take();
            *place = Place { directory: lock, ..Place::look(&path, false)? };
        }
        Ok(made)
    }

    fn make(place: &Place) -> io::Result<Self> {
        let top = place.directory.as_ref().ok_or(io::ErrorKind::NotFound)?.try_clone()?;
        let parts = Parts::of(top, WORK)?;
        parts.sweep(Some(RESOLVED))?;
        if place.layout.is_none() {
            // Before anything else: what has it is a layout, however early a run is cut off.
            parts.replace("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}\n")?;
        }
        let blobs = directory_in(&directory_in(&parts.top, "blobs")?, "sha256")?;
        Ok(Self { path: place.path.clone(), parts, blobs })
    }

    /// Writes down what tags resolved to, until the index says it.
    pub(super) fn remember(&self, resolved: &impl Serialize) -> Result<(), BundleError> {
        let bytes = serde_json::to_vec(resolved).map_err(anyhow::Error::from)?;
        let save = || {
            let part = self.parts.save(|file| file.write_all(&bytes))?;
            let parts = &self.parts.directory;
            renameat(parts, part.as_str(), parts, RESOLVED)?;
            Ok(())
        };
        save().map_err(|error| unfit(error, &self.path))
    }

    /// A blob whose bytes are here.
    pub(super) fn write(&self, digest: Digest, bytes: &[u8]) -> Result<(), BundleError> {
        let save = || {
            let part = self.parts.save(|file| file.write_all(bytes))?;
            self.keep(&part, digest)
        };
        save().map_err(|error| unfit(error, &self.path))
    }

    /// Takes the pieces of a blob, until the sender is gone; they are not judged. The name of the part.
    pub(super) fn receive(&self, mut pieces: Receiver<Vec<u8>>) -> io::Result<String> {
        self.parts.save(|file| {
            while let Some(piece) = pieces.blocking_recv() {
                file.write_all(&piece)?;
            }
            Ok(())
        })
    }

    /// Gives a part its name, when what the medium has is the blob: it is read back, past what the system remembers
    /// of it, since sticks and cards that lie are many.
    pub(super) fn keep(&self, part: &str, digest: Digest) -> io::Result<()> {
        let keep = || {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&self.parts.directory, part, flags, Mode::empty())?;
            if let Err(error) = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed) {
                // Then memory is read.
                log::debug!("{part}: {error}");
            }
            let found = digest_of(File::from(file))?;
            if found != digest {
                let why = format!("{digest} was read back as {found}: the medium is faulty");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            renameat(&self.parts.directory, part, &self.blobs, digest.hex().as_str())?;
            rustix::fs::fsync(&self.blobs)?;
            Ok(())
        };
        keep().inspect_err(|_| self.parts.discard(part))
    }

    /// Takes a part away.
    pub(super) fn discard(&self, part: &str) {
        self.parts.discard(part);
    }

    /// Takes a blob away that nothing leads to any more.
    pub(super) fn remove(&self, digest: Digest) -> Result<(), BundleError> {
        match unlinkat(&self.blobs, digest.hex().as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(unfit(error.into(), &self.path)),
        }
    }

    /// Writes the index.
    pub(super) fn index(&self, bytes: &[u8]) -> Result<(), BundleError> {
        self.parts.replace("index.json", bytes).map_err(|error| unfit(error, &self.path))
    }

    /// Removes the working directory: all of it is done.
    pub(super) fn end(self) {
        let ended = self.parts.sweep(None).and_then(|()| {
            unlinkat(&self.parts.top, WORK, AtFlags::REMOVEDIR)?;
            Ok(())
        });
        if let Err(error) = ended {
            // The bundle is whole; what is left beside it goes with the next run.
            log::warn!("{}: {error}", self.path.join(WORK).display());
        }
    }
}
