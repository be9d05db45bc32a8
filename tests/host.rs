//! Roots of a host and their pool, on fixtures: deployments as ostree lays them out, in a directory
//! that stands for the running system.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Stdio;

use common::host::{Machine, NEW, ONE, TWO, composefs_root, id, staged_file};
use common::images::small;
use common::{PROGRAM, Ran, assert_same, have, picture};
use serde_json::Value;

#[test]
fn an_upgrade_is_staged_held_back_and_let_pass() {
    if !have(&["python3"]) {
        return;
    }
    let host = Machine::new();
    host.run(&["gate"]).expect(0, &["no root is staged"]);
    host.stage(&["--late-binding"]).expect(0, &["Staged 2 images"]);
    host.run(&["verify"]).expect(0, &["is complete"]);
    host.run(&["list"]).expect(0, &["one.container", "present"]);

    // One image stays, one goes, one is new.
    host.deploy("b", &[("one", ONE), ("new", NEW)]);
    host.stage_root("b");
    let held = host.run(&["gate"]);
    held.expect(1, &["the update is held back", "new.container", "and 1 more"]);
    assert_eq!(held.out.lines().count(), 1, "{}", held.all());
    assert_eq!(host.root("b")["state"], "incomplete");
    let done = host.stage(&["--format", "json"]).json();
    let done = done.last().unwrap();
    assert_eq!((&done["result"], &done["images"]), (&"published".into(), &2.into()));
    host.run(&["gate"]).expect(0, &["is complete"]);
    assert_eq!(
        (host.root("a")["state"].clone(), host.root("b")["state"].clone()),
        ("complete".into(), "complete".into())
    );
    assert_ne!(host.link("a"), host.link("b"));

    // What the two have in common is there once.
    let inode = |letter: &str| {
        let target = host.pool().join("roots").join(host.link(letter).unwrap());
        let layers = fs::read_dir(target.join("overlay")).unwrap();
        let mut inodes: Vec<u64> = layers
            .filter_map(|entry| {
                Some(fs::metadata(entry.unwrap().path().join("verified")).ok()?.ino())
            })
            .collect();
        inodes.sort_unstable();
        inodes
    };
    let (of_a, of_b) = (inode("a"), inode("b"));
    assert!(of_a.iter().any(|inode| of_b.contains(inode)), "{of_a:?} {of_b:?}");
    assert!(host.root("a")["own_bytes"].as_u64() < host.root("a")["bytes"].as_u64());

    // B runs, and A can be rolled back to; then A is gone, and its store with it.
    host.boot("b");
    host.run(&["gc"]).expect(0, &["Nothing to remove"]);
    host.undeploy("a");
    host.run(&["gc", "--dry-run"]).expect(0, &["store", "Nothing was removed"]);
    assert_eq!(host.stores(), 2);
    host.run(&["gc"]).expect(0, &["1 store removed"]);
    assert_eq!((host.stores(), host.link("a")), (1, None));
    host.run(&["verify", "--deep"]).expect(0, &["every file is as its layer has it"]);
}

