//! `list`, `verify` and `stage` as a user runs them, on small roots.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::type_complexity)]

mod common;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::host::{ONE, TWO};
use common::images::{files, make, noise, small, two_images};
use common::registry::{Does, FakeRegistry};
use common::{PROGRAM, Ran, World, assert_same, end, have, picture, wait_until};
use rustix::process::Signal;

/// A registry that the root's commands may use.
fn registry_of(world: &World) -> FakeRegistry {
    let registry = FakeRegistry::start();
    fs::write(world.path("registries.conf"), registry.registries_conf()).unwrap();
    registry
}

#[test]
fn a_root_that_binds_nothing_is_complete() {
    if !have(&["python3"]) {
        return;
    }
    let world = World::new();
    let before = picture(&world.root());
    world.run("list", &[]).expect(0, &["binds no images"]);
    world.run("verify", &[]).expect(0, &["binds no images"]);
    world.run("stage", &[]).expect(0, &["othing to do"]);
    let done = world.run("stage", &["--format", "json"]);
    assert_eq!(done.json()[0]["result"], "no-bindings");
    assert_same(&before, &picture(&world.root()), "it was changed");
}

#[test]
fn a_binding_that_cannot_be_understood_is_not_none() {
    let world = World::new();
    world.link("x.container", "/usr/share/containers/systemd/none.container");
    let list = world.run("list", &[]);
    list.expect(1, &["No binding of ", " can be understood.", "dangling-link"]);
    assert!(!list.all().contains("binds no images"), "{}", list.all());
}

#[test]
fn a_foreign_store_that_was_typed_is_there() {
    if !have(&["python3"]) {
        return;
    }
    let world = two_images();
    fs::write(world.path("file"), "").unwrap();
    for (name, why) in [("none", "is not there"), ("file", "is no directory")] {
        let store = world.path(name);
        let refused = world.stage(&["--foreign-store", store.to_str().unwrap()]);
        refused.expect(2, &[store.to_str().unwrap(), why, "leave --foreign-store out"]);
        world.assert_unpublished(&refused);
    }
    let empty = world.path("empty");
    fs::create_dir(&empty).unwrap();
    world.stage(&["--foreign-store", empty.to_str().unwrap()]).expect(0, &["Staged 2 images"]);
}

/// As on a host: what the other one published while it was waited for is not made again.
#[test]
fn another_stage_of_a_directory_is_waited_for() {
    if !have(&["python3"]) {
        return;
    }
    let world = two_images();
    let parent = world.root().join("usr/lib/containers");
    fs::create_dir_all(&parent).unwrap();
    let lock = || {
        let held = fs::File::open(&parent).unwrap();
        rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
        held
    };
    let bundle = world.path("bundle");
    let wait = |between: &dyn Fn()| {
        let held = lock();
        let mut command = world.command("stage", &["--wait", "60", "--bundle"]);
        command.arg(&bundle).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut waiting = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        assert!(waiting.try_wait().unwrap().is_none(), "it does not wait");
        between();
        drop(held);
        Ran::of(waiting.wait_with_output().unwrap())
    };
    let held = lock();
    let refused = world.stage(&[]);
    refused.expect(1, &["another stage of this root is running", "`--wait SECONDS`"]);
    world.stage(&["--wait", "1"]).expect(1, &["another stage of this root is running"]);
    drop(held);
    wait(&|| ()).expect(0, &["Staged 2 images"]);
    let aside = world.path("aside");
    fs::rename(world.store(), &aside).unwrap();
    wait(&|| fs::rename(&aside, world.store()).unwrap()).expect(0, &["Nothing to do"]);
}

