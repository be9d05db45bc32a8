//! What came of a large blob, kept on the disk while it comes: after a power cut, a reboot or a kill, a source that can give
//! parts goes on from there. Only a help: it is judged by the digest of the blob like all else, and where it cannot be
//! written there is none.
//!
//! It lies in the directory of the store in the making, `blobs/DIGEST`, which knows nothing of it and removes it at the end.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use oci_digest::Digest;
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
        if blob.size < LEAST {
            return None;
        }
        if budget.bytes() / ROOM < blob.size {
            forget(work, blob);
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
        // The directory may have come with a root that we do not trust: nothing else is written through it, and no device
        // is even opened, since some do things then.
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() && found.nlink() == 1 && found.len() <= blob.size => {}
            Ok(_) => fs::remove_file(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(no_link);
        let mut file = options.open(&path)?;
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

/// Removes what was kept of all blobs but these.
pub(super) fn keep_only(work: &Path, blobs: &[Digest]) {
    for (path, name, _) in files(work) {
        if !blobs.iter().any(|blob| name == *blob.hex()) {
            // As above.
            drop(fs::remove_file(path));
        }
    }
}

/// Bytes of all that is kept, on the disk.
pub(super) fn bytes(work: &Path) -> u64 {
    files(work).iter().map(|(.., bytes)| bytes).sum()
}

/// Path, name and bytes on the disk of all that is kept. What cannot be read is not there.
fn files(work: &Path) -> Vec<(PathBuf, OsString, u64)> {
    let directory = work.join("blobs");
    if !fs::symlink_metadata(&directory).is_ok_and(|found| found.is_dir()) {
        return Vec::new();
    }
    let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
    let looked = entries.map(|entry| {
        let blocks = entry.metadata().map_or(0, |found| found.blocks());
        (entry.path(), entry.file_name(), blocks.saturating_mul(512))
    });
    looked.collect()
}

fn path_of(work: &Path, blob: &LayerBlob) -> PathBuf {
    work.join("blobs").join(blob.digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::blob::Compression;

    fn blob(name: &str, size: u64) -> LayerBlob {
        let digest = Digest::of(name.as_bytes());
        let (media_type, compression) = (String::new(), Compression::Gzip);
        LayerBlob { digest, size, media_type, diff_id: digest, compression }
    }

    fn names(work: &Path) -> Vec<OsString> {
        files(work).into_iter().map(|(_, name, _)| name).collect()
    }

    #[test]
    fn only_a_file_is_ever_opened() {
        let work = tempfile::tempdir().unwrap();
        let (budget, blob) = (Budget::new(1 << 30, 1000), blob("a", LEAST));
        let path = path_of(work.path(), &blob);
        fs::create_dir(path.parent().unwrap()).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let (_kept, begun) = Kept::open(work.path(), &blob, &budget).unwrap();
        assert!(begun.length == 0 && begun.file.metadata().unwrap().is_file());
    }

    #[test]
    fn what_has_no_room_or_no_use_goes() {
        let work = tempfile::tempdir().unwrap();
        let (one, other) = (blob("one", LEAST), blob("other", LEAST));
        let large = Budget::new(1 << 30, 1000);
        for blob in [&one, &other] {
            let (mut kept, begun) = Kept::open(work.path(), blob, &large).unwrap();
            begun.goes_on.store(true, Ordering::Relaxed);
            kept.add(&[7; 10_000]).unwrap();
        }
        assert!(bytes(work.path()) >= 20_000 && names(work.path()).len() == 2);
        keep_only(work.path(), &[one.digest]);
        assert_eq!(names(work.path()), [&*one.digest.hex()]);
        let (_, begun) = Kept::open(work.path(), &one, &large).unwrap();
        assert_eq!(begun.length, 10_000);
        let small = Budget::new(LEAST * ROOM - 1, 1000);
        assert!(Kept::open(work.path(), &one, &small).is_none());
        assert!(names(work.path()).is_empty());
    }
}
