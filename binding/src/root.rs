//! The tree that is read: one directory handle, below which every path is resolved.
//!
//! Links, also absolute ones, are followed as if the root were `/` (openat2(2),
//! `RESOLVE_IN_ROOT`), so nothing outside of it is ever opened. Paths are root-relative, without a
//! leading slash; the empty path is the root itself.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::dir::{Dir, Type};
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};

/// Most entries that a directory may have.
pub const MAX_ENTRIES: usize = 10_000;
/// Most links that are followed on the way to a file, as the kernel has it (path_resolution(7)).
pub const MAX_LINKS: usize = 40;
/// Bytes that are read at once of a file that does not tell its size.
const UNTOLD: u64 = 16 << 10;
/// Most components that [`Root::resolve`] walks.
const MAX_STEPS: usize = 4096;

/// What a directory entry is, itself, without being followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A device, socket or fifo.
    Other,
}

impl Kind {
    fn of(stat: &FileStat) -> Self {
        match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => Self::File,
            SFlag::S_IFDIR => Self::Dir,
            SFlag::S_IFLNK => Self::Symlink,
            _ => Self::Other,
        }
    }
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, as bytes: not every name is text.
    pub name: OsString,
    /// What it is, not followed.
    pub kind: Kind,
}

/// A root, open for reading.
#[derive(Debug)]
pub struct Root {
    handle: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens the root at `path`, which may itself be a link.
    ///
    /// # Errors
    /// When it is not a directory or cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let handle = nix::fcntl::open(path, flags, nix::sys::stat::Mode::empty())?;
        Ok(Self { handle, path: path.to_owned() })
    }

    /// The path that was given, for messages only.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content of a regular file, links followed.
    ///
    /// # Errors
    /// `FileTooLarge` when it has more than `max` bytes, `InvalidInput` when it is not a regular
    /// file (a fifo is not waited for), and those of open(2) and read(2).
    pub fn read(&self, path: &str, max: u64) -> io::Result<Vec<u8>> {
        // A fifo or device must neither block nor act: O_NONBLOCK, then look before reading.
        let fd = self.open_at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?;
        let stat = fstat(&fd)?;
        if Kind::of(&stat) != Kind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        // Room for all of it and one byte more, which tells its end: one call instead of many short ones. Files of /proc
        // do not tell their size.
        let size = u64::try_from(stat.st_size).unwrap_or(0).min(max);
        let room = if size == 0 { UNTOLD.min(max) } else { size };
        let mut bytes = vec![0; usize::try_from(room).unwrap_or(0).saturating_add(1)];
        let mut file = File::from(fd);
        let count = match file.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            count => count?,
        };
        bytes.truncate(count);
        if count == 0 || count as u64 != size {
            let left = max.saturating_add(1).saturating_sub(count as u64);
            file.take(left).read_to_end(&mut bytes)?;
        }
        if bytes.len() as u64 > max {
            let why = format!("larger than {max} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        Ok(bytes)
    }

    /// As [`Root::read`]; none when the file does not exist.
    ///
    /// # Errors
    /// As [`Root::read`], but for `NotFound`.
    pub fn read_optional(&self, path: &str, max: u64) -> io::Result<Option<Vec<u8>>> {
        optional(self.read(path, max))
    }

    /// The entries of a directory, links followed, sorted by name, without `.` and `..`.
    ///
    /// # Errors
    /// When it is not a directory, cannot be read, or has more than [`MAX_ENTRIES`] entries.
    pub fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        let mut dir = Dir::from_fd(self.dir(path)?)?;
        let mut found = Vec::new();
        for entry in dir.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if found.len() == MAX_ENTRIES {
                let why = format!("more than {MAX_ENTRIES} entries");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            found.push((OsString::from_vec(name.to_vec()), entry.file_type()));
        }
        let mut entries = Vec::with_capacity(found.len());
        for (name, kind) in found {
            let kind = match kind {
                Some(Type::File) => Kind::File,
                Some(Type::Directory) => Kind::Dir,
                Some(Type::Symlink) => Kind::Symlink,
                Some(_) => Kind::Other,
                // Not every file system says it in the directory.
                None => {
                    let fd = dir.as_fd();
                    Kind::of(&fstatat(fd, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?)
                }
            };
            entries.push(Entry { name, kind });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// As [`Root::list`]; none when the directory does not exist.
    ///
    /// # Errors
    /// As [`Root::list`], but for `NotFound`.
    pub fn list_optional(&self, path: &str) -> io::Result<Option<Vec<Entry>>> {
        optional(self.list(path))
    }

    /// The text of a symlink. The last component is not followed, all others are.
    ///
    /// # Errors
    /// `InvalidInput` when it is not a symlink, and those of open(2).
    pub fn read_link(&self, path: &str) -> io::Result<OsString> {
        let fd = self.open_at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
        if Kind::of(&fstat(&fd)?) != Kind::Symlink {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a symlink"));
        }
        Ok(readlinkat(&fd, "")?)
    }

    /// What the last component is, itself, without being followed.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn kind(&self, path: &str) -> io::Result<Kind> {
        let fd = self.open_at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
        Ok(Kind::of(&fstat(&fd)?))
    }

    /// As [`Root::dir`], only to look up names in it.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn names(&self, path: &str) -> io::Result<Names> {
        self.open_at(path, OFlag::O_PATH | OFlag::O_DIRECTORY).map(Names)
    }

    /// A handle of a directory, links followed inside the root.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn dir(&self, path: &str) -> io::Result<OwnedFd> {
        self.open_at(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
    }

    /// The root-relative path of what `path` leads to after all links are followed. `..` at the
    /// top stays at the top, as in the kernel.
    ///
    /// # Errors
    /// `NotFound` when it dangles, `FilesystemLoop` after 40 links, `InvalidData` when a name on
    /// the way is not UTF-8.
    pub fn resolve(&self, path: &str) -> io::Result<String> {
        // Most paths have no link in them, which the kernel can tell in one call.
        let plain = path.trim_matches('/');
        if plain.split('/').all(|name| !matches!(name, "" | "." | ".."))
            && self.open_with(plain, OFlag::O_PATH, ResolveFlag::RESOLVE_NO_SYMLINKS).is_ok()
        {
            return Ok(plain.to_owned());
        }
        let mut done: Vec<String> = Vec::new();
        let mut todo: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        // Most others have one at their end, or are those of a link: a directory, `..`, a path.
        let names: Vec<&str> = path.split('/').collect();
        let dots = names.iter().position(|name| *name == "..");
        let at = dots.unwrap_or(names.len().saturating_sub(1));
        if let Some((above, rest)) = names.split_at_checked(at)
            && let Some(above) = self.without_links(&[], above.iter().copied(), OFlag::O_DIRECTORY)
        {
            done.extend(above.split('/').filter(|name| !name.is_empty()).map(str::to_owned));
            if dots.is_some()
                && let Some(path) = self.without_links(&done, rest.iter().copied(), OFlag::empty())
            {
                return Ok(path);
            }
            todo.truncate(rest.len());
        }
        let (mut links, mut steps) = (0, 0);
        while let Some(name) = todo.pop() {
            steps += 1;
            if steps > MAX_STEPS {
                return Err(nix::errno::Errno::ENAMETOOLONG.into());
            }
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    done.pop();
                    continue;
                }
                _ => {}
            }
            done.push(name);
            let here = done.join("/");
            match self.kind(&here)? {
                Kind::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(nix::errno::Errno::ELOOP.into());
                    }
                    let target = self.read_link(&here)?;
                    let target = target.to_str().ok_or_else(|| {
                        io::Error::new(io::ErrorKind::InvalidData, "link target is not UTF-8")
                    })?;
                    if target.starts_with('/') {
                        done.clear();
                    } else {
                        done.pop();
                    }
                    todo.extend(target.split('/').rev().map(str::to_owned));
                    // And none behind that.
                    if let Some(path) = self.without_links(
                        &done,
                        todo.iter().rev().map(String::as_str),
                        OFlag::empty(),
                    ) {
                        return Ok(path);
                    }
                }
                Kind::Dir => {}
                Kind::File | Kind::Other if todo.iter().all(String::is_empty) => {}
                Kind::File | Kind::Other => return Err(nix::errno::Errno::ENOTDIR.into()),
            }
        }
        Ok(done.join("/"))
    }

    /// The path that `rest` leads to from the directory `done`, which has no links in it, if there
    /// are none in that either and it exists, as `flags` want it. The kernel tells it in one call.
    fn without_links<'p>(
        &self,
        done: &[String],
        rest: impl Iterator<Item = &'p str>,
        flags: OFlag,
    ) -> Option<String> {
        let mut names: Vec<&str> = done.iter().map(String::as_str).collect();
        let mut down = false;
        for name in rest {
            match name {
                // Behind a name, these depend on what that is and where it leads.
                "." | ".." if down => return None,
                "" | "." => {}
                ".." => drop(names.pop()),
                name => {
                    down = true;
                    names.push(name);
                }
            }
        }
        let path = names.join("/");
        self.open_with(&path, OFlag::O_PATH | flags, ResolveFlag::RESOLVE_NO_SYMLINKS)
            .is_ok()
            .then_some(path)
    }

    fn open_at(&self, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
        self.open_with(path, flags, ResolveFlag::RESOLVE_NO_MAGICLINKS)
    }

    fn open_with(&self, path: &str, flags: OFlag, more: ResolveFlag) -> io::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | more);
        let path = if path.is_empty() { "." } else { path };
        // The kernel asks to try again when the tree was renamed during a `..`.
        for _ in 0..8 {
            match openat2(self.handle.as_fd(), path, how) {
                Err(nix::errno::Errno::EAGAIN) => {}
                other => return Ok(other?),
            }
        }
        Err(nix::errno::Errno::EAGAIN.into())
    }
}

/// A directory whose entries are looked at by name, in one call each.
#[derive(Debug)]
pub struct Names(OwnedFd);

impl Names {
    /// As [`Root::read_link`].
    ///
    /// # Errors
    /// As [`Root::read_link`]; `InvalidInput` also when `name` is more than a name.
    pub fn read_link(&self, name: &str) -> io::Result<OsString> {
        Ok(readlinkat(&self.0, single(name)?)?)
    }

    /// As [`Root::kind`].
    ///
    /// # Errors
    /// Those of fstatat(2); `InvalidInput` when `name` is more than a name.
    pub fn kind(&self, name: &str) -> io::Result<Kind> {
        Ok(Kind::of(&fstatat(&self.0, single(name)?, AtFlags::AT_SYMLINK_NOFOLLOW)?))
    }
}

fn single(name: &str) -> io::Result<&str> {
    if matches!(name, "" | "." | "..") || name.contains('/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a name"));
    }
    Ok(name)
}

fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
