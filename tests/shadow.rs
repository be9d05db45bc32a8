//! Names that mean another image to Podman than the one that is bound: Podman is the judge.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic"
)]

mod common;

use std::fs;

use common::host::{Machine, ONE};
use common::images::{self, Image, files};
use common::registry::FakeRegistry;
use common::{PROGRAM, Ran, World, have};
use serde_json::Value;

/// `podman` as if `$ROOT` were the running system, with the store of bound images listed.
const PODMAN: &str = r#"
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /mnt # Podman takes no runroot of more than 50 characters.
export CONTAINERS_STORAGE_CONF="$ROOT/storage.conf"
p() {
    podman --root "$ROOT/var/own" --runroot /mnt/run --tmpdir /mnt/tmp --storage-driver overlay \
        --storage-opt "additionalimagestore=$ROOT/usr/lib/containers/storage" \
        --cgroup-manager=cgroupfs --events-backend=none "$@" </dev/null
}
id() { p image inspect --format '{{.Id}}' "$1"; }
"#;

struct Host {
    world: World,
    _registry: FakeRegistry,
    bound: Image,
    other: Image,
    name: String,
}

impl Host {
    fn new() -> Self {
        let (world, registry) = (World::new(), FakeRegistry::start());
        let name = format!("{}/t/bound:1", registry.host());
        let bound = images::make(&world, &name, &[files(&[("name", "bound")])], &[]);
        let other =
            images::make(&world, "registry.test/t/other:1", &[files(&[("name", "other")])], &[]);
        other.push(&registry, "t/bound", "1");
        other.push(&registry, "t/other", "1");
        let pinned = format!("{}@{}", name.strip_suffix(":1").unwrap(), bound.manifest);
        world.bind_images(&[("loose", &name), ("pinned", &pinned)]);
        world.bind(
            "alias.image",
            format!("[Image]\nImage={pinned}\nImageTag=registry.test/t/alias:1\n"),
        );
        world.stage(&[]).expect(0, &[]);
        let conf = "[storage]\ndriver = 'overlay'\nrunroot = '/run/c'\ngraphroot = '/var/own'\n";
        world.write("etc/containers/storage.conf", conf);
        fs::write(world.root().join("storage.conf"), conf).unwrap();
        Self { world, _registry: registry, bound, other, name }
    }

    /// Runs a script with Podman; gives what it said.
    fn podman(&self, script: &str) -> Vec<String> {
        let ran = self.world.unshared(&format!("{PODMAN}NAME={}\n{script}", self.name));
        assert_eq!(ran.code, Some(0), "{}", ran.all());
        ran.out.lines().map(str::to_owned).collect()
    }

    /// A command about the running system.
    fn ask(&self, words: &[&str]) -> Ran {
        let mut command = self.world.command_of(PROGRAM);
        Ran::of(command.arg("--host").arg(self.world.root()).args(words).output().unwrap())
    }

