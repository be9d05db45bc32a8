//! `status --format prometheus`: a picture of a host, what promtool says of it and of the alerts.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use common::host::{Machine, NEW, ONE};
use common::{Ran, have, source};

const METRICS: [&str; 3] = ["status", "--format", "prometheus"];

/// A host with a complete booted root, and a staged one that was held back.
fn held_back() -> Machine {
    let host = Machine::new();
    host.stage(&["--late-binding"]).expect(0, &["Staged 2 images"]);
    host.deploy("b", &[("one", ONE), ("new", NEW), ("gone", "registry.example/ns/gone:1")]);
    host.stage_root("b");
    host.stage(&[]).expect(1, &["gone"]);
    host.run(&["gate", "--remember"]).expect(1, &["held back"]);
    host
}

/// The value of a sample.
fn value(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

/// Clock values stand for themselves in the picture.
fn without_times(text: &str) -> String {
    let timed = |line: &str| {
        let name = line.split_once(' ').map_or(line, |(name, _)| name);
        let is_time = name.ends_with("_timestamp_seconds") || name.ends_with("_duration_seconds");
        if is_time && !line.starts_with('#') {
            format!("{name} TIME\n")
        } else {
            format!("{line}\n")
        }
    };
    text.lines().map(timed).collect()
}

#[test]
fn a_host_in_metrics() {
    if !have(&["python3"]) {
        return;
    }
    let host = held_back();
    let ran = host.run(&METRICS);
    assert_eq!(ran.code, Some(1), "{}", ran.all());
    let golden = source("tests/metrics/host.prom");
    let seen = without_times(&ran.out);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &seen).unwrap();
    }
    assert_eq!(seen, fs::read_to_string(&golden).unwrap(), "UPDATE_GOLDEN=1 writes it again");

    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    for name in ["held_back_since", "last_stage"] {
        let told = value(&ran.out, &format!("bound_images_{name}_timestamp_seconds")).unwrap();
        let age = now.as_secs_f64() - told;
        assert!((-1.0..300.0).contains(&age), "{name}: {age} s ago");
    }
    assert!(value(&ran.out, "bound_images_last_stage_duration_seconds").unwrap() < 300.0);
}

#[test]
fn since_when_updates_are_held_back_is_kept_until_one_passes() {
    if !have(&["python3"]) {
        return;
    }
    let host = held_back();
    let file = host.top().join("var/lib/bound-images/held-back.json");
    let held = fs::read_to_string(&file).unwrap();
    let now = host.status()["held_back"]["since"].as_u64().unwrap();
    let before = held.replace(&now.to_string(), "1000");
    assert_ne!(held, before);
    fs::write(&file, before).unwrap();
    host.run(&["gate", "--remember"]).expect(1, &[]);
    assert_eq!(host.status()["held_back"]["since"], 1000, "the first time counts");
    // A file of an older program has no such field.
    fs::write(&file, "{\"schema\":1,\"root\":null,\"why\":[\"x\"]}").unwrap();
    let text = host.run(&METRICS).out;
    assert_eq!(value(&text, "bound_images_held_back"), Some(1.0));
    assert_eq!(value(&text, "bound_images_held_back_since_timestamp_seconds"), None);
    host.unstage();
    host.deploy("c", &[("one", ONE)]);
    host.stage_root("c");
    host.stage(&[]).expect(0, &[]);
    host.run(&["gate", "--remember"]).expect(0, &[]);
    let text = host.run(&METRICS).out;
    assert_eq!(value(&text, "bound_images_held_back"), Some(0.0), "{text}");
    assert_eq!(value(&text, "bound_images_last_stage_success"), Some(1.0), "{text}");
}

#[test]
fn who_asks_the_gate_changes_nothing() {
    if !have(&["python3"]) {
        return;
    }
    let host = Machine::new();
    host.stage(&["--late-binding"]).expect(0, &["Staged 2 images"]);
    host.deploy("b", &[("one", ONE), ("new", NEW)]);
    host.stage_root("b");
    let file = host.top().join("var/lib/bound-images/held-back.json");
    let metric = || value(&host.run(&METRICS).out, "bound_images_held_back");
    host.run(&["gate"]).expect(1, &["held back"]);
    assert!(!file.exists() && host.status()["held_back"].is_null());
    assert_eq!(metric(), Some(0.0));

    host.run(&["gate", "--remember"]).expect(1, &["held back"]);
    assert_eq!(metric(), Some(1.0));
    host.stage(&[]).expect(0, &["Staged 2 images"]);
    host.run(&["gate"]).expect(0, &["is complete"]);
    host.run(&["status"])
        .expect(0, &["did not become the next boot. It is complete now, and will"]);
    let text = host.run(&METRICS).out;
    assert_eq!(value(&text, "bound_images_held_back"), Some(0.0), "{text}");
    assert_eq!(value(&text, "bound_images_held_back_reasons"), Some(0.0), "{text}");
    assert!(!text.contains("bound_images_held_back_since"), "{text}");
    host.run(&["gate", "--remember"]).expect(0, &["is complete"]);
    assert!(!file.exists());
}