#[test]
fn list_verify_and_stage_end_as_documented() {
    if !have(&["python3"]) {
        return;
    }
    let world = two_images();
    let (list, verify) = (world.run("list", &[]), world.run("verify", &[]));
    list.expect(1, &["one.container", "two.container", "missing", "serves one.service"]);
    verify.expect(1, &["one.container", ONE, "bound-images stage", "2 problems"]);
    for line in list.out.lines() {
        assert!(line.chars().count() <= 80, "wider than a terminal: {line}");
    }
    let list = world.run("list", &["--format", "json"]).json().remove(0);
    assert_eq!(list["bindings"][0]["reference"], ONE);
    assert_eq!(list["bindings"][0]["state"], "missing");
    let verdict = world.run("verify", &["--format", "json"]).json().remove(0);
    assert_eq!((&verdict["complete"], &verdict["bindings"]), (&false.into(), &2.into()));

    let staged = world.stage(&[]);
    staged.expect(0, &["Staged 2 images", "verified; publishing"]);
    assert!(!world.work().exists(), "the working directory is left");
    let list = world.run("list", &[]);
    list.expect(0, &["present"]);
    assert!(!list.out.contains("missing"), "{}", list.all());
    world.run("verify", &[]).expect(0, &["is complete: 2 bindings"]);
    let listed = world.run("list", &["--format", "json"]).json().remove(0);
    assert_eq!(listed["bindings"][1]["state"], "present");
    assert_eq!(listed["bindings"][1]["manifest"], world.record()["bindings"][1]["manifest"]);
    assert!(listed["bindings"][1]["size"].as_u64().unwrap() > 1024);
    let verdict = world.run("verify", &["--format", "json"]).json().remove(0);
    assert_eq!(verdict["complete"], true);
    assert_eq!(verdict["store_id"], listed["store_id"]);

    let before = picture(&world.root());
    world.stage(&[]).expect(0, &["Nothing to do"]);
    let again = world.stage(&["--format", "json"]).json();
    assert_eq!(again.last().unwrap()["result"], "already-there");
    // Not even the source of the images is needed for that.
    world.run("stage", &[]).expect(0, &["Nothing to do"]);
    assert_same(&before, &picture(&world.root()), "the second stage changed something");
}

#[test]
fn what_was_typed_wrong_and_roots_that_are_not_there() {
    if !have(&[]) {
        return;
    }
    let world = World::new();
    let run = |words: &[&str]| Ran::of(world.command_of(PROGRAM).args(words).output().unwrap());
    for words in [
        &[][..],
        &["release"],
        &["list", "--root"],
        &["stage", "--root", "/", "--jobs", "0"],
        &["stage", "--root", "/", "--last-call"],
        &["x"],
    ] {
        run(words).expect(2, &["--help"]);
    }
    let top = world.root();
    let host = ["--host", top.to_str().unwrap()];
    run(&[&["stage"], &host[..]].concat()).expect(0, &["Nothing to do: no root is staged"]);
    run(&[&["gate"], &host[..]].concat()).expect(0, &["no root is staged"]);
    run(&[&["status"], &host[..]].concat()).expect(0, &["no roots"]);
    run(&[&["list", "--root", "staged"], &host[..]].concat()).expect(3, &["no staged root"]);
    for command in ["list", "verify", "stage"] {
        let none = world.path("none");
        run(&[command, "--root", none.to_str().unwrap()]).expect(3, &["none"]);
        let file = world.path("registries.conf");
        run(&[command, "--root", file.to_str().unwrap()]).expect(3, &["registries.conf"]);
    }
    // README.md has these two, below its table of exit codes.
    let bare = tempfile::tempdir().unwrap();
    for (command, code) in [("stage", 2), ("lint", 2), ("list", 3), ("verify", 3)] {
        let ran = run(&[command, "--root", bare.path().to_str().unwrap()]);
        ran.expect(code, &["is not a root: it has no usr directory"]);
    }
    world.bind_images(&[("one", ONE)]);
    for bundle in ["none", "root", "registries.conf"] {
        let path = world.path(bundle);
        let ran = world.run("stage", &["--bundle", path.to_str().unwrap()]);
        ran.says(&[bundle]);
        assert!(matches!(ran.code, Some(1 | 3)), "{}", ran.all());
        world.assert_unpublished(&ran);
    }
    run(&["--help"]).expect(0, &["Exit codes:", "all well", "could not look", "130"]);
}

