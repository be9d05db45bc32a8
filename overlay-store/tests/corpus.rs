//! Replays the corpus of the fuzz targets (`fuzz/corpus`): what once was found stays solved.
//!
//! `seed-*` files are made here, one of every form of tar, so that they can be made again:
//! `MAKE_SEEDS=1 cargo test -p overlay-store --test corpus`.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may panic"
)]

#[path = "support/fuzz.rs"]
mod fuzz;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use support::{Header, Place, Tar, block, seal, skip_without_root};

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

fn files(target: &str) -> BTreeMap<String, Vec<u8>> {
    let files: BTreeMap<String, Vec<u8>> = fs::read_dir(corpus(target))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())
        })
        .collect();
    assert!(!files.is_empty(), "there is a corpus");
    files
}

/// Writes a number into a field of a header.
fn put(header: &mut [u8; 512], at: usize, bytes: &[u8]) {
    header[at..at + bytes.len()].copy_from_slice(bytes);
    seal(header);
}

fn sparse_header() -> [u8; 512] {
    let mut header =
        block(&Header { name: b"sparse", flag: b'S', size: 8, gnu: true, ..Header::default() });
    for (at, number) in [(386, 0u64), (398, 5), (410, 65_536), (422, 3), (483, 99_000)] {
        put(&mut header, at, format!("{number:011o}\0").as_bytes());
    }
    header
}

/// One stream of every form that the reader knows, each name with what it shows.
fn seeds() -> BTreeMap<&'static str, Vec<u8>> {
    let file = Header { name: b"f", size: 2, ..Header::default() };
    let mut v7 = block(&file);
    put(&mut v7, 257, &[0; 8]);
    let mut star = block(&file);
    put(&mut star, 508, b"tar\0");
    put(&mut star, 476, b"00000000001\0");
    put(&mut star, 345, b"prefix");
    let mut prefix = block(&file);
    put(&mut prefix, 345, b"a/long/prefix");
    let mut times = block(&Header { gnu: true, ..file.clone() });
    put(&mut times, 345, b"00000000007\0");
    put(&mut times, 136, b"\x80\0\0\0\0\0\0\0\0\0\x01\x02");
    let mut negative = block(&file);
    put(&mut negative, 136, &[0xff; 12]);
    let long = |flag: u8, text: &[u8]| {
        let name = b"././@LongLink";
        let header = Header { name, flag, size: text.len() as u64, gnu: true, ..Header::default() };
        Tar::default().member(&header, text)
    };
    let mut inline = b"2\n0\n5\n65536\n3\n".to_vec();
    inline.resize(512, 0);
    inline.extend(b"startend");
    let one = [("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.minor", b"0")];
    let named = [("GNU.sparse.name", &b"sparse"[..]), ("GNU.sparse.realsize", b"99000")];
    let body = |tar: Tar| tar.raw(b"ok").raw(&[0; 510]).end();
    let kinds = [(b'3', (1, 3)), (b'4', (7, 0)), (b'6', (0, 0))];
    let devices = kinds.iter().fold(Tar::default(), |tar, (flag, device)| {
        let name = [*flag];
        tar.member(&Header { name: &name, flag: *flag, device: *device, ..Header::default() }, b"")
    });
    BTreeMap::from([
        ("v7", body(Tar::default().raw(&v7))),
        ("ustar", Tar::default().dir("d/").file("d/f", b"ok").end()),
        ("ustar-prefix", body(Tar::default().raw(&prefix))),
        ("star", body(Tar::default().raw(&star))),
        ("gnu-times", body(Tar::default().raw(&times))),
        ("before-1970", body(Tar::default().raw(&negative))),
        ("gnu-long-name", {
            long(b'L', &[b"n".repeat(120).as_slice(), b"\0"].concat()).file("n", b"x").end()
        }),
        ("gnu-long-link", {
            long(b'K', &[b"t".repeat(120).as_slice(), b"\0"].concat()).symlink("l", "t").end()
        }),
        ("old-gnu-sparse", {
            Tar::default().raw(&sparse_header()).raw(b"startend").raw(&[0; 504]).end()
        }),
        ("pax", {
            let records: &[(&str, &[u8])] = &[
                ("path", b"a/b"),
                ("mtime", b"1.5"),
                ("atime", b"2"),
                ("uid", b"7"),
                ("SCHILY.xattr.user.k", b"v"),
            ];
            Tar::default().pax(records).file("x", b"ok").end()
        }),
        ("pax-link", Tar::default().pax(&[("linkpath", b"t")]).symlink("l", "").end()),
        ("pax-global", {
            let global = support::pax(&[("comment", b"c")]);
            let size = global.len() as u64;
            let header = Header { name: b"g", flag: b'g', size, ..Header::default() };
            Tar::default().member(&header, &global).file("f", b"").end()
        }),
        ("pax-sparse-0.0", {
            let records: &[(&str, &[u8])] = &[
                ("GNU.sparse.size", b"99000"),
                ("GNU.sparse.offset", b"0"),
                ("GNU.sparse.numbytes", b"5"),
                ("GNU.sparse.offset", b"65536"),
                ("GNU.sparse.numbytes", b"3"),
            ];
            Tar::default().pax(records).file("s", b"startend").end()
        }),
        ("pax-sparse-0.1", {
            let map = ("GNU.sparse.map", &b"0,5,65536,3"[..]);
            Tar::default().pax(&[named[0], named[1], map]).file("s", b"startend").end()
        }),
        ("pax-sparse-1.0", {
            Tar::default().pax(&[one[0], one[1], named[0], named[1]]).file("s", &inline).end()
        }),
        ("links", Tar::default().file("f", b"1").link("h", "f").symlink("s", "f").end()),
        ("devices", devices.end()),
        ("whiteouts", {
            Tar::default().file("d/.wh.a", b"").file("d/.wh..wh..opq", b"").dir("d/a/").end()
        }),
        ("replaced", {
            Tar::default().file("a", b"1").link("b", "a").file("a", b"2").dir("a/").end()
        }),
        ("through-link", {
            Tar::default()
                .symlink("l", "/d/../d")
                .dir("d/")
                .file("l/f", b"1")
                .file("d/f", b"2")
                .end()
        }),
        ("no-end", Tar::default().file("f", b"ok").0),
        ("junk-after", Tar::default().file("f", b"ok").raw(&[0; 1024]).raw(b"junk").0),
        ("empty", Vec::new()),
    ])
}