#[test]
fn a_record_that_does_not_change_costs_one_link() {
    if !have(&["python3"]) {
        return;
    }
    let host = Machine::new();
    host.stage(&["--late-binding"]).expect(0, &["Staged 2 images"]);
    host.deploy("b", &[("one", ONE), ("two", TWO)]);
    host.stage_root("b");
    host.stage(&[]).expect(0, &["Linked to the store", "nothing was fetched"]);
    assert_eq!((host.stores(), host.link("a")), (1, host.link("b")));
    host.stage(&[]).expect(0, &["Nothing to do"]);
    host.run(&["gate"]).expect(0, &["is complete"]);
    assert_eq!(fs::read_dir(host.pool().join("partial")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(host.pool().join("wanted")).unwrap().count(), 0);
}

#[test]
fn an_update_that_was_held_back_goes_on_after_the_reboot() {
    if !have(&["python3"]) {
        return;
    }
    const STAGE: &str = "; at once: `bound-images stage`";
    let host = Machine::new();
    host.stage(&["--late-binding"]).expect(0, &["Staged"]);
    host.deploy("b", &[("one", ONE), ("new", NEW)]);
    host.stage_root("b");
    // The bundle that lacks the new image stands for a registry that is down.
    fs::rename(host.world.path("bundle"), host.world.path("later")).unwrap();
    small(&host.world, ONE);
    let failed = host.stage(&[]);
    failed.expect(1, &["new.container"]);
    host.run(&["gate", "--remember"]).expect(1, &["held back"]);

    // A boots again: nothing is staged, but it is known why, and what was wanted.
    host.boot("a");
    host.undeploy("b");
    let status = host.run(&["status"]);
    status.expect(1, &["held back", "new.container", "Fetched in the background", STAGE]);
    // Nothing names a root that is not there.
    assert!(!status.all().contains("--root"), "{}", status.all());
    assert_eq!(host.status()["fetched"], Value::Null);
    // The same image is not there either; who asks again later has lost nothing.
    host.stage(&[]).expect(3, &["new.container"]);
    fs::remove_dir_all(host.world.path("bundle")).unwrap();
    fs::rename(host.world.path("later"), host.world.path("bundle")).unwrap();
    host.run(&["gc"]).expect(0, &[]);
    host.stage(&[]).expect(0, &["All images", "stage the update again"]);
    let status = host.run(&["status"]);
    status.expect(1, &["held back", "All images of bbbbbbbbbbbb.0 are here", "`bootc upgrade`"]);
    for gone in ["is missing", "Fetched in the background", "--root"] {
        assert!(!status.all().contains(gone), "{gone}: {}", status.all());
    }
    assert_eq!(host.status()["fetched"], serde_json::json!([id("b")]));

    // The same commit again, with another serial number and no registry: nothing is fetched.
    fs::rename(host.world.path("bundle"), host.world.path("later")).unwrap();
    small(&host.world, TWO);
    host.deploy("b", &[("one", ONE), ("new", NEW)]);
    let again = host.files("b").with_extension("1");
    fs::rename(host.files("b"), &again).unwrap();
    let serial = format!("{}.1", "b".repeat(64));
    fs::write(host.top().join("run/ostree/staged-deployment"), staged_file(&serial)).unwrap();
    let done = host.stage(&["--format", "json"]);
    let last = done.json().pop().unwrap();
    assert_eq!(last["result"], "published", "{}", done.all());
    assert_eq!(last["fetched"], 0, "{}", done.all());
    host.run(&["gate", "--remember"]).expect(0, &["is complete"]);
    assert!(host.status()["held_back"].is_null());
    host.run(&["gc"]).expect(0, &[]);
    assert_eq!(fs::read_dir(host.pool().join("wanted")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(host.pool().join("partial")).unwrap().count(), 0);
}

#[test]
fn a_root_is_named_by_the_digits_that_are_shown() {
    let host = Machine::new();
    for (typed, code, says) in [
        ("aaaaaaaaaaaa.0", 1, &["one.container"][..]),
        ("aaaaaaaa", 1, &["one.container"]),
        ("aaaaaaa", 3, &["aaaaaaa is no directory", "at least 8 digits", "`bound-images status`"]),
        ("aaaaaaaaaaaa.1", 3, &["no root of this host has an id that begins with aaaaaaaaaaaa.1 "]),
        ("bbbbbbbbbbbb.0", 3, &["begins with bbbbbbbbbbbb.0 ", "`bound-images status`"]),
        ("bbbbbbbb", 3, &["begins with bbbbbbbb ", "`bound-images status`"]),
        ("./aaaaaaaa", 3, &["cannot open the root ./aaaaaaaa"]),
    ] {
        host.run(&["list", "--root", typed]).expect(code, says);
    }
    host.run(&["release", "bbbbbbb", "--reason", "x"]).expect(3, &["at least 8 digits"]);
}

#[test]
fn the_gate_believes_nobody() {
    if !have(&["python3"]) {
        return;
    }
    let host = Machine::new();
    host.deploy("b", &[("one", ONE)]);
    host.stage_root("b");
    host.stage(&[]).expect(0, &["Staged 1 image"]);
    host.run(&["gate"]).expect(0, &["complete"]);
    let refuses = |what: &str| host.run(&["gate"]).expect(1, &["held back", what]);

    // A Quadlet was added after the root was staged.
    host.deploy("c", &[("two", TWO)]);
    let link = "usr/lib/bootc/bound-images.d/two.container";
    let quadlet = "usr/share/containers/systemd/two.container";
    for path in [link, quadlet] {
        fs::rename(host.files("c").join(path), host.files("b").join(path)).unwrap();
    }
    refuses("two.container");
    fs::remove_file(host.files("b").join(link)).unwrap();
    fs::remove_file(host.files("b").join(quadlet)).unwrap();
    host.run(&["gate"]).expect(0, &["complete"]);

    // An image is hidden from its service by the service's own arguments.
    let quadlet = host.files("b").join("usr/share/containers/systemd/one.container");
    let text = fs::read_to_string(&quadlet).unwrap();
    let hiding =
        format!("{text}GlobalArgs=--storage-opt=additionalimagestore=/usr/lib/bootc/storage\n");
    fs::write(&quadlet, hiding).unwrap();
    refuses("one.container");
    fs::write(&quadlet, text).unwrap();

    // The link leads to another root's store, to nothing, out of the pool.
    host.stage_root("c");
    host.deploy("c2", &[]);
    let link = host.pool().join("roots").join(id("b"));
    let right = fs::read_link(&link).unwrap();
    let relink = |target: &str| {
        fs::remove_file(&link).unwrap();
        symlink(target, &link).unwrap();
    };
    host.stage_root("b");
    relink(&format!("../stores/{}.0", "e".repeat(64)));
    refuses("one.container");
    relink("/etc");
    refuses("no store of the pool");
    host.deploy("d", &[("one", ONE), ("two", TWO)]);
    host.stage_root("d");
    host.stage(&[]).expect(0, &["Staged 2"]);
    host.stage_root("b");
    relink(&host.link("d").unwrap());
    refuses("two.container");
    relink(right.to_str().unwrap());
    host.run(&["gate"]).expect(0, &["complete"]);

    // A layer's directory is gone, though all lists have it.
    let store = host.pool().join("roots").join(&right);
    let layer = fs::read_dir(store.join("overlay"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.join("verified").is_file())
        .unwrap();
    fs::remove_dir_all(layer.join("diff")).unwrap();
    refuses("diff");
    // A damaged store is replaced by another one.
    host.stage(&[]).expect(0, &["Staged 1 image"]);
    host.run(&["gate"]).expect(0, &["complete"]);
    assert!(host.link("b").unwrap().ends_with(".1"), "{:?}", host.link("b"));

    // What is staged cannot be told, or is not there.
    fs::write(host.top().join("run/ostree/staged-deployment"), "garbage").unwrap();
    refuses("staged-deployment");
    host.run(&["status"]).expect(1, &["cannot be told whether a root is staged"]);
    host.stage_root("f");
    refuses("files are not there");
}

#[test]
fn what_is_made_is_made_in_the_pool_and_nowhere_else() {
    if !have(&["python3"]) {
        return;
    }
    let host = Machine::new();
    host.stage(&["--root", "booted"]).expect(0, &[]);
    let elsewhere = host.world.path("elsewhere");
    fs::create_dir_all(elsewhere.join("store/overlay")).unwrap();
    let before = picture(&elsewhere);
    let partial = host.pool().join("partial");
    for letter in ["b", "c"] {
        symlink(&elsewhere, partial.join(id(letter))).unwrap();
    }
    host.deploy("b", &[("one", ONE), ("new", NEW)]);
    host.stage_root("b");
    host.stage(&["--dry-run"]).expect(0, &["1 to fetch"]);
    host.stage(&[]).expect(0, &["Staged 2 images"]);
    assert_same(&before, &picture(&elsewhere), "a link in partial was followed");
    assert!(host.root("b")["state"] == "complete");
    // The pool's own directories are not ours when they are links.
    fs::remove_dir_all(&partial).unwrap();
    symlink(&elsewhere, &partial).unwrap();
    host.deploy("d", &[("new", NEW)]);
    host.stage_root("d");
    host.stage(&[]).expect(3, &["partial is not a directory that only root can write"]);
    assert_same(&before, &picture(&elsewhere), "a link to partial was followed");
}

/// An ostree commit that is deployed in two stateroots has the same id in both.
#[test]
fn a_staged_root_is_told_from_the_booted_one_by_its_stateroot() {
    if !have(&["python3"]) {
        return;
    }
    let host = Machine::new();
    let roles = || -> Vec<(String, String)> {
        let status = host.status();
        let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let roots = status["roots"].as_array().unwrap().iter();
        roots.map(|root| (word(&root["role"]), word(&root["stateroot"]))).collect()
    };
    let pairs = |wanted: &[(&str, &str)]| -> Vec<(String, String)> {
        wanted.iter().map(|(role, name)| ((*role).to_owned(), (*name).to_owned())).collect()
    };
    host.deploy_in("other", "a", &[("one", ONE), ("two", TWO)]);
    assert_eq!(roles(), pairs(&[("booted", "lab"), ("rollback", "other")]));
    host.stage_root_in("other", "a");
    assert_eq!(roles(), pairs(&[("booted", "lab"), ("staged", "other")]));
    host.run(&["gate"]).expect(1, &["must not boot yet"]);
    host.stage(&[]).expect(0, &["Staged 2 images"]);
    host.run(&["gate"]).expect(0, &["is complete"]);
    for words in [["verify", "--root", "booted"], ["verify", "--root", "staged"]] {
        host.run(&words).expect(0, &["is complete"]);
    }
    let ambiguous = host.run(&["verify", "--root", &id("a")]);
    ambiguous.expect(3, &["(booted, in lab)", "(staged, in other)"]);
    // Only the files of the staged one count for the gate.
    host.stage_root_in("third", "a");
    host.run(&["gate"]).expect(1, &["its files are not there"]);
}

#[test]
fn the_operator_can_release_a_root_once() {
    if !have(&["python3"]) {
        return;
    }
    let host = Machine::new();
    host.deploy("b", &[("gone", "registry.example/ns/gone:1"), ("one", ONE)]);
    host.stage_root("b");
    assert_ne!(host.stage(&[]).code, Some(0));
    host.run(&["gate"]).expect(1, &["held back"]);
    host.run(&["release", "staged", "--reason", ""]).expect(2, &["reason"]);
    host.run(&["release", "cccccccccc", "--reason", "x"]).expect(3, &["begins with cccccccccc"]);
    host.run(&["release", "staged", "--reason", "gone for good"]).expect(0, &["may boot"]);
    host.run(&["gate"]).expect(0, &["released", "gone for good"]);
    assert_eq!(host.root("b")["state"], "released");
    // One that only another release of the program understands is none.
    let release = host.pool().join("released").join(format!("{}.json", id("b")));
    let text = fs::read_to_string(&release).unwrap();
    fs::write(&release, text.replace("\"schema\":1", "\"schema\":2")).unwrap();
    host.run(&["gate"]).expect(1, &["held back", "has schema 2, and only 1 is known here"]);
    fs::write(&release, text).unwrap();
    host.run(&["gate"]).expect(0, &["released", "gone for good"]);

    // It boots and binds late what it can.
    host.boot("b");
    host.stage(&["--late-binding"]).expect(1, &["gone.container is missing", "Staged 1 image"]);
    host.run(&["verify"]).expect(1, &["gone.container"]);
    host.run(&["verify", "--health"]).expect(0, &["released"]);
    host.run(&["list"]).expect(1, &["present", "missing"]);
    // The next deployment of the same files was not released.
    fs::rename(host.files("b"), host.files("b").with_extension("1")).unwrap();
    let serial = format!("{}.1", "b".repeat(64));
    fs::write(host.top().join("run/ostree/staged-deployment"), staged_file(&serial)).unwrap();
    host.run(&["gate"]).expect(1, &["held back"]);
}

#[test]
fn who_waited_for_another_stage_looks_at_the_root_again() {
    if !have(&["python3"]) {
        return;
    }
    let host = Machine::new();
    host.deploy("b", &[("one", ONE), ("new", NEW)]);
    let quadlet = host.files("b").join("usr/share/containers/systemd/one.container");
    fs::write(&quadlet, format!("[Container]\nImage={ONE}\nUnknown=key\n")).unwrap();
    host.stage_root("b");
    host.stage(&[]).expect(0, &["Staged 2 images"]);
    // As if the other one were at it still: its lock is held, store and link are not there yet.
    let link = host.pool().join("roots").join(id("b"));
    let target = fs::read_link(&link).unwrap();
    fs::remove_file(&link).unwrap();
    let store = link.parent().unwrap().join(&target);
    let aside = host.pool().join("aside");
    fs::rename(&store, &aside).unwrap();
    let held = fs::File::open(host.pool().join("lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut command = host.world.command_of(PROGRAM);
    command.args(["stage", "--wait", "60", "--bundle"]).arg(host.world.path("bundle"));
    command.arg("--host").arg(host.top()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut waiting = command.spawn().unwrap();
    // The warning is written after the root was looked at, and before the pool is locked.
    let mut said = BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(!line.is_empty());
    // Not needed, but it makes sure that the pool was looked at, too.
    std::thread::sleep(std::time::Duration::from_millis(300));
    fs::rename(&aside, &store).unwrap();
    symlink(target, &link).unwrap();
    drop(held);
    said.read_to_string(&mut line).unwrap();
    let out = Ran::of(waiting.wait_with_output().unwrap());
    assert!(out.code == Some(0) && !out.out.contains("Staged"), "{}{line}", out.all());
    assert_eq!(line.matches("Unknown").count(), 1, "told twice: {line}");
    assert_eq!(host.stores(), 1);
}

#[test]
fn a_pool_with_foreign_things_in_it_and_two_writers() {
    if !have(&["python3"]) {
        return;
    }
    let host = Machine::new();
    let pool = host.pool();
    for directory in ["stores/not a store", "roots/x", "partial/y", "wanted/z.json", "lock.d"] {
        fs::create_dir_all(pool.join(directory)).unwrap();
    }
    fs::set_permissions(&pool, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::write(pool.join(format!("wanted/{}.json", id("e"))), "garbage").unwrap();
    fs::write(pool.join("damaged.json"), "garbage").unwrap();
    fs::create_dir_all(pool.join("stores").join(format!(".removing-{}.0", "a".repeat(64))))
        .unwrap();
    host.stage(&["--late-binding"]).expect(0, &["Staged 2 images"]);
    host.run(&["status"]).expect(0, &["complete"]);
    let held = fs::File::open(pool.join("lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    host.deploy("b", &[("new", NEW)]);
    host.stage_root("b");
    host.stage(&[]).expect(1, &["another stage of this host is running"]);
    host.run(&["gc"]).expect(3, &["a stage is running"]);
    host.run(&["gc", "--dry-run"]).expect(0, &["leftover"]);
    drop(held);
    host.stage(&[]).expect(0, &["Staged 1 image"]);
    host.run(&["gc"]).expect(0, &[]);
    for kept in ["stores/not a store", "roots/x", "partial/y", "wanted/z.json"] {
        assert!(pool.join(kept).exists(), "{kept} is not ours to remove");
    }
    assert!(!pool.join("stores").join(format!(".removing-{}.0", "a".repeat(64))).exists());
}

/// What a root has inside of it came with its image: it is not a source for others.
#[test]
fn a_store_inside_of_a_root_stays_there() {
    if !have(&["python3"]) {
        return;
    }
    let host = Machine::new();
    host.deploy("b", &[("two", TWO)]);
    let bundle = host.world.path("bundle");
    let plain = |letter: &str| {
        let mut command = host.world.command_of(PROGRAM);
        command.args(["stage", "--bundle"]).arg(&bundle).arg("--root").arg(host.files(letter));
        Ran::of(command.output().unwrap())
    };
    plain("b").expect(0, &["Staged 1 image"]);
    let inside = host.files("b").join("usr/lib/containers/storage");
    let layer = fs::read_dir(inside.join("overlay"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("diff/name"))
        .find(|path| path.is_file())
        .unwrap();
    let (content, time) =
        (fs::read(&layer).unwrap(), fs::metadata(&layer).unwrap().modified().unwrap());
    fs::write(&layer, "planted").unwrap();
    host.stage_root("b");
    host.stage(&[]).expect(0, &["Nothing to do"]);
    host.run(&["gate"]).expect(0, &["complete"]);
    // What a deep look found in it is remembered, until it is put right there.
    let words = ["verify", "--deep", "--root", "staged"];
    host.run(&words).expect(1, &["diff/name", "cannot be mended here"]);
    host.run(&["verify", "--root", "staged"]).expect(1, &["deep verification"]);
    host.run(&["list", "--root", "staged"]).expect(1, &["damaged"]);
    host.run(&["gate"]).expect(1, &["held back", "deep verification"]);
    host.stage(&[]).expect(1, &["that is damaged", "build the image anew"]);
    host.run(&["verify", "--deep", "--root", "booted"]).expect(1, &["no store"]);
    host.run(&["gate"]).expect(1, &["deep verification"]);
    fs::write(&layer, content).unwrap();
    fs::File::open(&layer).unwrap().set_modified(time).unwrap();
    host.run(&words).expect(0, &["every file"]);
    host.run(&["gate"]).expect(0, &["complete"]);
    // One more binding, and the store does not fit its root: nobody here can mend that.
    let quadlets = host.files("b").join("usr/share/containers/systemd");
    fs::write(quadlets.join("new.container"), format!("[Container]\nImage={NEW}\n")).unwrap();
    let link = host.files("b").join("usr/lib/bootc/bound-images.d/new.container");
    symlink("/usr/share/containers/systemd/new.container", link).unwrap();
    host.stage(&[]).expect(1, &["store inside of it", "build the image anew"]);
    host.run(&["gate"]).expect(1, &["held back"]);
    assert_eq!(host.stores(), 0);
    host.deploy("c", &[("two", TWO)]);
    host.stage_root("c");
    host.stage(&[]).expect(0, &["Staged 1 image"]);
    host.run(&["verify", "--deep", "--root", "staged"]).expect(0, &["every file"]);
}

#[test]
fn gc_removes_nothing_that_it_cannot_judge() {
    if !have(&["python3"]) {
        return;
    }
    let host = Machine::new();
    host.stage(&["--late-binding"]).expect(0, &["Staged"]);
    host.deploy("b", &[("new", NEW)]);
    host.stage_root("b");
    host.stage(&[]).expect(0, &["Staged"]);
    host.unstage();
    host.undeploy("b");
    // Podman's own store is elsewhere, and a container there stands on a layer of b's store.
    let layers = host.top().join("var/other/overlay-layers");
    fs::create_dir_all(&layers).unwrap();
    let store = host.pool().join("roots").join(host.link("b").unwrap());
    let list = fs::read(store.join("overlay-layers/layers.json")).unwrap();
    let list: Value = serde_json::from_slice(&list).unwrap();
    let top = list.as_array().unwrap().iter().find(|layer| layer["parent"].is_string()).unwrap();
    let mine = serde_json::json!([{"id": "f".repeat(64), "parent": top["id"]}]);
    fs::write(layers.join("layers.json"), mine.to_string()).unwrap();
    let conf = host.top().join("etc/containers/storage.conf");
    fs::create_dir_all(conf.parent().unwrap()).unwrap();
    fs::write(&conf, "[storage]\ndriver = 'overlay'\nrunroot = '/r'\ngraphroot = '/var/other'\n")
        .unwrap();
    host.run(&["gc"]).expect(0, &["kept: store", "stands on layer"]);
    // The deployments are out of sight, the booted one too.
    let (seen, gone) = (host.top().join("sysroot/ostree"), host.top().join("sysroot/ostree.x"));
    fs::rename(&seen, &gone).unwrap();
    host.run(&["gc"]).expect(0, &[]);
    assert_eq!((host.stores(), host.link("a").is_some()), (2, true));
    fs::rename(&gone, &seen).unwrap();
    fs::remove_file(&conf).unwrap();
    // What a kill left of a file that was being written goes with the rest.
    let left = [host.pool().join("wanted/.new-abc"), host.pool().join("roots/.new-x")];
    left.iter().for_each(|path| fs::write(path, "").unwrap());
    host.run(&["gc"]).expect(0, &["1 store removed"]);
    assert!(left.iter().all(|path| !path.exists()));
}

#[test]
fn a_full_and_a_read_only_pool_and_a_clock_that_jumps() {
    if !have(&["python3", "unshare"]) {
        return;
    }
    let host = Machine::new();
    fs::create_dir_all(host.pool()).unwrap();
    let script = |mount: &str, command: &str| {
        let mut shell = host.world.command_of("unshare");
        shell.args(["--mount", "--propagation", "private", "sh", "-euc"]).arg(format!(
            "mount -t tmpfs -o mode=0700,{mount} pool {pool}; {command} --host {top}",
            pool = host.pool().display(),
            top = host.top().display(),
        ));
        Ran::of(shell.output().unwrap())
    };
    let bundle = host.world.path("bundle");
    let stage = format!("{PROGRAM} stage --late-binding --bundle {}", bundle.display());
    let full = script("nr_inodes=40", &stage);
    assert_eq!(full.code, Some(3), "{}", full.all());
    full.says(&["nothing was staged", "inodes"]);
    let read_only = script("ro", &stage);
    assert!(matches!(read_only.code, Some(1 | 3)), "{}", read_only.all());
    read_only.says(&["read-only"]);

    // What is wanted since tomorrow is not old, and what was wanted in 1970 is still staged.
    host.stage(&["--late-binding"]).expect(0, &["Staged"]);
    host.deploy("b", &[("gone", "registry.example/ns/gone:1")]);
    host.stage_root("b");
    assert_ne!(host.stage(&[]).code, Some(0));
    let wish = host.pool().join(format!("wanted/{}.json", id("b")));
    for (time, staged) in [(4_000_000_000, false), (0, true)] {
        let times = rustix::fs::Timespec { tv_sec: time, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: times, last_modification: times };
        rustix::fs::utimensat(rustix::fs::CWD, &wish, &times, rustix::fs::AtFlags::empty())
            .unwrap();
        if staged {
            host.stage_root("b")
        } else {
            host.unstage()
        }
        host.run(&["gc"]).expect(0, &[]);
        assert!(wish.exists(), "{time}");
    }
    host.unstage();
    host.undeploy("b");
    host.run(&["gc"]).expect(0, &[]);
    assert!(!wish.exists(), "it waited for fifty years");
}

#[test]
fn roots_of_bootcs_composefs_backend() {
    if !have(&["python3", "mkfs.erofs"]) {
        return;
    }
    let known = fs::read_to_string("/proc/filesystems").unwrap();
    if !known.contains("erofs") {
        eprintln!("skipped: needs a kernel with erofs");
        return;
    }
    let host = Machine::new();
    let [a, b] = ["a", "b"].map(|letter| letter.repeat(128));
    host.undeploy("a");
    composefs_root(&host, &a, &[("one", ONE)]);
    composefs_root(&host, &b, &[("one", ONE), ("two", TWO)]);
    let mounts = format!(
        "30 1 0:9 / / ro - overlay composefs:{a} ro\n31 30 8:1 /state/deploy/{a}/etc /etc rw - ext4 /dev/vda rw\n"
    );
    fs::write(host.top().join("proc/self/mountinfo"), mounts).unwrap();
    fs::create_dir_all(host.top().join("run/composefs")).unwrap();
    let staged = format!("{{\"depl_id\":\"{b}\",\"finalization_locked\":false}}");
    fs::write(host.top().join("run/composefs/staged-deployment"), staged).unwrap();

    host.run(&["list", "--root", "staged"])
        .expect(1, &["one.container", "two.container", "missing"]);
    host.run(&["gate"]).expect(1, &["held back", "one.container"]);
    host.stage(&[]).expect(0, &["Staged 2 images"]);
    host.run(&["gate"]).expect(0, &["is complete"]);
    host.stage(&["--late-binding"]).expect(0, &["Staged 1 image"]);
    let status = host.run(&["status"]);
    status.expect(0, &["booted", "staged", "complete"]);
    host.run(&["verify", "--deep", "--root", "staged"]).expect(0, &["every file"]);
    // The image of a root is not there: nobody knows what it binds.
    fs::remove_file(host.top().join("sysroot/composefs/images").join(&b)).unwrap();
    host.run(&["gate"]).expect(1, &["held back", "is not there"]);
    host.run(&["status"]).expect(1, &["unknown"]);
}
