//! Making the tar stream of a layer again from its tar-split and its tree.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ahead::{Ahead, Opened};
use super::{Checksum, Clones};

/// A layer's tar stream: raw bytes from tar-split, the content of files from its tree. Files are
/// checked against their sizes and checksums on the way; what does not fit is an error of kind
/// [`io::ErrorKind::InvalidData`] that names the file.
pub struct Replay<S> {
    entries: Ahead<S>,
    diff: OwnedFd,
    now: Now,
    read: HashSet<Vec<u8>>,
    /// Bytes given out so far.
    offset: u64,
    clones: Option<Arc<Clones>>,
    faults: Option<Faults>,
    count: Option<Arc<AtomicU64>>,
}

/// Files that are not what tar-split says.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Cleaned paths and what is wrong, in the order of the stream.
    pub(crate) told: Vec<(Vec<u8>, String)>,
    /// How many more there are that whoever compares the tree sees without us.
    pub(crate) seen: usize,
}

impl Faults {
    fn add(&mut self, path: &[u8], why: Option<String>) {
        match why {
            Some(why) => self.told.push((path.to_vec(), why)),
            None => self.seen += 1,
        }
    }
}

enum Now {
    Nothing,
    /// What is left of a file that is not what it should be.
    Lost(u64),
    Segment {
        bytes: Vec<u8>,
        at: usize,
    },
    File {
        name: Vec<u8>,
        file: File,
        left: u64,
        size: u64,
        checksum: Checksum,
        crc: Option<u64>,
    },
}

impl<S: Read> Replay<S> {
    /// A stream from `split` (an open tar-split file) and the tree in `diff`.
    pub fn new(split: S, diff: OwnedFd) -> Self {
        Self {
            entries: Ahead::new(split),
            diff,
            now: Now::Nothing,
            read: HashSet::new(),
            offset: 0,
            clones: None,
            faults: None,
            count: None,
        }
    }

    /// Does not end at a file that is not what it should be: it is kept for [`Self::into_faults`], and
    /// zeros stand for what is lost, so that the rest of the stream is where it belongs.
    pub(crate) fn tolerant(self) -> Self {
        Self { faults: Some(Faults::default()), ..self }
    }

    /// What a tolerant one came across.
    pub(crate) fn into_faults(self) -> Faults {
        self.faults.unwrap_or_default()
    }

    /// Adds what it gives out to `count`, in bytes.
    pub(crate) fn counting(self, count: Arc<AtomicU64>) -> Self {
        Self { count: Some(count), ..self }
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
        self.now = match self.entries.next(&self.diff)? {
            None => return Ok(false),
            Some(Opened::Segment(bytes)) => Now::Segment { bytes, at: 0 },
            Some(Opened::Empty) => Now::Nothing,
            Some(Opened::File { name, path, size, crc, file }) => {
                if self.read.contains(&path) {
                    return Err(fault(&name, "tar-split speaks of it twice"));
                }
                let file = match (file, &mut self.faults) {
                    (Ok(file), _) => file,
                    (Err(error), Some(faults)) => {
                        faults.add(&path, (!is_seen(&error)).then(|| error.to_string()));
                        self.read.insert(path);
                        self.now = Now::Lost(size);
                        return Ok(true);
                    }
                    (Err(error), None) => return Err(fault(&name, &error.to_string())),
                };
                self.read.insert(path);
                let clone =
                    self.clones.as_ref().and_then(|clones| clones.make(&file, self.offset, size));
                let file = clone.unwrap_or(file);
                Now::File { name, file, left: size, size, checksum: Checksum::default(), crc }
            }
        };
        Ok(true)
    }
}

/// Whether whoever compares the tree sees it: the file is not there, or is none.
fn is_seen(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidData)
        || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
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
        let count = self.give(buffer)?;
        self.offset += count as u64;
        if let Some(counter) = &self.count {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        }
        Ok(count)
    }
}

impl<S: Read> Replay<S> {
    fn give(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match &mut self.now {
                Now::Segment { bytes, at } if *at < bytes.len() => {
                    let mut rest = bytes.get(*at..).unwrap_or_default();
                    let count = rest.read(buffer)?;
                    *at += count;
                    return Ok(count);
                }
                Now::Lost(left) if *left > 0 => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                    buffer.get_mut(..count).unwrap_or_default().fill(0);
                    *left -= count as u64;
                    return Ok(count);
                }
                Now::File { name, file, left, size, checksum, crc } => {
                    let wrong = match file.read(buffer) {
                        Err(error) => error.to_string(),
                        Ok(count) if count as u64 > *left || (count == 0 && *left > 0) => {
                            format!("its size should be {size} bytes")
                        }
                        Ok(0) if Some(std::mem::take(checksum).finish()) != *crc => {
                            "its content was changed".to_owned()
                        }
                        Ok(0) => {
                            self.now = Now::Nothing;
                            continue;
                        }
                        Ok(count) => {
                            checksum.update(buffer.get(..count).unwrap_or_default());
                            *left -= count as u64;
                            return Ok(count);
                        }
                    };
                    let Some(faults) = &mut self.faults else { return Err(fault(name, &wrong)) };
                    faults.add(&crate::unpack::clean(name)?, Some(wrong));
                    self.now = Now::Lost(*left);
                }
                Now::Segment { .. } | Now::Lost(_) | Now::Nothing => {
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
