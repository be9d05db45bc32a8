//! Layer blobs, and the check that every byte of one passes through.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use oci_digest::{Digest, Hasher};
use tokio::sync::mpsc::Sender;

use super::error::{Kind, Refusal};

/// Largest piece in which blob bytes are handed on: 1 MiB.
pub const PIECE: usize = 1 << 20;

/// How a layer's tar stream is packed, as its media type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compression {
    /// A plain tar stream.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// A layer as a manifest names it, with its diff id from the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerBlob {
    /// SHA-256 of the blob as stored (compressed).
    pub digest: Digest,
    /// Bytes of the blob as stored.
    pub size: u64,
    /// Media type, as the manifest says.
    pub media_type: String,
    /// SHA-256 of the uncompressed tar stream.
    pub diff_id: Digest,
    /// The packing that `media_type` stands for.
    pub compression: Compression,
}

/// Where the bytes of a blob go, and what counts them.
#[derive(Debug)]
pub struct Sink {
    sender: Sender<Vec<u8>>,
    received: Vec<Arc<AtomicU64>>,
    begun: Option<Begun>,
}

/// What an earlier attempt got of a blob, perhaps before a power cut.
#[derive(Debug)]
pub struct Begun {
    /// Its first bytes, not judged yet.
    pub file: File,
    /// How many they are; no more than the blob has.
    pub length: u64,
    /// Set by a source that can go on from there: then it is worth it to keep what comes.
    pub goes_on: Arc<AtomicBool>,
}

impl Sink {
    /// Adds every byte that comes to each of `received`, also those of a second attempt which the receiver
    /// has already: it tells whether the source is alive.
    #[must_use]
    pub fn counted(sender: Sender<Vec<u8>>, received: Vec<Arc<AtomicU64>>) -> Self {
        Self { sender, received, begun: None }
    }

    /// The same, for a source that can go on where another attempt broke off.
    #[must_use]
    pub fn going_on(self, begun: Option<Begun>) -> Self {
        Self { begun, ..self }
    }
}

impl From<Sender<Vec<u8>>> for Sink {
    fn from(sender: Sender<Vec<u8>>) -> Self {
        Self::counted(sender, Vec::new())
    }
}

/// The delivery of one blob: what was handed on so far, over one or more attempts. A later
/// attempt starts at byte 0 again; what was already handed on is skipped, and the final digest
/// covers the bytes that the receiver really got.
pub struct Delivery {
    digest: Digest,
    size: u64,
    sink: Sink,
    handed_on: Hasher,
    position: u64,
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { digest, size, position, .. } = self;
        write!(f, "Delivery({digest}, {position} of {size} bytes)")
    }
}

impl Delivery {
    /// Nothing delivered yet.
    #[must_use]
    pub fn new(digest: Digest, size: u64, sink: impl Into<Sink>) -> Self {
        let sink = sink.into();
        Self { digest, size, sink, handed_on: Hasher::default(), position: 0 }
    }

    /// The digest that is promised.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The size that is promised, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Starts another attempt: its bytes come from the beginning of the blob.
    pub fn restart(&mut self) {
        self.position = 0;
    }

    /// What an earlier attempt got: once, for a source that goes on from there.
    pub(crate) fn begun(&mut self) -> Option<Begun> {
        let begun = self.sink.begun.take()?;
        begun.goes_on.store(true, Ordering::Relaxed);
        Some(begun)
    }

    /// Goes on where the receiver stands, for a source that need not begin at byte 0. That position.
    pub(crate) fn resume(&mut self) -> u64 {
        self.position = self.handed_on.length();
        self.position
    }

    /// What of `piece` is new to the receiver, or `None` when all of it was handed on before.
    fn take(&mut self, piece: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let end = self.position.saturating_add(piece.len() as u64);
        if end > self.size {
            return Err(Refusal::new(
                Kind::Corrupt,
                format!("blob {} is longer than the {} bytes promised", self.digest, self.size),
            ));
        }
        for counter in &self.sink.received {
            counter.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        let known = self.handed_on.length().saturating_sub(self.position);
        self.position = end;
        let fresh = usize::try_from(known).ok().and_then(|known| piece.get(known..));
        match fresh {
            Some(fresh) if !fresh.is_empty() => {
                self.handed_on.update(fresh);
                Ok(Some(fresh.to_vec()))
            }
            _ => Ok(None),
        }
    }

    /// Hands on the next bytes of the blob, waiting for the receiver.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] beyond the promised size, [`Kind::Cancelled`] without a receiver.
    pub async fn push(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        match self.take(piece)? {
            Some(fresh) => self.sink.sender.send(fresh).await.map_err(|_| gone()),
            None => Ok(()),
        }
    }

    /// [`Self::push`] for a thread that may block.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_blocking(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        match self.take(piece)? {
            Some(fresh) => self.sink.sender.blocking_send(fresh).map_err(|_| gone()),
            None => Ok(()),
        }
    }

    /// Bytes of this attempt so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The verdict, when the source has no more bytes.
    ///
    /// # Errors
    /// [`Kind::Network`] when bytes are missing (a broken connection looks like this),
    /// [`Kind::Corrupt`] when they are the wrong ones.
    pub fn finish(&self) -> Result<(), Refusal> {
        if self.position < self.size {
            return Err(Refusal::new(
                Kind::Network,
                format!(
                    "blob {} ended after {} of {} bytes",
                    self.digest, self.position, self.size
                ),
            ));
        }
        let found = self.handed_on.clone().finish();
        if found != self.digest {
            return Err(Refusal::new(
                Kind::Corrupt,
                format!("blob {} has the wrong content: its digest is {found}", self.digest),
            ));
        }
        Ok(())
    }
}

fn gone() -> Refusal {
    Refusal::new(Kind::Cancelled, "the receiver of the blob went away")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_attempt_continues_where_the_first_broke() {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(16);
        let mut delivery = Delivery::new(Digest::of(b"abcdefgh"), 8, sender);
        delivery.push(b"abc").await.unwrap();
        assert_eq!(delivery.finish().unwrap_err().kind, Kind::Network);
        delivery.restart();
        delivery.push(b"ab").await.unwrap();
        delivery.push(b"cdef").await.unwrap();
        delivery.push(b"gh").await.unwrap();
        delivery.finish().unwrap();
        assert_eq!(delivery.push(b"x").await.unwrap_err().kind, Kind::Corrupt);
        drop(delivery);
        let mut got = Vec::new();
        while let Some(piece) = receiver.recv().await {
            got.extend(piece);
        }
        assert_eq!(got, b"abcdefgh");
    }

    #[tokio::test]
    async fn a_corrupt_first_attempt_is_not_healed_by_the_second() {
        let (sender, _receiver) = tokio::sync::mpsc::channel(16);
        let mut delivery = Delivery::new(Digest::of(b"abcd"), 4, sender);
        delivery.push(b"XX").await.unwrap();
        delivery.restart();
        delivery.push(b"abcd").await.unwrap();
        assert_eq!(delivery.finish().unwrap_err().kind, Kind::Corrupt);
    }

    #[tokio::test]
    async fn nobody_listening_is_said() {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        drop(receiver);
        let mut delivery = Delivery::new(Digest::of(b"a"), 1, sender);
        assert_eq!(delivery.push(b"a").await.unwrap_err().kind, Kind::Cancelled);
    }
}
