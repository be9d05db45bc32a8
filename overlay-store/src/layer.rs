//! One layer on disk, before it is part of a store: written in one pass over its blob.
//!
//! ```text
//! DIR/diff/            the tree
//!     link, lower      as in the store
//!     empty/ work/ merged/
//!     tar-split.gz     what makes the tar stream again
//!     verified         the layer's facts (JSON); written last, when all else is on disk
//! ```

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;

use oci_digest::Digest;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::blob::{Compression, Decoder, Hashed, Limit};
use crate::budget::{Budget, Cost, Share};
use crate::error::{During, Error, Expected, Result, expect};
use crate::split::{self, Checksum};
use crate::tar;
use crate::unpack::{Content, Finished, Replaced, Unpacker, clean};

/// Name of the marker in a layer's directory that says it was verified when it was unpacked.
pub const VERIFIED: &str = "verified";
/// Name of the tar-split file in a layer's directory before it is part of a store.
pub(crate) const SPLIT: &str = "tar-split.gz";
/// The largest marker that is read, in bytes: sets of owners make up most of it.
const MAX_MARKER: u64 = 4 << 20;
/// The most owners and groups of one layer: they are part of its marker and of `layers.json`.
const MAX_OWNERS: usize = 100_000;

/// What is known of a layer once it was unpacked and verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Its id in the store: 64 hex digits.
    pub id: String,
    /// Id of the layer below; none for a base layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Digest of the uncompressed tar stream.
    pub diff_id: Digest,
    /// Length of the uncompressed tar stream in bytes.
    pub size: u64,
    /// Digest of the blob that it was unpacked from.
    pub blob: Digest,
    /// Size of that blob in bytes.
    pub blob_size: u64,
    /// Podman's number for the blob's compression.
    pub compression: u8,
    /// Owners of all members but whiteouts, ascending.
    pub uids: Vec<u32>,
    /// Groups of all members but whiteouts, ascending.
    pub gids: Vec<u32>,
}

/// A blob that holds a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    pub(crate) blob: Digest,
    /// In bytes.
    pub(crate) size: u64,
    /// Podman's number for its compression.
    pub(crate) compression: u8,
}

/// Reads the marker of the layer in `directory`; none when there is none or it is not valid.
///
/// # Errors
/// When the file cannot be read.
pub fn verified(directory: &Path) -> Result<Option<Layer>> {
    let path = directory.join(VERIFIED);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(&path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error).during(|| format!("open {}", path.display())),
    };
    let mut bytes = Vec::new();
    file.take(MAX_MARKER).read_to_end(&mut bytes).during(|| format!("read {}", path.display()))?;
    // An unreadable marker is one that a power cut interrupted: the layer counts as not there.
    Ok(serde_json::from_slice(&bytes).ok())
}

/// Unpacks the layer number `index` of an image with the layer ids `ids` (base first) into the new
/// directory `directory`, reading its blob from `blob`, and verifies size, digest and diff id.
///
/// What it takes on disk is taken out of `budget`. Memory does not grow with the size of the layer;
/// it does with the number of directories (40 bytes each), of whiteouts and of replaced files (32).
///
/// # Errors
/// Anything of [`Error`]; then the directory is left without its marker, to be removed, and the
/// budget is as it was before.
pub fn write(
    directory: &Path,
    ids: &[String],
    index: usize,
    expected: &Expected,
    budget: &Budget,
    blob: impl Read,
) -> Result<Layer> {
    let share = budget.share();
    let written = write_within(directory, ids, index, expected, &share, blob);
    if written.is_ok() {
        share.keep();
    }
    written
}

