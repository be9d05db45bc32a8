//! Files on their way into a bundle: in a directory of their own, until a rename gives them their name.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags, mkdirat, openat2, renameat, unlinkat};
use rustix::io::Errno;

/// The directory of a bundle, and the one of its parts.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) top: OwnedFd,
    pub(super) directory: OwnedFd,
    number: AtomicU64,
}

impl Parts {
    /// Makes the directory `name` in `top`, if it is not there.
    pub(super) fn of(top: OwnedFd, name: &str) -> io::Result<Self> {
        let directory = directory_in(&top, name)?;
        Ok(Self { top, directory, number: AtomicU64::new(0) })
    }

    /// Removes all files of the working directory but `keep`.
    pub(super) fn sweep(&self, keep: Option<&str>) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let name = entry?.file_name().to_owned();
            let bytes = name.to_bytes();
            if bytes != b"." && bytes != b".." && Some(bytes) != keep.map(str::as_bytes) {
                names.push(name);
            }
        }
        for name in names {
            unlinkat(&self.directory, &name, AtFlags::empty())?;
        }
        Ok(())
    }

    fn create(&self) -> io::Result<(String, File)> {
        let name = format!("part-{}", self.number.fetch_add(1, Ordering::Relaxed));
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let file = rustix::fs::openat(&self.directory, name.as_str(), flags, mode)?;
        Ok((name, File::from(file)))
    }

    /// Takes a part away.
    pub(super) fn discard(&self, name: &str) {
        // What cannot be removed now is removed by the next run.
        if let Err(error) = unlinkat(&self.directory, name, AtFlags::empty()) {
            log::debug!("{name}: {error}");
        }
    }

    /// A small file of the layout, in one step.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let part = self.save(|file| file.write_all(bytes))?;
        let save = || {
            renameat(&self.directory, part.as_str(), &self.top, name)?;
            rustix::fs::fsync(&self.top)?;
            Ok(())
        };
        save().inspect_err(|_| self.discard(&part))
    }

    /// A part that `fill` fills, synced; its name.
    pub(super) fn save(
        &self,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<String> {
        let (part, mut file) = self.create()?;
        let saved = fill(&mut file).and_then(|()| file.sync_all());
        saved.map(|()| part.clone()).inspect_err(|_| self.discard(&part))
    }
}

/// Opens a directory in another one, made if it is not there. A link is no directory.
pub(super) fn directory_in(above: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
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
}
