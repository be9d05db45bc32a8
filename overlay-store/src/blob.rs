//! A layer blob: its compression, told by its first bytes as Podman tells it.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use oci_digest::Hasher;

use crate::budget::Share;

/// How a blob is compressed; the numbers are those of containers/storage's `archive.Compression`
/// in `layers.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// A plain tar stream.
    None,
    /// gzip (RFC 1952), several members allowed.
    Gzip,
    /// Zstandard (RFC 8878), several and skippable frames allowed: zstd:chunked too.
    Zstd,
}

impl Compression {
    /// Podman's number for it.
    #[must_use]
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 2,
            Self::Zstd => 4,
        }
    }

    /// Looks at the first bytes of a blob (containers/storage `pkg/archive`, `DetectCompression`).
    fn detect(start: &[u8]) -> io::Result<Self> {
        match start {
            [0x1f, 0x8b, 0x08, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            [b'B', b'Z', b'h', ..] => Err(unsupported("bzip2")),
            [0xfd, b'7', b'z', b'X', b'Z', 0x00, ..] => Err(unsupported("xz")),
            _ => Ok(Self::None),
        }
    }
}

/// How many bytes tell the compression.
const MAGIC: usize = 6;

fn unsupported(name: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("the layer is compressed with {name}; image layers are plain, gzip or zstd"),
    )
}

/// Counts and hashes what passes through.
pub(crate) struct Hashed<R> {
    source: R,
    hasher: Hasher,
    limit: Limit,
}

/// How much may pass, in bytes, and whose fault more of it is.
pub(crate) enum Limit {
    /// What the source promised.
    Promised(u64),
    /// What the disk has room for: a bomb costs no more than that.
    Room(Rc<Share>),
}

impl Limit {
    /// After `count` more bytes, `length` in all.
    fn check(&self, count: u64, length: u64) -> io::Result<()> {
        match self {
            Self::Promised(limit) if length > *limit => {
                let why = format!("it is larger than the {limit} bytes promised");
                Err(io::Error::new(io::ErrorKind::FileTooLarge, why))
            }
            Self::Promised(_) => Ok(()),
            Self::Room(share) => share.take_bytes(count),
        }
    }
}

impl<R> Hashed<R> {
    /// Stops with an error beyond the limit.
    pub(crate) fn new(source: R, limit: Limit) -> Self {
        Self { source, hasher: Hasher::default(), limit }
    }
}

impl<R> Hashed<R> {
    pub(crate) fn source(&self) -> &R {
        &self.source
    }

    pub(crate) fn into_parts(self) -> (Hasher, R) {
        (self.hasher, self.source)
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        self.limit.check(count as u64, self.hasher.length())?;
        Ok(count)
    }
}

/// A blob whose first bytes were looked at.
type Peeked<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

/// The tar stream inside a blob.
pub(crate) enum Decoder<R: Read> {
    Plain(Peeked<R>),
    Gzip(Box<MultiGzDecoder<Peeked<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Peeked<R>>>),
}

impl<R: Read> Decoder<R> {
    pub(crate) fn new(mut blob: R) -> io::Result<(Self, Compression)> {
        let mut start = Vec::with_capacity(MAGIC);
        (&mut blob).take(MAGIC as u64).read_to_end(&mut start)?;
        let compression = Compression::detect(&start)?;
        let blob = BufReader::with_capacity(1 << 17, Cursor::new(start).chain(blob));
        let decoder = match compression {
            Compression::None => Self::Plain(blob),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(blob))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(blob)?;
                // 128 MiB, the largest window that zstd's own tool accepts unasked.
                decoder.window_log_max(27)?;
                Self::Zstd(Box::new(decoder))
            }
        };
        Ok((decoder, compression))
    }

    /// What lies under the decoder, and whether the blob was read to its end.
    pub(crate) fn into_source(self) -> io::Result<(R, bool)> {
        let mut blob = match self {
            Self::Plain(blob) => blob,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        };
        let ended = blob.fill_buf()?.is_empty();
        Ok((blob.into_inner().into_inner().1, ended))
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(blob) => blob.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}