/// Like [`write`], taking from `share`, which the caller keeps or gives back.
pub(crate) fn write_within(
    directory: &Path,
    ids: &[String],
    index: usize,
    expected: &Expected,
    share: &Rc<Share>,
    blob: impl Read,
) -> Result<Layer> {
    let frame = Frame::make(directory, ids, index, share)?;
    let blob = Hashed::new(blob, Limit::Promised(expected.size));
    let (decoder, compression) = Decoder::new(blob).map_err(Error::Blob)?;
    let stream = Hashed::new(decoder, Limit::Room(Rc::clone(share)));
    let mut reader = tar::Reader::new(BufReader::with_capacity(1 << 18, stream));
    let unpacked = unpack(&mut reader, &frame, None);
    let (stream, decoder) = reader.into_source().into_inner().into_parts();
    let source = decoder.into_source().map_err(Error::Blob);
    let finished = match unpacked {
        Ok(finished) => finished,
        Err(error) => {
            // Bytes that make no sense are most often not the promised ones: that is told first.
            if error.is_source_fault()
                && let Ok((blob, _)) = source
            {
                is_promised(blob, expected)?;
            }
            return Err(error);
        }
    };
    let (blob, ended) = source?;
    let (blob, _) = blob.into_parts();
    if !ended {
        let why = "bytes follow the end of the compressed layer";
        return Err(Error::Blob(io::Error::new(io::ErrorKind::InvalidData, why)));
    }
    expect("blob size", &expected.size, &blob.length())?;
    expect("blob digest", &expected.blob, &blob.finish())?;
    let size = stream.length();
    expect("diff id", &expected.diff_id, &stream.finish())?;
    let compression = Compression::number(compression);
    let packed = Packed { blob: expected.blob, size: expected.size, compression };
    frame.complete(finished, expected.diff_id, size, packed)
}

/// Reads the rest of a blob and compares its size and digest with what was promised.
fn is_promised<R: Read>(mut blob: Hashed<R>, expected: &Expected) -> Result<()> {
    io::copy(&mut blob, &mut io::sink()).map_err(Error::Blob)?;
    let (hasher, _) = blob.into_parts();
    expect("blob size", &expected.size, &hasher.length())?;
    expect("blob digest", &expected.blob, &hasher.finish())
}

/// Whether `link`, `lower` and the directories of a layer are as they are written.
pub(crate) fn frame_is_right(directory: &Path, id: &str, below: &[String]) -> bool {
    let is = |name: &str, text: Option<String>| {
        crate::read::bytes(&directory.join(name), 1 << 16)
            .is_ok_and(|found| found == text.map(String::into_bytes))
    };
    let is_directory = |name: &&str| {
        fs::symlink_metadata(directory.join(name)).is_ok_and(|metadata| metadata.is_dir())
    };
    let root = fs::symlink_metadata(directory.join("diff"));
    let root_is_right =
        root.is_ok_and(|root| (root.mode() & 0o7777, root.uid(), root.gid()) == (0o555, 0, 0));
    is("link", Some(crate::id::link_id(id)))
        && is("lower", lower(below))
        && root_is_right
        && ["diff", "empty", "work", "merged"].iter().all(is_directory)
}

/// The content of `lower`: link ids of the layers below, nearest first; none for a base layer.
fn lower(below: &[String]) -> Option<String> {
    let links: Vec<String> =
        below.iter().rev().map(|id| format!("l/{}", crate::id::link_id(id))).collect();
    (!links.is_empty()).then(|| links.join(":"))
}

/// The directory of a layer that is being written.
pub(crate) struct Frame<'a> {
    directory: &'a Path,
    id: &'a str,
    parent: Option<&'a String>,
    /// What the layer takes on disk.
    share: &'a Rc<Share>,
}

