//! Generated streams: whatever comes, no panic, nothing outside, and what is taken comes back.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may panic"
)]

mod support;

use proptest::prelude::*;
use std::io::{Read, Write};

use oci_digest::Digest;
use overlay_store::{Budget, Expected, tar};
use support::{Header, Place, Tar, skip_without_root};

#[derive(Clone, Debug)]
struct Wild {
    name: String,
    flag: u8,
    link: String,
    content: Vec<u8>,
    long: Option<String>,
}

/// Names from few parts, so that members meet, replace each other and go through links.
fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop::sample::select(vec!["a", "b", "c", ".wh.a", ".wh..wh..opq", "..", ".", "", ".wh.b"]),
        1..4,
    )
    .prop_map(|parts| parts.join("/"))
}

fn member() -> impl Strategy<Value = Wild> {
    let flag = prop::sample::select(b"000001233555567xgLKS".to_vec());
    let content = prop::collection::vec(any::<u8>(), 0..700);
    (name(), flag, name(), content, prop::option::of(name()))
        .prop_map(|(name, flag, link, content, long)| Wild { name, flag, link, content, long })
}

fn stream(members: &[Wild]) -> Vec<u8> {
    let mut tar = Tar::default();
    for wild in members {
        if let Some(long) = &wild.long {
            tar = tar.pax(&[("path", long.as_bytes()), ("SCHILY.xattr.user.k", b"v")]);
        }
        let content: &[u8] = match wild.flag {
            b'0' | b'7' | b'L' | b'K' => &wild.content,
            _ => b"",
        };
        let header = Header {
            name: wild.name.as_bytes(),
            flag: wild.flag,
            link: wild.link.as_bytes(),
            size: content.len() as u64,
            ..Header::default()
        };
        tar = tar.member(&header, content);
    }
    tar.end()
}

/// Reads all members; only the absence of a panic and of endless memory is asked for.
fn drain(bytes: &[u8]) {
    let mut reader = tar::Reader::new(std::io::BufReader::new(bytes));
    while let Ok(Some(_)) = reader.member() {
        drop(reader.take_raw());
        loop {
            match reader.payload() {
                Ok(piece) if !piece.is_empty() => {
                    let count = piece.len();
                    reader.consume(count);
                }
                _ => break,
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        drain(&bytes);
    }

    #[test]
    fn changed_streams_are_survived(
        members in prop::collection::vec(member(), 1..6),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut bytes = stream(&members);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        drain(&bytes);
    }

    #[test]
    fn what_is_unpacked_comes_back(members in prop::collection::vec(member(), 1..12)) {
        if skip_without_root() {
            return Ok(());
        }
        let bytes = stream(&members);
        let place = Place::new();
        if place.unpack(&bytes).is_ok() {
            prop_assert_eq!(place.replay(), bytes.clone());
            let names = place.split_names();
            let unique: std::collections::BTreeSet<_> = names.iter().collect();
            prop_assert_eq!(unique.len(), names.len(), "Podman's replay takes no name twice");
            // The deep check has its own idea of what the tree must be: the two judge each other.
            let other = Place::new();
            let store = support::store_of(&other.path(), &[&bytes]).unwrap();
            prop_assert_eq!(overlay_store::check_deep(&store, 1).unwrap(), []);
        }
        let mut names: Vec<_> = std::fs::read_dir(place.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        prop_assert_eq!(names, ["layer"]);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressions() {
    if skip_without_root() {
        return;
    }
    let tar = Tar::default().file("f", &[7; 5000]).end();
    let (front, back) = tar.split_at(700);
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], b"toc!"].concat();
    let zstd = zstd::encode_all(tar.as_slice(), 3).unwrap();
    let good = [
        ("plain", tar.clone()),
        ("gzip", gzip(&tar)),
        ("gzip members", [gzip(front), gzip(back)].concat()),
        ("zstd", zstd.clone()),
        (
            "zstd frames",
            [zstd::encode_all(front, 3).unwrap(), zstd::encode_all(back, 3).unwrap()].concat(),
        ),
        ("zstd:chunked", [zstd.clone(), skippable].concat()),
    ];
    for (what, blob) in good {
        let expected = Expected {
            blob: Digest::of(&blob),
            size: blob.len() as u64,
            diff_id: Digest::of(&tar),
        };
        let place = Place::new();
        place.unpack_as(&blob, &expected).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(place.replay(), tar, "{what}");
    }
    let half = gzip(&tar);
    let bad = [
        ("cut gzip", half[..half.len() / 2].to_vec()),
        ("gzip and junk", [gzip(&tar), b"junk".to_vec()].concat()),
        ("cut zstd", zstd[..zstd.len() / 2].to_vec()),
        ("bzip2", b"BZh91AY&SY".to_vec()),
        ("xz", b"\xfd7zXZ\0\0".to_vec()),
    ];
    for (what, blob) in bad {
        let expected = Expected {
            blob: Digest::of(&blob),
            size: blob.len() as u64,
            diff_id: Digest::of(&tar),
        };
        assert!(Place::new().unpack_as(&blob, &expected).is_err(), "{what}");
    }
}

#[test]
fn the_promised_bytes_and_no_others() {
    if skip_without_root() {
        return;
    }
    let tar = Tar::default().file("f", b"content").end();
    let right =
        Expected { blob: Digest::of(&tar), size: tar.len() as u64, diff_id: Digest::of(&tar) };
    let other = Digest::of(b"other");
    for (what, expected) in [
        ("blob digest", Expected { blob: other, ..right.clone() }),
        ("diff id", Expected { diff_id: other, ..right.clone() }),
        ("blob size", Expected { size: right.size + 1, ..right.clone() }),
    ] {
        let error = Place::new().unpack_as(&tar, &expected).expect_err(what);
        assert!(error.is_source_fault() && error.to_string().contains(what), "{what}: {error}");
    }
    let short = Expected { size: right.size - 1, ..right };
    assert!(
        Place::new()
            .unpack_as(&tar, &short)
            .expect_err("too long")
            .to_string()
            .contains("larger than")
    );
}

/// A bomb costs what the limit allows, no more: 1 GiB of zeros in a few kB.
#[test]
fn bombs_are_stopped() {
    if skip_without_root() {
        return;
    }
    let head = support::block(&Header { name: b"zeros", size: 1 << 30, ..Header::default() });
    let stream = head
        .as_slice()
        .chain(std::io::repeat(0).take(1 << 30))
        .chain(std::io::repeat(0).take(1024));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(&mut { stream }, &mut encoder).unwrap();
    let blob = encoder.finish().unwrap();
    let expected =
        Expected { blob: Digest::of(&blob), size: blob.len() as u64, diff_id: Digest::of(b"") };
    let place = Place::new();
    let ids = overlay_store::id::layer_ids(&[expected.diff_id]);
    let budget = Budget::new(1 << 20, 100);
    let error =
        overlay_store::write_layer(&place.path(), &ids, 0, &expected, &budget, blob.as_slice())
            .unwrap_err()
            .to_string();
    assert!(error.contains("more than the 1048576 bytes that are free, in \"zeros\""), "{error}");
    assert_eq!(budget.bytes(), 1 << 20, "what failed gives back what it took");
    assert!(place.diff().join("zeros").metadata().unwrap().len() <= 2 << 20);
}
