//! The directory that a layer is unpacked into: opens parents, makes missing ones, keeps the
//! times that are set at the end.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{FileType, Mode, OFlags, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::{OPAQUE_XATTR, attributes, path};
use crate::below::{self, DIRECTORY, INSIDE, STRICT, Trail};
use crate::budget::{Cost, Share};

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
    /// Times of directories by inode; one that is not here was never described and gets 1970.
    times: HashMap<u64, Timestamps>,
    /// Default ACLs of directories by inode.
    default_acls: HashMap<u64, Vec<u8>>,
    /// Bytes that these may still take in memory.
    acl_room: usize,
    /// What the layer takes on disk.
    share: Rc<Share>,
}

/// The most bytes of default ACLs in one layer: they are held in memory until its end.
const MAX_ACLS: usize = 16 << 20;

impl Scope {
    pub(super) fn new(root: OwnedFd, share: Rc<Share>) -> Self {
        let (times, default_acls) = (HashMap::new(), HashMap::new());
        Self { root: Rc::new(root), last: None, times, default_acls, acl_room: MAX_ACLS, share }
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
        match below::open(&*self.root, path, DIRECTORY, STRICT) {
            Ok(fd) => Ok(Parent { fd: Rc::new(fd), path: path.to_vec(), through_link: false }),
            Err(Errno::LOOP) => {
                let fd = below::open(&*self.root, path, DIRECTORY, INSIDE)?;
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
        for part in path.split(|byte| *byte == b'/') {
            here = match self.step(&here, part) {
                Ok(next) => next,
                Err(Errno::NOENT) => self.make_one(&here, part)?,
                Err(Errno::NOTDIR) if kind(&here.fd, part)?.is_whiteout => {
                    // Members below a name that this layer hides in lower ones: a new directory.
                    rustix::fs::unlinkat(&*here.fd, part, rustix::fs::AtFlags::empty())?;
                    let made = self.make_one(&here, part)?;
                    self.make_opaque(&made, b"")?;
                    made
                }
                Err(error) => return Err(error.into()),
            };
        }
        Ok(here)
    }

    /// One component further, following a link inside the root.
    fn step(&self, here: &Parent, part: &[u8]) -> Result<Parent, Errno> {
        match below::open(&*here.fd, part, DIRECTORY, STRICT) {
            Ok(fd) => Ok(Parent {
                fd: Rc::new(fd),
                path: path::join(&here.path, part),
                through_link: here.through_link,
            }),
            Err(Errno::LOOP) => self.open(&path::join(&here.path, part)),
            Err(error) => Err(error),
        }
    }

    fn make_one(&mut self, parent: &Parent, base: &[u8]) -> io::Result<Parent> {
        path::require_short(&parent.path, base)?;
        self.share.take(Cost::DIRECTORY)?;
        rustix::fs::mkdirat(&*parent.fd, base, Mode::RWXU).map_err(|error| match error {
            Errno::EXIST => io::Error::new(
                io::ErrorKind::InvalidData,
                "a parent of its path is a symbolic link that leads nowhere",
            ),
            error => error.into(),
        })?;
        let made = self.step(parent, base)?;
        rustix::fs::fchmod(&*made.fd, Mode::from_raw_mode(0o755))?;
        self.forget_inode(rustix::fs::fstat(&*made.fd)?.st_ino);
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

    /// A directory that was removed may have had the inode of this new one.
    pub(super) fn is_new(&mut self, parent: &Parent, base: &[u8]) -> io::Result<()> {
        self.forget_inode(kind(&parent.fd, base)?.inode);
        Ok(())
    }

    fn forget_inode(&mut self, inode: u64) {
        self.times.remove(&inode);
        self.default_acls.remove(&inode);
    }

    /// Remembers the times and the default ACL of a directory until nothing changes in it any more.
    pub(super) fn set_later(
        &mut self,
        parent: &Parent,
        base: &[u8],
        times: Timestamps,
        default_acl: Option<&[u8]>,
    ) -> io::Result<()> {
        let inode = kind(&parent.fd, base)?.inode;
        self.times.insert(inode, times);
        let Some(acl) = default_acl else { return Ok(()) };
        self.acl_room = self.acl_room.checked_sub(acl.len()).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "too many default ACLs in one layer")
        })?;
        // One that the kernel refuses is told of now, by the name of the directory.
        let fd =
            rustix::fs::openat(&*parent.fd, base, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        attributes::set_default_acl(&fd, acl)?;
        match rustix::fs::fremovexattr(&fd, attributes::DEFAULT_ACL) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
        self.default_acls.insert(inode, acl.to_vec());
        Ok(())
    }

    /// Sets the times and default ACLs of all directories.
    pub(super) fn set_directories(&self) -> io::Result<()> {
        let mut todo = vec![Trail::root()];
        while let Some(here) = todo.pop() {
            let path = here.path();
            let fd = below::open(&*self.root, &path, DIRECTORY, STRICT)?;
            for (name, is_directory) in below::names(&fd)? {
                if is_directory {
                    todo.push(here.below(name));
                }
            }
            if !path.is_empty() {
                let inode = rustix::fs::fstat(&fd)?.st_ino;
                if let Some(acl) = self.default_acls.get(&inode) {
                    attributes::set_default_acl(&fd, acl)?;
                }
                let times = self.times.get(&inode).unwrap_or(&attributes::ZERO);
                rustix::fs::futimens(&fd, times)?;
            }
        }
        Ok(())
    }
}
