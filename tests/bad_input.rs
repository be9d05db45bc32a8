//! Roots, places and bundles that are wrong: what `stage` says then, how it ends, and that nothing
//! is half-published.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::images::{files, make, noise, small};
use common::registry::FakeRegistry;
use common::{PROGRAM, Ran, World, assert_same, find, have, picture};
use serde_json::json;

const GOOD: &str = "registry.example/ns/good:1";
const UNITS: &str = "usr/share/containers/systemd";

/// What is wrong with a root, and what must be said of it.
type Wrong = (&'static str, fn(&World), &'static [&'static str]);

/// Each beside a binding that is fine.
const ROOTS: &[Wrong] = &[
    (
        "a dangling link",
        |world| world.link("a.container", "/usr/share/nothing.container"),
        &["a.container", "nothing.container"],
    ),
    ("a link to itself", |world| world.link("a.container", "a.container"), &["a.container"]),
    (
        "links in a circle",
        |world| {
            world.link("a.container", "b.container");
            world.link("b.container", "a.container");
        },
        &["a.container", "b.container"],
    ),
    (
        "a link out of the root",
        |world| {
            fs::write(world.path("outside.container"), "[Container]\nImage=quay.io/x/y:1\n")
                .unwrap();
            let up = "../../../../../outside.container";
            world.link("a.container", up);
        },
        &["a.container"],
    ),
    (
        "a link to a file on the host",
        |world| {
            let outside = world.path("outside.container");
            fs::write(&outside, "[Container]\nImage=quay.io/x/y:1\n").unwrap();
            world.link("a.container", outside.to_str().unwrap());
        },
        &["a.container"],
    ),
    (
        "a link's name with another extension",
        |world| {
            world.write("usr/share/a.container", "[Container]\nImage=quay.io/x/y:1\n");
            world.link("a.txt", "/usr/share/a.container");
        },
        &["a.txt", ".container"],
    ),
    (
        "a target with another extension",
        |world| {
            world.write("usr/share/a.pod", "[Pod]\n");
            world.link("a.container", "/usr/share/a.pod");
        },
        &["a.container", "a.pod"],
    ),
    ("a build", |world| world.bind("a.build", "[Build]\nImageTag=quay.io/x/y:1\n"), &["a.build"]),
    (
        "a directory",
        |world| {
            fs::create_dir_all(world.root().join(binding::BINDINGS_PATH).join("dir.container"))
                .unwrap()
        },
        &["dir.container"],
    ),
    (
        "a file that is not a link",
        |world| {
            world.write(
                "usr/lib/bootc/bound-images.d/plain.container",
                "[Container]\nImage=quay.io/x/y:1\n",
            )
        },
        &["plain.container"],
    ),
    (
        "a link to a directory",
        |world| {
            fs::create_dir_all(world.root().join("usr/share/d.container")).unwrap();
            world.link("a.container", "/usr/share/d.container");
        },
        &["d.container"],
    ),
    (
        "a pipe",
        |world| {
            let directory = world.root().join(UNITS);
            fs::create_dir_all(&directory).unwrap();
            let made =
                std::process::Command::new("mkfifo").arg(directory.join("a.container")).status();
            assert!(made.unwrap().success());
            world.link("a.container", "/usr/share/containers/systemd/a.container");
        },
        &["a.container"],
    ),
    (
        "not UTF-8",
        |world| world.bind("a.container", b"[Container]\nImage=quay.io/x/\xff:1\n"),
        &["usr/share/containers/systemd/a.container:2", "UTF-8"],
    ),
    (
        "no group",
        |world| world.bind("a.container", "Image=quay.io/x/y:1\n"),
        &["a.container:1", "group"],
    ),
    (
        "another group",
        |world| world.bind("a.container", "[Service]\nImage=quay.io/x/y:1\n"),
        &["a.container", "[Container]"],
    ),
    ("empty", |world| world.bind("a.container", ""), &["a.container"]),
    (
        "no image",
        |world| world.bind("a.container", "[Container]\nExec=true\n"),
        &["a.container", "Image="],
    ),
    (
        "an image that was reset",
        |world| world.bind("a.container", "[Container]\nImage=quay.io/x/y:1\nImage=\n"),
        &["a.container", "Image="],
    ),
    (
        "a line that is none",
        |world| world.bind("a.container", "[Container]\nnonsense\nImage=quay.io/x/y:1\n"),
        &["a.container:2"],
    ),
    (
        "a short name",
        |world| world.bind("a.container", "[Container]\nImage=nginx\n"),
        &["a.container:2", "nginx"],
    ),
    (
        "a specifier",
        |world| world.bind("a.container", "[Container]\n\nImage=quay.io/x/%H:1\n"),
        &["a.container:3", "%H"],
    ),
    (
        "a reference that is none",
        |world| world.bind("a.container", "[Container]\nImage=quay.io/X Y\n"),
        &["a.container:2"],
    ),
    (
        "a digest that is none",
        |world| world.bind("a.container", "[Container]\nImage=quay.io/x/y@sha256:abc\n"),
        &["a.container:2"],
    ),
    (
        "all tags",
        |world| world.bind("a.image", "[Image]\nImage=quay.io/x/y:1\nAllTags=true\n"),
        &["a.image", "AllTags"],
    ),
    (
        "an image unit that is not there",
        |world| world.bind("a.container", "[Container]\nImage=none.image\n"),
        &["a.container:2", "none.image"],
    ),
    (
        "a drop-in that is wrong",
        |world| {
            world.bind("a.container", "[Container]\nImage=quay.io/x/y:1\n");
            world.write(&format!("{UNITS}/a.container.d/10-x.conf"), "[Container]\nImage=short\n");
        },
        &["a.container.d/10-x.conf:2", "short"],
    ),
];

/// A root with a binding that its bundle can serve.
fn good() -> World {
    let world = World::new();
    small(&world, GOOD);
    world.bind_images(&[("good", GOOD)]);
    world
}

#[test]
fn wrong_roots_are_refused_with_the_place_and_the_good_is_still_listed() {
    if !have(&["python3"]) {
        return;
    }
    let bundle = good();
    let mut failed = Vec::new();
    for (what, make_wrong, said) in ROOTS {
        let world = World::new();
        world.bind_images(&[("good", GOOD)]);
        make_wrong(&world);
        let before = picture(&world.root());
        let from = bundle.path("bundle");
        let staged = world.run("stage", &["--bundle", from.to_str().unwrap()]);
        let list = world.run("list", &[]);
        let verify = world.run("verify", &[]);
        for (command, ran) in [("stage", &staged), ("list", &list), ("verify", &verify)] {
            if ran.code != Some(1) {
                failed.push(format!("{what}: {command}: {}", ran.all()));
            }
            for part in *said {
                if !ran.err.contains(part) {
                    failed.push(format!("{what}: {command}: no `{part}`: {}", ran.all()));
                }
            }
        }
        if !list.out.contains("good.container") {
            failed.push(format!("{what}: the good binding is hidden: {}", list.all()));
        }
        assert_same(&before, &picture(&world.root()), what);
    }
    assert!(failed.is_empty(), "{} failures\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn many_mistakes_are_reported_at_once() {
    if !have(&["python3"]) {
        return;
    }
    let world = good();
    world.link("dangling.container", "/nowhere.container");
    world.bind("short.container", "[Container]\nImage=nginx\n");
    world.bind("latin.container", b"[Container]\n# caf\xe9\nImage=quay.io/x/y:1\n");
    world.write("usr/lib/bootc/bound-images.d/plain.image", "");
    world.bind("nothing.container", "[Container]\n");
    let all = [
        "dangling.container",
        "short.container:2",
        "latin.container:2",
        "plain.image",
        "nothing.container",
    ];
    for command in ["list", "verify"] {
        world.run(command, &[]).expect(1, &all);
    }
    let ran = world.stage(&[]);
    ran.expect(1, &all);
    ran.says(&["nothing was staged", "5 "]);
    world.assert_unpublished(&ran);
    let values = world.stage(&["--format", "json"]).json();
    let findings = values.last().unwrap()["findings"].as_array().unwrap().clone();
    let errors = findings.iter().filter(|finding| finding["severity"] == "error");
    assert_eq!(errors.count(), 5, "{findings:?}");
    assert!(findings.iter().all(|finding| finding["why"] != "" && finding["fix"] != ""));
}

#[test]
fn one_reference_for_two_platforms_is_refused_before_anything_is_fetched() {
    if !have(&["python3"]) {
        return;
    }
    let world = World::new();
    let registry = FakeRegistry::start();
    fs::write(world.path("registries.conf"), registry.registries_conf()).unwrap();
    let reference = format!("{}/x/y:1", registry.host());
    for (name, arch) in [("a.image", "amd64"), ("b.image", "arm64")] {
        world.bind(name, format!("[Image]\nImage={reference}\nArch={arch}\n"));
    }
    let ran = world.run("stage", &[]);
    ran.expect(1, &[&reference, "amd64", "arm64", "nothing was staged"]);
    world.assert_unpublished(&ran);
    assert_eq!(registry.log(), Vec::<String>::new(), "it was fetched first");
}

#[test]
fn configuration_that_is_wrong() {
    if !have(&["unshare", "mount"]) {
        return;
    }
    let world = good();
    for (text, said) in [("job = 2", "job"), ("jobs = 99", "1 to 16"), ("retries = ", "line 1")] {
        let ran = world.unshared(&format!(
            "mount -t tmpfs none /run; mkdir -p /run/bound-images/config.d
             echo '{text}' > /run/bound-images/config.d/50-x.toml
             exec \"$P\" stage --root \"$ROOT\" --bundle \"$BUNDLE\""
        ));
        ran.expect(2, &["/run/bound-images/config.d/50-x.toml", said]);
        world.assert_unpublished(&ran);
    }
}

#[test]
fn of_two_images_the_last_wins_and_it_is_said() {
    if !have(&["python3"]) {
        return;
    }
    let world = World::new();
    small(&world, GOOD);
    world.bind(
        "app.container",
        format!("[Container]\nImage=registry.example/other:1\nExec=x\nImage={GOOD}\n"),
    );
    let ran = world.stage(&[]);
    ran.expect(0, &["warning", "app.container:4"]);
    assert_eq!(world.record()["bindings"][0]["reference"], GOOD);
}

#[test]
fn places_where_no_store_can_be() {
    if !have(&["python3", "unshare", "mount"]) {
        return;
    }
    let world = good();
    let registry = FakeRegistry::start();
    fs::write(world.path("registries.conf"), registry.registries_conf()).unwrap();
    world.bind_images(&[("far", &format!("{}/far:1", registry.host()))]);
    let before = picture(&world.root());
    let ran = world.unshared(
        "mount --bind \"$ROOT\" \"$ROOT\"; mount -o remount,ro,bind \"$ROOT\"
         exec \"$P\" stage --root \"$ROOT\"",
    );
    ran.expect(1, &["read-only", "usr", "nothing was staged"]);
    let ran = world.unshared(
        "mkdir -p \"$W/upper\" \"$W/work\" \"$W/merged\"
         mount -t overlay overlay -o \"lowerdir=$ROOT,upperdir=$W/upper,workdir=$W/work\" \"$W/merged\"
         exec \"$P\" stage --root \"$W/merged\"",
    );
    ran.expect(1, &["overlayfs", "container build", "outside", "nothing was staged"]);
    assert_eq!(registry.log(), Vec::<String>::new(), "it was fetched first");
    assert_eq!(fs::read_dir(world.path("upper")).unwrap().count(), 0);
    assert_same(&before, &picture(&world.root()), "the place was changed");
}

/// Stages `world` on a disk of its own; then the names beside the store are the output.
fn on_disk(world: &World, disk: &str) -> Ran {
    world.unshared(&format!(
        "mkdir -p \"$W/disk\"; {disk}
         cp -a \"$ROOT/.\" \"$W/disk\"
         status=0; \"$P\" stage --root \"$W/disk\" --bundle \"$BUNDLE\" || status=$?
         ls -A \"$W/disk/usr/lib/containers\" || true; exit $status",
    ))
}

const TMPFS: &str = "mount -t tmpfs -o size=4m,mode=755 none \"$W/disk\"";
const EXT4: &str = "truncate -s 4M \"$W/image\"; mkfs.ext4 -q -F \"$W/image\"
                    mount -o loop \"$W/image\" \"$W/disk\"";

#[track_caller]
fn assert_full(ran: &Ran) {
    assert_eq!(ran.code, Some(3), "{}", ran.all());
    let errors = ran.errors();
    for part in ["good.container", "space", "nothing was staged"] {
        assert!(errors.contains(part), "`{part}` is not said: {}", ran.all());
    }
    assert!(!ran.out.lines().any(|name| name == "storage"), "published: {}", ran.all());
}

#[test]
fn a_disk_that_gets_full() {
    if !have(&["python3", "unshare", "mount"]) {
        return;
    }
    let mut disks = vec![TMPFS];
    if find("mkfs.ext4").is_some() && Path::new("/dev/loop-control").exists() {
        disks.push(EXT4);
    } else {
        eprintln!("skipped: needs mkfs.ext4 and loop devices (a part of the test)");
    }
    // Many small files: they take more blocks and inodes than their sizes tell.
    let names: Vec<String> = (0..3000).map(|number| format!("f{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let world = World::new();
    make(&world, GOOD, &[files(&[("a", "1")]), files(&many)], &[]);
    world.bind_images(&[("good", GOOD)]);
    for disk in disks {
        assert_full(&on_disk(&world, disk));
    }
}

#[test]
fn a_layer_that_is_larger_than_the_disk() {
    if !have(&["python3", "unshare", "mount"]) {
        return;
    }
    // Grows to much more than its compressed size promises: the check before does not see it.
    let world = World::new();
    let zeros = json!([{"path": "zeros", "zeros": 64 << 20}]);
    make(&world, GOOD, &[files(&[("a", "1")]), zeros], &[]);
    world.bind_images(&[("good", GOOD)]);
    assert_full(&on_disk(&world, TMPFS));
}

#[test]
fn what_cannot_fit_is_refused_before_it_is_fetched() {
    if !have(&["python3", "unshare", "mount"]) {
        return;
    }
    let world = World::new();
    make(&world, GOOD, &[noise("n", 3_000_000)], &[]);
    world.bind_images(&[("good", GOOD)]);
    let ran = on_disk(&world, TMPFS);
    assert!(matches!(ran.code, Some(1 | 3)), "{}", ran.all());
    ran.says(&["need at least", "free", "nothing was staged"]);
    assert!(!ran.err.contains("[1/"), "something was fetched: {}", ran.all());
    assert!(!ran.out.lines().any(|name| name == "storage"), "published: {}", ran.all());
}

fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn skopeo_that_is_missing_or_too_old_or_broken() {
    if !have(&[]) {
        return;
    }
    let world = World::new();
    world.bind_images(&[("good", GOOD)]);
    script(&world.path("old/skopeo"), "#!/bin/sh\necho 'skopeo version 1.4.1'\n");
    script(&world.path("odd/skopeo"), "#!/bin/sh\necho 'hello'\n");
    fs::create_dir(world.path("none")).unwrap();
    let table: [(&str, i32, &[&str]); 3] = [
        ("none", 2, &["skopeo", "not installed", "install the package"]),
        ("old", 2, &["1.4", "1.6"]),
        ("odd", 3, &["hello"]),
    ];
    for (directory, code, said) in table {
        let ran = Ran::of(
            world.command("stage", &[]).env("PATH", world.path(directory)).output().unwrap(),
        );
        ran.expect(code, said);
        ran.says(&["good.container", GOOD, "nothing was staged"]);
        world.assert_unpublished(&ran);
        // Looking needs no skopeo.
        let listed = world.command("list", &[]).env("PATH", world.path(directory)).output();
        Ran::of(listed.unwrap()).expect(1, &["missing"]);
    }
    // Without PATH at all.
    let ran = Ran::of(world.command("stage", &[]).env_remove("PATH").output().unwrap());
    assert!(matches!(ran.code, Some(1..=3)), "{}", ran.all());
}

#[test]
fn who_is_not_root_is_told_before_anything_happens() {
    if !have(&["python3", "setpriv"]) {
        return;
    }
    let world = good();
    let registry = FakeRegistry::start();
    fs::write(world.path("registries.conf"), registry.registries_conf()).unwrap();
    world.bind_images(&[("far", &format!("{}/far:1", registry.host()))]);
    let mut command = world.command_of("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", PROGRAM, "stage"]);
    let ran = Ran::of(command.arg("--root").arg(world.root()).output().unwrap());
    ran.expect(2, &["root", "nothing was staged"]);
    assert!(registry.log().is_empty());
    world.assert_unpublished(&ran);
}
