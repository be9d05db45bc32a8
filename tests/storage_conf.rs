//! `storage-conf`: the command, and Podman 5.4 and 6 as the judges of which stores count. Podman 4.3 is asked
//! by the tests of the crate.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic"
)]

#[path = "storage_conf/cases.rs"]
mod cases;
mod common;
#[path = "storage_conf/drop_ins.rs"]
mod drop_ins;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use bound_images::podman_conf::gather;
use cases::{Case, ETC, USR};
use common::{Ran, World, find, have, source};
use storage_conf::{Environment, Generation};

const STORE: &str = "/usr/lib/containers/storage";

fn run(world: &World, words: &[&str]) -> Ran {
    let mut command = world.command_of(common::PROGRAM);
    for variable in ["CONTAINERS_STORAGE_CONF", "STORAGE_OPTS", "STORAGE_DRIVER", "XDG_CONFIG_HOME"]
    {
        command.env_remove(variable);
    }
    command.env("HOME", "/root").arg("storage-conf").args(words);
    Ran::of(command.arg("--root").arg(world.root()).output().unwrap())
}

#[test]
fn enable_and_disable_leave_no_trace() {
    let world = World::new();
    fs::create_dir_all(world.store()).unwrap();
    // Debian's, comments and all.
    let text = "# Storage\n[storage]\ndriver = \"overlay\" # d\nrunroot = \"/run/c\"\n\
                graphroot = \"/var/c\"\n[storage.options]\nadditionalimagestores = [\n]\n";
    for path in [USR, ETC] {
        world.write(path, text);
        let file = world.root().join(path);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        run(&world, &["disable"]).expect(0, &["Nothing to do", path]);
        run(&world, &["enable"]).expect(0, &[path, "now"]);
        assert!(fs::read_to_string(&file).unwrap().contains(STORE));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o640);
        run(&world, &["enable"]).expect(0, &[&format!("{path}:8"), "already"]);
        let shown = &run(&world, &["show", "--format", "json"]).json()[0];
        for podman in shown["podman"].as_array().unwrap() {
            assert_eq!(podman["listed"], true, "{shown}");
            assert_eq!(podman["stores"][0]["line"], 8, "{shown}");
        }
        run(&world, &["disable"]).expect(0, &["as before"]);
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
    run(&world, &["show"]).expect(0, &["not read: /usr/share/containers/storage.conf"]);
    for path in [USR, ETC] {
        fs::remove_file(world.root().join(path)).unwrap();
    }
    run(&world, &["enable"]).expect(0, &["Made", USR]);
    run(&world, &["show"]).expect(0, &["/var/lib/containers/storage", "is listed in"]);
    run(&world, &["disable"]).expect(0, &["Removed"]);
    assert!(!world.root().join(USR).exists());
    // Nothing half-written is left over.
    assert_eq!(fs::read_dir(world.root().join("usr/share/containers")).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_done_is_said() {
    let world = World::new();
    fs::create_dir_all(world.store()).unwrap();
    world.write(USR, "[storage]\ndriver = over\n");
    for words in [&["show"][..], &["enable"], &["disable"]] {
        let wanted = ["storage.conf:2:", "all its commands fail"];
        run(&world, words).expect(1, &wanted);
    }
    world.write(USR, format!("[storage.options]\nadditionalimagestores = ['{STORE}']\n"));
    run(&world, &["disable"]).expect(1, &["storage.conf:2 lists", "by hand"]);
    world.write(USR, "[storage]\ndriver = 'vfs'\n");
    run(&world, &["enable"]).expect(1, &["the storage driver is \"vfs\""]);
    // Podman reads that: nothing fails, there is only no place for the line.
    world.write(USR, "storage = {driver = 'overlay', runroot = '/r', graphroot = '/g'}\n");
    let told = run(&world, &["enable"]);
    told.expect(1, &["write [storage] and [storage.options] as tables"]);
    assert!(!told.err.contains("fail"), "{}", told.err);
    // A drop-in of Podman 6 that hides it, and an old Podman that insists on runroot.
    world.write(USR, "[storage]\ndriver = 'overlay'\n");
    world.write(
        "etc/containers/storage.conf.d/50.conf",
        "[storage.options]\nadditionalimagestores = []\n",
    );
    run(&world, &["enable"])
        .expect(1, &["Podman 6 does not read it", "Podman 4.9-5.5 fails", "runroot must be set"]);
    run(&world, &["show"]).expect(1, &["overridden: additionalimagestores", "50.conf:2"]);
    run(&world, &["show"]).expect(1, &["50.conf:2 overrides that"]);
    // A path that is not there breaks every command of Podman.
    fs::remove_dir(world.store()).unwrap();
    world.write(USR, "[storage]\nrunroot = '/r'\ngraphroot = '/g'\n");
    let enable = run(&world, &["enable"]);
    enable.expect(1, &["Podman 4.9-5.5, 5.6-5.8 fails", "is no directory here"]);
    let stage = format!("`bound-images stage --root {}`", world.root().display());
    enable.says(&["/usr/lib/containers/storage is not there: install bound-images", &stage]);
    // Links are followed inside the root, never out of it.
    let outside = world.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::remove_dir_all(world.root().join("usr/share")).unwrap();
    std::os::unix::fs::symlink(&outside, world.root().join("usr/share")).unwrap();
    run(&world, &["enable"]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

/// Writes the files of a case, and its variables for the script.
fn write(case: &Case, root: &Path) {
    for (path, text) in &case.files {
        if let Some((path, target)) = path.split_once(" -> ") {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            symlink(target, root.join(path)).unwrap();
        } else if path.ends_with('/') {
            fs::create_dir_all(root.join(path)).unwrap();
        } else {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
        }
    }
    fs::create_dir_all(root).unwrap();
    let lines = case.variables.iter().map(|(name, value)| format!("export {name}='{value}'\n"));
    fs::write(root.join("env"), lines.collect::<String>()).unwrap();
}

/// The variables of a case as we take them.
fn environment(case: &Case) -> Environment {
    let mut environment = Environment { home: Some("/root".to_owned()), ..Environment::default() };
    for (name, value) in &case.variables {
        let value = Some(value.clone());
        match *name {
            "CONTAINERS_STORAGE_CONF" => environment.conf = value,
            "CONTAINERS_STORAGE_CONF_OVERRIDE" => environment.conf_override = value,
            "STORAGE_OPTS" => environment.opts = value,
            "STORAGE_DRIVER" => environment.driver = value,
            "XDG_CONFIG_HOME" => environment.config_home = value,
            "HOME" => environment.home = value,
            _ => panic!("{name}"),
        }
    }
    environment
}

/// Asks the Podman of a chroot about cases and compares with what we say; how many it accepts. None: there
/// is no such chroot.
fn compare(suite: &str, generation: Generation, cases: &[Case]) -> Option<usize> {
    if !have(&["unshare", "busybox", "python3"]) {
        return None;
    }
    let output = Command::new(source("tests/setup/chroot.sh")).arg(suite).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(2) {
        eprintln!("skipped: needs {}", said.trim());
        return None;
    }
    assert!(output.status.success(), "{said}");
    let chroot = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let world = World::new();
    fs::copy(find("busybox").unwrap(), world.path("busybox")).unwrap();
    let empty = world.path("empty");
    fs::create_dir(&empty).unwrap();
    for (number, case) in cases.iter().enumerate() {
        write(case, &world.path(&format!("cases/{number}")));
    }
    let ran = Ran::of(
        Command::new(source("tests/peers/in-chroot.sh"))
            .args([chroot.into(), empty, world.path(""), source("tests/peers/storage-conf.sh")])
            .output()
            .unwrap(),
    );
    ran.expect(0, &["podman version", "judged"]);
    println!("asked: {}", ran.out.lines().next().unwrap());
    let mut wrong = Vec::new();
    let mut accepted = 0;
    for (number, case) in cases.iter().enumerate() {
        let path = world.path(&format!("cases/{number}"));
        let root = binding::Root::open(&path).unwrap();
        let ours = gather(&root, generation, &environment(case)).result;
        let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
        let (log, well) = (read("log"), read("status").trim() == "0");
        accepted += usize::from(well);
        let said = match &ours {
            Ok(ours) if well => {
                let stores = ours.stores.iter().map(|store| store.value.as_str()).collect();
                let theirs = (graphroot_in(&log), stores_in(&log));
                if theirs == (ours.graphroot.value.as_str(), stores) {
                    continue;
                }
                format!("{theirs:?}")
            }
            Err(_) if !well => continue,
            _ => log.lines().last().unwrap_or_default().to_owned(),
        };
        wrong.push(format!("case {number} {case:#?}\n  we: {ours:?}\n  Podman: {said}"));
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    Some(accepted)
}

/// The primary store that Podman logs.
fn graphroot_in(log: &str) -> &str {
    let path =
        log.lines().find_map(|line| line.split_once("Using graph root ")?.1.split('\\').next());
    path.unwrap_or_default().trim_end_matches('"')
}

/// The stores that the driver overlay logs, in its order.
fn stores_in(log: &str) -> Vec<&str> {
    log.lines()
        .filter_map(|line| line.split_once("overlay: imagestore="))
        .flat_map(|(_, value)| value.trim_end_matches('"').split(','))
        .filter(|store| !store.is_empty())
        .collect()
}

#[test]
fn podman_5_4_reads_what_we_say() {
    let cases = cases::cases();
    let Some(accepted) = compare("trixie", Generation::Since4_9, &cases) else { return };
    // Both answers are given often.
    assert!(accepted > 25 && cases.len() - accepted > 12, "{accepted} of {}", cases.len());
}

#[test]
fn podman_6_reads_what_we_say() {
    let mut cases = cases::cases();
    cases.extend(drop_ins::cases());
    let Some(accepted) = compare("experimental", Generation::Since6, &cases) else { return };
    assert!(accepted > 90 && cases.len() - accepted > 15, "{accepted} of {}", cases.len());
}
