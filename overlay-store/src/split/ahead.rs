//! The entries of a tar-split, with their files opened a little before they are read: the disk brings their content
//! while that of others is hashed.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::os::fd::AsFd;

use rustix::fs::{Advice, OFlags};

use super::{Entry, Reader};

/// Files that may be open ahead. Every thread of a deep check has so many, and a process may have 1,024.
const FILES: usize = 24;
/// Bytes that may be asked for ahead, of files and of tar-split. One entry may have more.
const BYTES: u64 = 16 << 20;

/// An entry; of a file, what opening it gave.
pub(super) enum Opened {
    Segment(Vec<u8>),
    /// A file without content, which may be there or not.
    Empty,
    File {
        name: Vec<u8>,
        path: Vec<u8>,
        size: u64,
        crc: Option<u64>,
        file: io::Result<File>,
    },
}

impl Opened {
    fn bytes(&self) -> u64 {
        match self {
            Self::Segment(bytes) => bytes.len() as u64,
            Self::Empty => 0,
            Self::File { size, .. } => *size,
        }
    }
}

/// Reads entries ahead.
pub(super) struct Ahead<S> {
    entries: Reader<S>,
    waiting: VecDeque<Opened>,
    files: usize,
    bytes: u64,
    /// What came behind the last entry, told when those before it are used up.
    end: Option<io::Result<()>>,
}

impl<S: Read> Ahead<S> {
    pub(super) fn new(split: S) -> Self {
        let (waiting, entries) = (VecDeque::new(), Reader::new(split));
        Self { entries, waiting, files: 0, bytes: 0, end: None }
    }

    /// The next entry; none at the end. Paths are below `diff`.
    pub(super) fn next(&mut self, diff: impl AsFd) -> io::Result<Option<Opened>> {
        while self.end.is_none()
            && self.files < FILES
            && (self.bytes < BYTES || self.waiting.is_empty())
        {
            match self.look(&diff) {
                Ok(Some(opened)) => {
                    self.files += usize::from(matches!(opened, Opened::File { .. }));
                    self.bytes = self.bytes.saturating_add(opened.bytes());
                    self.waiting.push_back(opened);
                }
                Ok(None) => self.end = Some(Ok(())),
                Err(error) => self.end = Some(Err(error)),
            }
        }
        let Some(opened) = self.waiting.pop_front() else {
            return self.end.replace(Ok(())).unwrap_or(Ok(())).map(|()| None);
        };
        self.files -= usize::from(matches!(opened, Opened::File { .. }));
        self.bytes = self.bytes.saturating_sub(opened.bytes());
        Ok(Some(opened))
    }

    fn look(&mut self, diff: impl AsFd) -> io::Result<Option<Opened>> {
        Ok(Some(match self.entries.entry()? {
            None => return Ok(None),
            Some(Entry::Segment(bytes)) => Opened::Segment(bytes),
            Some(Entry::File { size: 0, .. }) => Opened::Empty,
            Some(Entry::File { name, size, crc }) => {
                let path = crate::unpack::clean(&name)?;
                let file = open(diff, &path);
                if let Ok(file) = &file {
                    // Advice: where it is not heard, reading waits for the disk as it would without.
                    let length = NonZeroU64::new(size.min(BYTES));
                    rustix::fs::fadvise(file, 0, length, Advice::WillNeed).ok();
                }
                Opened::File { name, path, size, crc, file }
            }
        }))
    }
}

fn open(diff: impl AsFd, path: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(crate::below::open(diff, path, flags, crate::below::INSIDE)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    Ok(file)
}