#[test]
fn a_dry_run_changes_nothing_and_needs_no_rights() {
    if !have(&["python3", "setpriv"]) {
        return;
    }
    let world = two_images();
    let before = picture(&world.root());
    let plan = world.stage(&["--dry-run"]);
    plan.expect(0, &["ACTION", "fetch", "3 to fetch", "Nothing was changed", "one.container"]);
    for line in plan.out.lines() {
        assert!(line.chars().count() <= 80, "wider than a terminal: {line}");
    }
    let bundle = world.path("bundle");
    let as_nobody = |words: &[&str]| {
        let mut command = world.command_of("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", PROGRAM]);
        command.args(words).arg("--root").arg(world.root());
        Ran::of(command.output().unwrap())
    };
    let from = ["stage", "--dry-run", "--bundle", bundle.to_str().unwrap()];
    as_nobody(&from).expect(0, &["3 to fetch", "Nothing was changed"]);
    as_nobody(&["list"]).expect(1, &["missing"]);
    let real = as_nobody(&["stage", "--bundle", bundle.to_str().unwrap()]);
    real.expect(2, &["root"]);
    world.assert_unpublished(&real);
    assert_same(&before, &picture(&world.root()), "a dry run changed the root");

    let values = world.stage(&["--dry-run", "--format", "json"]).json();
    let plan = values.last().unwrap();
    assert_eq!((&plan["event"], &plan["images"]), (&"plan".into(), &2.into()));
    assert_eq!(plan["layers"].as_array().unwrap().len(), 3);
    assert!(plan["bytes_to_fetch"].as_u64().unwrap() > 0);

    // Read-only, and still: only a plan.
    let shown = world.unshared(
        "mount --bind \"$ROOT\" \"$ROOT\"; mount -o remount,ro,bind \"$ROOT\"
         exec \"$P\" list --root \"$ROOT\"",
    );
    shown.expect(1, &["missing"]);
    assert_same(&before, &picture(&world.root()), "list changed the root");
}

