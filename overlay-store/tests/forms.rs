//! Layers at the edge of what tar, OCI and file systems can say: each comes back bit for bit, and
//! the deep check finds nothing.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic"
)]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use oci_digest::Digest;
use overlay_store::{Budget, Builder, Expected, Store, check_deep};
use support::{Header, Place, Tar, block, seal, skip_without_root};

/// Unpacks these blobs (each with its tar stream) as the layers of one image, and checks it all.
fn whole(layers: &[(Vec<u8>, Vec<u8>)], judge: impl FnOnce(&[std::path::PathBuf])) {
    let place = Place::new();
    let builder = Builder::open(&place.path()).unwrap();
    let diff_ids: Vec<Digest> = layers.iter().map(|(_, tar)| Digest::of(tar)).collect();
    let ids = overlay_store::id::layer_ids(&diff_ids);
    for (index, (blob, _)) in layers.iter().enumerate() {
        let (size, diff_id) = (blob.len() as u64, diff_ids[index]);
        let expected = Expected { blob: Digest::of(blob), size, diff_id };
        builder.write_layer(&ids, index, &expected, &support::budget(), blob.as_slice()).unwrap();
    }
    let image = overlay_store::Image {
        names: vec!["registry.test/image:1".to_owned()],
        config: b"{}".to_vec(),
        manifests: vec![b"{}".to_vec()],
        lists: vec![],
        layers: ids.clone(),
        created: None,
    };
    builder.finish(&[image], &[]).unwrap();
    let store = Store::open(&place.path()).unwrap();
    assert_eq!(overlay_store::check(&store).unwrap(), []);
    assert_eq!(check_deep(&store, 2).unwrap(), []);
    let mut diffs = Vec::new();
    for (id, (_, tar)) in ids.iter().zip(layers) {
        let diff = place.path().join("overlay").join(id).join("diff");
        let split = place.path().join("overlay-layers").join(format!("{id}.tar-split.gz"));
        let mut made = Vec::new();
        let (split, tree) = (fs::File::open(split).unwrap(), fs::File::open(&diff).unwrap());
        overlay_store::split::replay(split, tree.into(), &mut made).unwrap();
        assert!(made == *tar, "the stream comes back");
        diffs.push(diff);
    }
    judge(&diffs);
    overlay_store::remove_tree(&place.path()).unwrap();
}

fn plain(tar: Vec<u8>, judge: impl FnOnce(&Path)) {
    whole(&[(tar.clone(), tar)], |diffs| judge(&diffs[0]));
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 1024];
    let count = rustix::fs::lgetxattr(path, name, &mut buffer).ok()?;
    buffer.truncate(count);
    Some(buffer)
}

#[test]
fn long_names() {
    if skip_without_root() {
        return;
    }
    let name = "n".repeat(255);
    // 4,095 bytes: fifteen names of 255 and one of 254, and the slashes.
    let path = format!("{}{}", format!("{name}/").repeat(15), "f".repeat(255));
    let target = "t".repeat(4095);
    let tar = Tar::default()
        .pax(&[("path", "m".repeat(255).as_bytes())])
        .file("x", b"1")
        .pax(&[("path", path.as_bytes())])
        .file("x", b"2")
        .pax(&[("path", b"hard"), ("linkpath", path.as_bytes())])
        .link("x", "x")
        .pax(&[("linkpath", target.as_bytes())])
        .symlink("soft", "x")
        .end();
    assert_eq!(path.len(), 4095);
    plain(tar, |diff| {
        assert_eq!(fs::read(diff.join("hard")).unwrap(), b"2");
        assert_eq!(fs::read_link(diff.join("soft")).unwrap().as_os_str().len(), 4095);
    });
    for (what, tar) in [
        (
            "a name of 256",
            Tar::default().pax(&[("path", "n".repeat(256).as_bytes())]).file("x", b""),
        ),
        (
            "a path of 4096",
            Tar::default()
                .pax(&[("path", format!("{path}/").replace('f', "ff").as_bytes())])
                .file("x", b""),
        ),
    ] {
        let error = Place::new().unpack(&tar.end()).expect_err(what);
        assert!(error.is_source_fault() && error.to_string().contains("nnnn"), "{what}: {error}");
    }
}

#[test]
fn times() {
    if skip_without_root() {
        return;
    }
    let mut tar = Tar::default();
    let values = [
        "-1",
        "-9223372036854775808",
        "0.999999999999",
        "15032385535",
        "15032385536.5",
        "99999999999",
        "9223372036854775807",
    ];
    for value in values {
        tar = tar
            .pax(&[("mtime", value.as_bytes()), ("atime", b"-7")])
            .file(&format!("f{value}"), b"")
            .pax(&[("mtime", value.as_bytes())])
            .dir(&format!("d{value}/"))
            .pax(&[("mtime", value.as_bytes())])
            .symlink(&format!("s{value}"), "t");
    }
    let mut header = block(&Header { name: b"header", ..Header::default() });
    header[136..148].copy_from_slice(&[0xff; 12]);
    seal(&mut header);
    plain(tar.raw(&header).end(), |diff| {
        for name in ["f-1", "d-1", "header", "f-9223372036854775808"] {
            assert_eq!(diff.join(name).symlink_metadata().unwrap().mtime(), 0, "{name}");
        }
        let link = diff.join("s-1").symlink_metadata().unwrap();
        assert_eq!(link.mtime(), -1, "Podman keeps old times of symbolic links");
        let end = diff.join("f15032385535").metadata().unwrap();
        assert_eq!(end.mtime(), 15_032_385_535, "ext4's last second, 2446");
    });
}

