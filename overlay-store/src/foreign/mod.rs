//! Taking layers over from stores that others write: Podman's own on this host, or bootc's.
//!
//! Such a store may be in use, and nothing in it is trusted: its list says where a layer with the
//! wanted diff id may be, the tree and the tar-split give a tar stream, and that stream goes the way
//! of a fetched one, with the diff id at its end. What is wrong on the way costs time, never a wrong
//! layer. Nothing is ever written there, nor made.
//!
//! The store's lock is held while its list is read, and not while a layer is copied: that may take
//! minutes, in which no image could be pulled or removed. A layer that is removed meanwhile is one
//! whose stream ends early. (POSIX locks could not be held by several copies at once anyway: a process
//! loses all of them with the first descriptor that it closes.)

mod copy;
mod list;
mod lock;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_digest::Digest;
use rustix::fs::{CWD, Mode, OFlags};

use crate::below::{self, DIRECTORY, STRICT};
use crate::error::{During, Expected, Result};
use crate::id;
use crate::layer::Packed;
use list::Entry;

/// The largest list of layers that is read, in bytes.
const MAX_LIST: u64 = 64 << 20;
/// The most layers with the same diff id that are remembered: copies of one under other parents.
const MAX_ALIKE: usize = 4;
/// What a tar-split may be larger than the stream that it stands for, in bytes.
const SPLIT_SLACK: u64 = 1 << 20;

/// Layers of a store that this program did not write.
#[derive(Clone, Debug)]
pub struct Foreign {
    layers: BTreeMap<Digest, Vec<ForeignLayer>>,
}

/// A layer in such a store, as the store's list describes it: nothing of it is proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignLayer {
    store: PathBuf,
    id: String,
    /// Length of the uncompressed tar stream in bytes.
    size: u64,
    /// The blob that it was unpacked from.
    packed: Option<Packed>,
}

impl Foreign {
    /// Looks for the layers `wanted` (diff ids) in the store at `directory`, following symbolic links
    /// to it. None when no store is there. Waits at most `wait` for a program that is changing it.
    ///
    /// # Errors
    /// When the list cannot be read or is not valid, or is being changed for longer than `wait`
    /// (kind [`io::ErrorKind::TimedOut`]).
    pub fn open(
        directory: &Path,
        wanted: &BTreeSet<Digest>,
        wait: Duration,
    ) -> Result<Option<Self>> {
        let missing = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        };
        let shown = directory.display();
        let store = match open_store(directory) {
            Err(error) if missing(&error) => return Ok(None),
            other => other.during(|| format!("open the store {shown}"))?,
        };
        let held = lock::shared(&store, b"overlay-layers/layers.lock", wait)
            .during(|| format!("lock the layers of the store {shown}"))?;
        let text = match read_list(&store) {
            Err(error) if missing(&error) => return Ok(None),
            other => other.during(|| format!("read the layers of the store {shown}"))?,
        };
        drop(held);
        let entries = list::parse(&text, wanted)
            .during(|| format!("read {shown}/overlay-layers/layers.json"))?;
        let mut layers: BTreeMap<Digest, Vec<ForeignLayer>> = BTreeMap::new();
        for entry in entries {
            if !is_usable(&store, &entry) {
                continue;
            }
            let alike = layers.entry(entry.diff_id).or_default();
            if alike.len() < MAX_ALIKE {
                let store = directory.to_owned();
                let Entry { id, size, packed, .. } = entry;
                alike.push(ForeignLayer { store, id, size, packed });
            }
        }
        Ok(Some(Self { layers }))
    }

    /// The layers that may be what is wanted, best first: those that came from the same blob.
    #[must_use]
    pub fn find(&self, expected: &Expected) -> Vec<ForeignLayer> {
        let mut found = self.layers.get(&expected.diff_id).cloned().unwrap_or_default();
        found.sort_by_key(|layer| (!layer.is_from(expected), layer.id.clone()));
        found
    }
}

impl ForeignLayer {
    /// The store that it is in.
    #[must_use]
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// Its id there.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the store says that it was unpacked from the blob that is expected.
    fn is_from(&self, expected: &Expected) -> bool {
        self.packed
            .as_ref()
            .is_some_and(|packed| (packed.blob, packed.size) == (expected.blob, expected.size))
    }
}

fn open_store(directory: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, directory, DIRECTORY, Mode::empty())?)
}

/// A regular file below `store`; no link is followed and no fifo waited for.
fn open_file(store: &OwnedFd, path: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(below::open(store, path, flags, STRICT)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    Ok(file)
}

fn read_list(store: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    open_file(store, b"overlay-layers/layers.json")?.take(MAX_LIST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_LIST {
        let why = format!("larger than {MAX_LIST} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(text)
}

/// The tree and the tar-split of the layer `id`, whose stream has `size` bytes.
fn open_layer(store: &OwnedFd, id: &str, size: u64) -> io::Result<(OwnedFd, File)> {
    let diff = below::open(store, format!("overlay/{id}/diff").as_bytes(), DIRECTORY, STRICT)?;
    let split = open_file(store, format!("overlay-layers/{id}.tar-split.gz").as_bytes())?;
    if split.metadata()?.len() > size.saturating_add(SPLIT_SLACK) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its tar-split is too large"));
    }
    Ok((diff, split))
}

/// Whether there is all that a copy needs. The tree of a composefs layer has other names than the
/// layer: its files are named by their content.
fn is_usable(store: &OwnedFd, entry: &Entry) -> bool {
    let composefs = format!("overlay/{}/composefs-data", entry.id);
    id::is_id(&entry.id)
        && open_layer(store, &entry.id, entry.size).is_ok()
        && below::open(store, composefs.as_bytes(), OFlags::PATH | OFlags::CLOEXEC, STRICT).is_err()
}
