//! Podman is the judge of what a storage.conf means.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

use storage_conf::{Enabled, StorageConf, enable, merge};

/// The stores that podman itself reads with `text` as its storage.conf, in its order.
fn podman_stores(dir: &Path, text: &str) -> Result<Vec<String>, String> {
    let file = dir.join("storage.conf");
    fs::write(&file, text).unwrap();
    let output = Command::new("podman")
        .args(["--log-level=debug", "info", "--format={{.Store.GraphRoot}}"])
        .env("CONTAINERS_STORAGE_CONF", &file)
        .env_remove("STORAGE_OPTS")
        .env_remove("STORAGE_DRIVER")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(stderr);
    }
    // The driver logs `overlay: imagestore=…` for each value that it is given.
    let mut stores = Vec::new();
    for line in stderr.lines() {
        if let Some((_, value)) = line.split_once("overlay: imagestore=") {
            let value = value.trim_end_matches('"');
            stores.extend(value.split(',').filter(|path| !path.is_empty()).map(str::to_owned));
        }
    }
    Ok(stores)
}

fn have_podman() -> bool {
    let found = Command::new("podman").arg("--version").output().is_ok();
    // Without root podman reads other files.
    let root = fs::metadata("/proc/self")
        .is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    if !found || !root {
        println!("skipped: needs podman and root");
    }
    found && root
}

/// A driver that opens a store leaves a bind mount on it: unmount it, or the directory stays.
struct Rig(tempfile::TempDir);

impl Drop for Rig {
    fn drop(&mut self) {
        // Not mounted is fine.
        let mounted = Command::new("umount").arg(self.0.path().join("graph/overlay")).output();
        drop(mounted);
    }
}

#[test]
fn podman_reads_the_stores_that_we_read() {
    if !have_podman() {
        return;
    }
    let rig = Rig(tempfile::tempdir().unwrap());
    let dir = rig.0.path();
    for name in ["a", "b", "ours"] {
        fs::create_dir(dir.join(name)).unwrap();
    }
    let root = dir.to_str().unwrap();
    let roots = format!("runroot = '{root}/run'\ngraphroot = '{root}/graph'\n");
    let head = format!("[storage]\ndriver = 'overlay'\n{roots}");
    let cases = [
        head.clone(),
        format!(
            "{head}[storage.options]\nadditionalimagestores = ['{root}/a', # c\n '{root}/b']\n"
        ),
        format!("{head}[storage.options]\nadditionalimagestores = ['{root}/a,{root}/b', '']\n"),
        format!("{head}options = {{additionalimagestores = ['{root}/b']}}\n"),
        format!("{head}[storage.OPTIONS]\nAdditionalImageStores = ['{root}/b']\n"),
        format!("{head}[storage.options.overlay]\nadditionalimagestores = ['{root}/a']\n"),
        format!("{head}[storage.options]\nadditionalimagestores = 3\n"),
        format!("{head}[storage.options]\nadditionalimagestores = ['a']\n"),
        format!("{head}[storage.options]\nadditionalimagestores = [{{append=true}}]\n"),
        format!("{head}x = \n"),
        format!("{head}options.additionalimagestores = [' {root}/a ']\n"),
        format!("{head}options = {{\nadditionalimagestores = ['{root}/a']}}\n"),
        format!("{head}[storage.options.overlay]\nmountopt = 3\n"),
    ];
    let ours = format!("{root}/ours");
    for text in cases {
        let judge = podman_stores(dir, &text);
        let read = StorageConf::parse("storage.conf", &text);
        match (&read, &judge) {
            (Ok(conf), Ok(judge)) => {
                let stores: Vec<_> = conf.stores().iter().map(|store| &store.path).collect();
                assert_eq!(stores, judge.iter().collect::<Vec<_>>(), "{text}");
                let merged = merge(Some(("storage.conf", &text)), &ours).unwrap();
                let mut want = judge.clone();
                want.push(ours.clone());
                assert_eq!(podman_stores(dir, &merged).unwrap(), want, "{merged}");
                if let Ok(Enabled::Text(enabled)) = enable("storage.conf", &text, &ours) {
                    assert_eq!(podman_stores(dir, &enabled).unwrap(), want, "{enabled}");
                }
            }
            (Err(_), Err(_)) => {}
            _ => panic!("{text}\nwe: {read:?}\npodman: {judge:?}"),
        }
    }
}

#[test]
fn podman_accepts_what_we_write_where_there_is_no_file() {
    if !have_podman() {
        return;
    }
    let rig = Rig(tempfile::tempdir().unwrap());
    let dir = rig.0.path();
    fs::create_dir(dir.join("ours")).unwrap();
    let root = dir.to_str().unwrap();
    let ours = format!("{root}/ours");
    // The machine's own primary store is not for a test to open.
    let text = merge(None, &ours)
        .unwrap()
        .replace("/run/containers/storage", &format!("{root}/run"))
        .replace("/var/lib/containers/storage", &format!("{root}/graph"));
    assert_eq!(podman_stores(dir, &text).unwrap(), [ours], "{text}");
    let without = text.replace("runroot", "# runroot");
    assert!(podman_stores(dir, &without).unwrap_err().contains("runroot must be set"));
}
