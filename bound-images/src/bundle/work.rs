//! Writing into a bundle. A blob gets its name when all of it is on the medium and was read back; the index comes last.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use oci_digest::Digest;
use rustix::fs::{
    Advice, AtFlags, Dir, Mode, OFlags, ResolveFlags, mkdirat, openat2, renameat, unlinkat,
};
use rustix::io::Errno;
use serde::Serialize;
use tokio::sync::mpsc::Receiver;

use super::BundleError;
use super::place::{Place, digest_of, unfit};

/// Where blobs are while they come, below the bundle.
pub(super) const WORK: &str = ".bound-images";
/// What tags resolved to, in it.
pub(super) const RESOLVED: &str = "resolved.json";

/// A bundle that is being written. The lock of its [`Place`] keeps others away.
#[derive(Debug)]
pub(super) struct Work {
    path: PathBuf,
    top: OwnedFd,
    blobs: OwnedFd,
    partial: OwnedFd,
    number: AtomicU64,
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
        let sub = |above: &OwnedFd, name: &str| -> io::Result<OwnedFd> {
            match mkdirat(above, name, Mode::from_raw_mode(0o755)) {
                Ok(()) => rustix::fs::fsync(above)?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            openat2(above, name, flags, Mode::empty(), resolve).map_err(|error| match error {
                Errno::LOOP | Errno::NOTDIR => {
                    let why = format!("{name} in it is not a directory; remove it");
                    io::Error::new(io::ErrorKind::PermissionDenied, why)
                }
                error => error.into(),
            })
        };
        let partial = sub(&top, WORK)?;
        let blobs = sub(&sub(&top, "blobs")?, "sha256")?;
        let work =
            Self { path: place.path.clone(), top, blobs, partial, number: AtomicU64::new(0) };
        work.sweep(Some(RESOLVED))?;
        if place.layout.is_none() {
            work.replace("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}\n")?;
        }
        Ok(work)
    }

    /// Removes all files of the working directory but `keep`.
    fn sweep(&self, keep: Option<&str>) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.partial)? {
            let name = entry?.file_name().to_owned();
            let bytes = name.to_bytes();
            if bytes != b"." && bytes != b".." && Some(bytes) != keep.map(str::as_bytes) {
                names.push(name);
            }
        }
        for name in names {
            unlinkat(&self.partial, &name, AtFlags::empty())?;
        }
        Ok(())
    }

    fn create(&self) -> io::Result<(String, File)> {
        let name = format!("part-{}", self.number.fetch_add(1, Ordering::Relaxed));
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let file = rustix::fs::openat(&self.partial, name.as_str(), flags, mode)?;
        Ok((name, File::from(file)))
    }

    fn drop_part(&self, name: &str) {
        // What cannot be removed now is removed by the next run.
        if let Err(error) = unlinkat(&self.partial, name, AtFlags::empty()) {
            log::debug!("{name}: {error}");
        }
    }

    /// A small file of the layout, in one step.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (part, mut file) = self.create()?;
        let mut save = || {
            file.write_all(bytes)?;
            file.sync_all()?;
            renameat(&self.partial, part.as_str(), &self.top, name)?;
            rustix::fs::fsync(&self.top)?;
            Ok(())
        };
        save().inspect_err(|_| self.drop_part(&part))
    }

    /// Writes down what tags resolved to, until the index says it.
    pub(super) fn remember(&self, resolved: &impl Serialize) -> Result<(), BundleError> {
        let bytes = serde_json::to_vec(resolved).map_err(anyhow::Error::from)?;
        let save = || {
            let (part, mut file) = self.create()?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            renameat(&self.partial, part.as_str(), &self.partial, RESOLVED)?;
            Ok(())
        };
        save().map_err(|error| unfit(error, &self.path))
    }

    /// A blob whose bytes are here.
    pub(super) fn write(&self, digest: Digest, bytes: &[u8]) -> Result<(), BundleError> {
        let save = || {
            let part = self.save(|file| file.write_all(bytes))?;
            self.keep(&part, digest)
        };
        save().map_err(|error| unfit(error, &self.path))
    }

    /// Takes the pieces of a blob, until the sender is gone; they are not judged. The name of the part.
    pub(super) fn receive(&self, mut pieces: Receiver<Vec<u8>>) -> io::Result<String> {
        self.save(|file| {
            while let Some(piece) = pieces.blocking_recv() {
                file.write_all(&piece)?;
            }
            Ok(())
        })
    }

    fn save(&self, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<String> {
        let (part, mut file) = self.create()?;
        let saved = fill(&mut file).and_then(|()| file.sync_all());
        saved.map(|()| part.clone()).inspect_err(|_| self.drop_part(&part))
    }

    /// Gives a part its name, when what the medium has is the blob: it is read back, past what the system remembers
    /// of it, since sticks and cards that lie are many.
    pub(super) fn keep(&self, part: &str, digest: Digest) -> io::Result<()> {
        let keep = || {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&self.partial, part, flags, Mode::empty())?;
            if let Err(error) = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed) {
                // Then memory is read.
                log::debug!("{part}: {error}");
            }
            let found = digest_of(File::from(file))?;
            if found != digest {
                let why = format!("{digest} was read back as {found}: the medium is faulty");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            renameat(&self.partial, part, &self.blobs, digest.hex().as_str())?;
            rustix::fs::fsync(&self.blobs)?;
            Ok(())
        };
        keep().inspect_err(|_| self.drop_part(part))
    }

    /// Takes a part away.
    pub(super) fn discard(&self, part: &str) {
        self.drop_part(part);
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
        self.replace("index.json", bytes).map_err(|error| unfit(error, &self.path))
    }

    /// Removes the working directory: all of it is done.
    pub(super) fn end(self) {
        let ended = self.sweep(None).and_then(|()| {
            unlinkat(&self.top, WORK, AtFlags::REMOVEDIR)?;
            Ok(())
        });
        if let Err(error) = ended {
            // The bundle is whole; what is left beside it goes with the next run.
            log::warn!("{}: {error}", self.path.join(WORK).display());
        }
    }
}
