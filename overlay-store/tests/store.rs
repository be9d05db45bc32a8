//! Whole stores: built, checked, published, taken over; and what the check says of damage.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may panic"
)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use oci_digest::Digest;
use overlay_store::{
    Builder, Expected, Image, LayerEntry, Occupant, Store, check, occupant, publish, user_of,
};
use support::{Header, Place, Tar, budget, skip_without_root};

/// Two images over one base layer.
fn build(builder: &Builder) -> Vec<Image> {
    let base = Tar::default().dir("bin/").file("bin/sh", b"shell").end();
    let tops = [
        Tar::default()
            .member(&Header { name: b"one", uid: 42, gid: 43, size: 1, ..Header::default() }, b"1")
            .end(),
        Tar::default().file(".wh.bin", b"").end(),
    ];
    let mut images = Vec::new();
    for (number, top) in tops.iter().enumerate() {
        let layers = [&base, top];
        let diff_ids: Vec<Digest> = layers.iter().map(|tar| Digest::of(tar)).collect();
        let ids = overlay_store::id::layer_ids(&diff_ids);
        for (index, tar) in layers.iter().enumerate() {
            if builder.layer(&ids[index]).unwrap().is_none() {
                let expected = Expected {
                    blob: Digest::of(tar),
                    size: tar.len() as u64,
                    diff_id: Digest::of(tar),
                };
                builder.write_layer(&ids, index, &expected, &budget(), tar.as_slice()).unwrap();
            }
        }
        images.push(Image {
            names: vec![format!("registry.test/image{number}:1")],
            config: format!("{{\"rootfs\":{number}}}").into_bytes(),
            manifests: vec![format!("{{\"manifest\":{number}}}").into_bytes()],
            lists: if number == 0 { vec![b"{\"list\":0}".to_vec()] } else { vec![] },
            layers: ids,
            created: Some("2024-05-06T07:08:09Z".to_owned()),
        });
    }
    builder.finish(&images, &[("record.json", b"{}")]).unwrap();
    images
}

fn built(place: &Place) -> PathBuf {
    let path = place.directory.path().join("store");
    build(&Builder::open(&path).unwrap());
    path
}

/// Everything of a tree that must be the same in two runs: all but inode, ctime and atime.
fn listing(directory: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let content = match metadata.file_type() {
            kind if kind.is_file() => Digest::of(&fs::read(&path).unwrap()).to_string(),
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
            _ => String::new(),
        };
        if metadata.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        out.push(format!(
            "{} {:o} {}:{} {} {}.{} {} {content}",
            path.strip_prefix(directory).unwrap().display(),
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.rdev(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            if metadata.is_dir() { 0 } else { metadata.len() },
        ));
    }
    out.sort();
    out
}

#[test]
fn a_store_is_whole_and_the_same_each_time() {
    if skip_without_root() {
        return;
    }
    let (one, other) = (Place::new(), Place::new());
    let path = built(&one);
    let store = Store::open(&path).unwrap();
    assert_eq!((store.layers.len(), store.images.len()), (3, 2));
    assert_eq!(check(&store).unwrap(), []);
    assert_eq!(
        store.layers.iter().filter(|layer| layer.uids == [42] && layer.gids == [43]).count(),
        1
    );
    let listed = store
        .images
        .iter()
        .find(|image| image.names.as_ref().unwrap()[0].contains("image0"))
        .unwrap();
    assert_eq!(listed.digest, Some(Digest::of(b"{\"list\":0}")), "Podman shows the list's digest");
    assert_eq!(listing(&path), listing(&built(&other)));
}

