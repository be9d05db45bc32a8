//! What may be taken of a disk: one budget for all layers that are unpacked at the same time, so
//! that together they stop before the disk is full.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::tar::{Chunk, Kind, Member};

/// Room on a disk for layers: bytes and inodes. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Room>);

#[derive(Debug)]
struct Room {
    bytes: Pool,
    inodes: Pool,
}

#[derive(Debug)]
struct Pool {
    /// What there was at the start.
    all: u64,
    left: AtomicU64,
}

impl Pool {
    fn new(all: u64) -> Self {
        Self { all, left: AtomicU64::new(all) }
    }

    /// False when there is not as much left; then nothing is taken.
    fn take(&self, count: u64) -> bool {
        let less = |left: u64| left.checked_sub(count);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn give_back(&self, count: u64) {
        self.left.fetch_add(count, Ordering::Relaxed);
    }
}

impl Budget {
    /// A budget of so many bytes and inodes.
    #[must_use]
    pub fn new(bytes: u64, inodes: u64) -> Self {
        Self(Arc::new(Room { bytes: Pool::new(bytes), inodes: Pool::new(inodes) }))
    }

    /// What is free now on the file system of `path`, for those who are not privileged.
    ///
    /// # Errors
    /// When the file system cannot be asked.
    pub fn free_at(path: &Path) -> io::Result<Self> {
        let stat = rustix::fs::statvfs(path)?;
        // btrfs has no fixed number of inodes and says 0 of 0.
        let inodes = if stat.f_files == 0 { u64::MAX } else { stat.f_favail };
        Ok(Self::new(stat.f_bavail.saturating_mul(stat.f_frsize), inodes))
    }

    /// Bytes that are left.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.left.load(Ordering::Relaxed)
    }

    /// Inodes that are left.
    #[must_use]
    pub fn inodes(&self) -> u64 {
        self.0.inodes.left.load(Ordering::Relaxed)
    }

    /// Takes bytes for something beside the layers, until it is dropped. `None` when there are not as many left.
    #[must_use]
    pub fn hold(&self, bytes: u64) -> Option<Held> {
        self.0.bytes.take(bytes).then(|| Held { budget: self.clone(), bytes })
    }

    /// An empty share of it, for one layer.
    pub(crate) fn share(&self) -> Rc<Share> {
        let none = || Cell::new(0);
        Rc::new(Share { budget: self.clone(), bytes: none(), inodes: none(), names: none() })
    }
}

/// Bytes that are [held](Budget::hold).
#[derive(Debug)]
pub struct Held {
    budget: Budget,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.0.bytes.give_back(self.bytes);
    }
}

/// The most names of one layer, members and the directories they imply: some memory and some time
/// goes with each. The largest layers in the field have a million.
const MAX_NAMES: u64 = 5_000_000;

/// What one layer took of the budget: given back when it is dropped, unless it is [kept](Share::keep).
pub(crate) struct Share {
    budget: Budget,
    bytes: Cell<u64>,
    inodes: Cell<u64>,
    names: Cell<u64>,
}

impl Share {
    /// Takes `count` bytes.
    pub(crate) fn take_bytes(&self, count: u64) -> io::Result<()> {
        let pool = &self.budget.0.bytes;
        if !pool.take(count) {
            return Err(full(pool.all, "bytes"));
        }
        self.bytes.set(self.bytes.get().saturating_add(count));
        Ok(())
    }

    /// Takes what a name costs.
    pub(crate) fn take(&self, cost: Cost) -> io::Result<()> {
        let names = self.names.get() + 1;
        if names > MAX_NAMES {
            let why = format!("the layer has more than {MAX_NAMES} names");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        self.names.set(names);
        let pool = &self.budget.0.inodes;
        if !pool.take(cost.inodes) {
            return Err(full(pool.all, "inodes"));
        }
        self.inodes.set(self.inodes.get().saturating_add(cost.inodes));
        self.take_bytes(cost.bytes)
    }

    /// The layer is complete: what it took stays taken.
    pub(crate) fn keep(&self) {
        self.bytes.set(0);
        self.inodes.set(0);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.bytes.give_back(self.bytes.get());
        self.budget.0.inodes.give_back(self.inodes.get());
    }
}

fn full(all: u64, what: &str) -> io::Error {
    let why = format!("no space: the layers take more than the {all} {what} that are free");
    io::Error::new(io::ErrorKind::StorageFull, why)
}

/// The unit in which file systems give space, in bytes.
const BLOCK: u64 = 4096;
/// The longest target of a symbolic link that ext4 keeps in the inode, in bytes.
const FAST_LINK: usize = 59;

/// What a name takes on disk beside its bytes in the stream (those are counted as they come; the
/// headers among them stand for inodes, entries of directories and tar-split).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    inodes: u64,
    bytes: u64,
}

