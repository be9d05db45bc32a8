//! The deep check finds whatever was changed in a layer, and names it.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may panic"
)]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use overlay_store::{Damage, Store, check, check_deep};
use support::{Header, Place, Tar, skip_without_root};

fn layer() -> Vec<u8> {
    Tar::default()
        .dir("etc/")
        .pax(&[("SCHILY.xattr.user.color", b"blue"), ("mtime", b"1600000000.5")])
        .file("etc/passwd", b"root:x:0:0")
        .link("etc/passwd-", "etc/passwd")
        .symlink("etc/link", "passwd")
        .file("etc/empty", b"")
        .member(
            &Header { name: b"dev", flag: b'3', mode: 0o600, device: (1, 3), ..Header::default() },
            b"",
        )
        .file(".wh.gone", b"")
        .dir("opaque/")
        .file("opaque/.wh..wh..opq", b"")
        .file("twice", b"one")
        .file("twice", b"two")
        .pax(&[
            ("GNU.sparse.size", b"2000000"),
            ("GNU.sparse.map", b"0,5,1048576,3"),
            ("GNU.sparse.name", b"sparse"),
        ])
        .file("x", b"startend")
        .pax(&[("mtime", b"99999999999")])
        .file("future", b"far")
        .end()
}

fn run(program: &str, arguments: &[&str], path: &Path) {
    assert!(Command::new(program).args(arguments).arg(path).status().unwrap().success());
}

fn damage(harm: impl FnOnce(&Path)) -> Vec<Damage> {
    let place = Place::new();
    let base = Tar::default().file("base", b"b").end();
    let store = support::store_of(&place.path(), &[&base, &layer()]).unwrap();
    let top = store.images[0].layer.clone().unwrap();
    harm(&store.directory.join("overlay").join(top).join("diff"));
    check_deep(&Store::open(&store.directory).unwrap(), 2).unwrap()
}

#[test]
fn a_whole_store_is_clean() {
    if skip_without_root() {
        return;
    }
    assert_eq!(damage(|_| ()), []);
}

#[test]
fn every_change_is_found_and_named() {
    if skip_without_root() {
        return;
    }
    type Harm = fn(&Path);
    let table: &[(&str, &str, Harm)] = &[
        ("diff/etc/passwd", "has mode 0600, should have 0644", |diff| {
            fs::set_permissions(diff.join("etc/passwd"), fs::Permissions::from_mode(0o600)).unwrap()
        }),
        ("diff/etc", "has mode", |diff| {
            fs::set_permissions(diff.join("etc"), fs::Permissions::from_mode(0o777)).unwrap()
        }),
        ("diff/etc/empty", "belongs to 7:0, should to 0:0", |diff| {
            std::os::unix::fs::chown(diff.join("etc/empty"), Some(7), None).unwrap()
        }),
        ("diff/etc/empty", "was modified at", |diff| run("touch", &[], &diff.join("etc/empty"))),
        ("diff/etc/extra", "is not in the layer", |diff| {
            fs::write(diff.join("etc/extra"), b"").unwrap()
        }),
        ("diff/etc/empty", "is missing", |diff| fs::remove_file(diff.join("etc/empty")).unwrap()),
        ("diff/gone", "is missing", |diff| fs::remove_file(diff.join("gone")).unwrap()),
        ("diff/gone", "is a file, should be CharDevice", |diff| {
            fs::remove_file(diff.join("gone")).unwrap();
            fs::write(diff.join("gone"), b"").unwrap();
        }),
        ("", "etc/passwd: its content was changed", |diff| {
            fs::write(diff.join("etc/passwd"), b"root:y:0:0").unwrap()
        }),
        ("", "etc/passwd: its size should be 10 bytes", |diff| {
            fs::write(diff.join("etc/passwd"), b"root").unwrap()
        }),
        ("diff/etc/empty", "has other content", |diff| {
            fs::write(diff.join("etc/empty"), b"no more").unwrap()
        }),
        ("diff/twice", "has other content", |diff| fs::write(diff.join("twice"), b"2wo").unwrap()),
        ("diff/sparse", "has other content", |diff| {
            use std::os::unix::fs::FileExt;
            fs::OpenOptions::new()
                .write(true)
                .open(diff.join("sparse"))
                .unwrap()
                .write_all_at(b"!", 500_000)
                .unwrap();
        }),
        ("diff/etc/passwd", "has another value of the extended attribute user.color", |diff| {
            run("setfattr", &["-n", "user.color", "-v", "red"], &diff.join("etc/passwd"))
        }),
        ("diff/etc/passwd", "lacks the extended attribute user.color", |diff| {
            run("setfattr", &["-x", "user.color"], &diff.join("etc/passwd"))
        }),
        ("diff/etc/passwd", "has the extended attribute user.more", |diff| {
            run("setfattr", &["-n", "user.more", "-v", "x"], &diff.join("etc/passwd"))
        }),
        ("diff/opaque", "lacks the extended attribute trusted.overlay.opaque", |diff| {
            run("setfattr", &["-x", "trusted.overlay.opaque"], &diff.join("opaque"))
        }),
        ("diff/etc/link", "links to \"shadow\", should to \"passwd\"", |diff| {
            fs::remove_file(diff.join("etc/link")).unwrap();
            symlink("shadow", diff.join("etc/link")).unwrap();
        }),
        ("diff/etc/passwd", "is not a hard link", |diff| {
            fs::remove_file(diff.join("etc/passwd-")).unwrap();
            run(
                "cp",
                &["-a", diff.join("etc/passwd").to_str().unwrap()],
                &diff.join("etc/passwd-"),
            );
        }),
        ("diff/dev", "is device 1:5, should be 1:3", |diff| {
            fs::remove_file(diff.join("dev")).unwrap();
            assert!(
                Command::new("mknod")
                    .args(["-m", "600"])
                    .arg(diff.join("dev"))
                    .args(["c", "1", "5"])
                    .status()
                    .unwrap()
                    .success()
            );
        }),
    ];
    for (path, wanted, harm) in table {
        let found = damage(harm);
        let named =
            found.iter().any(|damage| damage.path.contains(path) && damage.why.contains(wanted));
        assert!(named, "{path} {wanted}: {found:?}");
    }
}

#[test]
fn tar_split_itself_is_checked() {
    if skip_without_root() {
        return;
    }
    let place = Place::new();
    let store = support::store_of(&place.path(), &[&layer()]).unwrap();
    let id = &store.layers[0].id;
    let path = store.directory.join(format!("overlay-layers/{id}.tar-split.gz"));
    let other = support::Place::new();
    other.unpack(&Tar::default().file("f", b"").end()).unwrap();
    fs::copy(other.path().join("tar-split.gz"), &path).unwrap();
    assert_eq!(check(&store).unwrap(), [], "a quick check does not read it");
    let found = check_deep(&store, 1).unwrap();
    assert!(
        found.iter().any(|damage| damage.why.contains("not the one it was made from")),
        "{found:?}"
    );
    fs::write(&path, [0; 64]).unwrap();
    let found = check_deep(&store, 1).unwrap();
    assert!(found.iter().any(|damage| damage.why.contains("cannot be replayed")), "{found:?}");
}
