//! What came of a large blob, kept on the disk while it comes: after a power cut, a reboot or a kill, a source that can give
//! parts goes on from there. Only a help: it is judged by the digest of the blob like all else, and where it cannot be
//! written there is none.
//!
//! It lies in the directory of the store in the making, `blobs/DIGEST`, which knows nothing of it and removes it at the end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use overlay_store::{Budget, Held};
use rustix::fs::OFlags;

use crate::source::{Begun, LayerBlob};

/// Smaller blobs are not worth it: 8 MiB.
const LEAST: u64 = 8 << 20;
/// There is room for it when there is this many times its size: it must never be what fills the disk.
const ROOM: u64 = 4;
/// What is lost of a transfer at the most, in time.
const INTERVAL: Duration = Duration::from_secs(5);

/// The file of a blob, while the blob passes by.
pub(super) struct Kept {
    file: File,
    directory: File,
    /// Bytes in the file, and bytes that passed by.
    there: u64,
    passed: u64,
    synced: Instant,
    /// Whether the source that delivers could go on from the middle.
    goes_on: Arc<AtomicBool>,
    _held: Held,
}

impl Kept {
    /// Opens what an earlier attempt left of the blob in the directory `work`, or begins. `None`: not for this one, or not here.
    pub(super) fn open(work: &Path, blob: &LayerBlob, budget: &Budget) -> Option<(Self, Begun)> {
        if blob.size < LEAST || budget.bytes() / ROOM < blob.size {
            return None;
        }
        match Self::try_open(work, blob, budget.hold(blob.size)?) {
            Ok(opened) => Some(opened),
            Err(error) => {
                log::info!("blob {} is not kept while it comes: {error}", blob.digest);
                None
            }
        }
    }

    fn try_open(work: &Path, blob: &LayerBlob, held: Held) -> io::Result<(Self, Begun)> {
        let directory = work.join("blobs");
        match fs::DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let no_link = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let only = (OFlags::NOFOLLOW | OFlags::DIRECTORY).bits().cast_signed();
        let directory = OpenOptions::new().read(true).custom_flags(only).open(&directory)?;
        let path = path_of(work, blob);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600).custom_flags(no_link);
        let mut file = options.open(&path)?;
        let found = file.metadata()?;
        // The directory may have come with a root that we do not trust: nothing else is written through it.
        if !found.is_file() || found.nlink() != 1 {
            fs::remove_file(&path)?;
            file = options.create_new(true).open(&path)?;
        } else if found.len() > blob.size {
            file.set_len(0)?;
        }
        let there = file.seek(SeekFrom::End(0))?;
        let goes_on = Arc::new(AtomicBool::new(false));
        let reader = OpenOptions::new().read(true).custom_flags(no_link).open(&path)?;
        let begun = Begun { file: reader, length: there, goes_on: Arc::clone(&goes_on) };
        let synced = Instant::now();
        Ok((Self { file, directory, there, passed: 0, synced, goes_on, _held: held }, begun))
    }

    /// Keeps the next bytes of the blob, unless they are there.
    pub(super) fn add(&mut self, piece: &[u8]) -> io::Result<()> {
        let from = self.there.saturating_sub(self.passed);
        let is_gap = self.passed > self.there;
        self.passed += piece.len() as u64;
        let fresh = usize::try_from(from).ok().and_then(|from| piece.get(from..));
        let Some(fresh) = fresh.filter(|fresh| !fresh.is_empty()) else { return Ok(()) };
        if is_gap || !self.goes_on.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.file.write_all(fresh)?;
        self.there += fresh.len() as u64;
        if self.synced.elapsed() >= INTERVAL {
            self.sync()?;
        }
        Ok(())
    }

    /// It is on the disk, and found there.
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.directory.sync_data()?;
        self.synced = Instant::now();
        Ok(())
    }
}

/// Removes what was kept of a blob: it is not needed any more, or was wrong.
pub(super) fn forget(work: &Path, blob: &LayerBlob) {
    if blob.size < LEAST {
        return;
    }
    // What stays is removed with the directory.
    drop(fs::remove_file(path_of(work, blob)));
}

fn path_of(work: &Path, blob: &LayerBlob) -> PathBuf {
    work.join("blobs").join(blob.digest.hex())
}