/// An access control list: version 2, then entries of tag, permissions and id.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut out = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        out.extend(tag.to_le_bytes());
        out.extend(permissions.to_le_bytes());
        out.extend(id.to_le_bytes());
    }
    out
}

#[test]
fn attributes_and_access_control_lists() {
    if skip_without_root() {
        return;
    }
    const NONE: u32 = u32::MAX;
    let one_more = acl(&[(1, 6, NONE), (2, 4, 1000), (4, 4, NONE), (16, 6, NONE), (32, 0, NONE)]);
    let only_mode = acl(&[(1, 7, NONE), (4, 5, NONE), (32, 1, NONE)]);
    let access = "SCHILY.xattr.system.posix_acl_access";
    let default = "SCHILY.xattr.system.posix_acl_default";
    let tar = Tar::default()
        .pax(&[(access, &one_more)])
        .member(&Header { name: b"more", mode: 0o660, ..Header::default() }, b"")
        .pax(&[(access, &one_more)])
        .member(&Header { name: b"other-mode", mode: 0o755, ..Header::default() }, b"")
        .pax(&[(access, &only_mode)])
        .file("only-mode", b"x")
        .pax(&[(access, &one_more), (default, &one_more)])
        .dir("d/")
        .file("d/file", b"inherits nothing")
        .dir("d/dir/")
        .file("d/implied/x/file", b"")
        .file("d/.wh.gone", b"")
        .symlink("d/link", "file")
        .pax(&[("SCHILY.acl.access", b"user::rw-,user:1000:r--,group::r--,mask::rw-,other::---")])
        .file("text", b"as tar writes it, and Podman ignores it")
        .pax(&[("SCHILY.xattr.com.apple.provenance", b"\x01\x02")])
        .file("from-a-mac", b"a kind of attribute that Linux does not have")
        .pax(&[("LIBARCHIVE.xattr.user.x", b"eA"), ("SCHILY.xattr.user.empty", b"")])
        .file("others", b"")
        // Described again without its list, which the new mode then changes.
        .pax(&[(access, &one_more)])
        .member(&Header { name: b"twice/", flag: b'5', mode: 0o700, ..Header::default() }, b"")
        .member(&Header { name: b"twice/", flag: b'5', mode: 0o741, ..Header::default() }, b"")
        .pax(&[(access, &one_more)])
        .file("linked", b"")
        .member(
            &Header {
                name: b"link",
                link: b"linked",
                flag: b'1',
                mode: 0o751,
                ..Header::default()
            },
            b"",
        )
        .end();
    plain(tar, |diff| {
        let name = "system.posix_acl_access";
        assert_eq!(xattr(&diff.join("more"), name).as_deref(), Some(one_more.as_slice()));
        for path in ["d/file", "d/dir", "d/implied", "d/gone", "text", "only-mode"] {
            assert_eq!(xattr(&diff.join(path), name), None, "{path}");
        }
        let mode = |path: &str| diff.join(path).metadata().unwrap().mode() & 0o7777;
        assert_eq!(
            (mode("other-mode"), mode("only-mode"), mode("d/implied")),
            (0o660, 0o751, 0o755)
        );
    });
    let broken = Tar::default().pax(&[(access, b"\x02\0\0\0junk")]).file("f", b"").end();
    let error = Place::new().unpack(&broken).unwrap_err().to_string();
    assert!(error.contains("\"f\"") && error.contains("posix_acl_access"), "{error}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// All forms of compression in one image; a layer twice in a row, and one of nothing.
#[test]
fn compressions_and_layers_that_come_twice() {
    if skip_without_root() {
        return;
    }
    let tar = Tar::default().file("f", &[7; 5000]).end();
    let other = Tar::default().file("g", b"g").end();
    let (front, back) = tar.split_at(700);
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let skippable = |number: u8| {
        let size = 5u32.to_le_bytes();
        [&[0x50 + number, 0x2a, 0x4d, 0x18][..], &size, b"table"].concat()
    };
    let blobs = [
        tar.clone(),
        gzip(&tar),
        [gzip(front), gzip(b""), gzip(back)].concat(),
        zstd(&tar),
        [zstd(front), zstd(b""), zstd(back)].concat(),
        [zstd(front), skippable(3), zstd(back), skippable(0), skippable(15)].concat(),
    ];
    let mut layers: Vec<(Vec<u8>, Vec<u8>)> =
        blobs.into_iter().map(|blob| (blob, tar.clone())).collect();
    layers.extend([(gzip(&other), other.clone()), (gzip(&tar), tar.clone())]);
    for nothing in [vec![], vec![0; 512], vec![0; 1024], vec![0; 10_240]] {
        layers.push((nothing.clone(), nothing.clone()));
        layers.push((gzip(&nothing), nothing.clone()));
        layers.push((zstd(&nothing), nothing.clone()));
        layers.push((zstd(&nothing), nothing));
    }
    whole(&layers, |diffs| {
        assert!(diffs[..6].iter().all(|diff| diff.join("f").metadata().unwrap().len() == 5000));
    });
}

#[test]
fn two_hundred_layers() {
    if skip_without_root() {
        return;
    }
    let layers: Vec<(Vec<u8>, Vec<u8>)> = (0..200)
        .map(|number| {
            let tar = Tar::default().file(&format!("f{}", number % 150), b"x").end();
            (tar.clone(), tar)
        })
        .collect();
    whole(&layers, |diffs| assert_eq!(diffs.len(), 200));
}

/// Layers that are unpacked at the same time share what is free.
#[test]
fn one_budget_for_all() {
    if skip_without_root() {
        return;
    }
    let place = Place::new();
    let builder = Builder::open(&place.path()).unwrap();
    let budget = Budget::new(10 << 20, 1000);
    let done: Vec<bool> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..4u8)
            .map(|number| {
                let (builder, budget) = (builder.clone(), budget.clone());
                scope.spawn(move || {
                    let tar = Tar::default().file("f", &vec![number; 4 << 20]).end();
                    let digest = Digest::of(&tar);
                    let size = tar.len() as u64;
                    let expected = Expected { blob: digest, size, diff_id: digest };
                    let ids = overlay_store::id::layer_ids(&[digest]);
                    let written = builder.write_layer(&ids, 0, &expected, &budget, tar.as_slice());
                    if let Err(error) = &written {
                        assert!(error.to_string().contains("no space"), "{error}");
                        assert!(!error.is_source_fault());
                    }
                    written.is_ok()
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let done = done.into_iter().filter(|done| *done).count() as u64;
    assert!(done <= 2, "{done} of 4 MiB each in 10 MiB");
    let left = (10 << 20) - budget.bytes();
    assert!((done << 22..(done << 22) + (done << 16) + 1).contains(&left), "{left} for {done}");
    let layers = fs::read_dir(place.path().join("overlay")).unwrap().count() as u64;
    assert_eq!(layers, done + 1, "nothing is left of the others");
}

struct Mount<'a>(&'a Path);

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        assert!(std::process::Command::new("umount").arg(self.0).status().unwrap().success());
    }
}

/// A small disk is refused before it is full: of bytes, and of inodes.
#[test]
fn small_disks() {
    if skip_without_root() {
        return;
    }
    let place = Place::new();
    let disk = place.directory.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8m,nr_inodes=500,mode=0755", "tmpfs"])
        .arg(&disk)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: needs to mount a tmpfs");
        return;
    }
    let _mount = Mount(&disk);
    let deep = "d/".repeat(1000);
    let mut sparse: Vec<u8> =
        (0..3000u64).flat_map(|at| format!("{},1,", at << 13).into_bytes()).collect();
    sparse.pop();
    let many = (0..1800u32).fold(Tar::default(), |tar, number| {
        tar.file(&format!("f{}", number % 400), &number.to_be_bytes())
    });
    let tars = [
        ("large", Tar::default().file("f", &vec![7; 9 << 20]), "bytes"),
        ("directories", Tar::default().pax(&[("path", deep.as_bytes())]).dir("x"), "inodes"),
        (
            "small files",
            (0..600).fold(Tar::default(), |tar, number| tar.file(&number.to_string(), b"")),
            "inodes",
        ),
        (
            "data far apart",
            {
                let size = ("GNU.sparse.size", &b"99999999"[..]);
                Tar::default().pax(&[size, ("GNU.sparse.map", &sparse)]).file("x", &[7; 3000])
            },
            "bytes",
        ),
        ("replaced files", many, ""),
    ];
    for (what, tar, word) in tars {
        let store = disk.join("store");
        let builder = Builder::open(&store).unwrap();
        let (tar, budget) = (tar.end(), Budget::free_at(&disk).unwrap());
        let digest = Digest::of(&tar);
        let expected = Expected { blob: digest, size: tar.len() as u64, diff_id: digest };
        let ids = overlay_store::id::layer_ids(&[digest]);
        let error =
            builder.write_layer(&ids, 0, &expected, &budget, tar.as_slice()).expect_err(what);
        let text = error.to_string();
        assert!(
            text.contains("no space: the layers take more") && text.contains(word),
            "{what}: {text}"
        );
        overlay_store::remove_tree(&store).unwrap();
    }
}
