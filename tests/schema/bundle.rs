//! `bundle`, made to write everything that it can write with `--format json`.
#![allow(unreachable_pub)]

use std::fs;
use std::path::Path;
use std::process::Command;

use oci_digest::Digest;
use serde_json::{Value, json};

use crate::common::images::{Image, blob, files, make, noise};
use crate::common::registry::FakeRegistry;
use crate::common::{PROGRAM, Ran, World, source};

/// A blob that is what its name says no more.
fn spoil(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[100] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// An image, and a list that has it, in a registry.
fn pushed(world: &World, registry: &FakeRegistry) -> Image {
    let layers = [files(&[("a", "1")]), noise("n", 20_000)];
    let image = make(world, "app", &layers, &["--platform", "linux/amd64"]);
    image.push(registry, "ns/app", "1");
    image.push(registry, "ns/listed", "unused");
    let mut mkimage = Command::new("python3");
    mkimage.arg(source("tests/corpus/mkimage.py")).arg("list").arg(&image.layout);
    let made = Ran::of(mkimage.arg(&image.manifest).output().unwrap());
    made.expect(0, &[]);
    let made: Value = serde_json::from_str(&made.out).unwrap();
    let list = fs::read(image.blob(made["list"].as_str().unwrap())).unwrap();
    registry.manifest("ns/listed", "1", "application/vnd.oci.image.index.v1+json", &list);
    image
}

/// A bundle that is planned, written, damaged, copied, pruned and refused.
pub fn every_event(add: impl Fn(&Ran)) {
    let (world, registry) = (World::new(), FakeRegistry::start());
    fs::write(world.path("registries.conf"), registry.registries_conf()).unwrap();
    let (image, host) = (pushed(&world, &registry), registry.host());
    let (out, old) = (world.path("out"), world.path("old"));
    let run = |root: &str, code: i32, more: &[&str]| {
        let mut command = world.command_of(PROGRAM);
        command.args(["bundle", "--platform", "linux/amd64", "--root"]).arg(world.path(root));
        let ran =
            Ran::of(command.args(more).args(["--format", "json"]).arg(&out).output().unwrap());
        ran.expect(code, &[]);
        add(&ran);
    };
    let (app, listed) = (format!("{host}/ns/app:1"), format!("{host}/ns/listed:1"));
    world.bind_images(&[("app", &app), ("listed", &listed)]);
    let optional = "[X-BoundImage]\nRequired=no\nFlavour=x\n";
    world.bind("gone.container", format!("[Container]\nImage={host}/ns/gone:1\n{optional}"));
    run("root", 0, &["--dry-run"]);
    run("root", 0, &[]);
    run("root", 0, &[]);
    spoil(&blob(&out, &image.layers[1]));
    run("root", 0, &[]);
    // From another layout, at first a good one.
    fs::rename(&out, &old).unwrap();
    let from = ["--from-bundle", old.to_str().unwrap()];
    run("root", 0, &from);
    fs::remove_dir_all(&out).unwrap();
    spoil(&blob(&old, &image.layers[1]));
    run("root", 0, &from);
    // What only the list led to may go, until there is something that cannot be looked at.
    fs::remove_file(world.root().join("usr/lib/bootc/bound-images.d/listed.container")).unwrap();
    run("root", 0, &["--prune", "--dry-run"]);
    let foreign = Digest::of(b"a directory").to_string();
    fs::create_dir(blob(&out, &foreign)).unwrap();
    let mut index: Value =
        serde_json::from_slice(&fs::read(out.join("index.json")).unwrap()).unwrap();
    let entry = json!({"mediaType": "application/x", "digest": foreign, "size": 1});
    index["manifests"].as_array_mut().unwrap().push(entry);
    fs::write(out.join("index.json"), index.to_string()).unwrap();
    run("root", 0, &["--prune"]);

    fs::create_dir_all(world.path("empty/usr")).unwrap();
    run("empty", 0, &[]);
    run("none", 3, &[]);
    run("root", 3, &["--from-bundle", "/nowhere"]);
    fs::remove_dir_all(&out).unwrap();
    fs::write(&out, "a file").unwrap();
    run("root", 1, &[]);
    fs::remove_file(&out).unwrap();
    // For a platform with a variant there is nothing.
    run("root", 1, &["--platform", "linux/arm/v7"]);
    world.bind("wrong.container", "[Container]\nImage=\n");
    run("root", 1, &[]);
}
