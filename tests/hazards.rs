//! What an additional image store that is replaced now and then could do to the rest of a host, with
//! Podman 5.4 and the store listed for all its commands. `tests/peers/hazards/` has what Podman is
//! asked; here is what takes place meanwhile.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic"
)]

mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use common::images::{self, Image, files};
use common::registry::FakeRegistry;
use common::{World, find, have, source};
use serde_json::{Value, json};

/// A host to be: images and stores of a test, a registry beside them, and Podman.
struct Host {
    world: World,
    registry: FakeRegistry,
    chroot: String,
}

impl Host {
    /// None, after saying why, where it cannot run.
    fn new() -> Option<Self> {
        if !have(&["python3", "unshare", "busybox"]) {
            return None;
        }
        let output = Command::new(source("tests/setup/chroot.sh")).arg("trixie").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(2) {
            eprintln!("skipped: needs {}", said.trim());
            return None;
        }
        assert!(output.status.success(), "{said}");
        let chroot = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        let world = World::new();
        fs::create_dir(world.path("pool")).unwrap();
        fs::copy(source("units/storage-skeleton"), world.path("storage-skeleton")).unwrap();
        fs::copy(find("busybox").unwrap(), world.path("busybox")).unwrap();
        Some(Self { world, registry: FakeRegistry::start(), chroot })
    }

    /// An image of the base that all share and a layer of its own, with `name` in the file /name.
    fn image(&self, reference: &str, name: &str) -> Image {
        let own = files(&[("name", name)]);
        images::make(&self.world, reference, &[base(), own], &[])
    }

    /// Binds these images, and no others.
    fn bind(&self, images: &[(&str, &str)]) {
        for directory in ["usr/share", "usr/lib/bootc"] {
            let path = self.world.root().join(directory);
            if path.exists() {
                fs::remove_dir_all(path).unwrap();
            }
        }
        self.world.bind_images(images);
    }

    fn stage(&self, images: &[(&str, &str)]) {
        self.bind(images);
        self.world.stage(&[]).expect(0, &[]);
    }

    /// Stages, and takes the store out of the root into the pool, as `name`.
    fn pooled(&self, name: &str, images: &[(&str, &str)]) {
        self.stage(images);
        fs::rename(self.world.store(), self.world.path("pool").join(name)).unwrap();
    }

    /// Runs a script of `tests/peers/hazards` in the chroot, and at each of its steps `act`.
    fn judge(&self, script: &str, environment: &[(&str, &str)], mut act: impl FnMut(&str)) {
        let part = |name: &str| fs::read(source("tests/peers/hazards").join(name)).unwrap();
        let (whole, log) = (self.world.path("script"), self.world.path("log"));
        fs::write(&whole, [part("prelude.sh"), part(script)].concat()).unwrap();
        let mut child = Command::new(source("tests/peers/in-chroot.sh"))
            .arg(&self.chroot)
            .arg(self.world.path("pool"))
            .args([self.world.path(""), whole])
            .env("REGISTRY", self.registry.host())
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut answer = child.stdin.take().unwrap();
        let mut text = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(step) = line.strip_prefix("step ") {
                act(step);
                answer.write_all(b"\n").unwrap();
            }
            if line.starts_with("skipped:") {
                eprintln!("{line}");
            }
            text.push_str(&line);
            text.push('\n');
        }
        let status = child.wait().unwrap();
        let log = fs::read(log).unwrap();
        let log = String::from_utf8_lossy(&log);
        assert!(status.success() && text.ends_with("judged\n"), "{status}\n{text}\n{log}");
    }
}

/// The layer that makes an image run.
fn base() -> Value {
    let busybox = find("busybox").unwrap();
    let mut entries = vec![
        json!({"path": "bin/", "type": "dir", "mode": "0755"}),
        json!({"path": "bin/busybox", "mode": "0755", "from": busybox.to_str().unwrap()}),
    ];
    for name in ["cat", "sh", "sleep", "true"] {
        entries.push(
            json!({"path": format!("bin/{name}"), "type": "symlink", "link": "busybox", "mode": "0777"}),
        );
    }
    entries.extend(
        ["dev/", "etc/", "proc/", "run/", "sys/", "tmp/"]
            .map(|path| json!({"path": path, "type": "dir", "mode": "0755"})),
    );
    Value::Array(entries)
}

const BOUND: (&str, &str) = ("bound", "registry.test/t/bound:1");
const OTHER: (&str, &str) = ("other", "registry.test/t/other:1");

