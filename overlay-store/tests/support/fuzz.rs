//! What must hold for any bytes: the fuzz targets in `fuzz/` call these functions, and an ordinary
//! test calls them with the corpus.
#![allow(dead_code, unreachable_pub, reason = "each user takes its part")]
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::io::{BufReader, Write};
use std::path::Path;

use oci_digest::Digest;
use overlay_store::split::{self, Checksum, Entry};
use overlay_store::{Budget, Builder, Expected, Image, Store, tar};

/// Reads a tar stream, writes its tar-split and makes the stream again, all in memory: as it
/// comes, and with its header checksums put right, so that changed bytes get past them.
pub fn stream(bytes: &[u8]) {
    round_trip(bytes);
    round_trip(&sealed(bytes));
}

/// Whether all of it was read; then it came back.
pub fn round_trip(bytes: &[u8]) -> bool {
    let Some((split, contents)) = disassembled(bytes) else { return false };
    let mut entries = split::Reader::new(split.as_slice());
    let (mut made, mut contents) = (Vec::new(), contents.into_iter());
    while let Some(entry) = entries.entry().unwrap() {
        match entry {
            Entry::Segment(raw) => made.extend(raw),
            Entry::File { name, size, crc } => {
                let (member, content) = contents.next().unwrap();
                assert_eq!((&name, size), (&member, content.len() as u64));
                let mut checksum = Checksum::default();
                checksum.update(&content);
                assert_eq!(crc, (size > 0).then(|| checksum.finish()));
                made.extend(content);
            }
        }
    }
    assert!(made == bytes, "the stream comes back");
    true
}

type Contents = Vec<(Vec<u8>, Vec<u8>)>;

/// The tar-split of a stream, and names and contents of its members; none when it is no tar.
fn disassembled(bytes: &[u8]) -> Option<(Vec<u8>, Contents)> {
    // Pieces of an odd size: members lie across them.
    let mut reader = tar::Reader::new(BufReader::with_capacity(1000, bytes));
    let mut split = split::Writer::new(Vec::new());
    let mut contents = Contents::new();
    while let Some(member) = reader.member().ok()? {
        sane(&member);
        split.segment(&reader.take_raw()).unwrap();
        let (mut content, mut checksum) = (Vec::new(), Checksum::default());
        loop {
            let piece = reader.payload().ok()?;
            if piece.is_empty() {
                break;
            }
            checksum.update(piece);
            content.extend_from_slice(piece);
            let count = piece.len();
            reader.consume(count);
        }
        let inline = member.sparse.as_ref().map_or(0, |map| map.inline);
        assert_eq!(content.len() as u64 + inline, member.size);
        split.file(&member.name, content.len() as u64, checksum.finish()).unwrap();
        contents.push((member.name, content));
    }
    split.segment(&reader.take_raw()).unwrap();
    loop {
        let piece = reader.rest().ok()?;
        if piece.is_empty() {
            break;
        }
        split.segment(piece).unwrap();
        let count = piece.len();
        reader.consume_rest(count);
    }
    assert_eq!(reader.offset(), bytes.len() as u64);
    Some((split.finish().unwrap(), contents))
}

/// What the unpacker relies on.
fn sane(member: &tar::Member) {
    assert!(!member.name.contains(&0) && !member.link.contains(&0));
    assert!(member.mode <= 0o7777 && member.uid != u32::MAX && member.gid != u32::MAX);
    assert!(member.mtime.nanoseconds < 1_000_000_000);
    let Some(map) = &member.sparse else { return };
    let (mut at, mut sum) = (0, map.inline);
    for chunk in &map.chunks {
        assert!(chunk.length > 0 && chunk.offset >= at);
        at = chunk.offset + chunk.length;
        sum += chunk.length;
    }
    assert!(at <= map.real_size && sum == member.size);
}

/// The same bytes with the right checksum in every block that has a tar magic.
pub fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.as_chunks_mut::<512>().0 {
        if &block[257..262] == b"ustar" {
            seal(block);
        }
    }
    bytes
}

fn seal(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Reads a tar-split file: the bytes as such, and as what is in the gzip. What can be read can be
/// written and read again.
pub fn split(bytes: &[u8]) {
    drop(entries(bytes));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    let Some(read) = entries(&packed.finish().unwrap()) else { return };
    let mut writer = split::Writer::new(Vec::new());
    for entry in &read {
        match entry {
            Entry::Segment(raw) => writer.segment(raw).unwrap(),
            Entry::File { name, size, crc } => {
                writer.file(name, *size, crc.unwrap_or_default()).unwrap();
            }
        }
    }
    let again = entries(&writer.finish().unwrap()).unwrap();
    // An empty segment is not written, nor the checksum of an empty file.
    let mut kept = read;
    kept.retain(|entry| !matches!(entry, Entry::Segment(raw) if raw.is_empty()));
    for entry in &mut kept {
        if let Entry::File { size: 0, crc, .. } = entry {
            *crc = None;
        }
    }
    assert_eq!(again, kept);
}

fn entries(file: &[u8]) -> Option<Vec<Entry>> {
    let mut reader = split::Reader::new(file);
    let mut out = Vec::new();
    while let Some(entry) = reader.entry().ok()? {
        out.push(entry);
    }
    Some(out)
}

/// Unpacks a stream as the layer of a store: when that works, the stream comes back and the deep
/// check (which has its own idea of what the tree must be) finds nothing; when not, nothing is
/// left. Nothing appears beside the store either way. Needs root.
pub fn layer(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), sealed(bytes)] {
        let place = tempfile::tempdir().unwrap();
        unpacked(&bytes, place.path());
    }
}

/// Like [`layer`], in `place`; whether it could be unpacked.
pub fn unpacked(bytes: &[u8], place: &Path) -> bool {
    let directory = place.join("store");
    let builder = Builder::open(&directory).unwrap();
    let digest = Digest::of(bytes);
    let ids = overlay_store::id::layer_ids(&[digest]);
    let expected = Expected { blob: digest, size: bytes.len() as u64, diff_id: digest };
    let written = builder.write_layer(&ids, 0, &expected, &Budget::new(1 << 24, 1 << 16), bytes);
    assert_eq!(std::fs::read_dir(place).unwrap().count(), 1, "nothing beside the store");
    let layer = directory.join("overlay").join(&ids[0]);
    if written.is_err() {
        assert!(!layer.exists(), "nothing is left");
        return false;
    }
    let split = std::fs::File::open(layer.join("tar-split.gz")).unwrap();
    let diff = std::fs::File::open(layer.join("diff")).unwrap();
    let mut made = Vec::new();
    split::replay(split, diff.into(), &mut made).unwrap();
    assert!(made == bytes, "the stream comes back");
    let image = Image {
        names: vec!["registry.test/image:1".to_owned()],
        config: b"{}".to_vec(),
        manifests: vec![b"{\"manifest\":1}".to_vec()],
        lists: vec![],
        layers: ids,
        created: None,
    };
    builder.finish(&[image], &[]).unwrap();
    let store = Store::open(&directory).unwrap();
    assert_eq!(overlay_store::check_deep(&store, 1).unwrap(), []);
    drop(store);
    overlay_store::remove_tree(&directory).unwrap();
    true
}
