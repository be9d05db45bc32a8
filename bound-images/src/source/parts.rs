//! A large blob in parts, over several connections: registries and what is before them give each connection a share, and a
//! connection that breaks costs a part, not the blob.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use oci_digest::Digest;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::blob::{Begun, Delivery};
use super::error::{Kind, Refusal};
use crate::system::registry_http::{Client, Failed};

/// Bytes of a part. Long enough that the round trip of its request hardly counts, and short enough to wait in memory.
const PART: u64 = 4 << 20;
/// Below this many bytes, a blob comes whole.
pub(crate) const LEAST: u64 = 2 * PART;
/// Parts of all blobs together that are under way or wait in memory, of which they take at most 20 MiB.
pub(crate) const ALL: usize = 5;
/// Bytes that are handed on at once, unless they take longer to come than [`PATIENCE`].
const PIECE: usize = 256 << 10;
const PATIENCE: Duration = Duration::from_secs(1);
/// Pieces of a part that may wait. All of it, so that a later part need not wait for an earlier one; over a link so slow that
/// pieces are small, those after the first may have to.
const WAITING: usize = 256;

/// What the parts of all blobs share.
#[derive(Debug)]
pub(crate) struct Room {
    permits: Arc<Semaphore>,
    /// Buffers for pieces, for the next ones. Given back to the allocator by ever other threads, they would stay with the
    /// arena of each, and the process would have several times what is in use.
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Room {
    /// Room for so many parts; for all blobs together, there are [`ALL`].
    pub(crate) fn new(parts: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(parts)), spare: Mutex::default() }
    }

    /// Parts that could begin now.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.permits.available_permits()
    }

    fn buffer(&self) -> Vec<u8> {
        lock(&self.spare).pop().unwrap_or_else(|| Vec::with_capacity(PIECE))
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() >= PIECE {
            buffer.clear();
            lock(&self.spare).push(buffer);
        }
    }
}

/// Delivers what is left of a blob, with at most `most` connections at a time.
///
/// # Errors
/// [`Kind::Network`] or [`Kind::Stalled`] when a part cannot be had: all before it was handed on. [`Kind::Corrupt`]
/// when the parts do not make the blob.
pub(crate) async fn deliver(
    client: &Arc<Client>,
    delivery: &mut Delivery,
    room: &Arc<Room>,
    most: usize,
) -> Result<(), Refusal> {
    let (digest, size) = (delivery.digest(), delivery.size());
    let mut next = delivery.resume();
    let mut flying: VecDeque<Part> = VecDeque::new();
    loop {
        while flying.len() < most.max(1) && next < size {
            let lane = if flying.is_empty() {
                Arc::clone(&room.permits).acquire_owned().await.ok()
            } else {
                Arc::clone(&room.permits).try_acquire_owned().ok()
            };
            let Some(lane) = lane.map(Arc::new) else { break };
            let bytes = next..size.min(next + PART);
            next = bytes.end;
            flying.push_back(Part::start(client, digest, bytes, size, room, lane)?);
        }
        let Some(mut part) = flying.pop_front() else { return delivery.finish() };
        while let Some(piece) = part.pieces.recv().await {
            match piece {
                Ok(piece) => {
                    let pushed = delivery.push(&piece).await;
                    room.give_back(piece);
                    pushed?;
                }
                Err(Failed { why, stalled }) => {
                    let kind = if stalled { Kind::Stalled } else { Kind::Network };
                    let at = delivery.position();
                    let why = format!("blob {digest} broke off after {at} of {size} bytes: {why}");
                    return Err(Refusal::new(kind, why));
                }
            }
        }
        if delivery.position() != part.end {
            return Err(Refusal::new(Kind::Io, "a part of a blob ended without a word"));
        }
    }
}

/// Hands on what an earlier attempt kept. What cannot be read is fetched.
pub(crate) async fn again(begun: Begun, delivery: &mut Delivery) -> Result<(), Refusal> {
    let mut left = begun.length;
    let mut file = tokio::fs::File::from_std(begun.file);
    let mut buffer = vec![0; PIECE];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let Some(space) = buffer.get_mut(..most) else { break };
        let count = match file.read(space).await {
            Ok(count) if count > 0 => count,
            _ => break,
        };
        delivery.push(buffer.get(..count).unwrap_or_default()).await?;
        left = left.saturating_sub(count as u64);
    }
    Ok(())
}

/// A part on its way, in a thread of its own. Dropped, the thread ends with the next bytes, or when it has waited for
/// them long enough.
struct Part {
    pieces: mpsc::Receiver<Result<Vec<u8>, Failed>>,
    end: u64,
    /// As long as pieces may wait here, no other part may take their place in memory.
    _lane: Arc<OwnedSemaphorePermit>,
}

impl Part {
    fn start(
        client: &Arc<Client>,
        digest: Digest,
        bytes: Range<u64>,
        size: u64,
        room: &Arc<Room>,
        lane: Arc<OwnedSemaphorePermit>,
    ) -> Result<Self, Refusal> {
        let (sender, pieces) = mpsc::channel(WAITING);
        let (client, end) = (Arc::clone(client), bytes.end);
        let (room, held) = (Arc::clone(room), Arc::clone(&lane));
        let fetch = move || {
            // Until the thread ends as well, and not only until nobody wants the part any more: a registry that breaks off
            // one part and lets the others hang would get ever more threads.
            let _held = held;
            if let Err(failed) = fetch(&client, digest, &bytes, size, &room, &sender) {
                // Without a receiver nobody wants to know.
                drop(sender.blocking_send(Err(failed)));
            }
        };
        thread::Builder::new()
            .name("blob-part".to_owned())
            .spawn(fetch)
            .map_err(|error| Refusal::new(Kind::Io, format!("starting a thread: {error}")))?;
        Ok(Self { pieces, end, _lane: lane })
    }
}

fn fetch(
    client: &Client,
    digest: Digest,
    bytes: &Range<u64>,
    size: u64,
    room: &Room,
    to: &mpsc::Sender<Result<Vec<u8>, Failed>>,
) -> Result<(), Failed> {
    let mut reader = client.part(digest, bytes, size)?;
    let mut left = bytes.end - bytes.start;
    while left > 0 {
        let mut piece = room.buffer();
        read_piece(&mut reader, &mut piece)?;
        if piece.len() < PIECE / 2 {
            // Over a slow link, many small ones may wait.
            let small = piece.to_vec();
            room.give_back(std::mem::replace(&mut piece, small));
        }
        let count = piece.len() as u64;
        if count == 0 {
            return Err(Failed { why: format!("{left} bytes are missing"), stalled: false });
        }
        left -= count.min(left);
        if to.blocking_send(Ok(piece)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn read_piece(reader: &mut impl Read, piece: &mut Vec<u8>) -> io::Result<()> {
    let (began, mut buffer) = (Instant::now(), [0; 16 << 10]);
    while piece.len() < PIECE && began.elapsed() < PATIENCE {
        let most = buffer.len().min(PIECE - piece.len());
        let count = reader.read(buffer.get_mut(..most).unwrap_or_default())?;
        if count == 0 {
            break;
        }
        piece.extend(buffer.get(..count).unwrap_or_default());
    }
    Ok(())
}

/// A poisoned lock only means that a thread broke elsewhere; what is in it is still whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "testing/parts.rs"]
mod tests;
