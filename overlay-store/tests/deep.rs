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
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use overlay_store::{Damage, LayerEntry, Store, Watch, check, check_deep, check_deep_watched};
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
        ("diff/etc/passwd", "its content was changed", |diff| {
            fs::write(diff.join("etc/passwd"), b"root:y:0:0").unwrap()
        }),
        ("diff/etc/passwd", "its size should be 10 bytes", |diff| {
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

/// One changed file hides no other: not those behind it in the stream, whatever became of it.
#[test]
fn all_changes_of_a_layer_are_found_at_once() {
    if skip_without_root() {
        return;
    }
    type Harm = fn(&Path);
    let first: &[(&str, Harm)] = &[
        ("its content was changed", |file| fs::write(file, b"root:y:0:0").unwrap()),
        ("its size should be 10 bytes", |file| fs::write(file, b"root").unwrap()),
        ("its size should be 10 bytes", |file| fs::write(file, [b'x'; 300_000]).unwrap()),
        ("is missing", |file| fs::remove_file(file).unwrap()),
        ("is a directory, should be Regular", |file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        }),
        ("is a symbolic link, should be Regular", |file| {
            fs::remove_file(file).unwrap();
            symlink("/etc/passwd", file).unwrap();
        }),
    ];
    for (wanted, harm) in first {
        let found = damage(|diff| {
            harm(&diff.join("etc/passwd"));
            fs::write(diff.join("future"), b"FAR").unwrap();
            fs::write(diff.join("sparse"), b"").unwrap();
            fs::write(diff.join("new"), b"").unwrap();
        });
        let is_told = |path: &str, why: &str| {
            found.iter().any(|damage| damage.path.ends_with(path) && damage.why.contains(why))
        };
        assert!(is_told("diff/etc/passwd", wanted), "{wanted}: {found:?}");
        assert!(is_told("diff/future", "its content was changed"), "{wanted}: {found:?}");
        assert!(is_told("diff/sparse", "has other content"), "{wanted}: {found:?}");
        assert!(is_told("diff/new", "is not in the layer"), "{wanted}: {found:?}");
        assert!(!found.iter().any(|damage| damage.why.contains("tar stream")), "{found:?}");
    }
}

#[test]
fn what_is_told_of_a_layer_has_an_end() {
    if skip_without_root() {
        return;
    }
    let place = Place::new();
    let names: Vec<String> = (0..1500).map(|number| format!("file-{number:04}")).collect();
    let tar = names.iter().fold(Tar::default(), |tar, name| tar.file(name, b"content")).end();
    let store = support::store_of(&place.path(), &[&tar]).unwrap();
    let diff = store.directory.join("overlay").join(&store.layers[0].id).join("diff");
    for name in &names {
        // Nothing but the content is another one.
        let time = fs::metadata(diff.join(name)).unwrap().modified().unwrap();
        fs::write(diff.join(name), b"CONTENT").unwrap();
        fs::File::open(diff.join(name)).unwrap().set_modified(time).unwrap();
    }
    let found = check_deep(&store, 1).unwrap();
    assert_eq!(found.len(), 101, "{found:?}");
    assert!(found.iter().any(|damage| damage.why == "and 1400 more differences"), "{found:?}");
}

#[test]
fn how_far_a_check_has_come_is_told() {
    if skip_without_root() {
        return;
    }
    let place = Place::new();
    let store = support::store_of(&place.path(), &[&layer(), b"".as_slice()]).unwrap();
    let (bytes, seen) = (Arc::new(AtomicU64::new(0)), Mutex::new(Vec::new()));
    let told = |layer: &LayerEntry| seen.lock().unwrap().push(layer.id.clone());
    let watch = Watch { bytes: Arc::clone(&bytes), layer: &told };
    assert_eq!(check_deep_watched(&store, 2, &watch).unwrap(), []);
    let all: u64 = store.layers.iter().map(|layer| layer.size.unwrap()).sum();
    assert_eq!(bytes.load(Ordering::Relaxed), all);
    let mut seen = seen.into_inner().unwrap();
    seen.sort();
    let mut wanted: Vec<String> = store.layers.iter().map(|layer| layer.id.clone()).collect();
    wanted.sort();
    assert_eq!(seen, wanted);
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
