//! A container that podman itself makes: its bundle, its layer, its lists. The runtime is a script
//! which does what an OCI runtime does with the hooks of `config.json` and starts nothing, so that
//! this runs where containers cannot.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use binding::{Platform, Record, RecordBinding, RecordLayer, Reference};
use oci_digest::Digest;

/// Podman with a store of its own, unmounted at the end.
struct Podman(tempfile::TempDir);

impl Podman {
    fn run(&self, arguments: &[&str]) -> Output {
        let dir = self.0.path();
        let mut command = Command::new("podman");
        command.arg("--root").arg(dir.join("graph")).arg("--runroot").arg(dir.join("run"));
        command.arg("--storage-driver=overlay").arg("--runtime").arg(dir.join("runtime"));
        command.arg("--hooks-dir").arg(dir.join("hooks")).arg("--cgroup-manager=cgroupfs");
        command.env("CONTAINERS_CONF", "/dev/null").args(arguments).output().unwrap()
    }

    fn start(&self, annotations: &[&str]) -> Output {
        let log = self.0.path().join("hook.log");
        fs::write(log, "").unwrap();
        let mut arguments = vec!["run", "--rm", "--network=none", "--ulimit=nofile=256:256"];
        arguments.extend(annotations);
        arguments.extend(["example.org/app:1", "/app"]);
        self.run(&arguments)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.0.path().join("hook.log")).unwrap()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.run(&["rm", "--all", "--force"]);
        // Podman leaves a bind mount on its store; not mounted is fine too.
        drop(Command::new("umount").arg(self.0.path().join("graph/overlay")).output());
    }
}

/// What a runtime does at `create`: the state to each `createRuntime` hook, and stop when one fails.
const RUNTIME: &str = r#"#!/bin/sh
dir=$(dirname "$0")
case " $* " in *" create "*) ;; *) exit 0 ;; esac
for last in "$@"; do
    case $previous in --bundle|-b) bundle=$last ;; esac
    previous=$last
done
hook=$(jq -r '.hooks.createRuntime[0].path // empty' "$bundle/config.json")
[ -n "$hook" ] || { echo "no hook" >> "$dir/hook.log"; exit 1; }
printf '{"ociVersion":"1.0.2","id":"%s","status":"creating","pid":1,"bundle":"%s"}' "$last" "$bundle" |
    "$hook" --store "$dir/graph" --journal "$dir/none" >> "$dir/hook.log" 2>&1
echo "status $?" >> "$dir/hook.log"
exit 1
"#;

fn write_program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_container_of_podmans_is_judged_by_its_own_files() {
    let is_root = fs::metadata("/proc/self")
        .is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    let have = |program| Command::new(program).arg("--version").output().is_ok();
    if !is_root || !have("podman") || !have("jq") {
        println!("skipped: needs podman, jq and root");
        return;
    }
    let podman = Podman(tempfile::tempdir().unwrap());
    let dir = podman.0.path();
    fs::create_dir(dir.join("hooks")).unwrap();
    write_program(&dir.join("runtime"), RUNTIME);
    let json = include_str!("../../units/bound-images-hook.json");
    let json =
        json.replace("/usr/libexec/bound-images-hook", env!("CARGO_BIN_EXE_bound-images-hook"));
    fs::write(dir.join("hooks/bound-images-hook.json"), json).unwrap();

    // An image of one file.
    fs::create_dir(dir.join("tree")).unwrap();
    fs::write(dir.join("tree/app"), "bound").unwrap();
    let tar = dir.join("tree.tar");
    let tarred =
        Command::new("tar").arg("-C").arg(dir.join("tree")).arg("-cf").arg(&tar).arg(".").status();
    assert!(tarred.unwrap().success());
    let imported = podman.run(&["import", tar.to_str().unwrap(), "example.org/app:1"]);
    if !imported.status.success() {
        let why = String::from_utf8_lossy(&imported.stderr).into_owned();
        println!("skipped: needs a podman that can make images here: {why}");
        return;
    }
    let images = fs::read(dir.join("graph/overlay-images/images.json")).unwrap();
    let images: serde_json::Value = serde_json::from_slice(&images).unwrap();
    let text = |key: &str| images[0][key].as_str().unwrap().to_owned();
    let pinned = format!("example.org/app@{}", Digest::of(b"x"));

    let write_record = |image: &str, layer: &str| {
        let diff_id = Digest::of(b"diff");
        let record = Record::new(vec![RecordBinding {
            name: "app.container".into(),
            reference: Reference::parse(&pinned).unwrap(),
            alias: None,
            platform: Platform::host(),
            required: true,
            present: true,
            list: None,
            manifest: Some(Digest::of(b"x")),
            image: Some(image.to_owned()),
            layers: vec![RecordLayer { diff_id, size: 1, id: layer.to_owned() }],
        }]);
        fs::write(dir.join("graph/bound-images.json"), record.canonical()).unwrap();
    };
    let bound = format!("--annotation=bound-images.reference={pinned}");
    let bound = [bound.as_str(), "--annotation=bound-images.service=app.service"];
    let other = Digest::of(b"other").hex();

    let cases = [
        ("its top layer", other.as_str(), &*text("layer"), "status 0"),
        ("its image, of another layer", &*text("id"), other.as_str(), "status 0"),
        ("neither", other.as_str(), other.as_str(), "status 1"),
    ];
    for (name, image, layer, want) in cases {
        write_record(image, layer);
        let output = podman.start(&bound);
        let log = podman.log();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(log.contains(want), "{name}: {log}\n{said}");
        assert!(log.contains("app.service") && log.contains(&pinned), "{name}: {log}");
    }
    assert!(podman.log().contains(&text("id")[..12]), "what was found: {}", podman.log());

    let output = podman.start(&[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(podman.log(), "no hook\n", "a container that is not bound: {said}");
}
