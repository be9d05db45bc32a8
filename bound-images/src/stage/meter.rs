//! How far transfers have come, between the events that tell of whole layers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use overlay_store::Budget;

/// What moves while layers are fetched, copied and unpacked. Clones show the same.
#[derive(Clone, Debug)]
pub struct Meter {
    received: Arc<AtomicU64>,
    budget: Budget,
}

/// What a [`Meter`] shows at one moment: another one means that something moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Bytes of blobs that came, those that came twice counted twice; or bytes that were read.
    pub received: u64,
    /// What is left of the disk, bytes and inodes: less, the more was unpacked.
    pub room: (u64, u64),
}

impl Meter {
    pub(crate) fn new(budget: &Budget) -> Self {
        Self { received: Arc::default(), budget: budget.clone() }
    }

    /// One for work that takes nothing of the disk.
    pub(crate) fn alone() -> Self {
        Self::new(&Budget::new(0, 0))
    }

    pub(crate) fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.received)
    }

    /// What it shows now.
    #[must_use]
    pub fn read(&self) -> Reading {
        Reading {
            received: self.received.load(Ordering::Relaxed),
            room: (self.budget.bytes(), self.budget.inodes()),
        }
    }
}
