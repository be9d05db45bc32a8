//! tar-split: what is needed, beside the files on disk, to make a layer's tar stream again.
//!
//! The format is vbatts/tar-split's (`tar/storage/entry.go`): gzip over JSON objects, one a line.
//! A *segment* carries raw bytes, a *file* entry stands for the content of a file below `diff/`,
//! with its CRC-64. Podman needs it to save, push, commit and check an image.

mod ahead;
mod clones;
mod read;
mod replay;
mod write;

pub(crate) use clones::Clones;
pub use read::{Entry, Reader};
pub use replay::{Replay, replay};
pub use write::Writer;

use crc::{CRC_64_GO_ISO, Crc, Table};

/// The checksum of file entries: Go's `crc64.ISO`, eight bytes big-endian in the file.
static CRC64: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_GO_ISO);

/// Computes the checksum of a file entry piece by piece.
pub struct Checksum(crc::Digest<'static, u64, Table<16>>);

impl Default for Checksum {
    fn default() -> Self {
        Self(CRC64.digest())
    }
}

impl Checksum {
    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all that was added.
    #[must_use]
    pub fn finish(self) -> u64 {
        self.0.finalize()
    }
}
