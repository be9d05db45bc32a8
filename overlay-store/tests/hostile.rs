//! Layers made to do harm: nothing outside of the layer is touched, what they cost is bounded, and
//! the error names the member.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic"
)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use oci_digest::Digest;
use overlay_store::{Budget, Builder, Error, Expected, check_deep};
use support::{Header, Place, Tar, block, seal, skip_without_root};

/// Unpacks, and says what the deep check finds in it.
fn unpacked(tar: &[u8], judge: impl FnOnce(&Path)) {
    let place = Place::new();
    place.unpack(tar).unwrap();
    assert!(place.replay() == tar, "the stream comes back");
    judge(&place.diff());
    let other = Place::new();
    let store = support::store_of(&other.path(), &[tar]).unwrap();
    assert_eq!(check_deep(&store, 1).unwrap(), []);
}

fn refused(what: &str, tar: &[u8], words: &[&str]) {
    let error = Place::new().unpack(tar).expect_err(what);
    assert!(error.is_source_fault(), "{what}: {error}");
    for word in words {
        assert!(error.to_string().contains(word), "{what}: {error} does not say {word:?}");
    }
}

/// A link that points to a directory outside, in every place where a path can have one.
#[test]
fn links_out_of_the_layer() {
    if skip_without_root() {
        return;
    }
    let outside = Place::new();
    let canary = outside.directory.path().join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("file"), b"untouched").unwrap();
    fs::set_permissions(&canary, fs::Permissions::from_mode(0o751)).unwrap();
    let before = (fs::metadata(&canary).unwrap(), fs::metadata(canary.join("file")).unwrap());
    let absolute = canary.to_str().unwrap();
    let relative = format!("{}{}", "../".repeat(40), &absolute[1..]);
    for out in [absolute, relative.as_str()] {
        let link = || Tar::default().pax(&[("linkpath", out.as_bytes())]).symlink("out", "x");
        let made = || link().dir(&format!("{}/", &absolute[1..]));
        type Step = fn(Tar) -> Tar;
        let steps: &[(&str, Step)] = &[
            ("file below", |tar| tar.file("out/new", b"x")),
            ("file over", |tar| tar.file("out/file", b"x")),
            ("directory below", |tar| tar.dir("out/dir/")),
            ("directory over it", |tar| tar.dir("out/")),
            ("file over it", |tar| tar.file("out", b"x")),
            ("hard link through it", |tar| tar.link("x", "out/file")),
            ("hard link to it", |tar| tar.link("x", "out")),
            ("hard link over it", |tar| tar.file("f", b"x").link("out", "f")),
            ("hard link below it", |tar| tar.file("f", b"x").link("out/file", "f")),
            ("whiteout below it", |tar| tar.file("out/.wh.file", b"")),
            ("whiteout of it", |tar| tar.file(".wh.out", b"")),
            ("opaque", |tar| tar.file("out/.wh..wh..opq", b"")),
            ("device below", |tar| {
                tar.member(
                    &Header { name: b"out/n", flag: b'3', device: (1, 3), ..Header::default() },
                    b"",
                )
            }),
            ("attributes", |tar| tar.pax(&[("SCHILY.xattr.user.x", b"y")]).dir("out/file/")),
            ("up from it", |tar| tar.file("out/../../../../../x", b"x")),
            ("a second link", |tar| tar.symlink("out/again", "/").file("out/again/etc/x", b"x")),
        ];
        for (what, step) in steps {
            for tar in [step(link()).end(), step(made()).end()] {
                let place = Place::new();
                // Inside it leads somewhere, or nowhere; outside nothing may happen either way.
                if let Err(error) = place.unpack(&tar) {
                    assert!(error.to_string().contains("cannot unpack"), "{what}: {error}");
                }
                let names = fs::read_dir(&canary).unwrap().count();
                assert_eq!(names, 1, "{what}");
                assert_eq!(fs::read(canary.join("file")).unwrap(), b"untouched", "{what}");
                for (path, before) in
                    [(canary.clone(), &before.0), (canary.join("file"), &before.1)]
                {
                    let now = fs::metadata(path).unwrap();
                    let facts = |m: &fs::Metadata| {
                        (m.mode(), m.uid(), m.nlink(), m.mtime_nsec(), m.ctime_nsec())
                    };
                    assert_eq!(facts(&now), facts(before), "{what}");
                }
            }
        }
    }
}

