//! Reading tar streams the way Podman's tar reader (Go's `archive/tar`) does, keeping every raw byte.
//!
//! A layer must be reproduced bit for bit from what is on disk (see [`crate::split`]), so the
//! reader hands out all that is not file content: header blocks, PAX and GNU entries, padding,
//! the trailer and whatever follows it.
//!
//! Formats: V7, USTAR, STAR, GNU (long names, base-256 numbers, old-style sparse files) and PAX
//! (POSIX.1-2001, `pax(1)`, and GNU's sparse formats 0.0, 0.1 and 1.0 from the tar manual,
//! "Storing Sparse Files").

mod header;
mod pax;
mod reader;
mod sparse;

pub use reader::Reader;
pub use sparse::{Chunk, SparseMap};

use std::fmt;
use std::io;

/// Size of a tar block in bytes.
pub const BLOCK: usize = 512;

/// The largest PAX or GNU long-name entry that is read, in bytes; Go's reader has the same limit
/// (`maxSpecialFileSize`).
pub const MAX_META: u64 = 1 << 20;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    Regular,
    /// Another name for an earlier member.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// A point in time: seconds since 1970 and nanoseconds (0 to 999,999,999) after that second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Whole seconds since the epoch, negative before it.
    pub seconds: i64,
    /// Nanoseconds after `seconds`.
    pub nanoseconds: u32,
}

/// One member of a tar stream, extended headers applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The path as the stream has it: not cleaned, trailing slash kept.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Target of a hard or symbolic link; empty otherwise.
    pub link: Vec<u8>,
    /// Permission bits with set-user-id, set-group-id and sticky (at most `0o7777`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content in the stream (for a sparse file: of its data chunks and inline map).
    pub size: u64,
    /// Modification time.
    pub mtime: Time,
    /// Access time, where the stream has one.
    pub atime: Option<Time>,
    /// Device numbers (major, minor).
    pub device: (u32, u32),
    /// Extended attributes in stream order: name and value.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the data of a sparse file goes.
    pub sparse: Option<SparseMap>,
}

/// Why a stream is not a tar archive that can be used.
#[derive(Debug)]
pub enum Error {
    /// The stream could not be read.
    Io(io::Error),
    /// The bytes are not valid tar, or ask for more than is allowed.
    Malformed {
        /// Offset in bytes of the block at fault.
        offset: u64,
        /// What is wrong.
        why: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot read the layer: {error}"),
            Self::Malformed { offset, why } => write!(f, "not a valid tar at byte {offset}: {why}"),
        }
    }
}

impl Error {
    /// The same fault, with the member where it was met: `in "NAME"`, say, or nothing.
    pub(crate) fn at(self, place: &str) -> Self {
        match self {
            Self::Io(error) => {
                Self::Io(io::Error::new(error.kind(), format!("{error}{}", clause(place))))
            }
            Self::Malformed { offset, why } => {
                Self::Malformed { offset, why: format!("{why}{}", clause(place)) }
            }
        }
    }
}

fn clause(place: &str) -> String {
    if place.is_empty() { String::new() } else { format!(", {place}") }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Malformed { .. } => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
