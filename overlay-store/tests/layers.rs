//! Layers as they come, nasty ones too: what they become on disk, and that their tar stream comes
//! back bit for bit.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may panic"
)]

mod support;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use support::{Header, Place, Tar, block, seal, skip_without_root};

fn xattr(path: &std::path::Path, name: &str) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 1024];
    let count = rustix::fs::lgetxattr(path, name, &mut buffer).ok()?;
    buffer.truncate(count);
    Some(buffer)
}

/// Unpacks, checks the round trip and hands the tree over.
fn unpacked(tar: &[u8], judge: impl FnOnce(&std::path::Path)) {
    let place = Place::new();
    place.unpack(tar).unwrap();
    assert!(place.replay() == tar, "the stream comes back");
    judge(&place.diff());
}

#[test]
fn plain_members() {
    if skip_without_root() {
        return;
    }
    let tar = Tar::default()
        .member(&Header { name: b"./", flag: b'5', mode: 0o700, uid: 7, ..Header::default() }, b"")
        .dir("etc/")
        .member(
            &Header {
                name: b"etc/suid",
                mode: 0o6755,
                uid: 1000,
                gid: 50,
                size: 3,
                ..Header::default()
            },
            b"abc",
        )
        .symlink("etc/abs", "/usr/x")
        .symlink("etc/dangling", "../../../..")
        .link("etc/again", "etc/suid")
        .member(
            &Header { name: b"null", flag: b'3', mode: 0o666, device: (1, 3), ..Header::default() },
            b"",
        )
        .member(&Header { name: b"pipe", flag: b'6', mode: 0o600, ..Header::default() }, b"")
        .file("a/b/implied", b"x")
        .end();
    unpacked(&tar, |diff| {
        assert_eq!(diff.metadata().unwrap().mode() & 0o7777, 0o555, "the root entry is ignored");
        let suid = diff.join("etc/suid").metadata().unwrap();
        // The hard link's header came last: its owner and mode are the shared ones.
        assert_eq!((suid.mode() & 0o7777, suid.uid(), suid.nlink()), (0o644, 0, 2));
        assert_eq!(fs::read_link(diff.join("etc/abs")).unwrap().to_str(), Some("/usr/x"));
        let null = diff.join("null").symlink_metadata().unwrap();
        assert!(null.file_type().is_char_device() && null.rdev() == rustix::fs::makedev(1, 3));
        assert!(diff.join("pipe").symlink_metadata().unwrap().file_type().is_fifo());
        let implied = diff.join("a/b").metadata().unwrap();
        assert_eq!((implied.mode() & 0o7777, implied.mtime()), (0o755, 0));
        assert_eq!(diff.join("etc").metadata().unwrap().mtime(), 1_700_000_000);
    });
}

#[test]
fn extended_headers() {
    if skip_without_root() {
        return;
    }
    let long = "d/".repeat(120) + "file";
    let tar = Tar::default()
        .member(
            &Header { name: b"pax_global_header", flag: b'g', size: 0, ..Header::default() },
            b"",
        )
        .pax(&[
            ("path", long.as_bytes()),
            ("mtime", b"1600000000.123456789"),
            ("SCHILY.xattr.user.x", b"\0v"),
        ])
        .file("short", b"content")
        .pax(&[
            ("mtime", b"-5.5"),
            (
                "SCHILY.xattr.security.capability",
                b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
            ),
            ("SCHILY.xattr.security.selinux", b"x"),
        ])
        .file("caps", b"c")
        .member(
            &Header {
                name: b"././@LongLink",
                flag: b'L',
                size: 151,
                gnu: true,
                ..Header::default()
            },
            &[[b'n'; 150].as_slice(), b"\0"].concat(),
        )
        .member(&Header { name: b"n", size: 2, gnu: true, ..Header::default() }, b"ok")
        .file("bad\u{fffd}", b"y")
        .member(&Header { name: b"raw\xff\xfe", size: 1, ..Header::default() }, b"z")
        .raw(b"")
        .end();
    unpacked(&tar, |diff| {
        let file = diff.join(&long);
        let metadata = file.metadata().unwrap();
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_600_000_000, 123_456_789));
        assert_eq!(xattr(&file, "user.x").as_deref(), Some(b"\0v".as_slice()));
        let caps = diff.join("caps");
        assert_eq!(caps.metadata().unwrap().mtime(), 0, "times before 1970 become 1970");
        assert!(xattr(&caps, "security.capability").is_some());
        assert_eq!(xattr(&caps, "security.selinux"), None);
        assert!(diff.join("n".repeat(150)).is_file());
        use std::os::unix::ffi::OsStrExt;
        assert!(diff.join(std::ffi::OsStr::from_bytes(b"raw\xff\xfe")).is_file());
    });
}

