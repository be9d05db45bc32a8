//! One layer, from its tree and tar-split in another store to a layer of ours.

use std::io::{self, BufReader, Read};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{ForeignLayer, open_layer, open_store};
use crate::blob::{Hashed, Limit};
use crate::budget::{Budget, Share};
use crate::build::Builder;
use crate::error::{Error, Expected, Result, expect};
use crate::layer::{Frame, Layer, Packed, unpack};
use crate::split::{Clones, Replay};
use crate::tar;

/// A stream that ends when it is no longer wanted.
struct Wanted<'a, R> {
    stream: R,
    cancelled: &'a AtomicBool,
}

impl<R: Read> Read for Wanted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::other("the copy was cancelled"));
        }
        self.stream.read(buffer)
    }
}

impl Builder {
    /// Unpacks a layer from a store that others write, as [`Builder::write_layer`] does from a blob;
    /// `cancelled` ends it early. Nothing is changed in that store.
    ///
    /// # Errors
    /// As [`Builder::write_layer`]; where [`Error::is_source_fault`], the other store is at fault, and
    /// the layer can be had from elsewhere.
    pub fn copy_layer(
        &self,
        ids: &[String],
        index: usize,
        expected: &Expected,
        budget: &Budget,
        from: &ForeignLayer,
        cancelled: &AtomicBool,
    ) -> Result<Layer> {
        let id =
            ids.get(index).ok_or_else(|| Error::Invalid(format!("no layer number {index}")))?;
        self.discard(id)?;
        let directory = self.layer_directory(id);
        let share = budget.share();
        let written = write(&directory, ids, index, expected, &share, from, cancelled);
        match &written {
            Ok(_) => share.keep(),
            // The share is given back after its files are gone.
            Err(_) => self.discard(id)?,
        }
        written
    }
}

/// Writes the layer number `index` of an image with the layer ids `ids` (base first) into the new
/// directory `directory`, from `from`; see [`crate::write_layer`] for the rest.
fn write(
    directory: &Path,
    ids: &[String],
    index: usize,
    expected: &Expected,
    share: &Rc<Share>,
    from: &ForeignLayer,
    cancelled: &AtomicBool,
) -> Result<Layer> {
    // Only the other store says so: it is for the fetched bytes to find the disk too small.
    share.take_bytes(from.size).map_err(Error::Foreign)?;
    let opened = open_store(&from.store).and_then(|store| open_layer(&store, &from.id, from.size));
    let (diff, split) = opened.map_err(Error::Foreign)?;
    let frame = Frame::make(directory, ids, index, share)?;
    let clones = Arc::new(Clones::new(frame.open("aside")?));
    let replay = Replay::new(BufReader::new(split), diff).with_clones(Arc::clone(&clones));
    let stream = Wanted { stream: replay, cancelled };
    let stream = Hashed::new(stream, Limit::Promised(from.size));
    let mut reader = tar::Reader::new(BufReader::with_capacity(1 << 18, stream));
    let finished = unpack(&mut reader, &frame, Some(&clones)).map_err(|error| match error {
        Error::Blob(source) => Error::Foreign(source),
        other => other,
    })?;
    let (stream, _) = reader.into_source().into_inner().into_parts();
    let size = stream.length();
    expect("diff id", &expected.diff_id, &stream.finish())?;
    frame.complete(finished, expected.diff_id, size, packed(from, expected, size)?)
}

/// What is recorded of the blob, which was never seen here. That it holds this layer is said by the
/// image, whose author may lie; a Podman that believed our list would then take this layer for that
/// blob of another image. So it is recorded where the other store says the same, having unpacked the
/// blob; else the layer is recorded as its own, uncompressed blob, which is true of every layer.
fn packed(from: &ForeignLayer, expected: &Expected, size: u64) -> Result<Packed> {
    if expected.blob == expected.diff_id {
        expect("blob size", &expected.size, &size)?;
    }
    Ok(from
        .packed
        .clone()
        .filter(|_| from.is_from(expected) && expected.blob != expected.diff_id)
        .unwrap_or(Packed { blob: expected.diff_id, size, compression: 0 }))
}
