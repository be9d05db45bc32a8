//! The directory that a layer is unpacked into: opens parents, makes missing ones, keeps the
//! times that are set at the end.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::{OPAQUE_XATTR, attributes, path};

/// An open directory of the layer.
#[derive(Clone)]
pub(super) struct Parent {
    pub(super) fd: Rc<OwnedFd>,
    /// Its path below the layer's root, all symbolic links resolved.
    pub(super) path: Vec<u8>,
    /// Whether a symbolic link led here.
    pub(super) through_link: bool,
}

/// What is at a name.
pub(super) struct There {
    pub(super) is_directory: bool,
    pub(super) is_whiteout: bool,
    pub(super) inode: u64,
}

/// Looks at `base` in `parent` without following it.
pub(super) fn kind(parent: &OwnedFd, base: &[u8]) -> io::Result<There> {
    let stat = rustix::fs::statat(parent, base, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    Ok(There {
        is_directory: kind == FileType::Directory,
        is_whiteout: kind == FileType::CharacterDevice && stat.st_rdev == 0,
        inode: stat.st_ino,
    })
}

pub(super) struct Scope {
    root: Rc<OwnedFd>,
    /// Members of one directory mostly come together.
    last: Option<(Vec<u8>, Parent)>,
    times: Vec<(Vec<u8>, Timestamps)>,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Scope {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root: Rc::new(root), last: None, times: Vec::new() }
    }

    /// Drops what is remembered of open directories: one of them may be going away.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// The directory at `path`, made with its parents if it is missing (0755, root, time 0).
    pub(super) fn parent(&mut self, path: &[u8]) -> io::Result<Parent> {
        if let Some((known, parent)) = &self.last
            && known == path
        {
            return Ok(parent.clone());
        }
        let parent = match self.open(path) {
            Ok(parent) => parent,
            Err(Errno::NOENT | Errno::NOTDIR) => self.make(path)?,
            Err(error) => return Err(error.into()),
        };
        self.last = Some((path.to_vec(), parent.clone()));
        Ok(parent)
    }

    /// Like [`Scope::parent`], but none where the path goes through something hidden by a
    /// whiteout of this layer, or through a file.
    pub(super) fn parent_for_whiteout(&mut self, path: &[u8]) -> io::Result<Option<Parent>> {
        match self.open(path) {
            Ok(parent) => Ok(Some(parent)),
            Err(Errno::NOTDIR) => Ok(None),
            Err(Errno::NOENT) => self.parent(path).map(Some),
            Err(error) => Err(error.into()),
        }
    }

    /// The directory at `path`, which must be there.
    pub(super) fn existing_parent(&mut self, path: &[u8]) -> io::Result<Parent> {
        Ok(self.open(path)?)
    }

    fn open(&self, path: &[u8]) -> Result<Parent, Errno> {
        if path.is_empty() {
            return Ok(Parent { fd: Rc::clone(&self.root), path: Vec::new(), through_link: false });
        }
        let strict =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&*self.root, path, DIRECTORY, Mode::empty(), strict) {
            Ok(fd) => Ok(Parent { fd: Rc::new(fd), path: path.to_vec(), through_link: false }),
            Err(Errno::LOOP) => {
                let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                let fd = rustix::fs::openat2(&*self.root, path, DIRECTORY, Mode::empty(), inside)?;
                let path = self.real_path(&fd)?;
                Ok(Parent { fd: Rc::new(fd), path, through_link: true })
            }
            Err(error) => Err(error),
        }
    }

    /// Where an open directory is below the root.
    fn real_path(&self, fd: &OwnedFd) -> Result<Vec<u8>, Errno> {
        let name = |fd: &OwnedFd| {
            rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())
        };
        let (root, here) = (name(&self.root)?, name(fd)?);
        let below = here.as_bytes().strip_prefix(root.as_bytes()).ok_or(Errno::XDEV)?;
        Ok(below.strip_prefix(b"/").unwrap_or(below).to_vec())
    }

    fn make(&mut self, path: &[u8]) -> io::Result<Parent> {
        let mut here = self.open(b"")?;
        let mut done = 0;
        for part in path.split(|byte| *byte == b'/') {
            done += part.len() + usize::from(done > 0);
            let upto = path.get(..done).unwrap_or(path);
            here = match self.open(upto) {
                Ok(next) => next,
                Err(Errno::NOENT) => self.make_one(&here, part, upto)?,
                Err(Errno::NOTDIR) if kind(&here.fd, part)?.is_whiteout => {
                    // Members below a name that this layer hides in lower ones: a new directory.
                    rustix::fs::unlinkat(&*here.fd, part, rustix::fs::AtFlags::empty())?;
                    let made = self.make_one(&here, part, upto)?;
                    self.make_opaque(&made, b"")?;
                    made
                }
                Err(error) => return Err(error.into()),
            };
        }
        Ok(here)
    }

    fn make_one(&mut self, parent: &Parent, base: &[u8], path: &[u8]) -> io::Result<Parent> {
        rustix::fs::mkdirat(&*parent.fd, base, Mode::RWXU).map_err(|error| match error {
            Errno::EXIST => io::Error::new(
                io::ErrorKind::InvalidData,
                "a parent of its path is a symbolic link that leads nowhere",
            ),
            error => error.into(),
        })?;
        let made = self.open(path)?;
        rustix::fs::fchmod(&*made.fd, Mode::from_raw_mode(0o755))?;
        self.set_time_later(made.path.clone(), attributes::ZERO);
        Ok(made)
    }

    /// Marks `base` in `parent` (or `parent` itself, for an empty `base`) as hiding lower layers.
    pub(super) fn make_opaque(&self, parent: &Parent, base: &[u8]) -> io::Result<()> {
        let set = |fd: &OwnedFd| rustix::fs::fsetxattr(fd, OPAQUE_XATTR, b"y", XattrFlags::empty());
        if base.is_empty() {
            return Ok(set(&parent.fd)?);
        }
        let fd =
            rustix::fs::openat(&*parent.fd, base, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(set(&fd)?)
    }

    /// Remembers the times of a directory; the last word on a path wins.
    pub(super) fn set_time_later(&mut self, path: Vec<u8>, times: Timestamps) {
        self.times.push((path, times));
    }

    pub(super) fn set_times(&self) -> io::Result<()> {
        for (path, times) in &self.times {
            let strict =
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match rustix::fs::openat2(
                &*self.root,
                path.as_slice(),
                DIRECTORY,
                Mode::empty(),
                strict,
            ) {
                Ok(fd) => rustix::fs::futimens(&fd, times)?,
                // It was replaced by something else later in the stream.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(path_error(path, error)),
            }
        }
        Ok(())
    }
}

fn path_error(name: &[u8], error: Errno) -> io::Error {
    let (_, base) = path::split(name);
    io::Error::new(
        io::Error::from(error).kind(),
        format!("{:?}: {error}", String::from_utf8_lossy(base)),
    )
}