/// What comes of a directory's default ACL, of capabilities and of times, and that the deep check knows.
#[test]
fn attributes_that_the_kernel_meddles_with() {
    if skip_without_root() {
        return;
    }
    // POSIX ACL, version 2: user::rwx, user:1000:r-x, group::r-x, mask::r-x, other::r-x.
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (1u16, 7u16, u32::MAX),
        (2, 5, 1000),
        (4, 5, u32::MAX),
        (16, 5, u32::MAX),
        (32, 5, u32::MAX),
    ] {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    let default_acl = "SCHILY.xattr.system.posix_acl_default";
    let capability = [1u32 | 0x0200_0000, 1 << 10, 0, 0, 0].map(u32::to_le_bytes).concat();
    let capable = "SCHILY.xattr.security.capability";
    let long = "d".repeat(200) + "/";
    let long = long.repeat(19) + "file";
    let tar = Tar::default()
        .pax(&[(default_acl, &acl)])
        .dir("acl/")
        .file("acl/below", b"x")
        .file("acl/implied/below", b"x")
        .file("acl/.wh.gone", b"")
        .pax(&[(default_acl, &acl)])
        .dir("gone/")
        .file("gone", b"in its place")
        .dir("perhaps-the-same-inode/")
        .pax(&[(capable, &capability)])
        .file("capable", b"x")
        .pax(&[(capable, &capability)])
        .file("linked", b"x")
        .link("link", "linked")
        .pax(&[("mtime", b"-5.5")])
        .symlink("old-link", "x")
        .pax(&[("mtime", b"-99999999999")])
        .symlink("oldest-link", "x")
        .pax(&[("path", long.as_bytes())])
        .file("long", b"too far down to be opened by its whole path")
        .end();
    unpacked(&tar, |diff| {
        let has = |name: &str, attribute: &str| xattr(&diff.join(name), attribute).is_some();
        assert_eq!(xattr(&diff.join("acl"), "system.posix_acl_default").as_ref(), Some(&acl));
        for name in ["acl/below", "acl/implied", "acl/implied/below", "acl/gone"] {
            assert!(!has(name, "system.posix_acl_access"), "{name} inherited an ACL");
            assert!(!has(name, "system.posix_acl_default"), "{name} inherited an ACL");
        }
        assert!(!has("perhaps-the-same-inode", "system.posix_acl_default"));
        assert!(has("capable", "security.capability") && !has("linked", "security.capability"));
        let old = diff.join("old-link").symlink_metadata().unwrap();
        assert_eq!((old.mtime(), old.mtime_nsec()), (-6, 500_000_000));
    });
    let place = Place::new();
    let store = support::store_of(&place.path(), &[&tar]).unwrap();
    assert_eq!(overlay_store::check_deep(&store, 1).unwrap(), []);
    // Podman opens files by their whole path: for this one, tar-split has the bytes.
    let place = Place::new();
    place.unpack(&tar).unwrap();
    fs::remove_file(place.diff().join(&long)).unwrap();
    assert!(place.replay() == tar);
    // A default ACL that makes no sense is the layer's fault, by name.
    let bad = Tar::default().pax(&[(default_acl, b"\x02\0\0\0no entry")]).dir("acl/").end();
    let error = Place::new().unpack(&bad).unwrap_err();
    assert!(error.is_source_fault() && error.to_string().contains("acl/"), "{error}");
}

#[test]
fn whiteouts() {
    if skip_without_root() {
        return;
    }
    let tar = Tar::default()
        .file("gone/.wh.a", b"")
        .dir("opaque/")
        .file("opaque/.wh..wh..opq", b"")
        .file(".wh.both", b"")
        .dir("both/")
        .dir("both2/")
        .file(".wh.both2", b"")
        .file("kept", b"kept")
        .file(".wh.kept", b"")
        .file(".wh.d", b"")
        .file("d/.wh.x", b"")
        .file(".wh.e", b"")
        .file("e/f", b"below a hidden name")
        .file(".wh.payload", b"whiteouts have no content, but one may")
        .end();
    unpacked(&tar, |diff| {
        let hidden = |name: &str| {
            let metadata = diff.join(name).symlink_metadata().unwrap();
            metadata.file_type().is_char_device() && metadata.rdev() == 0
        };
        assert!(hidden("gone/a") && hidden("d") && hidden("payload"));
        for name in ["opaque", "both", "both2", "e"] {
            assert_eq!(
                xattr(&diff.join(name), "trusted.overlay.opaque").as_deref(),
                Some(b"y".as_slice()),
                "{name}"
            );
        }
        assert_eq!(fs::read(diff.join("kept")).unwrap(), b"kept");
        assert_eq!(fs::read(diff.join("e/f")).unwrap(), b"below a hidden name");
    });
}

