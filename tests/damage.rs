//! Damaged stores: what is said of them, what is mended, and that nothing spreads; of plain roots, and of a host.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::type_complexity)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use common::host::{Machine, NEW, ONE, TWO, id};
use common::images::two_images;
use common::{World, assert_same, have, picture};

/// What was done to a store, and the file that must be named.
type Harm = (&'static str, fn(&World) -> String);

fn top_layer(world: &World) -> String {
    world.record()["bindings"][0]["layers"][1]["id"].as_str().unwrap().to_owned()
}

const HARMS: &[Harm] = &[
    ("a byte of a manifest", |world| {
        let image = world.record()["bindings"][0]["image"].as_str().unwrap().to_owned();
        let path = format!("overlay-images/{image}/manifest");
        let mut bytes = fs::read(world.store().join(&path)).unwrap();
        bytes[20] ^= 1;
        fs::write(world.store().join(&path), bytes).unwrap();
        path
    }),
    ("a layer's directory", |world| {
        let path = format!("overlay/{}", top_layer(world));
        fs::remove_dir_all(world.store().join(&path)).unwrap();
        path
    }),
    ("lower", |world| {
        let path = format!("overlay/{}/lower", top_layer(world));
        fs::remove_file(world.store().join(&path)).unwrap();
        path
    }),
    ("link", |world| {
        let path = format!("overlay/{}/link", top_layer(world));
        fs::write(world.store().join(&path), "ABCDEFGHIJKLMNOPQRSTUVWXYZ").unwrap();
        path
    }),
    ("the short link", |world| {
        let link =
            fs::read_to_string(world.store().join(format!("overlay/{}/link", top_layer(world))));
        let path = format!("overlay/l/{}", link.unwrap());
        fs::remove_file(world.store().join(&path)).unwrap();
        path
    }),
    ("tar-split", |world| {
        let path = format!("overlay-layers/{}.tar-split.gz", top_layer(world));
        fs::remove_file(world.store().join(&path)).unwrap();
        path
    }),
    ("a cut images.json", |world| {
        let path = "overlay-images/images.json".to_owned();
        let text = fs::read(world.store().join(&path)).unwrap();
        fs::write(world.store().join(&path), &text[..text.len() / 2]).unwrap();
        "overlay-images".to_owned()
    }),
    ("an empty layers.json", |world| {
        fs::write(world.store().join("overlay-layers/layers.json"), "").unwrap();
        "overlay-layers".to_owned()
    }),
    ("the token of a lock", |world| {
        let path = "overlay-layers/layers.lock".to_owned();
        fs::write(world.store().join(&path), "0".repeat(64)).unwrap();
        path
    }),
    ("a cut record", |world| {
        let path = world.store().join("bound-images.json");
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        "bound-images.json".to_owned()
    }),
    ("a directory that others may enter", |world| {
        let path = world.store().join("overlay");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        "overlay".to_owned()
    }),
    ("a layer that nobody knows", |world| {
        let path = format!("overlay/{}", "0".repeat(64));
        fs::create_dir(world.store().join(&path)).unwrap();
        path
    }),
];

/// A path as people are shown it: ids cut to their first 12 digits.
fn short(path: &str) -> String {
    let cut = |part: &str| match part.get(..64) {
        Some(id) => format!("{}{}", &id[..12], &part[64..]),
        None => part.to_owned(),
    };
    path.split('/').map(cut).collect::<Vec<_>>().join("/")
}

#[test]
fn damage_is_reported_kept_and_repaired_only_on_demand() {
    if !have(&["python3"]) {
        return;
    }
    let world = two_images();
    world.stage(&[]).expect(0, &[]);
    let whole = picture(&world.store());
    for (what, harm) in HARMS {
        let file = harm(&world);
        let harmed = picture(&world.store());
        let verdict = world.run("verify", &[]);
        assert_eq!(verdict.code, Some(1), "{what}: {}", verdict.all());
        let names = |text: &str| text.contains(&file) || text.contains(&short(&file));
        assert!(names(&verdict.out), "{what}: {file} is not named: {}", verdict.all());
        let commands = verdict.out.matches("`bound-images stage").count();
        assert_eq!(commands, 1, "{what}: not one next step: {}", verdict.all());
        let value = world.run("verify", &["--format", "json"]).json().remove(0);
        assert_eq!(value["complete"], false, "{what}");
        let paths = value["problems"].as_array().unwrap().iter();
        let mut paths = paths.filter_map(|problem| problem["path"].as_str());
        assert!(paths.any(|path| path.contains(&file)), "{what}: not in full: {value}");
        let refused = world.stage(&[]);
        assert_eq!(refused.code, Some(1), "{what}: {}", refused.all());
        let (root, bundle) = (world.root(), world.path("bundle"));
        let (root, bundle) = (root.display(), bundle.display());
        let repair = format!("`bound-images stage --root {root} --bundle {bundle} --repair`");
        refused.says(&[&repair, "damaged"]);
        assert!(names(&refused.err), "{what}: {file} is not named: {}", refused.all());
        assert_same(&harmed, &picture(&world.store()), &format!("{what}: silently changed"));
        world.stage(&["--repair"]).expect(0, &["Staged 2 images"]);
        assert_same(&whole, &picture(&world.store()), &format!("{what}: repaired"));
        world.run("verify", &[]).expect(0, &["is complete"]);
    }
}

/// With such lists a deep check sees no layer, so none may be taken over.
#[test]
fn a_repair_of_a_store_whose_lists_are_gone_believes_nothing_in_it() {
    if !have(&["python3"]) {
        return;
    }
    for list in ["overlay-layers/layers.json", "overlay-images/images.json"] {
        for content in [&b"[{"[..], b"[]", b"null", b""] {
            let world = two_images();
            world.stage(&[]).expect(0, &[]);
            let whole = picture(&world.store());
            let files = common::containing(&world.store().join("overlay"), "1");
            let file =
                files.iter().find(|path| path.components().any(|part| part.as_os_str() == "diff"));
            fs::write(file.unwrap(), "planted").unwrap();
            fs::write(world.store().join(list), content).unwrap();
            world.stage(&["--repair"]).expect(0, &["Staged 2 images"]);
            world.run("verify", &["--deep"]).expect(0, &["every file"]);
            assert_same(&whole, &picture(&world.store()), list);
        }
    }
}

#[test]
fn damage_does_not_spread_to_the_next_root() {
    if !have(&["python3"]) {
        return;
    }
    let host = Machine::new();
    host.stage(&["--late-binding"]).expect(0, &["Staged"]);
    let store = host.pool().join("roots").join(host.link("a").unwrap());
    let file = fs::read_dir(store.join("overlay"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("diff/name"))
        .find(|path| path.is_file())
        .unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes.push(b'x');
    fs::write(&file, bytes).unwrap();
    host.run(&["verify"]).expect(0, &["is complete"]);
    let verified = host.run(&["verify", "--deep"]);
    verified.expect(1, &["one.container", "diff/name: its size should be"]);
    let fix = "bound-images stage --root aaaaaaaaaaaa.0 --repair";
    assert_eq!(verified.out.matches("bound-images stage").count(), 1, "{}", verified.all());
    verified.says(&[fix]);
    // It is known from now on, and the same images are not linked from there.
    host.run(&["verify"]).expect(1, &["deep verification", fix]);
    host.run(&["list"]).expect(1, &["damaged", "present"]);
    assert_eq!(host.root("a")["state"], "incomplete");
    host.deploy("c", &[("one", ONE), ("two", TWO)]);
    host.stage_root("c");
    symlink(host.link("a").unwrap(), host.pool().join("roots").join(id("c"))).unwrap();
    host.run(&["gate"]).expect(1, &["held back", "deep verification"]);
    fs::remove_file(host.pool().join("roots").join(id("c"))).unwrap();
    host.deploy("b", &[("one", ONE), ("two", TWO)]);
    host.stage_root("b");
    host.stage(&[]).expect(0, &["Staged 2 images"]);
    assert_ne!(host.link("a"), host.link("b"));
    host.run(&["verify", "--deep", "--root", "staged"]).expect(0, &["every file"]);
    host.run(&["gate"]).expect(0, &["complete"]);
    // What is repaired is as good as new.
    host.stage(&["--root", "booted"]).expect(0, &["Linked"]);
    host.run(&["list"]).expect(0, &["present"]);
    assert_eq!(host.root("a")["state"], "complete");
}

/// Nobody verified before: the repair itself finds what is wrong, and where else it is wrong.
#[test]
fn a_repair_takes_nothing_from_stores_that_share_the_damage() {
    if !have(&["python3"]) {
        return;
    }
    let host = Machine::new();
    host.stage(&["--root", "booted"]).expect(0, &["Staged 2 images"]);
    host.deploy("b", &[("one", ONE), ("new", NEW)]);
    host.stage_root("b");
    host.stage(&[]).expect(0, &["Staged 2 images"]);
    let store = host.pool().join("roots").join(host.link("a").unwrap());
    let shared = fs::read_dir(store.join("overlay"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("diff/name"))
        .find(|path| fs::metadata(path).is_ok_and(|metadata| metadata.nlink() > 1))
        .unwrap();
    fs::write(&shared, "planted").unwrap();
    let repaired = host.stage(&["--root", "booted", "--repair"]);
    repaired.expect(0, &["reading every file of 3 layers", "[3/3] read layer", "Staged 2 images"]);
    let later = "note: the store that is mounted stays as it is until the next boot";
    assert!(repaired.err.contains(later), "{}", repaired.all());
    host.run(&["verify", "--deep", "--root", "booted"]).expect(0, &["every file"]);
    host.run(&["list", "--root", "staged"]).expect(1, &["damaged", "present"]);
    host.run(&["gate"]).expect(1, &["deep verification"]);
    let events = host.stage(&["--root", "staged", "--repair", "--format", "json"]).json();
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!((named("reading"), named("read")), (1, 3));
    host.run(&["gate"]).expect(0, &["is complete"]);
}

/// Nobody knows what else happened to a store whose lists cannot be read.
#[test]
fn nothing_is_taken_from_a_store_whose_lists_are_broken() {
    if !have(&["python3"]) {
        return;
    }
    for more in [&[][..], &["--repair"]] {
        let host = Machine::new();
        host.stage(&["--root", "booted"]).expect(0, &["Staged 2 images"]);
        let store = host.pool().join("roots").join(host.link("a").unwrap());
        for entry in fs::read_dir(store.join("overlay")).unwrap() {
            let file = entry.unwrap().path().join("diff/name");
            if file.is_file() {
                fs::write(file, "planted").unwrap();
            }
        }
        fs::write(store.join("overlay-layers/layers.json"), "[{").unwrap();
        host.stage(&[&["--root", "booted"][..], more].concat()).expect(0, &["Staged 2 images"]);
        host.run(&["verify", "--deep"]).expect(0, &["every file"]);
        // Another root does not take them from the broken store, either, which is still there.
        host.deploy("b", &[("one", ONE), ("new", NEW)]);
        host.stage_root("b");
        host.stage(&[]).expect(0, &["Staged 2 images"]);
        host.run(&["verify", "--deep", "--root", "staged"]).expect(0, &["every file"]);
        host.run(&["release", "staged", "--reason", "why"]).expect(2, &["it needs no release"]);
    }
}
