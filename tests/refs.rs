//! `list --format refs`: references that programs which mirror images take as they are.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;
#[path = "common/peers.rs"]
mod peers;

use std::fs;
use std::process::Command;

use common::images::small;
use common::registry::FakeRegistry;
use common::{PROGRAM, Ran, World, have};

#[test]
fn one_line_an_image_as_skopeo_takes_it() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let world = World::new();
    let registry = FakeRegistry::start();
    let host = "registry.example";
    let conf = "insecure = true\nlocation";
    let conf = format!("[[registry]]\nprefix = \"{host}\"\n{conf} = \"{}\"\n", registry.host());
    fs::write(world.path("registries.conf"), conf).unwrap();
    let (one, two) = (small(&world, "one"), small(&world, "two"));
    one.push(&registry, "ns/one", "1");
    two.push(&registry, "ns/two", "latest");
    let (tag, digest) = (format!("{host}/ns/two"), &one.manifest);
    world.bind_images(&[
        ("digest", &format!("{host}/ns/one@{digest}")),
        ("both", &format!("docker://{host}/ns/one:1@{digest}")),
        ("tag", &tag),
    ]);
    // The same image is one line; a tag that nobody recorded is a tag.
    let wanted = format!("{host}/ns/one@{digest}\n{tag}:latest\n");
    let listed = world.run("list", &["--format", "refs"]);
    listed.expect(0, &[]);
    assert_eq!(listed.out, wanted);
    assert_eq!(listed.err, "");
    for line in listed.out.lines() {
        let conf = world.path("registries.conf");
        let conf = ["--registries-conf", conf.to_str().unwrap(), "--insecure-policy"];
        let to = format!("dir:{}", world.path("copied").display());
        let copy = ["copy", "-q", "--all", &format!("docker://{line}"), &to];
        let ran = Command::new("skopeo").args(conf).args(copy).output().unwrap();
        Ran::of(ran).expect(0, &[]);
        fs::remove_dir_all(world.path("copied")).unwrap();
        let to = world.path("synced");
        let sync = ["sync", "--src", "docker", "--dest", "dir", line, to.to_str().unwrap()];
        let ran = Command::new("skopeo").args(conf).args(sync).output().unwrap();
        Ran::of(ran).expect(0, &[]);
    }
    assert_eq!(fs::read_dir(world.path("synced")).unwrap().count(), 2);

    // A mirror that is filled by the loop of docs/air-gap.md has the same digests.
    if have(&["docker-registry"]) {
        let mirror = peers::Registry::start(&world.path("mirror"));
        for line in listed.out.lines() {
            let conf = world.path("registries.conf");
            let to = format!("docker://{}/{line}", mirror.address);
            let ran = Command::new("skopeo")
                .args(["--registries-conf", conf.to_str().unwrap(), "--insecure-policy"])
                .args(["copy", "-q", "--all", "--dest-tls-verify=false"])
                .args([&format!("docker://{line}"), &to])
                .output()
                .unwrap();
            Ran::of(ran).expect(0, &[]);
        }
        let bytes = mirror.get(&format!("{host}/ns/one/manifests/{digest}"));
        assert_eq!(oci_digest::Digest::of(&bytes).to_string(), *digest);
    }

    // What a store recorded is known, whatever the tag means by now.
    world.run("stage", &[]).expect(0, &["Staged 2 images"]);
    one.push(&registry, "ns/two", "latest");
    let listed = world.run("list", &["--format", "refs"]);
    assert_eq!(listed.out, format!("{host}/ns/one@{digest}\n{tag}@{}\n", two.manifest));

    // A binding that is wrong is not left out in silence.
    world.bind_images(&[("short", "nginx")]);
    let wrong = world.run("list", &["--format", "refs"]);
    wrong.expect(1, &["short.container", "short name"]);
    assert_eq!(wrong.out.lines().count(), 2);
    world.run("verify", &["--format", "refs"]).expect(2, &["possible values: table, json]"]);
    let empty = world.path("empty");
    fs::create_dir_all(empty.join("usr")).unwrap();
    let mut command = world.command_of(PROGRAM);
    command.args(["list", "--format", "refs", "--root"]).arg(&empty);
    let ran = Ran::of(command.output().unwrap());
    ran.expect(0, &[]);
    assert_eq!(ran.out, "");
}