impl<'a> Frame<'a> {
    /// Makes it, for the layer number `index` of an image with the layer ids `ids`, base first.
    pub(crate) fn make(
        directory: &'a Path,
        ids: &'a [String],
        index: usize,
        share: &'a Rc<Share>,
    ) -> Result<Self> {
        let (Some(id), below) = (ids.get(index), ids.get(..index).unwrap_or_default()) else {
            return Err(Error::Invalid(format!("no layer number {index}")));
        };
        let frame = Self { directory, id, parent: below.last(), share };
        share.take(Cost::FRAME).during(|| format!("make {}", directory.display()))?;
        for name in ["", "diff", "aside", "empty", "work", "merged"] {
            let path = directory.join(name);
            fs::DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .during(|| format!("make {}", path.display()))?;
        }
        frame.file("link", crate::id::link_id(id).as_bytes(), 0o644)?;
        if let Some(lower) = lower(below) {
            frame.file("lower", lower.as_bytes(), 0o644)?;
        }
        Ok(frame)
    }

    fn file(&self, name: &str, content: &[u8], mode: u32) -> Result<()> {
        let path = self.directory.join(name);
        let write = || {
            let mut file =
                fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
            file.write_all(content)?;
            file.sync_all()
        };
        write().during(|| format!("write {}", path.display()))
    }

    pub(crate) fn open(&self, name: &str) -> Result<OwnedFd> {
        let path = self.directory.join(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(&path, flags, Mode::empty()).during(|| format!("open {}", path.display()))
    }

    /// Completes a layer whose stream is proved to have this diff id: its marker comes last.
    pub(crate) fn complete(
        &self,
        finished: Finished,
        diff_id: Digest,
        size: u64,
        packed: Packed,
    ) -> Result<Layer> {
        if finished.uids.len() + finished.gids.len() > MAX_OWNERS {
            let why = format!("more than {MAX_OWNERS} owners and groups");
            return Err(Error::Tar(tar::Error::Malformed { offset: size, why }));
        }
        let layer = Layer {
            id: self.id.to_owned(),
            parent: self.parent.cloned(),
            diff_id,
            size,
            blob: packed.blob,
            blob_size: packed.size,
            compression: packed.compression,
            uids: finished.uids.into_iter().collect(),
            gids: finished.gids.into_iter().collect(),
        };
        let aside = self.directory.join("aside");
        crate::below::remove(&aside).during(|| format!("remove {}", aside.display()))?;
        let diff = self.open("diff")?;
        let action = || format!("complete {}", self.directory.display());
        // Podman's base layers are 0555, and children take it from their parent.
        rustix::fs::fchmod(&diff, Mode::from_raw_mode(0o555)).during(action)?;
        crate::time::reset_fd(&diff).during(action)?;
        rustix::fs::syncfs(&diff).during(|| format!("sync {}", self.directory.display()))?;
        let text = serde_json::to_vec(&layer).map_err(|error| Error::Invalid(error.to_string()))?;
        self.file(VERIFIED, &text, 0o600)?;
        let directory = self.open("")?;
        rustix::fs::fsync(&directory).during(action)?;
        Ok(layer)
    }
}

/// Unpacks a tar stream into the frame, and writes its tar-split. Content that is in `clones` is
/// shared, not written.
pub(crate) fn unpack<R: io::BufRead>(
    reader: &mut tar::Reader<R>,
    frame: &Frame<'_>,
    clones: Option<&split::Clones>,
) -> Result<Finished> {
    let path = frame.directory.join(SPLIT);
    let writing = || format!("write {}", path.display());
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .during(writing)?;
    let mut split = split::Writer::new(BufWriter::with_capacity(1 << 16, file));
    let share = Rc::clone(frame.share);
    let mut unpacker = Unpacker::new(frame.open("diff")?, frame.open("aside")?, share);
    let mut last: Option<Vec<u8>> = None;
    while let Some(member) = reader.member().map_err(|error| error.at(&after(last.as_deref())))? {
        split.segment(&reader.take_raw()).during(writing)?;
        let fault = |source| Error::Member {
            name: String::from_utf8_lossy(&member.name).into_owned(),
            source,
        };
        let mut content = unpacker.begin(&member).map_err(fault)?;
        let mut checksum = Checksum::default();
        let start = reader.offset();
        loop {
            let at = reader.offset();
            let piece = reader
                .payload()
                .map_err(|error| error.at(&format!("in {}", shown(&member.name))))?;
            if piece.is_empty() {
                break;
            }
            match &mut content {
                Content::File(output) => {
                    // With its first piece, the file that the content comes from was opened.
                    if let Some(clones) = clones.filter(|_| at == start) {
                        output.share(clones, at, member.size);
                    }
                    checksum.update(piece);
                    output.write(piece).map_err(fault)?;
                }
                Content::RawFile(output) => {
                    output.write(piece).map_err(fault)?;
                    split.segment(piece).during(writing)?;
                }
                Content::Raw => split.segment(piece).during(writing)?,
            }
            let count = piece.len();
            reader.consume(count);
        }
        let size = if matches!(content, Content::File(_)) { member.size } else { 0 };
        split.file(&member.name, size, checksum.finish()).during(writing)?;
        unpacker.end(&member, content).map_err(fault)?;
        last = Some(member.name);
    }
    split.segment(&reader.take_raw()).during(writing)?;
    loop {
        let piece = reader.rest().map_err(|error| error.at("after the last member"))?;
        if piece.is_empty() {
            break;
        }
        split.segment(piece).during(writing)?;
        let count = piece.len();
        reader.consume_rest(count);
    }
    flush(split).during(writing)?;
    let finished =
        unpacker.finish().during(|| format!("set times in {}", frame.directory.display()))?;
    if let Some(replaced) = &finished.replaced {
        rewrite(frame, replaced).during(writing)?;
    }
    Ok(finished)
}

/// A member's name as text.
fn shown(name: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(name))
}

