//! Bundles and images that are wrong: what `stage` says then, how it ends, and that nothing is
//! half-published.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;

use common::images::{files, make, small};
use common::{World, have, picture};
use oci_digest::Digest;
use serde_json::{Value, json};

const GOOD: &str = "registry.example/ns/good:1";

/// A root with a binding that its bundle can serve.
fn good() -> World {
    let world = World::new();
    small(&world, GOOD);
    world.bind_images(&[("good", GOOD)]);
    world
}

/// What is wrong with a bundle, how it ends, and what must be said; `{…}` stands for a digest.
type WrongBundle = (&'static str, fn(&World), i32, &'static [&'static str]);

fn edit_index(world: &World, edit: impl Fn(&mut Value)) {
    let path = world.path("bundle/index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut index);
    fs::write(&path, index.to_string()).unwrap();
}

/// Changes the blob of the lowest layer.
fn edit_layer(world: &World, edit: impl Fn(&mut Vec<u8>)) {
    let index: Value =
        serde_json::from_slice(&fs::read(world.path("bundle/index.json")).unwrap()).unwrap();
    let read = |digest: &Value| fs::read(path_of(world, digest)).unwrap();
    let manifest: Value = serde_json::from_slice(&read(&index["manifests"][0]["digest"])).unwrap();
    let path = path_of(world, &manifest["layers"][0]["digest"]);
    let mut bytes = fs::read(&path).unwrap();
    edit(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn path_of(world: &World, digest: &Value) -> std::path::PathBuf {
    common::images::blob(&world.path("bundle"), digest.as_str().unwrap())
}

const BUNDLES: &[WrongBundle] = &[
    (
        "another image",
        |world| {
            edit_index(world, |index| {
                index["manifests"][0]["annotations"] =
                    json!({"org.opencontainers.image.ref.name": "registry.example/else:1"})
            })
        },
        1,
        &["registry.example/else:1"],
    ),
    ("a truncated layer", |world| edit_layer(world, |bytes| bytes.truncate(100)), 1, &["sha256"]),
    ("an empty layer", |world| edit_layer(world, Vec::clear), 1, &["sha256"]),
    (
        "an oversized layer",
        |world| edit_layer(world, |bytes| bytes.extend([0; 100])),
        1,
        &["sha256"],
    ),
    ("a wrong layer", |world| edit_layer(world, |bytes| bytes[60] ^= 1), 1, &["sha256"]),
    (
        "a layer that is not there",
        |world| {
            let index: Value =
                serde_json::from_slice(&fs::read(world.path("bundle/index.json")).unwrap())
                    .unwrap();
            let bytes = fs::read(path_of(world, &index["manifests"][0]["digest"])).unwrap();
            let manifest: Value = serde_json::from_slice(&bytes).unwrap();
            fs::remove_file(path_of(world, &manifest["layers"][1]["digest"])).unwrap();
        },
        1,
        &["sha256"],
    ),
    (
        "a manifest with another digest",
        |world| {
            let index: Value =
                serde_json::from_slice(&fs::read(world.path("bundle/index.json")).unwrap())
                    .unwrap();
            let path = path_of(world, &index["manifests"][0]["digest"]);
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace("+json", "+JSON")).unwrap();
        },
        1,
        &["sha256"],
    ),
    (
        "an index that is not JSON",
        |world| fs::write(world.path("bundle/index.json"), "{").unwrap(),
        1,
        &["index.json"],
    ),
    (
        "an index that is not there",
        |world| fs::remove_file(world.path("bundle/index.json")).unwrap(),
        1,
        &["index.json"],
    ),
];

#[test]
fn wrong_bundles() {
    if !have(&["python3"]) {
        return;
    }
    let mut failed = Vec::new();
    for (what, spoil, code, said) in BUNDLES {
        let world = good();
        spoil(&world);
        let ran = world.stage(&[]);
        if ran.code != Some(*code) {
            failed.push(format!("{what}: {}", ran.all()));
        }
        let errors = ran.errors();
        for part in said.iter().chain(&["bundle"]) {
            if !errors.contains(part) {
                failed.push(format!("{what}: no `{part}`: {}", ran.all()));
            }
        }
        world.assert_unpublished(&ran);
        // Mended, it goes on; the same directory of work.
        fs::remove_dir_all(world.path("bundle")).unwrap();
        small(&world, GOOD);
        let ran = world.stage(&[]);
        if ran.code != Some(0) {
            failed.push(format!("{what}: mended: {}", ran.all()));
        }
    }
    assert!(failed.is_empty(), "{} failures\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn images_that_are_not_the_bound_ones() {
    if !have(&["python3"]) {
        return;
    }
    // For another platform, and a Quadlet that asks for it.
    let world = World::new();
    make(&world, GOOD, &[files(&[("a", "1")])], &["--platform", "linux/s390x"]);
    world.bind_images(&[("good", GOOD)]);
    let ran = world.stage(&[]);
    ran.expect(1, &["good.container", GOOD, "s390x", "Arch="]);
    world.assert_unpublished(&ran);
    fs::remove_dir_all(world.root()).unwrap();
    world.bind("good.image", format!("[Image]\nImage={GOOD}\nArch=s390x\n"));
    world.stage(&[]).expect(0, &["Staged"]);
    assert_eq!(world.record()["bindings"][0]["platform"]["architecture"], "s390x");

    // A digest that the bundle does not have.
    let world = good();
    let other = Digest::of(b"other");
    world.bind_images(&[("pinned", &format!("registry.example/ns/good@{other}"))]);
    let ran = world.stage(&[]);
    ran.expect(1, &["pinned.container", &other.to_string(), "index"]);
    world.assert_unpublished(&ran);

    // A diff id that is another one than that of the layer.
    let world = World::new();
    let wrong = json!({"rootfs": {"diff_ids": [Digest::of(b"else").to_string()]}});
    make(&world, GOOD, &[files(&[("a", "1")])], &["--config", &wrong.to_string()]);
    world.bind_images(&[("good", GOOD)]);
    let ran = world.stage(&[]);
    ran.expect(1, &["good.container", "sha256:", "nothing was staged"]);
    world.assert_unpublished(&ran);
}

/// Layers that must not be unpacked, and the path that must be named.
const HOSTILE: &[(&str, &str)] = &[
    (r#"[{"path": "../escape", "content": "x"}]"#, "../escape"),
    (r#"[{"path": "a/../../escape", "content": "x"}]"#, "escape"),
    (r#"[{"path": "h", "type": "hardlink", "link": "../../../etc/passwd"}]"#, "\"h\""),
    (r#"[{"path": "h", "type": "hardlink", "link": "nowhere"}]"#, "nowhere"),
    (r#"[{"path": "a", "content": "x"}, {"path": "a/escape", "content": "x"}]"#, "a/escape"),
    (
        r#"[{"path": "up", "type": "symlink", "link": "../../none"}, {"path": "up/x", "content": ""}]"#,
        "up/x",
    ),
    (r#"[{"path": ".wh..", "content": ""}]"#, ".wh.."),
    (r#"[{"path": "d/.wh...", "content": ""}]"#, ".wh..."),
];

#[test]
fn hostile_layers_are_findings_that_name_the_path() {
    if !have(&["python3"]) {
        return;
    }
    let mut failed = Vec::new();
    for (layer, said) in HOSTILE {
        let world = World::new();
        make(&world, GOOD, &[serde_json::from_str(layer).unwrap()], &[]);
        world.bind_images(&[("good", GOOD)]);
        let ran = world.stage(&[]);
        let errors = ran.errors();
        // The image is wrong, not this machine.
        if ran.code != Some(1) || !errors.contains(said) || !errors.contains("good.container") {
            failed.push(format!("{layer}: {}", ran.all()));
        }
        world.assert_unpublished(&ran);
    }
    assert!(failed.is_empty(), "{} failures\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn a_link_in_a_layer_never_leads_out_of_it() {
    if !have(&["python3"]) {
        return;
    }
    for target in ["../../../..", "/", "/usr/lib"] {
        let world = World::new();
        let outside = world.path("precious");
        fs::write(&outside, "x").unwrap();
        let layer = json!([
            {"path": "up", "type": "symlink", "link": target},
            {"path": "up/bound-images-escape", "content": "x"},
            {"path": "precious", "type": "symlink", "link": outside.to_str().unwrap()},
            {"path": "precious", "content": "overwritten"},
        ]);
        make(&world, GOOD, &[layer], &[]);
        world.bind_images(&[("good", GOOD)]);
        let ran = world.stage(&[]);
        assert!(ran.code.is_some(), "{}", ran.all());
        assert_eq!(fs::read_to_string(&outside).unwrap(), "x", "written through a link");
        for path in ["/bound-images-escape", "/usr/lib/bound-images-escape"] {
            assert!(!std::path::Path::new(path).exists(), "{path}");
        }
        let files = picture(&world.path(""));
        let escaped: Vec<&String> = files
            .keys()
            .filter(|path| path.ends_with("bound-images-escape") && !path.contains("/diff/"))
            .collect();
        assert!(escaped.is_empty(), "{escaped:?}");
    }
}