#[test]
fn members_that_replace_each_other() {
    if skip_without_root() {
        return;
    }
    let tar = Tar::default()
        .file("twice", b"first")
        .link("other", "twice")
        .file("twice", b"second, longer")
        .file("thrice", b"1")
        .file("thrice", b"22")
        .file("thrice", b"1")
        .dir("tree/")
        .file("tree/deep/er/file", b"inside")
        .symlink("tree/deep/link", "er")
        .file("tree", b"now a file")
        .dir("tree/")
        .file("tree/deep/er/file", b"again")
        .symlink("name", "twice")
        .file("name", b"replaced the link")
        .dir("name/")
        .link("twice", "other")
        .dir("same/")
        .dir("same/")
        .end();
    unpacked(&tar, |diff| {
        assert_eq!(fs::read(diff.join("twice")).unwrap(), b"first");
        assert_eq!(fs::read(diff.join("other")).unwrap(), b"first");
        assert_eq!(fs::read(diff.join("thrice")).unwrap(), b"1");
        assert_eq!(fs::read(diff.join("tree/deep/er/file")).unwrap(), b"again");
        assert!(diff.join("name").is_dir());
    });
}

#[test]
fn parents_that_are_links() {
    if skip_without_root() {
        return;
    }
    let tar = Tar::default()
        .dir("real/")
        .symlink("relative", "real")
        .symlink("absolute", "/real")
        .file("relative/one", b"1")
        .file("absolute/two", b"2")
        .file("real/one", b"replaced")
        .file("real/../dots", b"3")
        .dir("absolute/sub/")
        .end();
    unpacked(&tar, |diff| {
        assert_eq!(fs::read(diff.join("real/one")).unwrap(), b"replaced");
        assert_eq!(fs::read(diff.join("real/two")).unwrap(), b"2");
        assert_eq!(fs::read(diff.join("dots")).unwrap(), b"3");
        assert_eq!(diff.join("real/sub").metadata().unwrap().mtime(), 1_700_000_000);
    });
}

#[test]
fn nothing_leaves_the_layer() {
    if skip_without_root() {
        return;
    }
    let up = |name: &str| Tar::default().file(name, b"x").end();
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("dots", up("../escape")),
        ("dots inside", up("a/../../escape")),
        ("whiteout of dots", Tar::default().file("a/.wh...", b"").end()),
        ("nameless whiteout", Tar::default().file(".wh.", b"").end()),
        ("link out", Tar::default().link("x", "../../../etc/passwd").end()),
        ("missing link target", Tar::default().link("x", "nothing").end()),
        ("link to itself", Tar::default().file("x", b"").link("x", "x").end()),
        ("link to the root", Tar::default().link("x", "/").end()),
        ("dangling parent", Tar::default().symlink("d", "nowhere").file("d/x", b"").end()),
        ("looping parent", Tar::default().symlink("d", "d").file("d/x", b"").end()),
        ("file as parent", Tar::default().file("f", b"x").file("f/x", b"").end()),
    ];
    for (what, tar) in bad {
        let place = Place::new();
        let error = place.unpack(&tar).expect_err(what);
        assert!(error.to_string().contains("cannot unpack"), "{what}: {error}");
        assert!(
            !place.directory.path().join("escape").exists()
                && !place.path().join("escape").exists(),
            "{what}"
        );
    }
    // Links that point out of the layer stay inside when they are walked through.
    let tar = Tar::default()
        .symlink("out", "/bound-images-outside/dir")
        .dir("bound-images-outside/dir/")
        .file("out/file", b"x")
        .end();
    unpacked(&tar, |diff| assert!(diff.join("bound-images-outside/dir/file").is_file()));
    assert!(!std::path::Path::new("/bound-images-outside").exists());
    let tar = Tar::default().symlink("up", "../../../../../..").file("up/file", b"x").end();
    unpacked(&tar, |diff| assert!(diff.join("file").is_file()));
}

#[test]
fn ends_of_streams() {
    if skip_without_root() {
        return;
    }
    let body = Tar::default().file("f", b"content").0;
    for tail in [
        &b""[..],
        &[0; 512],
        &[0; 1024],
        &[0; 10240],
        &[[0u8; 1024].as_slice(), b"junk after the end"].concat(),
    ] {
        unpacked(&[body.as_slice(), tail].concat(), |diff| assert!(diff.join("f").is_file()));
    }
    unpacked(b"", |diff| assert_eq!(fs::read_dir(diff).unwrap().count(), 0));
    for cut in [1, 511, 513, 518] {
        assert!(Place::new().unpack(&body[..cut]).is_err(), "cut after {cut}");
    }
    for end in [519, 520, 1023] {
        unpacked(&body[..end], |diff| assert_eq!(fs::read(diff.join("f")).unwrap(), b"content"));
    }
}

