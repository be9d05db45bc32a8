//! Files that a later member of the same layer replaced.
//!
//! The stream has their bytes, the tree no longer does, and one name cannot stand for two contents
//! in tar-split. So they are moved aside until the tar-split is written again with their bytes.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::path::{Key, key};
use crate::below::{self, DIRECTORY, STRICT, Trail};
use crate::split::Checksum;

pub(crate) struct Replaced {
    aside: OwnedFd,
    /// Cleaned path, size and checksum -> name in `aside`.
    files: BTreeMap<(Key, u64, u64), u64>,
    count: u64,
    /// Inodes of files whose bytes tar-split holds already.
    raw: HashSet<u64>,
}

impl Replaced {
    pub(super) fn new(aside: OwnedFd) -> Self {
        Self { aside, files: BTreeMap::new(), count: 0, raw: HashSet::new() }
    }

    /// Remembers that the bytes of `file` are in tar-split.
    pub(super) fn keep_raw(&mut self, file: &File, has_content: bool) -> io::Result<()> {
        if has_content {
            self.raw.insert(file.metadata()?.ino());
        }
        Ok(())
    }

    /// Takes `base`, known as `path`, out of `parent`: files with content go aside, the rest goes.
    pub(super) fn remove(&mut self, parent: &OwnedFd, base: &[u8], path: &[u8]) -> io::Result<()> {
        let stat = rustix::fs::statat(parent, base, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.remove_directory(parent, base, path),
            FileType::RegularFile if stat.st_size > 0 && !self.raw.contains(&stat.st_ino) => {
                self.count += 1;
                rustix::fs::renameat(parent, base, &self.aside, self.count.to_string())?;
                let (size, crc) = checksum(&mut self.open(self.count)?)?;
                self.files.insert((key(path), size, crc), self.count);
                Ok(())
            }
            _ => {
                if stat.st_nlink == 1 {
                    self.raw.remove(&stat.st_ino);
                }
                Ok(rustix::fs::unlinkat(parent, base, AtFlags::empty())?)
            }
        }
    }

    /// Goes down with a stack of its own: a layer may be deeper than ours.
    fn remove_directory(&mut self, parent: &OwnedFd, base: &[u8], path: &[u8]) -> io::Result<()> {
        let fd = rustix::fs::openat(parent, base, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        // Directories in the order they were met: children after parents, so removed in reverse.
        let mut found = vec![Trail::root()];
        let mut at = 0;
        while let Some(trail) = found.get(at).cloned() {
            at += 1;
            let directory = trail.path();
            let here = below::open(&fd, &directory, DIRECTORY, STRICT)?;
            for (name, is_directory) in below::names(&here)? {
                if is_directory {
                    found.push(trail.below(name));
                } else {
                    let full = super::path::join(&directory, &name);
                    self.remove(&here, &name, &super::path::join(path, &full))?;
                }
            }
        }
        for directory in found.iter().skip(1).rev() {
            rustix::fs::unlinkat(&fd, directory.path(), AtFlags::REMOVEDIR)?;
        }
        Ok(rustix::fs::unlinkat(parent, base, AtFlags::REMOVEDIR)?)
    }

    /// Whether `path` named a file that was replaced.
    pub(crate) fn has(&self, path: &[u8]) -> bool {
        let all = (key(path), 0, 0)..=(key(path), u64::MAX, u64::MAX);
        self.files.range(all).next().is_some()
    }

    /// The replaced file `path` that had this size and checksum; none when it is still in place.
    pub(crate) fn find(&self, path: &[u8], size: u64, crc: u64) -> io::Result<Option<File>> {
        self.files.get(&(key(path), size, crc)).map(|name| self.open(*name)).transpose()
    }

    fn open(&self, name: u64) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.aside, name.to_string(), flags, Mode::empty())
            .map(File::from)?)
    }
}

/// Size and checksum of a file.
fn checksum(file: &mut File) -> io::Result<(u64, u64)> {
    let mut checksum = Checksum::default();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((size, checksum.finish())),
            count => {
                checksum.update(buffer.get(..count).unwrap_or_default());
                size += count as u64;
            }
        }
    }
}