    fn states(&self) -> Vec<(String, String)> {
        let said = self.ask(&["list", "--format", "json"]).json();
        let bindings = said[0]["bindings"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        bindings.iter().map(|one| (text(&one["name"]), text(&one["state"]))).collect()
    }
}

fn id(image: &Image) -> &str {
    image.config.trim_start_matches("sha256:")
}

fn all(alias: &str, loose: &str) -> Vec<(String, String)> {
    [("alias.image", alias), ("loose.container", loose), ("pinned.container", "present")]
        .map(|(name, state)| (name.to_owned(), state.to_owned()))
        .to_vec()
}

#[test]
fn a_name_that_podman_resolves_elsewhere_is_shadowed() {
    if !have(&["podman", "skopeo", "python3", "unshare"]) {
        return;
    }
    let host = Host::new();
    assert_eq!(host.states(), all("present", "present"), "no store of Podman's own yet");
    assert_eq!(host.podman("id $NAME"), [id(&host.bound)]);
    // The same image under other names in Podman's own store is no shadow.
    host.podman("p tag $NAME localhost/copy:1");
    assert_eq!(host.states(), all("present", "present"));
    host.ask(&["verify"]).expect(0, &["is complete"]);

    // A pull of a tag that has moved.
    let digest = &host.bound.manifest;
    let said = host.podman(&format!(
        "p pull -q --tls-verify=false $NAME >&2; id $NAME; id ${{NAME%:1}}@{digest}"
    ));
    assert_eq!(said, [id(&host.other), id(&host.bound)], "by digest it is the bound one");
    assert_eq!(host.states(), all("present", "shadowed"));
    let fix = format!("podman untag {0} {0}", host.name);
    host.ask(&["list"]).expect(1, &["shadowed", &fix, &id(&host.other)[..12]]);
    let verified = host.ask(&["verify", "--format", "json"]);
    assert_eq!(verified.code, Some(1), "{}", verified.all());
    let said = &verified.json()[0];
    assert_eq!((&said["complete"], &said["shadowed"][0]["fix"]), (&true.into(), &fix.into()));
    assert_eq!(said["shadowed"][0]["image"], id(&host.other));
    host.ask(&["verify"]).expect(1, &["loose.container is shadowed", "is complete"]);
    // A boot is not failed for it, and another root has nothing to do with it.
    host.ask(&["verify", "--health"]).expect(0, &[]);
    let copy = host.world.path("copy");
    fs::create_dir(&copy).unwrap();
    assert!(
        std::process::Command::new("cp")
            .arg("-a")
            .arg(host.world.root().join("usr"))
            .arg(&copy)
            .status()
            .unwrap()
            .success()
    );
    host.ask(&["verify", "--root", copy.to_str().unwrap()]).expect(0, &["is complete"]);

    // The command that is printed mends it, as Podman sees it too.
    let mended = host.podman(&format!("{} >&2; id $NAME", fix_of(&host)));
    assert_eq!(mended, [id(&host.bound)]);
    assert_eq!(host.states(), all("present", "present"));

    // A tag by hand, over the name that `ImageTag=` gives.
    let other = host.name.replace("/t/bound:", "/t/other:");
    let said = host.podman(&format!(
        "p pull -q --tls-verify=false {other} >&2; p tag {other} registry.test/t/alias:1; id registry.test/t/alias:1"
    ));
    assert_eq!(said, [id(&host.other)]);
    assert_eq!(host.states(), all("shadowed", "present"));
}

/// The printed command, for the Podman of the test.
fn fix_of(host: &Host) -> String {
    let said = host.ask(&["list", "--format", "json"]).json();
    let bindings = said[0]["bindings"].as_array().unwrap();
    let fix = bindings.iter().find_map(|one| one["shadow"]["fix"].as_str()).unwrap();
    fix.replacen("podman ", "p ", 1)
}

#[test]
fn a_list_that_is_garbage_is_a_warning() {
    if !have(&["skopeo", "python3"]) {
        return;
    }
    let host = Host::new();
    for garbage in ["", "[", "{}", "[{\"id\":1}]"] {
        host.world.write("var/own/overlay-images/images.json", garbage);
        let ran = host.ask(&["list"]);
        ran.expect(0, &["present"]);
        assert_eq!(ran.err.contains("images.json"), !garbage.is_empty(), "{}", ran.all());
    }
}

/// The name means another image on the running system: that is no matter of other roots.
#[test]
fn only_the_booted_root_is_shadowed() {
    if !have(&["python3"]) {
        return;
    }
    let host = Machine::new();
    host.stage(&["--late-binding"]).expect(0, &["Staged 2 images"]);
    host.deploy("b", &[("one", ONE)]);
    host.stage_root("b");
    host.stage(&[]).expect(0, &[]);
    let own = host.top().join("var/lib/containers/storage/overlay-images");
    fs::create_dir_all(&own).unwrap();
    let list = |name: &str, image: &str| {
        let list = serde_json::json!([{"id": "f".repeat(64)}, {"id": image, "names": ["x", name]}]);
        fs::write(own.join("images.json"), list.to_string()).unwrap();
    };
    let bindings = host.run(&["list", "--format", "json"]).json().remove(0);
    let image = bindings["bindings"][0]["image"].as_str().unwrap().to_owned();
    list(ONE, &image);
    host.run(&["status"]).expect(0, &["complete"]);
    list(ONE, &"e".repeat(64));
    host.run(&["status"])
        .expect(1, &["one.container is shadowed", &format!("podman untag {ONE} {ONE}")]);
    let (booted, staged) = (host.root("a"), host.root("b"));
    assert_eq!(booted["shadowed"][0]["image"], "e".repeat(64), "{booted}");
    assert_eq!((&booted["state"], &booted["present"]), (&"complete".into(), &2.into()));
    assert!(staged["shadowed"].is_null(), "{staged}");
    host.run(&["list", "--root", "staged"]).expect(0, &["present"]);
    host.run(&["list"]).expect(1, &["shadowed"]);
    host.run(&["gate"]).expect(0, &[]);
    // Where storage.conf says that Podman's own store is elsewhere, this is not it.
    let conf = host.top().join("etc/containers/storage.conf");
    fs::create_dir_all(conf.parent().unwrap()).unwrap();
    fs::write(&conf, "[storage]\nrunroot = '/r'\ngraphroot = '/var/other'\n").unwrap();
    host.run(&["status"]).expect(0, &["complete"]);
}
