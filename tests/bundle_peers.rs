//! Bundles as newer programs read them: skopeo 1.18 and Podman 5.4, and Podman 6, in the chroots that
//! `tests/setup/chroot.sh` makes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::process::Command;

use common::images::{files, make};
use common::{Ran, World, have, source};
use serde_json::Value;

/// Reads every image that the index names, with what there is.
const JUDGE: &str = r#"
podman --version
p="podman --root /run/p/root --runroot /run/p/run --storage-driver vfs"
while read -r name config; do
    if command -v skopeo >/dev/null; then
        skopeo --insecure-policy copy -q "oci:/in/out:$name" dir:/run/copy
        rm -r /run/copy
        echo "skopeo read $name"
    fi
    [ "$($p pull -q "oci:/in/out:$name")" = "$config" ]
    echo "podman read $name"
done </in/names
$p images --digests --format '{{.Digest}}'
"#;

/// The chroot of a suite; none, after saying why, when there is none.
fn chroot(suite: &str) -> Option<String> {
    let made = Command::new(source("tests/setup/chroot.sh")).arg(suite).output().unwrap();
    if made.status.code() == Some(2) {
        eprintln!("skipped: needs {}", String::from_utf8_lossy(&made.stderr).trim());
        return None;
    }
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(String::from_utf8(made.stdout).unwrap().trim().to_owned())
}

#[test]
fn newer_podman_and_skopeo_read_sparse_lists_by_any_name() {
    if !have(&["python3", "unshare", "mount"]) {
        return;
    }
    let world = World::new();
    let layer = files(&[("a", "1")]);
    let host = binding::Platform::host();
    let here = format!("{}/{}", host.os, host.architecture);
    let mine = make(&world, "mine", std::slice::from_ref(&layer), &["--platform", &here]);
    let other = make(&world, "other", std::slice::from_ref(&layer), &["--platform", "linux/s390x"]);
    let layout = world.path("bundle");
    let tag = "registry.example/ns/listed:1";
    let mut list = Command::new("python3");
    list.arg(source("tests/corpus/mkimage.py")).arg("list").arg(&layout);
    list.args(["--ref", tag, &mine.manifest, &other.manifest]);
    let made = Ran::of(list.output().unwrap());
    made.expect(0, &[]);
    let made: Value = serde_json::from_str(&made.out).unwrap();
    let list = made["list"].as_str().unwrap();
    let pinned = format!("registry.example/ns/listed:9@{list}");
    let plain = format!("registry.example/ns/mine@{}", mine.manifest);
    let names = [tag, &pinned, &plain];
    world.bind_images(&[("tag", tag), ("pinned", &pinned), ("plain", &plain)]);
    fs::create_dir(world.path("in")).unwrap();
    let out = world.path("in/out");
    let words = ["--from-bundle", layout.to_str().unwrap(), out.to_str().unwrap()];
    world.run("bundle", &words).expect(0, &["Bundled 1 image "]);
    assert!(!common::images::blob(&out, &other.manifest).exists(), "the list is sparse");

    let config = mine.config.trim_start_matches("sha256:");
    let lines = names.map(|name| format!("{name} {config}\n"));
    fs::write(world.path("in/names"), lines.concat()).unwrap();
    fs::write(world.path("judge"), JUDGE).unwrap();
    fs::create_dir(world.path("store")).unwrap();
    for suite in ["trixie", "experimental"] {
        let Some(chroot) = chroot(suite) else { continue };
        let mut command = Command::new(source("tests/peers/in-chroot.sh"));
        command.arg(chroot).args(["store", "in", "judge"].map(|name| world.path(name)));
        let ran = Ran::of(command.output().unwrap());
        ran.expect(0, &[list]);
        for name in names {
            ran.says(&[&format!("podman read {name}\n")]);
            assert!(suite != "trixie" || ran.out.contains(&format!("skopeo read {name}\n")));
        }
        println!("asked: {}", ran.out.lines().next().unwrap());
    }
}

/// Documents keep their bytes and their media types, also those that skopeo does not find by name in a layout.
#[test]
fn dockers_older_documents_are_kept_as_they_are() {
    if !have(&["python3"]) {
        return;
    }
    let world = World::new();
    let host = binding::Platform::host();
    let here = format!("{}/{}", host.os, host.architecture);
    let docker = ["--format", "docker", "--platform", &here];
    let reference = "registry.example/ns/docker:1";
    let image = make(&world, reference, &[files(&[("a", "1")])], &docker);
    let layout = world.path("bundle");
    let mut list = Command::new("python3");
    list.arg(source("tests/corpus/mkimage.py")).arg("list").arg(&layout);
    list.args(["--format", "docker", "--ref", "registry.example/ns/list:1", &image.manifest]);
    Ran::of(list.output().unwrap()).expect(0, &[]);
    world.bind_images(&[("one", reference), ("list", "registry.example/ns/list:1")]);
    let out = world.path("out");
    let words = ["--from-bundle", layout.to_str().unwrap(), out.to_str().unwrap()];
    world.run("bundle", &words).expect(0, &["Bundled 1 image "]);
    let bytes = fs::read(image.blob(&image.manifest)).unwrap();
    assert_eq!(fs::read(common::images::blob(&out, &image.manifest)).unwrap(), bytes);
    let index = fs::read_to_string(out.join("index.json")).unwrap();
    assert!(index.contains("docker.distribution.manifest.v2+json"), "{index}");
    assert!(index.contains("docker.distribution.manifest.list.v2+json"), "{index}");
    world.run("stage", &["--bundle", out.to_str().unwrap()]).expect(0, &["Staged 1 image "]);
    world.run("verify", &["--deep"]).expect(0, &["is complete"]);
}