#[test]
fn building_goes_on_after_a_crash() {
    if skip_without_root() {
        return;
    }
    let place = Place::new();
    let path = built(&place);
    let whole = listing(&path);
    let layer = fs::read_dir(path.join("overlay"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.join("lower").exists())
        .unwrap();
    // Half a layer, foreign remains, and a finish that was cut off.
    fs::remove_file(layer.join("verified")).unwrap();
    fs::remove_file(path.join("overlay-images/images.json")).unwrap();
    fs::create_dir_all(path.join("overlay/deadbeef/diff/x")).unwrap();
    fs::write(path.join("overlay-layers/old.tar-split.gz"), b"").unwrap();
    fs::write(path.join("record.json"), b"half").unwrap();
    build(&Builder::open(&path).unwrap());
    assert_eq!(listing(&path), whole);
}

#[test]
fn names_and_layers_must_be_right() {
    if skip_without_root() {
        return;
    }
    let place = Place::new();
    let builder = Builder::open(&place.directory.path().join("store")).unwrap();
    let images = build(&builder);
    let mut twice = images.clone();
    twice[1].names.clone_from(&images[0].names);
    assert!(builder.finish(&twice, &[]).unwrap_err().to_string().contains("stand twice"));
    let mut missing = images;
    missing[0].layers.push("0".repeat(64));
    assert!(builder.finish(&missing, &[]).unwrap_err().to_string().contains("not there"));
}

#[test]
fn damage_is_found_and_named() {
    if skip_without_root() {
        return;
    }
    type Harm = fn(&Path, &Path, &Path);
    let table: &[(&str, &str, Harm)] = &[
        ("no diff", "/diff: missing", |_, layer, _| {
            fs::remove_dir_all(layer.join("diff")).unwrap()
        }),
        ("layer gone", "/verified: missing", |_, layer, _| fs::remove_dir_all(layer).unwrap()),
        ("diff open", "should be 0555", |_, layer, _| {
            fs::set_permissions(layer.join("diff"), fs::Permissions::from_mode(0o777)).unwrap()
        }),
        ("no marker", "never verified", |_, layer, _| {
            fs::remove_file(layer.join("verified")).unwrap()
        }),
        ("no lower", "/lower: missing", |_, layer, _| {
            fs::remove_file(layer.join("lower")).unwrap()
        }),
        ("wrong lower", "/lower: wrong content", |_, layer, _| {
            fs::write(layer.join("lower"), "l/X").unwrap()
        }),
        ("wrong link", "/link: wrong content", |_, layer, _| {
            fs::write(layer.join("link"), "X").unwrap()
        }),
        ("links gone", "overlay/l/", |store, _, _| {
            fs::remove_dir_all(store.join("overlay/l")).unwrap()
        }),
        ("no split", "tar-split.gz: missing", |store, layer, _| {
            let id = layer.file_name().unwrap().to_str().unwrap();
            fs::remove_file(store.join(format!("overlay-layers/{id}.tar-split.gz"))).unwrap();
        }),
        ("empty split", "empty or not", |store, layer, _| {
            let id = layer.file_name().unwrap().to_str().unwrap();
            fs::write(store.join(format!("overlay-layers/{id}.tar-split.gz")), b"").unwrap();
        }),
        ("no lock", "layers.lock: missing", |store, _, _| {
            fs::remove_file(store.join("overlay-layers/layers.lock")).unwrap()
        }),
        ("token", "token does not match", |store, _, _| {
            fs::write(store.join("overlay-images/images.lock"), "0").unwrap()
        }),
        ("no manifest", "/manifest: missing", |_, _, image| {
            fs::remove_file(image.join("manifest")).unwrap()
        }),
        ("other manifest", "its digest is", |_, _, image| {
            fs::write(image.join("manifest"), b"{}").unwrap()
        }),
        ("more layers", "no list speaks of it", |store, _, _| {
            fs::create_dir(store.join("overlay/extra")).unwrap()
        }),
        ("open store", "mode must be 0700", |store, _, _| {
            fs::set_permissions(store.join("overlay"), fs::Permissions::from_mode(0o755)).unwrap()
        }),
    ];
    for (what, wanted, harm) in table {
        let place = Place::new();
        let path = built(&place);
        let find = |directory: &str, file: &str| {
            fs::read_dir(path.join(directory))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .find(|path| path.join(file).exists())
                .unwrap()
        };
        harm(&path, &find("overlay", "lower"), &find("overlay-images", "manifest"));
        let damage = check(&Store::open(&path).unwrap()).unwrap();
        assert!(
            damage.iter().any(|damage| damage.to_string().contains(wanted)),
            "{what}: {damage:?}"
        );
    }
    let place = Place::new();
    let path = built(&place);
    fs::write(path.join("overlay-images/images.json"), b"[{").unwrap();
    assert!(Store::open(&path).unwrap_err().to_string().contains("images.json"));
}

#[test]
fn publishing_exchanges() {
    if skip_without_root() {
        return;
    }
    let place = Place::new();
    let (target, made) = (place.directory.path().join("target"), built(&place));
    assert_eq!(occupant(&target).unwrap(), Occupant::Nothing);
    publish(&made, &target).unwrap();
    assert!(!made.exists() && target.join("record.json").exists());
    assert_eq!(occupant(&target).unwrap(), Occupant::Ours);
    Builder::open(&made).unwrap().finish(&[], &[]).unwrap();
    assert_eq!(occupant(&made).unwrap(), Occupant::Empty, "a skeleton counts as empty");
    publish(&made, &target).unwrap();
    assert!(made.join("record.json").exists(), "what was there is kept for the caller");
    assert_eq!(occupant(&target).unwrap(), Occupant::Empty);
}

#[test]
fn layers_are_taken_over_by_links() {
    if skip_without_root() {
        return;
    }
    let place = Place::new();
    let old = built(&place);
    let new = place.directory.path().join("new");
    let builder = Builder::open(&new).unwrap();
    let store = Store::open(&old).unwrap();
    for layer in &store.layers {
        assert!(builder.link_layer(&old, &layer.id).unwrap());
    }
    assert!(!builder.link_layer(&old, &"0".repeat(64)).unwrap(), "a layer that is not there");
    let whole = listing(&old);
    build(&builder);
    assert_eq!(listing(&new), whole);
    let id = &store.layers.iter().find(|layer| layer.parent.is_none()).unwrap().id;
    let inode =
        |store: &Path| store.join(format!("overlay/{id}/diff/bin/sh")).metadata().unwrap().ino();
    assert_eq!(inode(&old), inode(&new));
    fs::remove_file(old.join(format!("overlay/{id}/verified"))).unwrap();
    assert!(!builder.link_layer(&old, id).unwrap(), "a layer that was never verified");
    // Whatever a link in a store leads to is not a layer of that store.
    let other = store.layers.iter().find(|layer| layer.parent.is_some()).unwrap();
    for path in [format!("overlay/{}", other.id), "overlay-layers".to_owned(), "overlay".to_owned()]
    {
        let (real, away) = (old.join(&path), place.directory.path().join("away"));
        fs::rename(&real, &away).unwrap();
        std::os::unix::fs::symlink(&away, &real).unwrap();
        assert!(!builder.link_layer(&old, &other.id).unwrap(), "{path} is a link");
        fs::remove_file(&real).unwrap();
        fs::rename(&away, &real).unwrap();
    }
    assert!(builder.link_layer(&old, &other.id).unwrap());
}

#[test]
fn a_store_in_use_is_seen() {
    if skip_without_root() {
        return;
    }
    let place = Place::new();
    let path = built(&place);
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(user_of(&path, &[], &mountinfo).unwrap(), None, "nothing uses a new store");
}

/// What stands where a store is to be made may have come with a hostile root.
#[test]
fn planted_links_are_never_walked() {
    if skip_without_root() {
        return;
    }
    let place = Place::new();
    let outside = place.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), b"precious").unwrap();
    let link = |to: &Path, at: PathBuf| std::os::unix::fs::symlink(to, at).unwrap();

    let top = place.directory.path().join("top");
    fs::create_dir(&top).unwrap();
    link(&outside, top.join("overlay"));
    assert!(Builder::open(&top).is_err());
    assert!(Builder::existing(&top).is_none());
    link(&outside, place.directory.path().join("whole"));
    assert!(Builder::open(&place.directory.path().join("whole")).is_err());

    let store = place.directory.path().join("store");
    let builder = Builder::open(&store).unwrap();
    let (file, nowhere) = (outside.join("file"), outside.join("new"));
    link(&file, store.join("overlay-images/images.json"));
    link(&nowhere, store.join("overlay-layers/layers.lock"));
    link(&nowhere, store.join("record.json"));
    link(&outside, store.join("overlay/l/X"));
    let ids = overlay_store::id::layer_ids(&[Digest::of(
        &Tar::default().dir("bin/").file("bin/sh", b"shell").end(),
    )]);
    link(&outside, store.join("overlay").join(&ids[0]));
    assert!(builder.layer(&ids[0]).unwrap().is_none(), "a link is not a layer");
    build(&builder);
    assert_eq!(check(&Store::open(&store).unwrap()).unwrap(), []);
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "nothing was made outside");
    assert!(store.join("record.json").symlink_metadata().unwrap().is_file());
}