#[test]
fn a_stage_that_changes_nothing_or_no_host_is_not_written_down() {
    if !have(&["python3"]) {
        return;
    }
    let host = Machine::new();
    let file = host.top().join("var/lib/bound-images/last-stage.json");
    host.stage(&["--root", "booted", "--dry-run"]).expect(0, &[]);
    let directory = host.files("a");
    host.stage(&["--root", directory.to_str().unwrap()]).expect(0, &[]);
    assert!(!file.exists());
    assert_eq!(value(&host.run(&METRICS).out, "bound_images_last_stage_success"), None);
    host.stage(&["--late-binding"]).expect(0, &[]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o644);
    // What a crash or a hand left there costs no status.
    fs::write(&file, "{").unwrap();
    host.run(&METRICS).expect(0, &["bound_images_root_complete"]);
    host.run(&["status"]).expect(0, &[]);
}

#[test]
fn a_file_is_replaced_in_one_step_or_not_at_all() {
    if !have(&["python3", "unshare", "mount"]) {
        return;
    }
    let host = held_back();
    let directory = host.world.path("metrics");
    fs::create_dir(&directory).unwrap();
    let file = directory.join("bound-images.prom");
    let write = |more: &[&str]| {
        host.run(&[&METRICS[..], &["--out", file.to_str().unwrap()], more].concat())
    };
    let ran = write(&[]);
    ran.expect(1, &[]);
    assert_eq!(ran.out, "");
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(without_times(&text), without_times(&host.run(&METRICS).out));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o644);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing is left beside it");

    // Roots that cannot be found: the old file stays, and its age tells.
    let deploy = host.top().join("sysroot/ostree/deploy");
    fs::rename(&deploy, host.top().join("sysroot/ostree/away")).unwrap();
    fs::write(&deploy, "").unwrap();
    write(&[]).expect(3, &[]);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    fs::remove_file(&deploy).unwrap();
    fs::rename(host.top().join("sysroot/ostree/away"), &deploy).unwrap();

    // Neither a device nor a link to one, as /dev/stdout is, becomes a file.
    let link = host.world.path("link");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    for place in [&link, Path::new("/dev/null")] {
        let out = place.to_str().unwrap();
        let ran = host.world.unshared(&format!(
            "mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3
             \"$P\" status --host '{}' --format prometheus --out {out}",
            host.top().display()
        ));
        ran.expect(3, &["is not a file"]);
    }
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    // A name alone is in the working directory.
    let ran = host.world.unshared(&format!(
        "cd '{}'; \"$P\" status --host '{}' --format prometheus --out here.prom",
        directory.display(),
        host.top().display()
    ));
    ran.expect(1, &[]);
    assert!(directory.join("here.prom").is_file() && !ran.err.contains("cannot"), "{}", ran.all());

    let nowhere = host.world.path("none/x.prom");
    host.run(&[&METRICS[..], &["--out", nowhere.to_str().unwrap()]].concat()).expect(3, &["none"]);
    host.run(&["status", "--out", file.to_str().unwrap()]).expect(2, &["--format prometheus"]);
    host.run(&["list", "--format", "prometheus"])
        .expect(2, &["possible values: table, json, refs"]);
}

#[test]
fn promtool_takes_them() {
    if !have(&["python3", "promtool"]) {
        return;
    }
    let host = held_back();
    let check = |text: &str| {
        let mut child = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        Ran::of(child.wait_with_output().unwrap())
    };
    let text = host.run(&METRICS).out;
    let ran = check(&text);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.all());
    // It would have seen a fault.
    let broken =
        text.replace("# TYPE bound_images_held_back gauge", "# TYPE bound_images_held_back x");
    assert_ne!(check(&broken).code, Some(0));
    // The names of a stateroot are whatever a directory may be called.
    host.deploy_in("we\"ird\\\n{x}", "c", &[("one", ONE)]);
    let text = host.run(&METRICS).out;
    assert!(text.contains(r#"stateroot="we\"ird\\\n{x}""#), "{text}");
    let ran = check(&text);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.all());
}

#[test]
fn promtool_takes_the_alerts() {
    if !have(&["promtool"]) {
        return;
    }
    let promtool = |words: [&str; 3]| {
        Ran::of(Command::new("promtool").args(words).current_dir(source("")).output().unwrap())
    };
    promtool(["check", "rules", "docs/alerts.yml"]).expect(0, &["7 rules found"]);
    promtool(["test", "rules", "tests/metrics/alerts.yml"]).expect(0, &["SUCCESS"]);
}

/// An alert on a metric that is not there never fires.
#[test]
fn alerts_name_metrics_that_are_there() {
    let golden = fs::read_to_string(source("tests/metrics/host.prom")).unwrap();
    let alerts = fs::read_to_string(source("docs/alerts.yml")).unwrap();
    let words = alerts.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    let named: Vec<&str> = words.filter(|word| word.starts_with("bound_images_")).collect();
    assert!(named.len() >= 8, "{named:?}");
    for name in named {
        assert!(golden.contains(&format!("# TYPE {name} gauge\n")), "{name}");
    }
}
