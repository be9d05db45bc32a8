//! Hosts as the real ostree makes them: a physical root in a directory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use binding::Root;
use host::{Files, Role, roots};

fn have_ostree() -> bool {
    let found =
        Command::new("ostree").arg("--version").output().is_ok_and(|out| out.status.success());
    let root = fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
    if !found || !root {
        eprintln!("skipped: needs ostree and root");
    }
    found && root
}

fn ostree(words: &[&str]) {
    let out = Command::new("ostree").args(words).output().unwrap();
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// A host with the deployments A and B, of which B would be booted.
fn two_deployments(top: &Path) {
    let (sysroot, tree) = (top.join("sysroot"), top.join("tree"));
    let modules = tree.join("usr/lib/modules/6.1.0");
    fs::create_dir_all(&modules).unwrap();
    fs::create_dir_all(tree.join("usr/etc")).unwrap();
    fs::create_dir_all(&sysroot).unwrap();
    fs::set_permissions(&tree, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(modules.join("vmlinuz"), "kernel").unwrap();
    fs::write(modules.join("initramfs.img"), "initramfs").unwrap();
    fs::write(tree.join("usr/lib/os-release"), "ID=lab\nNAME=lab\nPRETTY_NAME=lab\n").unwrap();
    let (at, repo) = (format!("--sysroot={}", sysroot.display()), sysroot.join("ostree/repo"));
    let repo = format!("--repo={}", repo.display());
    ostree(&["admin", "init-fs", sysroot.to_str().unwrap()]);
    ostree(&["config", &repo, "set", "sysroot.bootloader", "none"]);
    ostree(&["admin", "os-init", &at, "lab"]);
    for version in ["A", "B"] {
        fs::write(tree.join("usr/version"), version).unwrap();
        let from = format!("--tree=dir={}", tree.display());
        ostree(&["commit", &repo, "--branch=lab", &from]);
        ostree(&["admin", "deploy", &at, "--os=lab", "--retain", "lab"]);
    }
}

fn booted_into(top: &Path, path: &str) {
    fs::create_dir_all(top.join("proc/self")).unwrap();
    let root = path.strip_prefix("sysroot").unwrap();
    let text = format!("30 1 8:1 {root} / rw - ext4 /dev/vda rw\n");
    fs::write(top.join("proc/self/mountinfo"), text).unwrap();
}

#[test]
fn deployments_have_their_roles() {
    if !have_ostree() {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let top = top.path();
    two_deployments(top);
    let system = Root::open(top).unwrap();

    // Nothing runs: the directory of a host that is being installed.
    let host = roots(&system).unwrap();
    assert_eq!(host.roots.len(), 2);
    assert!(host.roots.iter().all(|root| root.role == Role::Deployed));
    let version = |root: &host::Deployment| match &root.files {
        Files::Directory(path) => {
            String::from_utf8(system.read(&format!("{path}/usr/version"), 10).unwrap()).unwrap()
        }
        Files::Image { .. } => panic!("no image was made"),
    };
    let path =
        |wanted: &str| match &host.roots.iter().find(|root| version(root) == wanted).unwrap().files
        {
            Files::Directory(path) => path.clone(),
            Files::Image { .. } => panic!("no image was made"),
        };

    // A runs, and B was deployed meanwhile without staging; then B runs.
    booted_into(top, &path("A"));
    let roles = |host: &host::Host| -> Vec<(Role, String)> {
        host.roots.iter().map(|root| (root.role, version(root))).collect()
    };
    let now = roots(&system).unwrap();
    assert_eq!(roles(&now), [(Role::Booted, "A".to_owned()), (Role::Pending, "B".to_owned())]);
    assert_eq!(now.roots[0].stateroot.as_deref(), Some("lab"));
    booted_into(top, &path("B"));
    let now = roots(&system).unwrap();
    assert_eq!(roles(&now), [(Role::Booted, "B".to_owned()), (Role::Rollback, "A".to_owned())]);

    // A staged deployment that nobody can read, and one that is not there.
    fs::create_dir_all(top.join("run/ostree")).unwrap();
    fs::write(top.join("run/ostree/staged-deployment"), "garbage").unwrap();
    let now = roots(&system).unwrap();
    assert!(now.staged_fault.unwrap().contains("/run/ostree/staged-deployment"));
    assert_eq!(now.roots.len(), 2);
}

#[test]
fn a_host_of_bootcs_composefs_backend() {
    let top = tempfile::tempdir().unwrap();
    let top = top.path();
    let [a, b, c] = ["a", "b", "c"].map(|letter| letter.repeat(128));
    for id in [&a, &b, &c] {
        fs::create_dir_all(top.join(format!("sysroot/state/deploy/{id}/etc"))).unwrap();
    }
    fs::create_dir_all(top.join("proc/self")).unwrap();
    let text = format!(
        "30 1 0:9 / / ro - overlay composefs:{a} ro\n31 30 8:1 /state/deploy/{a}/etc /etc rw - ext4 /dev/vda rw\n"
    );
    fs::write(top.join("proc/self/mountinfo"), text).unwrap();
    fs::create_dir_all(top.join("run/composefs")).unwrap();
    let staged = format!("{{\"depl_id\":\"{b}\",\"finalization_locked\":false}}");
    fs::write(top.join("run/composefs/staged-deployment"), staged).unwrap();
    let host = roots(&Root::open(top).unwrap()).unwrap();
    let found: Vec<(Role, &str)> =
        host.roots.iter().map(|root| (root.role, root.id.as_str())).collect();
    assert_eq!(found, [(Role::Booted, &*a), (Role::Staged, &*b), (Role::Deployed, &*c)]);
    let image = format!("sysroot/composefs/images/{a}");
    assert!(matches!(&host.roots[0].files, Files::Image { image: found, .. } if *found == image));
    fs::write(top.join("run/composefs/staged-deployment"), "{}").unwrap();
    let host = roots(&Root::open(top).unwrap()).unwrap();
    assert!(host.staged_fault.unwrap().contains("depl_id"));
}
