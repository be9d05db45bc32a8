//! `pin = "require"` end to end: what a root, or the host for its new roots, demands of references.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::path::Path;

use common::have;
use common::host::{Machine, NEW, ONE};

const OWN: &str = "usr/lib/bound-images/config.d";
const REQUIRE: &str = "pin = \"require\"\n";
const WHY: &str = "has no digest, and the configuration has pin = \"require\"";
const FIX: &str = "pin it where the image of the root is built";

fn put(top: &Path, path: &str, text: &str) {
    let path = top.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A is complete and booted, B is staged.
fn upgrade() -> Machine {
    let host = Machine::new();
    host.stage(&["--late-binding"]).expect(0, &["Staged 2 images"]);
    host.deploy("b", &[("one", ONE), ("new", NEW)]);
    host.stage_root("b");
    host
}

/// The digest that the bundle has for a reference.
fn digest_of(host: &Machine, image: &str) -> String {
    let index = fs::read(host.world.path("bundle/index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let manifests = index["manifests"].as_array().unwrap();
    let named = |manifest: &&serde_json::Value| {
        manifest["annotations"]["org.opencontainers.image.ref.name"] == image
    };
    manifests.iter().find(named).unwrap()["digest"].as_str().unwrap().to_owned()
}

/// Writes digests into Quadlets.
fn pin_all(host: &Machine, letter: &str, images: &[(&str, &str)]) {
    for (name, image) in images {
        let path = format!("usr/share/containers/systemd/{name}.container");
        let digest = digest_of(host, image);
        put(&host.files(letter), &path, &format!("[Container]\nImage={image}@{digest}\n"));
    }
}

#[test]
fn a_root_that_demands_digests_is_not_complete_without() {
    if !have(&["python3"]) {
        return;
    }
    let host = upgrade();
    put(&host.files("b"), &format!("{OWN}/10-pins.toml"), REQUIRE);
    let place = "usr/share/containers/systemd/new.container:2";

    let staged = host.stage(&[]);
    staged.expect(1, &[place, WHY, FIX, "the root's bindings have 2 problems"]);
    assert_eq!(host.link("b"), None, "nothing is staged");
    let gate = host.run(&["gate"]);
    gate.expect(1, &["the update is held back", place, WHY, FIX, "more)"]);
    assert_eq!(gate.out.lines().count(), 1, "{}", gate.all());
    host.run(&["verify", "--root", "staged"]).expect(1, &[place, WHY, FIX]);
    host.run(&["list", "--root", "staged"]).expect(1, &[place, WHY]);
    let root = host.root("b");
    assert_eq!(root["state"], "incomplete");
    assert!(root["problems"].to_string().contains("has no digest"), "{root}");
    host.run(&["lint", "--root", "staged"]).expect(1, &["error[unpinned]", WHY, FIX]);
    // The root that runs demands nothing.
    host.run(&["verify"]).expect(0, &["is complete"]);

    // The operator may let it boot all the same.
    host.run(&["release", "staged", "--reason", "a test"]).expect(0, &[]);
    host.run(&["gate"]).expect(0, &["was released (a test)"]);
    fs::remove_dir_all(host.pool().join("released")).unwrap();
    host.run(&["gate"]).expect(1, &[WHY]);

    pin_all(&host, "b", &[("one", ONE), ("new", NEW)]);
    host.stage(&[]).expect(0, &["Staged 2 images"]);
    host.run(&["gate"]).expect(0, &["is complete"]);
}

#[test]
fn a_root_that_runs_gets_its_images_and_is_told() {
    if !have(&["python3"]) {
        return;
    }
    let host = Machine::new();
    put(&host.files("a"), &format!("{OWN}/10-pins.toml"), REQUIRE);
    let late = host.stage(&["--late-binding"]);
    late.expect(1, &["Staged 2 images", WHY, FIX]);
    assert!(host.link("a").is_some(), "{}", late.all());
    host.run(&["verify"]).expect(1, &[WHY]);
    assert_eq!(host.root("a")["present"], 2);
    // Again: all is there, and nothing is asked for.
    host.stage(&["--late-binding"]).expect(1, &[WHY]);
}

#[test]
fn the_host_demands_it_of_new_roots_only() {
    if !have(&["python3"]) {
        return;
    }
    let host = upgrade();
    put(&host.top(), "etc/bound-images/config.d/10-pins.toml", REQUIRE);
    host.run(&["verify"]).expect(0, &["is complete"]);
    host.stage(&["--late-binding"]).expect(0, &["is complete"]);
    host.stage(&[]).expect(1, &[WHY, FIX]);
    host.run(&["gate"]).expect(1, &[WHY]);
    assert_eq!(host.root("b")["state"], "incomplete");

    // The host's word on a file of the root's own.
    put(&host.top(), "etc/bound-images/config.d/10-pins.toml", "pin = \"warn\"\n");
    put(&host.files("b"), &format!("{OWN}/10-pins.toml"), REQUIRE);
    host.stage(&[]).expect(0, &["Staged 2 images"]);
    host.run(&["gate"]).expect(0, &["is complete"]);
    // What was staged stays so, whatever /etc says later.
    put(&host.top(), "etc/bound-images/config.d/10-pins.toml", REQUIRE);
    fs::remove_dir_all(host.files("b").join(OWN)).unwrap();
    host.run(&["gate"]).expect(0, &["is complete"]);
}

#[test]
fn a_directory_says_for_itself() {
    if !have(&["python3"]) {
        return;
    }
    let host = Machine::new();
    let files = host.files("a");
    put(&files, "etc/bound-images/config.d/10-pins.toml", REQUIRE);
    let root = files.to_str().unwrap();
    let remedy = format!("run `bound-images pin --root {root}`");
    for command in ["stage", "verify", "list", "lint"] {
        let ran = match command {
            "stage" => host.stage(&["--root", root]),
            command => host.run(&[command, "--root", root]),
        };
        ran.expect(1, &[WHY, &remedy]);
    }
    assert!(!files.join("usr/lib/containers").exists());
}

#[test]
fn a_hostile_configuration_of_a_root_is_told_and_waits_for_nobody() {
    if !have(&["python3"]) {
        return;
    }
    let host = upgrade();
    host.stage(&[]).expect(0, &["Staged 2 images"]);
    let config = host.files("b").join(OWN);
    fs::create_dir_all(&config).unwrap();
    let fifo = config.join("10.toml");
    let secret = host.world.path("secret");
    fs::write(&secret, "hunter2\n").unwrap();
    type Make<'a> = Box<dyn Fn() + 'a>;
    let cases: [(&str, Make<'_>); 4] = [
        (
            "not a regular file",
            Box::new(|| {
                rustix::fs::mknodat(
                    rustix::fs::CWD,
                    &fifo,
                    rustix::fs::FileType::Fifo,
                    rustix::fs::Mode::from_raw_mode(0o644),
                    0,
                )
                .unwrap();
            }),
        ),
        ("cannot read", Box::new(|| std::os::unix::fs::symlink(&secret, &fifo).unwrap())),
        ("line 1", Box::new(|| fs::write(&fifo, "pin = \"later\"\n").unwrap())),
        ("larger than", Box::new(|| fs::write(&fifo, " ".repeat(70_000)).unwrap())),
    ];
    for (why, make) in cases {
        make();
        // A newer program may know what this one does not: that is no reason to hold it back.
        host.run(&["gate"]).expect(0, &["is complete"]);
        let verified = host.run(&["verify", "--root", "staged"]);
        verified.expect(0, &["warning[bad-config]", why]);
        assert!(!verified.all().contains("hunter2"), "{}", verified.all());
        let linted = host.run(&["lint", "--root", "staged"]);
        linted.expect(1, &["error[bad-config]", why]);
        assert!(!linted.all().contains("hunter2"), "{}", linted.all());
        fs::remove_file(&fifo).unwrap();
    }
    // An empty file, or a link to /dev/null, takes one away.
    put(&host.files("b"), &format!("{OWN}/10.toml"), REQUIRE);
    host.run(&["gate"]).expect(1, &[WHY]);
    let etc = host.top().join("etc/bound-images/config.d");
    fs::create_dir_all(&etc).unwrap();
    std::os::unix::fs::symlink("/dev/null", etc.join("10.toml")).unwrap();
    host.run(&["gate"]).expect(0, &["is complete"]);
    assert!(host.link("b").is_some());
}
