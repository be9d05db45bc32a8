//! The deep check: every layer is replayed from its tar-split, and what is on disk is compared
//! with what the stream says, name by name.
//!
//! The stream's digest proves tar-split and the content of all files it takes from the tree;
//! [`model`] says what the tree must look like otherwise, [`compare`] looks whether it does. Memory
//! grows with the number of names in a layer (some 200 bytes each), not with its size.

mod acl;
mod compare;
mod content;
mod model;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use oci_digest::Digest;

use crate::blob::{Hashed, Limit};
use crate::check::{self, Damage};
use crate::error::{During, Error, Result};
use crate::json::LayerEntry;
use crate::read::Store;
use crate::split::Replay;
use crate::tar;
use content::Content;
use model::Model;

/// The most differences that are told of one layer: more of them say nothing new, and are counted.
const MAX_DAMAGE: usize = 100;

/// More threads would wait for the disk, and have more files open than a process may.
const MAX_THREADS: usize = 16;

/// Is told how far a deep check has come.
pub struct Watch<'a> {
    /// Bytes of tar streams made again so far: in the end the sizes of all layers, if all is well.
    pub bytes: Arc<AtomicU64>,
    /// Called when a layer was read, by the thread that did it.
    pub layer: &'a (dyn Fn(&LayerEntry) + Sync),
}

impl Default for Watch<'_> {
    /// Tells nobody.
    fn default() -> Self {
        Self { bytes: Arc::default(), layer: &|_| {} }
    }
}

/// Checks all of `store`: what [`check`](crate::check()) looks at, and every file of every layer, on
/// `threads` threads. An empty answer means that all is well.
///
/// # Errors
/// When the store cannot be looked at (not when it is wrong).
pub fn check_deep(store: &Store, threads: usize) -> Result<Vec<Damage>> {
    check_deep_watched(store, threads, &Watch::default())
}

/// As [`check_deep`], for somebody who wants to know how far it has come.
///
/// # Errors
/// As [`check_deep`].
pub fn check_deep_watched(store: &Store, threads: usize, watch: &Watch<'_>) -> Result<Vec<Damage>> {
    let found: Mutex<BTreeSet<Damage>> = Mutex::new(check::check(store)?.into_iter().collect());
    // The largest first: the last one to be done decides how long all of it takes.
    let mut layers: Vec<&LayerEntry> =
        store.layers.iter().filter(|layer| crate::id::is_id(&layer.id)).collect();
    layers.sort_by_key(|layer| std::cmp::Reverse(layer.size));
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(MAX_THREADS).clamp(1, layers.len().max(1)) {
            scope.spawn(|| {
                while let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let damage = layer_damage(store, layer, &watch.bytes);
                    (watch.layer)(layer);
                    match found.lock() {
                        Ok(mut found) => found.extend(damage),
                        // A thread that panicked left a set that is whole all the same.
                        Err(poisoned) => poisoned.into_inner().extend(damage),
                    }
                }
            });
        }
    });
    let found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(found.into_iter().collect())
}

fn layer_damage(store: &Store, layer: &LayerEntry, count: &Arc<AtomicU64>) -> Vec<Damage> {
    let directory = store.directory.join("overlay").join(&layer.id).join("diff");
    let split = store.directory.join("overlay-layers").join(format!("{}.tar-split.gz", layer.id));
    let damage = |path: String, why: String| Damage { subject: layer.id.clone(), path, why };
    let place =
        |path: &[u8]| format!("overlay/{}/diff/{}", layer.id, String::from_utf8_lossy(path));
    match compare(&directory, &split, layer.size, layer.diff_id, Arc::clone(count)) {
        Ok(mut found) => {
            let more = found.len().saturating_sub(MAX_DAMAGE);
            found.truncate(MAX_DAMAGE);
            let told = found.into_iter().map(|(path, why)| damage(place(&path), why));
            let rest =
                (more > 0).then(|| damage(place(b""), format!("and {more} more differences")));
            told.chain(rest).collect()
        }
        Err(error) => {
            // What is read here are files on disk, not a blob.
            let why = match error {
                Error::Blob(error) => error.to_string(),
                error => error.to_string(),
            };
            vec![damage(format!("overlay/{}", layer.id), format!("cannot be replayed: {why}"))]
        }
    }
}

/// A path below `diff`, and what is wrong with it.
pub(crate) type Difference = (Vec<u8>, String);

/// Compares one layer: its tree in `directory`, its tar-split, and what its stream must be. All that
/// differs, sorted.
pub(crate) fn compare_layer(
    directory: &Path,
    split: &Path,
    size: Option<u64>,
    diff_id: Option<Digest>,
) -> Result<Vec<Difference>> {
    compare(directory, split, size, diff_id, Arc::default())
}

fn compare(
    directory: &Path,
    split: &Path,
    size: Option<u64>,
    diff_id: Option<Digest>,
    count: Arc<AtomicU64>,
) -> Result<Vec<Difference>> {
    let diff: OwnedFd =
        File::open(directory).during(|| format!("open {}", directory.display()))?.into();
    let split = File::open(split).during(|| format!("open {}", split.display()))?;
    let reading = || format!("read {}", directory.display());
    let limit = size.unwrap_or(u64::MAX - 1);
    let replay = Replay::new(BufReader::new(split), diff.try_clone().during(reading)?);
    let replay = replay.tolerant().counting(count);
    let mut reader = tar::Reader::new(BufReader::with_capacity(
        1 << 18,
        Hashed::new(replay, Limit::Promised(limit)),
    ));
    let mut model = Model::default();
    while let Some(member) = reader.member()? {
        drop(reader.take_raw());
        let path = crate::unpack::clean(&member.name).during(reading)?;
        // By now the replay has opened the file, if the content comes from one.
        let mut content = Content::begin(&member);
        loop {
            let piece = reader.payload()?;
            if piece.is_empty() {
                break;
            }
            content.update(piece);
            let count = piece.len();
            reader.consume(count);
        }
        let proved = reader.source().get_ref().source().came_from_tree(&path);
        model.add(&member, (!proved).then(|| content.finish())).during(reading)?;
    }
    drop(reader.take_raw());
    loop {
        let count = reader.rest()?.len();
        if count == 0 {
            break;
        }
        reader.consume_rest(count);
    }
    let (hasher, replay) = reader.into_source().into_inner().into_parts();
    let faults = replay.into_faults();
    let is_explained = !faults.told.is_empty() || faults.seen > 0;
    let mut found = faults.told;
    compare::compare(&diff, model, &mut found).during(reading)?;
    let is_it = Some(hasher.length()) == size && Some(hasher.finish()) == diff_id;
    // A file that was changed changes the stream; more is said only where no file is to blame.
    if !is_it && (found.is_empty() || !is_explained) {
        found.push((
            Vec::new(),
            "the layer's tar stream is not the one it was made from".to_owned(),
        ));
    }
    Ok(found)
}

/// Reads all of `source` into `sink`.
fn pump(source: &mut impl Read, mut sink: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 17];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(()),
            count => sink(buffer.get(..count).unwrap_or_default()),
        }
    }
}