#[test]
fn sparse_files() {
    if skip_without_root() {
        return;
    }
    let map1 = b"2\n0\n5\n1048576\n3\n".to_vec();
    let mut content = map1.clone();
    content.resize(512, 0);
    content.extend(b"startend");
    let one = Tar::default()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"sparse"),
            ("GNU.sparse.realsize", b"2000000"),
        ])
        .file("GNUSparseFile.0/sparse", &content)
        .end();
    let zero_one = Tar::default()
        .pax(&[
            ("GNU.sparse.size", b"2000000"),
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.map", b"0,5,1048576,3"),
            ("GNU.sparse.name", b"sparse"),
        ])
        .file("x", b"startend")
        .end();
    let zero_zero = Tar::default()
        .pax(&[
            ("GNU.sparse.size", b"2000000"),
            ("GNU.sparse.offset", b"0"),
            ("GNU.sparse.numbytes", b"5"),
            ("GNU.sparse.offset", b"1048576"),
            ("GNU.sparse.numbytes", b"3"),
        ])
        .file("sparse", b"startend")
        .end();
    let mut header =
        block(&Header { name: b"sparse", flag: b'S', size: 8, gnu: true, ..Header::default() });
    for (at, number) in [(386, 0u64), (398, 5), (410, 1_048_576), (422, 3), (483, 2_000_000)] {
        header[at..at + 12].copy_from_slice(format!("{number:011o}\0").as_bytes());
    }
    seal(&mut header);
    let old = Tar::default().raw(&header).raw(b"startend").raw(&[0; 504]).end();
    for (what, tar) in [("1.0", one), ("0.1", zero_one), ("0.0", zero_zero), ("old", old)] {
        unpacked(&tar, |diff| {
            let file = diff.join("sparse");
            let bytes = fs::read(&file).unwrap();
            assert_eq!(bytes.len(), 2_000_000, "{what}");
            assert_eq!(
                (&bytes[..5], &bytes[1_048_576..1_048_579]),
                (b"start".as_slice(), b"end".as_slice())
            );
            assert!(bytes.iter().filter(|byte| **byte != 0).count() == 8);
            assert!(file.metadata().unwrap().blocks() * 512 < 200_000, "{what} has holes");
        });
    }
}

#[test]
fn wrong_bytes_are_refused() {
    if skip_without_root() {
        return;
    }
    let good = Tar::default().file("f", b"content").end();
    let mut checksum = good.clone();
    checksum[0] ^= 1;
    let huge = Tar::default()
        .member(&Header { name: b"f", size: 0o77_777_777_777, ..Header::default() }, b"x")
        .end();
    let unknown =
        Tar::default().member(&Header { name: b"f", flag: b'Z', ..Header::default() }, b"").end();
    let nul = Tar::default().pax(&[("path", b"a\0b")]).file("f", b"").end();
    let negative = Tar::default().pax(&[("size", b"-1")]).file("f", b"").end();
    let overlap = Tar::default()
        .pax(&[("GNU.sparse.size", b"10"), ("GNU.sparse.map", b"0,5,4,3")])
        .file("s", b"startend")
        .end();
    for (what, tar) in [
        ("checksum", checksum),
        ("huge", huge),
        ("type", unknown),
        ("nul", nul),
        ("negative", negative),
        ("overlap", overlap),
    ] {
        let error = Place::new().unpack(&tar).expect_err(what);
        assert!(error.is_source_fault(), "{what}: {error}");
    }
}

/// Few bytes can ask for much: paths of thousands of directories, thousands of links and
/// replacements of one name.
#[test]
fn small_layers_that_ask_for_much() {
    if skip_without_root() {
        return;
    }
    let deep = "d/".repeat(2000) + "file";
    let mut tar = Tar::default().pax(&[("path", deep.as_bytes())]).file("x", b"deep");
    for number in 0..3000_u32 {
        tar = tar.file("same", &number.to_be_bytes()).link(&format!("links/{number}"), "same");
    }
    // Members that leave nothing under their own name, twice.
    for name in ["./", "a/.wh.x", "a/.wh.x", "a/.wh..wh..opq", "a/.wh..wh..opq", ".wh.d", ".wh.d"] {
        tar = tar.file(name, b"");
    }
    let tar = tar.dir("./").file("d", b"in the place of a deep tree").end();
    let place = Place::new();
    place.unpack(&tar).unwrap();
    assert!(place.replay() == tar);
    let mut names = place.split_names();
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "Podman's replay takes no name twice");
    assert_eq!(fs::read(place.diff().join("d")).unwrap(), b"in the place of a deep tree");
    overlay_store::remove_tree(&place.path()).unwrap();
}