impl Cost {
    /// What each layer has beside its tree: five directories, its files, the two forms of
    /// tar-split, the short name.
    pub(crate) const FRAME: Self = Self { inodes: 12, bytes: 12 * BLOCK };
    /// A directory.
    pub(crate) const DIRECTORY: Self = Self { inodes: 1, bytes: BLOCK };
    /// What hides something, or leaves nothing under its own name.
    pub(crate) const WHITEOUT: Self = Self { inodes: 1, bytes: 0 };

    /// What `member` takes.
    pub(crate) fn of(member: &Member) -> Self {
        let attributes = if member.xattrs.is_empty() { 0 } else { BLOCK };
        let content = match (member.kind, &member.sparse) {
            (Kind::Regular, Some(map)) => slack(&map.chunks),
            (Kind::Regular, None) => slack(&[Chunk { offset: 0, length: member.size }]),
            (Kind::Directory, _) => BLOCK,
            (Kind::Symlink, _) if member.link.len() > FAST_LINK => BLOCK,
            _ => 0,
        };
        let inodes = u64::from(member.kind != Kind::HardLink);
        Self { inodes, bytes: content.saturating_add(attributes) }
    }
}

/// What the blocks under these runs of data have beside the data, in bytes.
fn slack(chunks: &[Chunk]) -> u64 {
    let (mut next, mut blocks, mut data) = (0, 0u64, 0u64);
    for chunk in chunks.iter().filter(|chunk| chunk.length > 0) {
        let first = (chunk.offset / BLOCK).max(next);
        next = chunk.offset.saturating_add(chunk.length).div_ceil(BLOCK);
        blocks = blocks.saturating_add(next.saturating_sub(first));
        data = data.saturating_add(chunk.length);
    }
    blocks.saturating_mul(BLOCK).saturating_sub(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_counted_once() {
        let table: &[(&[(u64, u64)], u64)] = &[
            (&[], 0),
            (&[(0, 0)], 0),
            (&[(0, 1)], 4095),
            (&[(0, 4096)], 0),
            (&[(0, 1), (1, 1), (4095, 1)], 4093),
            (&[(0, 1), (1 << 20, 1)], 8190),
            (&[(4095, 2)], 8190),
            (&[(u64::MAX - 1, 1)], 4095),
        ];
        for (chunks, wanted) in table {
            let chunks: Vec<Chunk> = chunks
                .iter()
                .map(|(offset, length)| Chunk { offset: *offset, length: *length })
                .collect();
            assert_eq!(slack(&chunks), *wanted, "{chunks:?}");
        }
    }

    #[test]
    fn layers_share_and_give_back() {
        let budget = Budget::new(100, 2);
        let (one, other) = (budget.share(), budget.share());
        one.take_bytes(60).unwrap();
        let error = other.take_bytes(60).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains("more than the 100 bytes"), "{error}");
        other.take_bytes(40).unwrap();
        one.take(Cost::WHITEOUT).unwrap();
        other.take(Cost::WHITEOUT).unwrap();
        let error = one.take(Cost::WHITEOUT).unwrap_err();
        assert!(error.to_string().contains("more than the 2 inodes"), "{error}");
        drop(one);
        assert_eq!((budget.bytes(), budget.inodes()), (60, 1));
        other.keep();
        drop(other);
        assert_eq!((budget.bytes(), budget.inodes()), (60, 1));
    }

    #[test]
    fn names_are_bounded() {
        let share = Budget::new(0, 1).share();
        share.names.set(MAX_NAMES);
        let error = share.take(Cost::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
