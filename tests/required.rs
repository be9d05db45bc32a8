//! Required and optional images, end to end: what every command says, and how it ends, when one is there,
//! is not to be had, or is damaged. The same table is in docs/upgrade.md.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;

use common::have;
use common::host::{Machine, NEW, ONE};

const GONE: &str = "registry.example/ns/gone:1";

/// What happens to the image.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Image {
    Present,
    /// The registry does not have it.
    Missing,
    /// Staged, and then hurt.
    Damaged,
}

/// Image, whether it is required; then exit codes of stage, gate, verify and list, the standing in `status`, the
/// word of `list`, and what the gate says.
type Row = (Image, bool, [i32; 4], &'static str, &'static str, &'static str);

const TABLE: [Row; 6] = [
    (Image::Present, true, [0, 0, 0, 0], "complete", "present", "is complete"),
    (Image::Present, false, [0, 0, 0, 0], "complete", "present (optional)", "is complete"),
    (
        Image::Missing,
        true,
        [1, 1, 1, 1],
        "incomplete",
        "missing",
        "is missing: the root has no store",
    ),
    (Image::Missing, false, [0, 0, 0, 0], "complete", "missing (optional)", "is complete"),
    (Image::Damaged, true, [0, 1, 1, 1], "incomplete", "damaged", "x.container: overlay/"),
    (Image::Damaged, false, [0, 0, 0, 0], "complete", "damaged (optional)", "is complete"),
];

/// A root that binds ONE, required, and another image as the row has it.
fn bind(host: &Machine, letter: &str, image: Image, required: bool) {
    let reference = if image == Image::Missing { GONE } else { NEW };
    host.deploy(letter, &[("keep", ONE), ("x", reference)]);
    if !required {
        let path = host.files(letter).join("usr/share/containers/systemd/x.container");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text + "[X-BoundImage]\nRequired=no\n").unwrap();
    }
}

/// Takes the content of the layer away that only x.container has.
fn damage(host: &Machine, letter: &str) {
    let store = host.pool().join("roots").join(host.link(letter).unwrap());
    let record = fs::read(store.join("bound-images.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let layers = |name: &str| -> Vec<String> {
        let bindings = record["bindings"].as_array().unwrap();
        let of = bindings.iter().find(|binding| binding["name"] == name).unwrap();
        let layers = of["layers"].as_array().unwrap().iter();
        layers.map(|layer| layer["id"].as_str().unwrap().to_owned()).collect()
    };
    let others = layers("keep.container");
    let own = layers("x.container").into_iter().find(|id| !others.contains(id)).unwrap();
    fs::remove_dir_all(store.join("overlay").join(own).join("diff")).unwrap();
}

#[test]
fn each_command_says_the_same_of_required_and_optional_images() {
    if !have(&["python3"]) {
        return;
    }
    let host = Machine::new();
    host.stage(&["--late-binding"]).expect(0, &["Staged 2 images"]);
    for (image, required, [stage, gate, verify, list], standing, word, said) in TABLE {
        bind(&host, "b", image, required);
        host.stage_root("b");
        let what = format!("{image:?} {}", if required { "required" } else { "optional" });
        println!("{what}");
        host.stage(&[]).expect(stage, &[]);
        if image == Image::Damaged {
            damage(&host, "b");
        }
        let asked = host.run(&["gate"]);
        asked.expect(gate, &[said]);
        assert_eq!(asked.out.lines().count(), 1, "{what}: {}", asked.all());
        let verified = host.run(&["verify", "--root", "staged"]);
        verified.expect(verify, &[]);
        // What is wrong with an optional image is told all the same.
        let well = image == Image::Present;
        assert_eq!(verified.out.contains("x.container"), !well, "{what}: {}", verified.all());
        let listed = host.run(&["list", "--root", "staged"]);
        listed.expect(list, &["x.container", word, "keep.container"]);
        assert_eq!(host.root("b")["state"], standing, "{what}");
        assert_eq!(
            host.root("b")["present"],
            if well { 2 } else { i32::from(stage == 0) },
            "{what}"
        );
        // Staged again, what can be had is there.
        let again = host.stage(&[]);
        again.expect(stage, &[]);
        if image == Image::Damaged {
            host.run(&["list", "--root", "staged"]).expect(0, &["present"]);
            host.run(&["verify", "--root", "staged"]).expect(0, &["is complete"]);
        }
        host.undeploy("b");
        host.unstage();
        host.run(&["gc"]).expect(0, &[]);
    }
}

/// The root that runs gets what can be had, and says what it lacks.
#[test]
fn late_binding_publishes_what_can_be_had() {
    if !have(&["python3"]) {
        return;
    }
    for (image, required, exit, standing) in [
        (Image::Present, true, 0, "complete"),
        (Image::Missing, true, 1, "incomplete"),
        (Image::Missing, false, 0, "complete"),
    ] {
        let host = Machine::new();
        host.undeploy("a");
        bind(&host, "a", image, required);
        host.stage(&["--late-binding"]).expect(exit, &["Staged"]);
        assert!(host.link("a").is_some(), "{image:?} {required}");
        assert_eq!(host.root("a")["state"], standing, "{image:?} {required}");
        host.run(&["verify"]).expect(exit, &[]);
        host.run(&["verify", "--health"]).expect(exit, &[]);
    }
}
