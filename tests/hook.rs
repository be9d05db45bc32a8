//! What `verify` says of the hook: whether Podman loads it (Podman is the judge of containers.conf),
//! and whether what runs was judged by it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;
#[path = "support/bus.rs"]
mod fake;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use binding::Root;
use bound_images::hook::read_conf;
use common::host::{Machine, ONE};
use common::{PROGRAM, Ran, have, source};
use fake::{Answers, FakeBus, Unit};

const JSON: &str = "usr/share/containers/oci/hooks.d/bound-images-hook.json";
const HOOK: &str = "usr/libexec/bound-images-hook";
const CONF: &str = "etc/containers/containers.conf";
const DROP_IN: &str = "etc/containers/containers.conf.d/50.conf";

/// A host whose booted root is complete, with the hook as it is installed.
fn host() -> Machine {
    let host = Machine::new();
    host.stage(&["--root", "booted"]).expect(0, &[]);
    write(&host, JSON, &fs::read_to_string(source("units/bound-images-hook.json")).unwrap());
    write(&host, HOOK, "");
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(host.top().join(HOOK), mode).unwrap();
    host
}

fn write(host: &Machine, path: &str, text: &str) {
    let path = host.top().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn hooks_dir(list: &str) -> String {
    format!("[engine]\nhooks_dir = [{list}]\n")
}

#[test]
fn a_hook_that_podman_would_not_start_is_a_finding() {
    if !have(&["skopeo", "python3"]) {
        return;
    }
    let host = host();
    let said = || {
        let ran = host.run(&["verify"]);
        assert_eq!(ran.code, Some(0), "the images are there: {}", ran.all());
        ran.err
    };
    let clean = said();
    assert!(!clean.contains("hook-"), "{clean}");

    type Break = fn(&Machine);
    let gone = |host: &Machine, path: &str| fs::remove_file(host.top().join(path)).unwrap();
    let cases: &[(&str, Break, &str)] = &[
        ("no json", |host| fs::remove_file(host.top().join(JSON)).unwrap(), "[hook-missing]"),
        ("json garbage", |host| write(host, JSON, "{"), "cannot be read"),
        ("json huge", |host| write(host, JSON, &" ".repeat((1 << 20) + 1)), "cannot be read"),
        (
            "json of other containers",
            |host| {
                let text = fs::read_to_string(host.top().join(JSON)).unwrap();
                write(host, JSON, &text.replace("reference", "other"));
            },
            "[hook-missing]",
        ),
        ("no program", |host| fs::remove_file(host.top().join(HOOK)).unwrap(), "cannot be run"),
        (
            "not executable",
            |host| {
                let mode = fs::Permissions::from_mode(0o644);
                fs::set_permissions(host.top().join(HOOK), mode).unwrap();
            },
            "is not executable",
        ),
        (
            "program loops",
            |host| {
                let path = host.top().join(HOOK);
                fs::remove_file(&path).unwrap();
                symlink("/usr/libexec/bound-images-hook", path).unwrap();
            },
            "cannot be run",
        ),
        ("overridden", |host| write(host, CONF, &hooks_dir("'/etc/hooks'")), "[hook-overridden]"),
        (
            "by a drop-in",
            |host| {
                let list = "'/usr/share/containers/oci/hooks.d'";
                write(host, CONF, &hooks_dir(list));
                write(host, DROP_IN, &hooks_dir("'/x'"));
            },
            "etc/containers/containers.conf.d/50.conf",
        ),
        (
            "by the file of a service",
            |host| {
                let path = "run/bound-images/containers.conf.d/one.service.conf";
                write(host, path, &hooks_dir("'/x'"));
            },
            "containers.conf.d/one.service.conf",
        ),
        (
            "hidden by a file of its name",
            |host| {
                write(host, CONF, &hooks_dir("'/etc/hooks', {append=true}"));
                write(host, "etc/hooks/bound-images-hook.json", "{}");
            },
            "etc/hooks/bound-images-hook.json",
        ),
    ];
    for (name, break_it, wanted) in cases {
        break_it(&host);
        let found = said();
        assert!(found.contains(wanted), "{name}: {found}");
        assert_eq!(found.matches("[hook-").count(), 1, "{name}: {found}");
        let json = host.run(&["verify", "--format", "json"]).json().remove(0);
        let code = json["findings"][0]["code"].as_str().unwrap();
        assert!(found.contains(code), "{name}: {json}");
        // Another root is not run, and a boot is not failed for it.
        for words in [&["verify", "--health"][..], &["list"]] {
            let ran = host.run(words);
            assert!(ran.code == Some(0) && !ran.err.contains("hook-"), "{name}: {}", ran.all());
        }
        for path in [JSON, HOOK, CONF, DROP_IN] {
            if fs::symlink_metadata(host.top().join(path)).is_ok() {
                gone(&host, path);
            }
        }
        for directory in ["run/bound-images", "etc/hooks"] {
            drop(fs::remove_dir_all(host.top().join(directory)));
        }
        write(&host, JSON, &fs::read_to_string(source("units/bound-images-hook.json")).unwrap());
        write(&host, HOOK, "");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(host.top().join(HOOK), mode).unwrap();
    }
    // As like it as can be.
    for list in [
        "'/etc/hooks', {append=true}",
        "'/usr/share/containers/oci/hooks.d'",
        "'/usr/share/containers/oci/hooks.d/', '/x'",
    ] {
        write(&host, CONF, &hooks_dir(list));
        let found = said();
        assert!(!found.contains("hook-"), "{list}: {found}");
    }
    // What Podman itself fails at is not ours to tell; nor is a root that binds nothing.
    write(&host, CONF, "[engine\n");
    assert!(!said().contains("hook-"));
}

/// `verify` on a machine where some units run, with the journal that `lines` are.
fn verify(host: &Machine, units: &[(&str, Unit)], answers: Answers, journal: &str) -> Ran {
    let place = tempfile::tempdir().unwrap();
    let bus = FakeBus::start(place.path(), units, answers);
    let programs = host.world.path("programs");
    fs::create_dir_all(&programs).unwrap();
    let path = programs.join("journalctl");
    fs::write(&path, format!("#!/bin/sh\necho \"$@\" >\"$0.asked\"\n{journal}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = host.world.command_of(PROGRAM);
    let others = std::env::var("PATH").unwrap();
    command.args(["verify", "--host"]).arg(host.top());
    command.env("PATH", format!("{}:{others}", programs.display()));
    command.env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address);
    Ran::of(command.output().unwrap())
}

fn line(service: &str, reference: &str, result: &str) -> String {
    format!(
        "echo '{{\"BOUND_IMAGES_SERVICE\":\"{service}\",\"BOUND_IMAGES_REFERENCE\":\"{reference}\",\
         \"BOUND_IMAGES_RESULT\":\"{result}\"}}'"
    )
}

#[test]
fn a_container_that_the_hook_did_not_judge_is_a_finding() {
    if !have(&["skopeo", "python3", "dbus-daemon"]) {
        return;
    }
    let host = host();
    let runs = || ("one.service", Unit::new("loaded", "active", "running"));
    let is_found = |units: &[(&str, Unit)], journal: &str| {
        let ran = verify(&host, units, Answers::Well, journal);
        assert_eq!(ran.code, Some(0), "{}", ran.all());
        assert!(!ran.err.contains("cannot be told"), "{}", ran.all());
        ran.err.contains("[start-unrecorded]")
    };
    for (name, journal, wanted) in [
        ("judged", line("one.service", ONE, "accepted"), false),
        ("another image, and told", line("one.service", ONE, "warned"), false),
        ("nothing", String::new(), true),
        ("nothing, as a failure", "exit 1".to_owned(), true),
        ("refused", line("one.service", ONE, "refused"), true),
        ("another service", line("two.service", ONE, "accepted"), true),
        ("another reference", line("one.service", "example.org/x:1", "accepted"), true),
        ("garbage", "head -c 20000000 /dev/zero".to_owned(), true),
    ] {
        assert_eq!(is_found(&[runs()], &journal), wanted, "{name}");
    }
    let asked = fs::read_to_string(host.world.path("programs/journalctl.asked")).unwrap();
    for word in ["--boot", "--output=json", "SYSLOG_IDENTIFIER=bound-images-hook", "_UID=0"] {
        assert!(asked.contains(word), "{asked}");
    }
    for state in [("inactive", "dead"), ("active", "exited"), ("failed", "failed")] {
        let unit = ("one.service", Unit::new("loaded", state.0, state.1));
        assert!(!is_found(&[unit], ""), "{state:?} does not run");
    }
    // The administrator's image is not bound.
    let quadlet = host.files("a").join("etc/containers/systemd/one.container");
    fs::create_dir_all(quadlet.parent().unwrap()).unwrap();
    fs::write(&quadlet, "[Container]\nImage=registry.example/ns/mine:1\n").unwrap();
    assert!(!is_found(&[runs()], ""), "the administrator's image");
    fs::remove_file(quadlet).unwrap();
    // What cannot be told is a sentence, and no failure.
    for (answers, journal) in
        [(Answers::Well, "exit 3"), (Answers::Well, "kill -9 $$"), (Answers::Nonsense, "")]
    {
        let ran = verify(&host, &[runs()], answers, journal);
        assert_eq!(ran.code, Some(0), "{}", ran.all());
        ran.says(&["note: it cannot be told whether the hook judged"]);
    }
}

/// What counts of containers.conf, over all that its files may say, against Podman 5.4.2.
#[test]
fn podman_reads_the_same_directories_of_hooks() {
    if !have(&["unshare", "mount"]) {
        return;
    }
    let made = Command::new(source("tests/setup/chroot.sh")).arg("trixie").output().unwrap();
    if made.status.code() == Some(2) {
        println!("skipped: needs {}", String::from_utf8_lossy(&made.stderr).trim());
        return;
    }
    let chroot = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let top = tempfile::tempdir().unwrap();
    let lists = ["'/a'", "'/b', {append=true}", "'/c', {append=false}", "", "{append=true}"];
    let files = ["usr/share/containers/containers.conf", CONF, DROP_IN];
    let ignored =
        ["usr/share/containers/containers.conf.d/1.conf", "etc/containers/containers.conf.d/x"];
    let mut cases = 0;
    for case in 0..2 * 6_usize.pow(2) {
        let picks = [case % 6, case / 6 % 6, case / 36];
        let root = top.path().join(case.to_string());
        for (file, pick) in files.iter().zip(picks) {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if let Some(list) = lists.get(pick) {
                fs::write(
                    path,
                    hooks_dir(list).replace("hooks_dir", ["hooks_dir", "Hooks_Dir"][case % 2]),
                )
                .unwrap();
            }
        }
        for path in ignored {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), hooks_dir("'/ignored'")).unwrap();
        }
        cases += 1;
    }
    let script = "mount -t proc proc \"$1/proc\"
    for case in \"$2\"/*; do
        mount --bind \"$case/usr/share/containers\" \"$1/usr/share/containers\"
        mount --bind \"$case/etc/containers\" \"$1/etc/containers\"
        echo \"$(basename \"$case\") $(chroot \"$1\" podman --help 2>&1 | grep -e --hooks-dir)\"
        umount \"$1/usr/share/containers\" \"$1/etc/containers\"
    done";
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "bash", "-euc", script, "-"])
        .args([Path::new(&chroot), top.path()])
        .output()
        .unwrap();
    if !output.status.success() {
        println!("skipped: needs root: {}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let mut compared = 0;
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (case, help) = line.split_once(' ').unwrap();
        assert!(help.contains("--hooks-dir"), "{line}");
        let list =
            help.split_once("(default [").map_or("", |(_, list)| list.trim_end_matches("])"));
        let ours = read_conf(&Root::open(&top.path().join(case)).unwrap()).unwrap();
        assert_eq!(ours.directories.join(","), list, "case {case}");
        compared += 1;
    }
    assert_eq!(compared, cases);
}