#[test]
fn names_that_lead_elsewhere() {
    if skip_without_root() {
        return;
    }
    unpacked(&Tar::default().file("/etc/absolute", b"x").file("/../up", b"y").end(), |diff| {
        assert!(diff.join("etc/absolute").is_file() && diff.join("up").is_file());
    });
    let nul = |key| Tar::default().pax(&[(key, b"a\0b")]).symlink("s", "t").end();
    refused("NUL in a path", &nul("path"), &["NUL"]);
    refused("NUL in a target", &nul("linkpath"), &["NUL"]);
    let cases = [
        ("a loop of two", Tar::default().link("a", "b").link("b", "a"), "a"),
        ("a loop of one", Tar::default().file("a", b"").link("a", "./a"), "a"),
        (
            "through a loop",
            { Tar::default().symlink("l", "m").symlink("m", "l").link("deep/x", "l/f") },
            "deep/x",
        ),
        ("to the root", Tar::default().link("x", "./"), "x"),
        ("to a directory", Tar::default().dir("d/").link("x", "d"), "x"),
        ("out", Tar::default().link("x", "../../etc/passwd"), "x"),
    ];
    for (what, tar, member) in cases {
        refused(what, &tar.end(), &["cannot unpack", &format!("{member:?}")]);
    }
    // Each path is short, what they lead to is not.
    let half = "d/".repeat(1500);
    let deep = Tar::default()
        .pax(&[("path", half.as_bytes())])
        .dir("x/")
        .pax(&[("linkpath", half.as_bytes())])
        .symlink("l", "x");
    let file = format!("l/{half}f");
    refused(
        "beyond",
        &deep.clone().pax(&[("path", file.as_bytes())]).file("x", b"").end(),
        &["path of"],
    );
    let file = format!("l/{}f", "d/".repeat(500));
    unpacked(&deep.pax(&[("path", file.as_bytes())]).file("x", b"z").end(), |_| ());
}

/// Device nodes are made, and never opened; nobody but root can come near them.
#[test]
fn device_nodes() {
    if skip_without_root() {
        return;
    }
    let device = |name: &'static [u8], flag, device| Header {
        name,
        flag,
        device,
        mode: 0o666,
        ..Header::default()
    };
    // Numbers that no driver has: were they opened, it would fail.
    let tar = Tar::default()
        .member(&device(b"block", b'4', (4000, 70_000)), b"")
        .member(&device(b"dev", b'3', (4001, 1)), b"")
        .member(&device(b"pipe", b'6', (0, 0)), b"")
        .member(&device(b"zero", b'3', (0, 0)), b"")
        .link("linked", "block")
        .file("dev", b"not into the device")
        .file("pipe", b"nobody reads")
        .file("zero/below", b"in the place of a whiteout")
        .file("linked", b"x")
        .end();
    unpacked(&tar, |diff| {
        let block = diff.join("block").symlink_metadata().unwrap();
        assert!(block.file_type().is_block_device());
        assert_eq!(block.rdev(), rustix::fs::makedev(4000, 70_000));
        assert_eq!(fs::read(diff.join("dev")).unwrap(), b"not into the device");
    });
    let other = Place::new();
    let store = support::store_of(&other.path(), &[&tar]).unwrap();
    let mode = fs::metadata(store.directory.join("overlay")).unwrap().mode() & 0o7777;
    assert_eq!(mode, 0o700, "the nodes are out of reach");
}