#[test]
fn an_optional_image_may_be_missing_until_it_is_there() {
    if !have(&["python3"]) {
        return;
    }
    let world = World::new();
    small(&world, ONE);
    world.bind_images(&[("one", ONE)]);
    world.bind("two.container", format!("[Container]\nImage={TWO}\n[X-BoundImage]\nRequired=no\n"));
    let staged = world.stage(&[]);
    staged.expect(0, &["two.container", TWO, "optional", "missing"]);
    let record = world.record();
    let states: Vec<_> = record["bindings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|binding| (binding["required"].as_bool(), binding["present"].as_bool()))
        .collect();
    assert_eq!(states, [(Some(true), Some(true)), (Some(false), Some(false))]);
    world.run("verify", &[]).expect(0, &[TWO, "missing"]);
    world.run("list", &[]).expect(0, &["missing (optional)"]);
    // Asked for again in vain: the store that is there stays as it is.
    let before = picture(&world.store());
    world.stage(&[]).expect(0, &["two.container"]);
    assert_same(&before, &picture(&world.store()), "the store was replaced");

    small(&world, TWO);
    let staged = world.stage(&[]);
    staged.expect(0, &["Staged 2 images"]);
    assert_eq!(world.record()["bindings"][1]["present"], true);
    world.run("verify", &[]).expect(0, &["is complete: 2 bindings"]);
    world.stage(&[]).expect(0, &["Nothing to do"]);
    // What came in two steps is what comes in one.
    let other = World::new();
    for image in [ONE, TWO] {
        small(&other, image);
    }
    other.bind_images(&[("one", ONE)]);
    other.bind("two.container", format!("[Container]\nImage={TWO}\n[X-BoundImage]\nRequired=no\n"));
    other.stage(&[]).expect(0, &[]);
    assert_same(&picture(&other.store()), &picture(&world.store()), "two steps");
}

#[test]
fn foreign_content_is_never_replaced() {
    if !have(&["python3"]) {
        return;
    }
    let table: [(&str, fn(&World), &str); 3] = [
        (
            "somebody's file",
            |world| world.write("usr/lib/containers/storage/precious", "x"),
            "bound-images.json",
        ),
        (
            "a link",
            |world| {
                fs::create_dir_all(world.path("elsewhere")).unwrap();
                fs::create_dir_all(world.root().join("usr/lib/containers")).unwrap();
                std::os::unix::fs::symlink("/srv", world.store()).unwrap();
            },
            "symbolic link",
        ),
        ("a file", |world| world.write("usr/lib/containers/storage", "x"), "storage"),
    ];
    for (what, put, said) in table {
        let world = two_images();
        put(&world);
        let before = picture(&world.root());
        for more in [&[][..], &["--repair"]] {
            let ran = world.stage(more);
            assert_same(&before, &picture(&world.root()), what);
            ran.expect(1, &["nothing was staged", said]);
        }
        assert_eq!(world.run("verify", &[]).code, Some(1), "{what}");
    }
}

#[test]
fn a_store_in_use_is_not_repaired() {
    if !have(&["python3", "unshare", "mount"]) {
        return;
    }
    let world = two_images();
    world.stage(&[]).expect(0, &[]);
    fs::remove_file(world.store().join("overlay-layers/layers.lock")).unwrap();
    let before = picture(&world.store());
    fs::create_dir(world.path("mounted")).unwrap();
    let table = [
        ("mount --bind \"$ROOT/usr/lib/containers/storage\" \"$W/mounted\"", "mounted at"),
        (
            "mount --bind \"$ROOT/usr/lib/containers/storage\" \"$ROOT/usr/lib/containers/storage\"",
            "is mounted on it",
        ),
    ];
    for (mount, said) in table {
        let ran = world.unshared(&format!(
            "{mount}; exec \"$P\" stage --repair --root \"$ROOT\" --bundle \"$BUNDLE\""
        ));
        ran.expect(1, &["in use", said]);
        assert_same(&before, &picture(&world.store()), mount);
    }
    // A container's root file system, mounted as containers/storage does it.
    let record = world.record();
    let layer = record["bindings"][0]["layers"][0]["id"].as_str().unwrap();
    let link = fs::read_to_string(world.store().join(format!("overlay/{layer}/link"))).unwrap();
    let ran = world.unshared(&format!(
        "mkdir -p \"$W/lower\"; cd \"$ROOT/usr/lib/containers/storage/overlay\"
         mount -t overlay overlay -o lowerdir=l/{link}:\"$W/lower\" \"$W/mounted\"; cd /
         exec \"$P\" stage --repair --root \"$ROOT\" --bundle \"$BUNDLE\""
    ));
    ran.expect(1, &["in use", "container"]);
    assert_same(&before, &picture(&world.store()), "a container runs");
    world.stage(&["--repair"]).expect(0, &["Staged"]);
}

/// How often each layer of an image was asked for.
fn asked(registry: &FakeRegistry, part: &str) -> usize {
    registry.log().iter().filter(|line| line.starts_with("GET") && line.contains(part)).count()
}

#[test]
fn an_interrupted_stage_goes_on_where_it_was_and_with_the_same_image() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    for signal in [Signal::INT, Signal::TERM] {
        let world = World::new();
        let registry = registry_of(&world);
        // One at a time: the smallest is fetched first; the second hangs.
        let layers = [noise("middle", 9_000), noise("large", 200_000), files(&[("c", "3")])];
        let first = make(&world, "first", &layers, &[]);
        let moved = make(&world, "moved", &[files(&[("other", "1")])], &[]);
        first.push(&registry, "ns/app", "1");
        world.bind_images(&[("app", &format!("{}/ns/app:1", registry.host()))]);
        registry.fault(&first.layers[0], Does::Hang, 1);

        let mut command = world.command("stage", &["--jobs", "1"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        wait_until("the second layer", 20, || asked(&registry, &first.layers[0]) > 0);
        std::thread::sleep(Duration::from_millis(200));
        let begin = Instant::now();
        let ran = end(child, signal);
        assert!(begin.elapsed() < Duration::from_secs(2), "it took {:?}", begin.elapsed());
        ran.expect(130, &["interrupted"]);
        world.assert_unpublished(&ran);
        // The proxy went with it.
        let conf = world.path("registries.conf");
        wait_until("the end of skopeo", 5, || !runs_with(conf.to_str().unwrap()));

        // The tag moves; the next attempt must not follow it, nor fetch again what it has.
        moved.push(&registry, "ns/app", "1");
        let before: Vec<usize> = first.layers.iter().map(|layer| asked(&registry, layer)).collect();
        let by_tag = asked(&registry, "/manifests/1");
        world.run("stage", &[]).expect(0, &["1 there already", "2 to fetch"]);
        let after: Vec<usize> = first.layers.iter().map(|layer| asked(&registry, layer)).collect();
        assert_eq!(before, [1, 0, 1]);
        assert_eq!(after, [2, 1, 1]);
        assert_eq!(asked(&registry, "/manifests/1"), by_tag, "the tag was resolved again");
        assert_eq!(world.record()["bindings"][0]["manifest"], first.manifest.as_str());
        assert!(!world.work().exists());
        world.run("stage", &[]).expect(0, &["Nothing to do"]);
    }
}

/// Whether a process has this text among its arguments.
fn runs_with(text: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(text)
    })
}

