//! Files of a tree whose data a copy shares with it, where the file system can (XFS, Btrfs).
//!
//! The tree may be changed by others while it is read. So a file is cloned first, into one that
//! nobody else has, and its bytes enter the stream from there: what the stream's digest proves is
//! what the layer gets. Which content a clone is, is told by where in the stream it stands, not by a
//! name: names in a tar-split need not be those in the stream.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use rustix::fs::{Mode, OFlags};

/// The smallest file that is worth it, in bytes.
const MIN_SIZE: u64 = 64 << 10;
/// The most clones that wait to be given out: more of them than a reader's buffer spans.
const MAX_WAITING: usize = 16;

/// Clones that were made by a replay, until the unpacker takes them.
#[derive(Debug)]
pub(crate) struct Clones {
    /// A directory on the file system of the layer.
    directory: OwnedFd,
    /// By offset in the stream; none any more once a clone failed: the next would fail as well.
    waiting: Mutex<Option<BTreeMap<u64, File>>>,
}

impl Clones {
    pub(crate) fn new(directory: OwnedFd) -> Self {
        Self { directory, waiting: Mutex::new(Some(BTreeMap::new())) }
    }

    /// A clone of `file`, whose `size` bytes stand at `offset` in the stream, to be read instead of
    /// it; none where that cannot be.
    pub(super) fn make(&self, file: &File, offset: u64, size: u64) -> Option<File> {
        let mut waiting = self.waiting.lock().ok()?;
        let clones = waiting.as_mut().filter(|_| size >= MIN_SIZE)?;
        let Ok((read, kept)) = self.clone(file) else {
            *waiting = None;
            return None;
        };
        clones.insert(offset, kept);
        if clones.len() > MAX_WAITING {
            clones.pop_first();
        }
        Some(read)
    }

    /// A file without a name that shares the data of `file`, opened to be read, and to be kept.
    fn clone(&self, file: &File) -> io::Result<(File, File)> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let clone = rustix::fs::openat(&self.directory, ".", flags, Mode::RUSR | Mode::WUSR)?;
        rustix::fs::ioctl_ficlone(&clone, file)?;
        let clone = File::from(clone);
        Ok((clone.try_clone()?, clone))
    }

    /// Makes `file` share the content of `size` bytes that stands at `offset` in the stream; false
    /// when no clone of it was made, or the two cannot share: then it has to be written.
    pub(crate) fn give(&self, file: &File, offset: u64, size: u64) -> bool {
        let clone = self.waiting.lock().ok().and_then(|mut all| all.as_mut()?.remove(&offset));
        clone.is_some_and(|clone| {
            clone.metadata().is_ok_and(|metadata| metadata.len() == size)
                && rustix::fs::ioctl_ficlone(file, &clone).is_ok()
        })
    }
}