#[test]
fn numbers_that_promise_too_much() {
    if skip_without_root() {
        return;
    }
    let with = |at: usize, bytes: &[u8]| {
        let mut header = block(&Header { name: b"big", gnu: true, ..Header::default() });
        header[at..at + bytes.len()].copy_from_slice(bytes);
        seal(&mut header);
        Tar::default().raw(&header).raw(&[0; 4096]).end()
    };
    let size = |text: &[u8]| Tar::default().pax(&[("size", text)]).file("big", b"x").end();
    refused(
        "8 EiB less one",
        &with(124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
        &["\"big\""],
    );
    refused("8 EiB", &with(124, b"\x80\0\0\0\x80\0\0\0\0\0\0\0"), &["63 bits"]);
    refused("negative", &with(124, &[0xff; 12]), &["negative size"]);
    refused("PAX 8 EiB", &size(b"9223372036854775807"), &["\"big\""]);
    refused("PAX beyond", &size(b"9223372036854775808"), &["not a number"]);
    refused("PAX negative", &size(b"-1"), &["negative size"]);
    for flag in [b'x', b'g', b'L', b'K'] {
        let header =
            Header { name: b"x", flag, size: 0o77_777_777_777, gnu: true, ..Header::default() };
        let tar = Tar::default().file("before", b"").member(&header, b"").end();
        refused("extended header", &tar, &["extended header of", "after \"before\""]);
    }
    for change in [-1, 1, 100_000] {
        let mut tar = Tar::default().file("first", b"x").file("f", b"content").end();
        let field = std::str::from_utf8(&tar[1024 + 148..1024 + 154]).unwrap();
        let sum = i64::from_str_radix(field, 8).unwrap() + change;
        tar[1024 + 148..1024 + 154].copy_from_slice(format!("{sum:06o}").as_bytes());
        refused("checksum", &tar, &["checksum", "after \"first\""]);
    }
    let sparse = |real: &[u8]| {
        let records = [("GNU.sparse.size", real), ("GNU.sparse.map", b"0,1")];
        Tar::default().pax(&records).file("holes", b"x").end()
    };
    refused("8 EiB of holes", &sparse(b"9223372036854775807"), &["\"holes\""]);
    unpacked(&sparse(b"1099511627776"), |diff| {
        let holes = diff.join("holes").metadata().unwrap();
        assert!(holes.len() == 1 << 40 && holes.blocks() < 1000);
    });
}

/// `bytes` of zeros as a file, compressed.
fn bomb(bytes: u64, zstd: bool) -> Vec<u8> {
    let head = block(&Header { name: b"zeros", size: bytes, ..Header::default() });
    let stream = head.as_slice().chain(std::io::repeat(0).take(bytes + 1024));
    if zstd {
        return zstd::encode_all(stream, 3).unwrap();
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(&mut { stream }, &mut gzip).unwrap();
    gzip.finish().unwrap()
}

fn write(place: &Path, blob: &[u8], diff_id: Digest, budget: &Budget) -> Result<(), Error> {
    let builder = Builder::open(place).unwrap();
    let expected = Expected { blob: Digest::of(blob), size: blob.len() as u64, diff_id };
    let ids = overlay_store::id::layer_ids(&[diff_id]);
    builder.write_layer(&ids, 0, &expected, budget, blob).map(drop)
}

/// Runs the test `name` in a process of its own and tells how much memory it took at most, in kB;
/// none in that process itself, which does the work.
fn peak(name: &str) -> Option<u64> {
    const CHILD: &str = "BOUND_IMAGES_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return None;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let out = child.args([name, "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{text}\n{errors}");
    let line = text.lines().find_map(|line| line.split_once("peak: ")).expect("the child says it");
    Some(line.1.trim().trim_end_matches(" kB").trim().parse().unwrap())
}

/// Tells the process that started this one.
fn say_peak() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("peak: {}", peak.trim());
}

/// What a layer may take in memory: a window of zstd (128 MiB), and some.
const MEMORY: u64 = 300 << 10;

#[test]
fn bombs_cost_what_the_budget_allows() {
    if skip_without_root() {
        return;
    }
    if let Some(peak) = peak("bombs_cost_what_the_budget_allows") {
        assert!(peak < MEMORY, "{peak} kB");
        return;
    }
    // 1 GiB: 1,000:1 in gzip, 10,000:1 and more in zstd; gzip in gzip is not looked into.
    for (bytes, zstd) in [(1u64 << 20, false), (1 << 20, true), (1 << 28, false), (1 << 30, true)] {
        let blob = bomb(bytes, zstd);
        assert!(bytes / blob.len() as u64 > 100, "{} bytes", blob.len());
        let budget = Budget::new(1 << 19, 1000);
        let place = Place::new();
        let error = write(&place.path(), &blob, Digest::of(b""), &budget).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("no space") && text.contains("\"zeros\""), "{text}");
        assert!(!error.is_source_fault(), "the disk is too small, another source does not help");
        assert_eq!((budget.bytes(), budget.inodes()), (1 << 19, 1000));
    }
    // A frame that asks for a window of 2 GiB, and one of 128 MiB that has no use for it.
    let header = |window: u8| [0x28, 0xb5, 0x2f, 0xfd, 0x00, window, 0x01, 0x00, 0x00];
    let place = Place::new();
    let huge = header(21 << 3);
    let error = write(&place.path(), &huge, Digest::of(b""), &support::budget()).unwrap_err();
    assert!(error.is_source_fault() && error.to_string().contains("compressed"), "{error}");
    write(&place.path(), &header(17 << 3), Digest::of(b""), &support::budget()).unwrap();
    say_peak();
}

/// Millions of names, each a few bytes of the blob.
struct Names {
    left: u64,
    template: [u8; 512],
    block: Vec<u8>,
    at: usize,
}

impl Names {
    /// `count` members with this header, a number (eight digits) at the end of its name.
    fn new(count: u64, header: &Header<'_>) -> Self {
        Self { left: count, template: block(header), block: Vec::new(), at: 0 }
    }
}