/// `other` shares no layer with `bound`.
fn bound_and_other(host: &Host) -> (Image, Image) {
    let bound = host.image(BOUND.1, "bound");
    let other = images::make(&host.world, OTHER.1, &[files(&[("name", "other")])], &[]);
    (bound, other)
}

/// An image that is pulled while our store has some of its layers is
/// whole without the store; with Podman's own layer ids it would not be.
#[test]
fn a_pulled_image_does_not_need_the_store() {
    let Some(host) = Host::new() else { return };
    bound_and_other(&host);
    let name = format!("{}/t/floating:1", host.registry.host());
    let floating = host.image(&name, "floating");
    floating.push(&host.registry, "t/floating", "1");
    host.pooled("1", &[BOUND]);
    host.pooled("2", &[OTHER]);
    host.stage(&[BOUND]);
    host.judge("shared-layers.sh", &[], |_| host.stage(&[OTHER]));
    // The bytes of what is shared come from the store: only what is not is fetched.
    let log = host.registry.log();
    let fetched = |digest: &String| log.iter().any(|request| request.contains(digest));
    assert!(!fetched(&floating.layers[0]) && fetched(&floating.layers[1]), "{log:#?}");
}

/// An image that is both bound and pulled: an update of the bound one reaches those who name its
/// digest, and takes nothing from what was pulled.
#[test]
fn the_bound_image_may_be_pulled_as_well() {
    let Some(host) = Host::new() else { return };
    let reference = format!("{}/t/same:1", host.registry.host());
    let old = host.image(&reference, "old");
    old.push(&host.registry, "t/same", "1");
    old.push(&host.registry, "t/alias", "1");
    host.pooled("1", &[("same", &reference)]);
    fs::remove_dir_all(host.world.path("bundle")).unwrap();
    let new = host.image(&reference, "new");
    host.pooled("2", &[("same", &reference)]);
    let id = |image: &Image| image.config.trim_start_matches("sha256:").to_owned();
    let environment = [
        ("OLD_ID", id(&old)),
        ("OLD_DIGEST", old.manifest.clone()),
        ("NEW_ID", id(&new)),
        ("NEW_DIGEST", new.manifest.clone()),
    ];
    let environment = environment.each_ref().map(|(key, value)| (*key, value.as_str()));
    host.judge("same-image.sh", &environment, |_| {});
}

#[test]
fn containers_outlive_an_update() {
    let Some(host) = Host::new() else { return };
    bound_and_other(&host);
    host.pooled("1", &[BOUND]);
    host.pooled("2", &[BOUND, OTHER]);
    host.pooled("3", &[OTHER]);
    // And a root whose store is in use when its update is staged.
    host.stage(&[BOUND]);
    host.bind(&[OTHER]);
    fs::copy(common::PROGRAM, host.world.path("bound-images")).unwrap();
    host.judge("running.sh", &[], |_| {});
}

#[test]
fn a_running_service_sees_what_is_published() {
    let Some(host) = Host::new() else { return };
    let (_, other) = bound_and_other(&host);
    host.pooled("1", &[BOUND]);
    host.pooled("2", &[OTHER]);
    host.stage(&[BOUND]);
    let id = other.config.trim_start_matches("sha256:");
    host.judge("service.sh", &[("OTHER_ID", id)], |step| match step {
        "bound" => host.stage(&[BOUND]),
        "other" => host.stage(&[OTHER]),
        "nothing" => host.stage(&[]),
        step => panic!("no step {step}"),
    });
}

#[test]
fn an_empty_store_breaks_no_command() {
    let Some(host) = Host::new() else { return };
    let name = format!("{}/t/floating:1", host.registry.host());
    host.image(&name, "floating").push(&host.registry, "t/floating", "1");
    let build = host.world.path("build");
    fs::create_dir(&build).unwrap();
    fs::write(build.join("Containerfile"), "ARG FROM\nFROM $FROM\nRUN echo built > /built\n")
        .unwrap();
    // What the packages ship does not stand in the way of a stage.
    let skeleton = |path: &Path| {
        let status = Command::new(source("units/storage-skeleton")).arg(path).status().unwrap();
        assert!(status.success());
    };
    fs::create_dir_all(host.world.store().parent().unwrap()).unwrap();
    skeleton(&host.world.store());
    host.image(BOUND.1, "bound");
    host.stage(&[BOUND]);
    let lock = host.world.store().join("overlay-layers/layers.lock");
    let token = fs::read(&lock).unwrap();
    assert_eq!(token.len(), 64);
    // Nor does it harm a store that is there.
    skeleton(&host.world.store());
    assert_eq!(fs::read(&lock).unwrap(), token);
    host.pooled("empty", &[]);
    host.judge("empty.sh", &[], |_| {});
}
