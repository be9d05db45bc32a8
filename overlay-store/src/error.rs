//! Why a store could not be written or read.

use std::fmt;
use std::io;

use oci_digest::Digest;

use crate::tar;

/// A failure, told apart where a caller decides on it.
#[derive(Debug)]
pub enum Error {
    /// The bytes are not those that were asked for: fetch them again, from elsewhere.
    Mismatch {
        /// What was compared: `blob digest`, `blob size`, `diff id`.
        what: &'static str,
        /// What it should have been.
        expected: String,
        /// What it was.
        found: String,
    },
    /// The layer is not a valid tar stream.
    Tar(tar::Error),
    /// A member of the layer cannot be unpacked.
    Member {
        /// Its name, as text.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// The compressed stream is broken, or of a kind that is not supported.
    Blob(io::Error),
    /// A layer of a store that others write cannot be copied.
    Foreign(io::Error),
    /// The disk, or a path on it, is at fault.
    Io {
        /// What was being done, with the path.
        action: String,
        /// What the system said.
        source: io::Error,
    },
    /// What is there is not a store of ours, or not a valid one.
    Invalid(String),
}

/// The result of all that this crate does.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the bytes of the source are at fault, not this machine.
    #[must_use]
    pub fn is_source_fault(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match self {
            Self::Mismatch { .. }
            | Self::Tar(tar::Error::Malformed { .. })
            | Self::Blob(_)
            | Self::Foreign(_) => true,
            // A path that cannot be made is the layer's; a disk that is full or broken is ours.
            Self::Member { source, .. } => {
                let broken = source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
                !broken
                    && !matches!(source.kind(), QuotaExceeded | ReadOnlyFilesystem | StorageFull)
            }
            Self::Tar(tar::Error::Io(_)) | Self::Io { .. } | Self::Invalid(_) => false,
        }
    }

    /// What kind of I/O error is at the bottom of it, where one is.
    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Member { source, .. }
            | Self::Io { source, .. }
            | Self::Blob(source)
            | Self::Foreign(source) => Some(source.kind()),
            Self::Tar(_) | Self::Mismatch { .. } | Self::Invalid(_) => None,
        }
    }
}

/// Adds what was being done to an I/O error.
pub(crate) trait During<T> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> During<T> for std::result::Result<T, E> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::Io { action: action(), source: error.into() })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mismatch { what, expected, found } => {
                write!(f, "wrong {what}: expected {expected}, got {found}")
            }
            Self::Tar(error) => error.fmt(f),
            Self::Member { name, source } => write!(f, "cannot unpack {name:?}: {source}"),
            Self::Blob(error) => write!(f, "the compressed layer is broken: {error}"),
            Self::Foreign(error) => write!(f, "the copy that is there is not usable: {error}"),
            Self::Io { action, source } => write!(f, "cannot {action}: {source}"),
            Self::Invalid(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // What lies below is part of the text already.
        None
    }
}

impl From<tar::Error> for Error {
    fn from(error: tar::Error) -> Self {
        match error {
            // The decoder and the limits below the reader speak through I/O errors.
            tar::Error::Io(source) if source.kind() == io::ErrorKind::StorageFull => {
                Self::Io { action: "unpack the layer".to_owned(), source }
            }
            tar::Error::Io(error) => Self::Blob(error),
            error @ tar::Error::Malformed { .. } => Self::Tar(error),
        }
    }
}

/// Refuses what differs from what was asked for.
pub(crate) fn expect<T: PartialEq + fmt::Display>(
    what: &'static str,
    expected: &T,
    found: &T,
) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::Mismatch { what, expected: expected.to_string(), found: found.to_string() })
}

/// What a layer is asked to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Digest of the blob as it is stored and sent.
    pub blob: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Digest of the uncompressed tar stream.
    pub diff_id: Digest,
}