fn after(last: Option<&[u8]>) -> String {
    last.map(|name| format!("after {}", shown(name))).unwrap_or_default()
}

fn flush(split: split::Writer<BufWriter<File>>) -> io::Result<()> {
    split.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(())
}

/// Writes tar-split again for a layer whose members replaced each other: at replay no name may
/// stand for two contents, nor come twice, so what was replaced is kept raw, and members without
/// content (which need no entry) have none.
fn rewrite(frame: &Frame<'_>, replaced: &Replaced) -> io::Result<()> {
    let directory = frame.directory;
    let (old, new) = (directory.join(SPLIT), directory.join("tar-split.new"));
    let mut entries = split::Reader::new(File::open(&old)?);
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let mut out = split::Writer::new(BufWriter::with_capacity(1 << 16, file));
    while let Some(entry) = entries.entry()? {
        match entry {
            split::Entry::Segment(bytes) => out.segment(&bytes)?,
            split::Entry::File { size: 0, .. } => {}
            split::Entry::File { name, size, crc } => {
                let path = clean(&name)?;
                let crc = crc.unwrap_or_default();
                if !replaced.has(&path) {
                    out.file(&name, size, crc)?;
                    continue;
                }
                let mut file = match replaced.find(&path, size, crc)? {
                    Some(file) => file,
                    None => in_place(directory, &path)?,
                };
                frame.share.take_bytes(size)?;
                copy_raw(&mut file, size, &mut out)?;
            }
        }
    }
    flush(out)?;
    fs::rename(&new, &old)
}

fn in_place(directory: &Path, path: &[u8]) -> io::Result<File> {
    let diff = File::open(directory.join("diff"))?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(crate::below::open(&diff, path, flags, crate::below::STRICT).map(File::from)?)
}

fn copy_raw(
    file: &mut File,
    size: u64,
    out: &mut split::Writer<BufWriter<File>>,
) -> io::Result<()> {
    let mut left = size;
    let mut buffer = vec![0; 1 << 18];
    while left > 0 {
        let count = file.read(&mut buffer)?;
        if count == 0 || count as u64 > left {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a replaced file changed its size",
            ));
        }
        out.segment(buffer.get(..count).unwrap_or_default())?;
        left -= count as u64;
    }
    Ok(())
}