#[test]
fn a_stage_that_was_killed_at_any_moment_can_be_repeated() {
    if !have(&["python3"]) {
        return;
    }
    let images = |world: &World| {
        for (name, size) in [("one", 300_000), ("two", 200_000), ("three", 100_000)] {
            let reference = format!("registry.example/{name}:1");
            make(world, &reference, &[files(&[("base", "x")]), noise(name, size)], &[]);
            world.bind_images(&[(name, &reference)]);
        }
    };
    let undisturbed = World::new();
    images(&undisturbed);
    let whole = (0..3).map(|_| {
        drop(fs::remove_dir_all(undisturbed.root().join("usr/lib/containers")));
        let begin = Instant::now();
        undisturbed.stage(&[]).expect(0, &[]);
        begin.elapsed()
    });
    let whole = whole.min().unwrap();
    let wanted = picture(&undisturbed.store());
    let world = World::new();
    images(&world);
    let bundle = world.path("bundle");
    let (mut killed, mut published) = (0, 0);
    for step in 1..=16_u32 {
        let mut command = world.command("stage", &["--bundle", bundle.to_str().unwrap()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        std::thread::sleep(whole * step / 18);
        let ran = end(child, Signal::KILL);
        killed += u32::from(ran.code.is_none());
        if world.store().exists() {
            published += 1;
            // Whatever is visible is whole.
            world.run("verify", &[]).expect(0, &["is complete"]);
        }
        if step % 4 == 0 {
            world.stage(&[]).expect(0, &[]);
            world.run("verify", &[]).expect(0, &["is complete"]);
            assert_same(&wanted, &picture(&world.store()), "after a kill");
            let left: Vec<_> = fs::read_dir(world.root().join("usr/lib/containers"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            assert_eq!(left, ["storage"], "something is left");
            fs::remove_dir_all(world.root().join("usr/lib/containers")).unwrap();
        }
    }
    eprintln!("{killed} of 16 were killed, {published} had published");
    assert!(killed >= 4);
}

#[test]
fn one_root_is_staged_by_one_at_a_time() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let world = World::new();
    let registry = registry_of(&world);
    let image = make(&world, "first", &[noise("b", 100_000)], &[]);
    image.push(&registry, "ns/app", "1");
    world.bind_images(&[("app", &format!("{}/ns/app:1", registry.host()))]);
    registry.fault(&image.layers[0], Does::Hang, 1);
    let mut command = world.command("stage", &[]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait_until("the layer", 20, || asked(&registry, &image.layers[0]) > 0);
    let second = world.run("stage", &[]);
    let first = end(child, Signal::INT);
    second.expect(1, &["another stage", "nothing was staged"]);
    first.expect(130, &[]);
    world.run("stage", &[]).expect(0, &["Staged 1 image"]);
}

/// On a link too slow for one window, halves of several layers would be lost each time.
#[test]
fn after_an_attempt_that_broke_off_layers_come_one_by_one() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let world = World::new();
    let registry = registry_of(&world);
    let sizes = [90_000, 20_000, 160_000, 5_000, 50_000];
    let layers: Vec<_> = sizes.iter().map(|size| noise(&size.to_string(), *size)).collect();
    let image = make(&world, "first", &layers, &[]);
    image.push(&registry, "ns/app", "1");
    world.bind_images(&[("app", &format!("{}/ns/app:1", registry.host()))]);
    // The three largest, which are asked for at the same time.
    let first: Vec<_> = [0, 2, 4].map(|number| &image.layers[number]).into();
    for layer in &first {
        registry.fault(layer, Does::Hang, 1);
    }
    let mut command = world.command("stage", &[]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait_until("three layers", 20, || first.iter().all(|layer| asked(&registry, layer) > 0));
    end(child, Signal::INT).expect(130, &[]);
    let again = world.run("stage", &["--format", "json"]);
    again.expect(0, &[]);
    let events = again.json();
    let fetched: Vec<u64> = events
        .iter()
        .filter(|event| event["event"] == "layer")
        .filter_map(|event| event["fetched"].as_u64())
        .collect();
    assert_eq!(fetched.len(), sizes.len(), "{}", again.all());
    assert!(fetched.is_sorted(), "{fetched:?}");
}