impl Read for Names {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.block.len() {
            self.at = 0;
            self.block = match self.left {
                0 => Vec::new(),
                left => {
                    self.left -= 1;
                    let mut block = self.template;
                    let end = block.iter().position(|byte| *byte == 0).unwrap();
                    let (mut number, mut at, mut sum) = (left, end, 0u32);
                    while at > end - 8 {
                        at -= 1;
                        let digit = u8::try_from(number % 10).unwrap();
                        block[at] += digit;
                        sum += u32::from(digit);
                        number /= 10;
                    }
                    let field = std::str::from_utf8(&block[148..154]).unwrap();
                    let sum = u32::from_str_radix(field, 8).unwrap() + sum;
                    for place in 0..6 {
                        block[153 - place] = b'0' + u8::try_from((sum >> (3 * place)) & 7).unwrap();
                    }
                    block.to_vec()
                }
            };
        }
        let count = (&self.block[self.at..]).read(buffer)?;
        self.at += count;
        Ok(count)
    }
}

/// The blob of these names, and its diff id.
fn names(count: u64, header: &Header<'_>) -> (Vec<u8>, Digest) {
    let mut hasher = oci_digest::Hasher::default();
    let mut gzip = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let mut names = Names::new(count, header);
    let mut buffer = vec![0; 512];
    loop {
        let count = names.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        gzip.write_all(&buffer[..count]).unwrap();
    }
    (gzip.finish().unwrap(), hasher.finish())
}

/// Where a million inodes cost least: in memory, where there is enough of it.
fn roomy() -> Option<tempfile::TempDir> {
    let place = Path::new("/dev/shm");
    let budget = Budget::free_at(place).ok()?;
    let roomy = budget.bytes() > 4 << 30 && budget.inodes() > 1_100_000;
    let place = roomy.then(|| tempfile::tempdir_in(place).unwrap());
    if place.is_none() {
        eprintln!("skipped: needs 4 GiB and 1,100,000 inodes in /dev/shm");
    }
    place
}

#[test]
fn a_million_empty_files() {
    if skip_without_root() {
        return;
    }
    if let Some(peak) = peak("a_million_empty_files") {
        // Unpacking holds no names; the deep check, of 200,000, does.
        assert!(peak < MEMORY, "{peak} kB");
        return;
    }
    let Some(place) = roomy() else {
        println!("peak: 0 kB");
        return;
    };
    let builder = Builder::open(&place.path().join("store")).unwrap();
    for (count, deep) in [(1_000_000, false), (200_000, true)] {
        let header = Header { name: b"directory/00000000", ..Header::default() };
        let (blob, diff_id) = names(count, &header);
        let ids = overlay_store::id::layer_ids(&[diff_id]);
        let expected = Expected { blob: Digest::of(&blob), size: blob.len() as u64, diff_id };
        let budget = Budget::new(8 << 30, count + 100);
        builder.write_layer(&ids, 0, &expected, &budget, blob.as_slice()).unwrap();
        assert!(budget.inodes() < 100, "{} inodes are left", budget.inodes());
        if deep {
            let proved = builder.proved_layer(&ids, 0, diff_id).unwrap();
            assert!(proved.is_some(), "the deep check is content");
        }
    }
    say_peak();
}

/// A few kB can ask for hundreds of thousands of directories, or whiteouts of long names.
#[test]
fn few_bytes_that_ask_for_many_names() {
    if skip_without_root() {
        return;
    }
    if let Some(peak) = peak("few_bytes_that_ask_for_many_names") {
        assert!(peak < MEMORY, "{peak} kB");
        return;
    }
    let tar = (0..300).fold(Tar::default(), |tar, number| {
        let path = format!("{number}/{}", "d/".repeat(2000));
        tar.pax(&[("path", path.as_bytes())]).dir("x")
    });
    let tar = tar.end();
    let blob = zstd::encode_all(tar.as_slice(), 3).unwrap();
    assert!(blob.len() < 10_000, "{} bytes", blob.len());
    let place = Place::new();
    let budget = Budget::new(1 << 40, 10_000);
    let error = write(&place.path(), &blob, Digest::of(&tar), &budget).unwrap_err().to_string();
    assert!(error.contains("more than the 10000 inodes that are free"), "{error}");
    assert!(error.starts_with("cannot unpack \"4/d/d/"), "{error}");
    assert_eq!(budget.inodes(), 10_000);
    assert_eq!(fs::read_dir(place.path().join("overlay")).unwrap().count(), 1, "nothing is left");
    say_peak();
}