/// A layer that lies in the working directory is read before it is used.
#[test]
fn layers_are_proved_before_use() {
    if skip_without_root() {
        return;
    }
    let place = Place::new();
    let path = built(&place);
    let builder = Builder::open(&path).unwrap();
    let store = Store::open(&path).unwrap();
    let base = store.layers.iter().find(|layer| layer.parent.is_none()).unwrap();
    let (ids, diff_id) = ([base.id.clone()], base.diff_id.unwrap());
    assert!(builder.proved_layer(&ids, 0, diff_id).unwrap().is_some());
    assert!(builder.layer(&base.id).unwrap().is_some());
    fs::write(path.join(format!("overlay/{}/diff/bin/sh", base.id)), b"SHELL").unwrap();
    assert!(builder.layer(&base.id).unwrap().is_some(), "its marker is there");
    assert!(builder.proved_layer(&ids, 0, diff_id).unwrap().is_none());
    assert!(!path.join("overlay").join(&base.id).exists(), "what is not right is removed");
}

/// What is wrong is told within bounds, and a list that is none takes no time.
#[test]
fn a_hostile_list_is_refused_and_not_walked() {
    let place = tempfile::tempdir().unwrap();
    let entry = |number: usize, parent: Option<usize>| LayerEntry {
        id: format!("{number:064x}"),
        parent: parent.map(|number| format!("{number:064x}")),
        created: String::new(),
        blob: None,
        blob_size: None,
        diff_id: None,
        size: None,
        compression: 0,
        uids: Vec::new(),
        gids: Vec::new(),
    };
    let store = |count: usize| Store {
        directory: place.path().to_owned(),
        layers: (0..count).map(|number| entry(number, number.checked_sub(1))).collect(),
        images: Vec::new(),
    };
    // Four lists and locks, and the directory: nothing of the layers is looked at.
    let found = check(&store(150_000)).unwrap();
    assert_eq!(found.len(), 6, "{found:?}");
    assert!(found.iter().any(|damage| damage.why.contains("150000 entries")), "{found:?}");
    let found = check(&store(10_000)).unwrap();
    assert_eq!(found.len(), 1001);
    let rest = found.iter().find(|damage| damage.why.contains("more than 1000 things")).unwrap();
    assert_eq!(rest.subject, "", "all of the store is doubtful");
}
