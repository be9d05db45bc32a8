//! A policy.json that demands signatures: kept by skopeo 1.13 and newer, of which a chroot has one; with
//! an older one nothing is trusted.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic"
)]

mod common;

use std::fs;
use std::process::Command;

use common::images::{self, files};
use common::registry::FakeRegistry;
use common::{PROGRAM, Ran, World, find, have, source};
use serde_json::json;

/// A registry with an image a name, and a root that binds each.
struct Setting {
    world: World,
    registry: FakeRegistry,
}

/// Which signature an image has is for `tests/peers/signatures.sh` to make.
const NAMES: [&str; 5] = ["signed", "unsigned", "stranger", "moved", "torn"];

impl Setting {
    fn new() -> Self {
        let (world, registry) = (World::new(), FakeRegistry::start());
        for name in NAMES {
            let reference = format!("{}/t/{name}:1", registry.host());
            let image = images::make(&world, &reference, &[files(&[("name", name)])], &[]);
            image.push(&registry, &format!("t/{name}"), "1");
            fs::write(
                world.path(&format!("{name}.json")),
                fs::read(image.blob(&image.manifest)).unwrap(),
            )
            .unwrap();
            fs::write(world.path(&format!("{name}.digest")), &image.manifest).unwrap();
            let root = world.path(&format!("root-{name}"));
            let quadlets = root.join("usr/share/containers/systemd");
            fs::create_dir_all(&quadlets).unwrap();
            fs::write(quadlets.join("x.image"), format!("[Image]\nImage={reference}\n")).unwrap();
            let links = root.join(binding::BINDINGS_PATH);
            fs::create_dir_all(&links).unwrap();
            std::os::unix::fs::symlink(
                "/usr/share/containers/systemd/x.image",
                links.join("x.image"),
            )
            .unwrap();
        }
        fs::write(world.path("registries.conf"), registry.registries_conf()).unwrap();
        let demand = json!([{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/run/key.gpg"}]);
        let policy = json!({
            "default": [{"type": "reject"}],
            "transports": {"docker": {registry.host(): demand}},
        });
        fs::write(world.path("policy.json"), policy.to_string()).unwrap();
        Self { world, registry }
    }
}

#[test]
fn only_what_is_signed_as_the_policy_demands_is_staged() {
    if !have(&["python3", "unshare", "busybox"]) {
        return;
    }
    let output = Command::new(source("tests/setup/chroot.sh")).arg("trixie").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(2) {
        eprintln!("skipped: needs {}", said.trim());
        return;
    }
    assert!(output.status.success(), "{said}");
    let chroot = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let setting = Setting::new();
    let world = &setting.world;
    fs::copy(PROGRAM, world.path("bound-images")).unwrap();
    fs::copy(find("busybox").unwrap(), world.path("busybox")).unwrap();
    fs::create_dir(world.path("empty")).unwrap();
    let ran = Ran::of(
        Command::new(source("tests/peers/in-chroot.sh"))
            .args([chroot.into(), world.path("empty"), world.path("")])
            .arg(source("tests/peers/signatures.sh"))
            .env("REGISTRY", setting.registry.host())
            .output()
            .unwrap(),
    );
    ran.expect(0, &["judged"]);
    let why = [
        ("unsigned", "A signature was required, but no signature exists"),
        ("stranger", "which is not one that policy.json names"),
        ("moved", "is not accepted"),
        ("torn", "No data"),
    ];
    let read =
        |name: &str, what: &str| fs::read_to_string(world.path(&format!("{name}.{what}"))).unwrap();
    let has_store =
        |name: &str| world.path(&format!("root-{name}/{}", binding::STORE_PATH)).exists();
    assert_eq!(read("signed", "status").trim(), "0", "{}", read("signed", "said"));
    assert!(has_store("signed"));
    for (name, why) in why {
        let said = read(name, "said");
        assert_eq!(read(name, "status").trim(), "1", "{name}: {said}");
        assert!(said.contains(why), "{name}: {said}");
        assert!(said.contains("policy"), "{name} names what refuses: {said}");
        assert!(!has_store(name), "{name}");
    }
}

#[test]
fn an_old_skopeo_is_not_trusted_to_keep_a_policy() {
    if !have(&["python3", "unshare", "skopeo"]) {
        return;
    }
    let version = Ran::of(Command::new("skopeo").arg("--version").output().unwrap()).out;
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok()).unwrap();
    if !version.starts_with("skopeo version 1.") || minor >= 13 {
        eprintln!("skipped: needs a skopeo before 1.13");
        return;
    }
    let setting = Setting::new();
    let world = &setting.world;
    let policy = |name: &str| {
        format!(
            "mount --bind $W/{name} /etc/containers/policy.json; $P stage --root $W/root-signed"
        )
    };
    // The directory is Debian's; the file may be missing.
    let ran =
        world.unshared(&format!("test -e /etc/containers/policy.json; {}", policy("policy.json")));
    ran.expect(1, &["asks for signatures", "does not enforce it", "1.13"]);
    // `verify` says it of a root whose policy asks for something, and of no other.
    let verify = || {
        let mut command = world.command_of(PROGRAM);
        command.args(["verify", "--root"]).arg(world.path("root-signed"));
        Ran::of(command.output().unwrap())
    };
    let silent = verify();
    assert!(!silent.all().contains("enforce"), "{}", silent.all());
    let root_policy = world.path("root-signed/etc/containers/policy.json");
    fs::create_dir_all(root_policy.parent().unwrap()).unwrap();
    fs::copy(world.path("policy.json"), &root_policy).unwrap();
    verify().expect(1, &["warning: policy.json demands", "does not enforce it", "1.13"]);
    let fetched = setting.registry.log().iter().any(|request| request.contains("/blobs/"));
    assert!(!fetched && !world.path("root-signed/usr/lib/containers/storage").exists());
    let open = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;
    fs::write(world.path("open.json"), open).unwrap();
    world.unshared(&policy("open.json")).expect(0, &[]);
}