#[test]
fn seeds_of_every_form_are_in_the_corpus() {
    let there = files("tar");
    for (name, bytes) in seeds() {
        assert!(fuzz::round_trip(&bytes), "{name} is a tar");
        let name = format!("seed-{name}");
        if std::env::var_os("MAKE_SEEDS").is_some() {
            fs::write(corpus("tar").join(&name), &bytes).unwrap();
        } else {
            assert!(there.get(&name) == Some(&bytes), "{name} is not as it is made here");
        }
    }
}

#[test]
fn streams() {
    for (name, bytes) in files("tar") {
        eprintln!("{name}");
        fuzz::stream(&bytes);
    }
}

#[test]
fn splits() {
    for (name, bytes) in files("split") {
        eprintln!("{name}");
        fuzz::split(&bytes);
    }
}

/// A place in memory where that takes what a layer has; syncing a disk is what takes long.
fn place() -> tempfile::TempDir {
    let memory = tempfile::tempdir_in("/dev/shm").ok().filter(|place| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(place.path(), "trusted.test", b"y", flags).is_ok()
            && rustix::fs::setxattr(place.path(), "user.test", b"y", flags).is_ok()
    });
    memory.unwrap_or_else(|| Place::new().directory)
}

#[test]
fn layers() {
    if skip_without_root() {
        return;
    }
    for (name, bytes) in files("tar") {
        eprintln!("{name}");
        for bytes in [fuzz::sealed(&bytes), bytes] {
            let unpacked = fuzz::unpacked(&bytes, place().path());
            assert!(unpacked || !name.starts_with("seed-"), "{name} can be unpacked");
        }
    }
}
