//! Making the tar stream of a layer again from its tar-split and its tree.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::OFlags;

use super::{Checksum, Clones, Entry, Reader};

/// A layer's tar stream: raw bytes from tar-split, the content of files from its tree. Files are
/// checked against their sizes and checksums on the way; what does not fit is an error of kind
/// [`io::ErrorKind::InvalidData`] that names the file.
pub struct Replay<S> {
    entries: Reader<S>,
    diff: OwnedFd,
    now: Now,
    read: HashSet<Vec<u8>>,
    /// Bytes given out so far.
    offset: u64,
    clones: Option<Arc<Clones>>,
}

enum Now {
    Nothing,
    Segment { bytes: Vec<u8>, at: usize },
    File { name: Vec<u8>, file: File, left: u64, size: u64, checksum: Checksum, crc: Option<u64> },
}

impl<S: Read> Replay<S> {
    /// A stream from `split` (an open tar-split file) and the tree in `diff`.
    pub fn new(split: S, diff: OwnedFd) -> Self {
        Self {
            entries: Reader::new(split),
            diff,
            now: Now::Nothing,
            read: HashSet::new(),
            offset: 0,
            clones: None,
        }
    }

    /// Clones large files before they are read, where the file system can.
    pub(crate) fn with_clones(self, clones: Arc<Clones>) -> Self {
        Self { clones: Some(clones), ..self }
    }

    /// Whether the content of the member with this cleaned path came from the tree.
    #[must_use]
    pub fn came_from_tree(&self, path: &[u8]) -> bool {
        self.read.contains(path)
    }

    /// Goes on to the next entry; false at the end.
    fn next(&mut self) -> io::Result<bool> {
        self.now = match self.entries.entry()? {
            None => return Ok(false),
            Some(Entry::Segment(bytes)) => Now::Segment { bytes, at: 0 },
            Some(Entry::File { size: 0, .. }) => Now::Nothing,
            Some(Entry::File { name, size, crc }) => {
                let path = crate::unpack::clean(&name)?;
                let file =
                    open(&self.diff, &path).map_err(|error| fault(&name, &error.to_string()))?;
                if !self.read.insert(path) {
                    return Err(fault(&name, "tar-split speaks of it twice"));
                }
                let clone =
                    self.clones.as_ref().and_then(|clones| clones.make(&file, self.offset, size));
                let file = clone.unwrap_or(file);
                Now::File { name, file, left: size, size, checksum: Checksum::default(), crc }
            }
        };
        Ok(true)
    }
}

fn fault(name: &[u8], why: &str) -> io::Error {
    let why = format!("{}: {why}", String::from_utf8_lossy(name));
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl<S: Read> Read for Replay<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match &mut self.now {
                Now::Segment { bytes, at } if *at < bytes.len() => {
                    let mut rest = bytes.get(*at..).unwrap_or_default();
                    let count = rest.read(buffer)?;
                    *at += count;
                    self.offset += count as u64;
                    return Ok(count);
                }
                Now::File { name, file, left, size, checksum, crc } => {
                    let count =
                        file.read(buffer).map_err(|error| fault(name, &error.to_string()))?;
                    if count as u64 > *left || (count == 0 && *left > 0) {
                        return Err(fault(name, &format!("its size should be {size} bytes")));
                    }
                    if count > 0 {
                        checksum.update(buffer.get(..count).unwrap_or_default());
                        *left -= count as u64;
                        self.offset += count as u64;
                        return Ok(count);
                    }
                    if Some(std::mem::take(checksum).finish()) != *crc {
                        return Err(fault(name, "its content was changed"));
                    }
                    self.now = Now::Nothing;
                }
                Now::Segment { .. } | Now::Nothing => {
                    if !self.next()? {
                        return Ok(0);
                    }
                }
            }
        }
    }
}

/// Writes the layer's tar stream to `out`: see [`Replay`].
///
/// # Errors
/// When the tree does not have what tar-split speaks of, or something cannot be read or written.
pub fn replay(split: impl Read, diff: OwnedFd, out: &mut impl Write) -> io::Result<()> {
    io::copy(&mut Replay::new(split, diff), out).map(drop)
}

fn open(diff: impl AsFd, path: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(crate::below::open(diff, path, flags, crate::below::INSIDE)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    Ok(file)
}
