//! Opening things below a directory handle, and removing trees, without ever leaving it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

/// How often `openat2` is asked again: while anything on the machine is renamed, it cannot tell
/// whether `..` leaves the root, and says EAGAIN (`openat2(2)`).
const TRIES: usize = 256;

/// Flags to open a directory for reading.
pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Resolution that meets no symbolic link.
pub(crate) const STRICT: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Resolution that follows links inside the directory, as a chroot would.
pub(crate) const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// `openat2`, asked again while it cannot tell.
pub(crate) fn open(
    root: impl AsFd,
    path: &[u8],
    flags: OFlags,
    how: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    for _ in 0..TRIES {
        match rustix::fs::openat2(root.as_fd(), path, flags, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => std::thread::yield_now(),
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Names in a directory, without `.` and `..`, and whether each is a directory.
pub(crate) fn names(directory: &OwnedFd) -> io::Result<Vec<(Vec<u8>, bool)>> {
    let mut out = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let is_directory = match entry.file_type() {
            FileType::Unknown => {
                let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            }
            kind => kind == FileType::Directory,
        };
        out.push((name.to_vec(), is_directory));
    }
    Ok(out)
}

/// The way to a directory, which shares that of its parent: a list of millions of deep directories
/// takes no more than their names.
#[derive(Clone)]
pub(crate) struct Trail(Option<Rc<(Trail, Vec<u8>)>>);

impl Trail {
    /// The directory itself that all is below of.
    pub(crate) fn root() -> Self {
        Self(None)
    }

    /// The way to `name` in it.
    pub(crate) fn below(&self, name: Vec<u8>) -> Self {
        Self(Some(Rc::new((self.clone(), name))))
    }

    /// The path, empty for the root.
    pub(crate) fn path(&self) -> Vec<u8> {
        let (mut here, mut names) = (self, Vec::new());
        while let Some(step) = &here.0 {
            names.push(step.1.as_slice());
            here = &step.0;
        }
        names.reverse();
        names.join(&b'/')
    }
}

/// Removes `path` with all in it: a file, a link, or a directory of any depth. Nothing that is
/// mounted in it is touched: then it fails.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let parent = rustix::fs::openat(CWD, parent, DIRECTORY, Mode::empty())?;
    let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(rustix::fs::unlinkat(&parent, name, AtFlags::empty())?);
    }
    // One descriptor at a time whatever the depth: directories are moved up to the top as they are
    // met, so every path stays short.
    let top = rustix::fs::openat(&parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    let same_mount = STRICT | ResolveFlags::NO_XDEV;
    let mut todo: Vec<Vec<u8>> = vec![Vec::new()];
    let mut moved = 0u64;
    while let Some(directory) = todo.last().cloned() {
        let here = open(&top, &directory, DIRECTORY, same_mount)?;
        let mut inner = Vec::new();
        for (name, is_directory) in names(&here)? {
            if !is_directory {
                rustix::fs::unlinkat(&here, name.as_slice(), AtFlags::empty())?;
            } else if directory.is_empty() {
                inner.push(name);
            } else {
                inner.push(move_up(&here, &name, &top, &mut moved)?);
            }
        }
        if directory.is_empty() && inner.is_empty() {
            break;
        }
        if inner.is_empty() || !directory.is_empty() {
            rustix::fs::unlinkat(&top, directory.as_slice(), AtFlags::REMOVEDIR)?;
            todo.pop();
        }
        todo.extend(inner);
    }
    Ok(rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?)
}

/// Moves a directory to `top` under a name that is free there.
fn move_up(from: &OwnedFd, name: &[u8], top: &OwnedFd, moved: &mut u64) -> io::Result<Vec<u8>> {
    loop {
        *moved += 1;
        let free = format!(".removed-{moved}").into_bytes();
        match rustix::fs::renameat_with(from, name, top, free.as_slice(), RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            other => return other.map(|()| free).map_err(io::Error::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_of_any_depth_are_removed() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("top");
        std::fs::create_dir(&top).unwrap();
        let mut fd: OwnedFd = std::fs::File::open(&top).unwrap().into();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&fd, "d", Mode::RWXU).unwrap();
            fd = rustix::fs::openat(&fd, "d", DIRECTORY, Mode::empty()).unwrap();
        }
        for name in ["a", "b", ".removed-1"] {
            std::fs::create_dir_all(top.join(name).join("x/y")).unwrap();
            std::fs::write(top.join(name).join("x/f"), b"").unwrap();
        }
        std::os::unix::fs::symlink("/", top.join("link")).unwrap();
        remove(&top).unwrap();
        assert!(!top.exists());
        std::os::unix::fs::symlink("/nowhere", &top).unwrap();
        remove(&top).unwrap();
        assert_eq!(remove(&top).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
