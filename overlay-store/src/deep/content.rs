//! The content of files whose bytes tar-split holds itself: remembered as a digest of their data.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use oci_digest::{Digest, Hasher};

use crate::tar::{Chunk, Member};

/// What a file on disk must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    size: u64,
    /// Where the data lies; all of it for a file that is not sparse.
    chunks: Vec<Chunk>,
    /// Of the data in the chunks, one after the other.
    digest: Digest,
}

/// Takes in the content of one member.
pub(super) struct Content {
    expected: Expected,
    hasher: Hasher,
}

impl Content {
    pub(super) fn begin(member: &Member) -> Self {
        let (size, chunks) = match &member.sparse {
            Some(map) => (map.real_size, map.chunks.clone()),
            None if member.size == 0 => (0, Vec::new()),
            None => (member.size, vec![Chunk { offset: 0, length: member.size }]),
        };
        Self {
            expected: Expected { size, chunks, digest: Digest::of(b"") },
            hasher: Hasher::default(),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    pub(super) fn finish(self) -> Expected {
        Expected { digest: self.hasher.finish(), ..self.expected }
    }
}

impl Expected {
    /// Whether `file` holds this: the data in its places, and nothing but zeros elsewhere.
    pub(super) fn is_in(&self, file: &mut File) -> io::Result<bool> {
        if file.metadata()?.len() != self.size {
            return Ok(false);
        }
        let mut hasher = Hasher::default();
        for chunk in &self.chunks {
            file.seek(SeekFrom::Start(chunk.offset))?;
            super::pump(&mut file.take(chunk.length), |piece| hasher.update(piece))?;
        }
        if hasher.finish() != self.digest {
            return Ok(false);
        }
        let mut at = 0;
        for chunk in &self.chunks {
            if !zeros(file, at, chunk.offset)? {
                return Ok(false);
            }
            at = chunk.offset + chunk.length;
        }
        zeros(file, at, self.size)
    }
}

/// Whether there is nothing but zeros in `from..to`; holes are passed over.
fn zeros(file: &mut File, from: u64, to: u64) -> io::Result<bool> {
    let mut at = from;
    while at < to {
        let data = match rustix::fs::seek(&*file, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        if data >= to {
            return Ok(true);
        }
        let end = rustix::fs::seek(&*file, rustix::fs::SeekFrom::Hole(data))?.min(to);
        file.seek(SeekFrom::Start(data))?;
        let mut clean = true;
        super::pump(&mut file.take(end - data), |piece| {
            clean &= piece.iter().all(|byte| *byte == 0)
        })?;
        if !clean {
            return Ok(false);
        }
        at = end;
    }
    Ok(true)
}
