//! Roots in, files out: `tests/generator/NN-name/root` must give `NN-name/expected`, in which
//! `normal` is systemd's first directory, `run` is `/run/bound-images`, and `warnings` has what the
//! kernel log is told. `UPDATE_GOLDEN=1` writes `expected` anew: look at the difference.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use binding::{Platform, Root};

fn cases() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/generator");
    let mut cases: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|case| case.join("root").is_dir());
    cases.sort();
    assert!(!cases.is_empty());
    cases
}

/// The records of the cases were made for this platform.
fn platform() -> Platform {
    Platform { os: "linux".into(), architecture: "amd64".into(), variant: None }
}

/// Runs the generator on `root` and writes all that it gives below `out`.
fn generate(root: &Path, out: &Path) {
    let generated = generator::generate(&Root::open(root).unwrap(), &platform());
    generator::write(&generated.files, &out.join("normal"), &out.join("run")).unwrap();
    let warnings: String = generated.warnings.iter().map(|line| format!("{line}\n")).collect();
    fs::write(out.join("warnings"), warnings).unwrap();
}

/// Every file below `dir`: path → text.
fn tree(dir: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(&at).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}

/// The two texts side by side, so far as they differ.
fn difference(want: &BTreeMap<String, String>, got: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    let mut names: Vec<_> = want.keys().chain(got.keys()).collect();
    names.sort();
    names.dedup();
    for name in names.into_iter().filter(|name| want.get(*name) != got.get(*name)) {
        text.push_str(&format!("--- {name}\n"));
        let lines = |tree: &BTreeMap<String, String>| -> Vec<String> {
            tree.get(name)
                .map_or("(no such file)", String::as_str)
                .lines()
                .map(str::to_owned)
                .collect()
        };
        let (want, got) = (lines(want), lines(got));
        for line in want.iter().filter(|line| !got.contains(line)) {
            text.push_str(&format!("- {line}\n"));
        }
        for line in got.iter().filter(|line| !want.contains(line)) {
            text.push_str(&format!("+ {line}\n"));
        }
    }
    text
}

#[test]
fn every_root_gives_what_is_expected() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut failed = String::new();
    for case in cases() {
        let out = tempfile::tempdir().unwrap();
        generate(&case.join("root"), out.path());
        let got = tree(out.path());
        // Again over its own output: a daemon-reload changes nothing and leaves nothing behind.
        generate(&case.join("root"), out.path());
        assert_eq!(got, tree(out.path()), "{}", case.display());

        let expected = case.join("expected");
        if update {
            if expected.exists() {
                fs::remove_dir_all(&expected).unwrap();
            }
            for (name, text) in &got {
                let path = expected.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
        }
        let difference = difference(&tree(&expected), &got);
        if !difference.is_empty() {
            failed.push_str(&format!("== {}\n{difference}", case.display()));
        }
    }
    assert!(failed.is_empty(), "UPDATE_GOLDEN=1 accepts this:\n{failed}");
}

#[test]
fn every_configuration_is_toml_that_says_what_it_should() {
    let mut seen = 0;
    for case in cases() {
        for (name, text) in tree(&case.join("expected/run")) {
            let parsed: toml_edit::DocumentMut = text.parse().unwrap();
            if let Some(service) = name.strip_prefix("containers.conf.d/") {
                let service = service.strip_suffix(".conf").unwrap();
                assert_eq!(parsed["engine"]["pull_policy"].as_str(), Some("never"), "{name}");
                let list = parsed["containers"]["annotations"].as_array().unwrap();
                let first = list.get(0).unwrap().as_str().unwrap();
                assert_eq!(first, format!("bound-images.service={service}"));
                let last = list.get(2).unwrap().as_inline_table().unwrap();
                assert_eq!(last.get("append").unwrap().as_bool(), Some(true));
            } else {
                let conf = storage_conf::StorageConf::parse(&name, &text).unwrap();
                assert!(conf.lists_store("/usr/lib/containers/storage"), "{name}");
            }
            seen += 1;
        }
    }
    assert!(seen > 10);
}

/// systemd itself reads the drop-ins, over units such as Podman's generator writes.
#[test]
fn systemd_understands_every_drop_in() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("skipped: needs systemd-analyze");
        return;
    }
    for case in cases() {
        let normal = case.join("expected/normal");
        let mut services: Vec<String> = tree(&normal)
            .into_keys()
            .map(|name| name.split_once(".d/").unwrap().0.to_owned())
            .collect();
        services.sort();
        if services.is_empty() {
            continue;
        }
        let units = tempfile::tempdir().unwrap();
        for service in &services {
            let text = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true pull\n";
            fs::write(units.path().join(service), text).unwrap();
            let drop_ins = units.path().join(format!("{service}.d"));
            fs::create_dir(&drop_ins).unwrap();
            let drop_in =
                fs::read_to_string(normal.join(format!("{service}.d/50-bound-images.conf")));
            // Podman need not be installed to judge the syntax.
            let drop_in = drop_in.unwrap().replace("/usr/bin/podman", "/bin/true");
            fs::write(drop_ins.join("50-bound-images.conf"), drop_in).unwrap();
        }
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no", "--recursive-errors=no"]);
        for service in services {
            // A template is judged by an instance.
            let service = service.replace("@.service", "@x.service");
            command.arg(units.path().join(service));
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let about: Vec<_> =
            said.lines().filter(|line| line.contains(units.path().to_str().unwrap())).collect();
        assert!(output.status.success() && about.is_empty(), "{}:\n{said}", case.display());
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error() {
    let out = tempfile::tempdir().unwrap();
    fs::write(out.path().join("file"), "").unwrap();
    let root = cases().into_iter().find(|case| case.ends_with("02-no-storage-conf")).unwrap();
    let generated = generator::generate(&Root::open(&root.join("root")).unwrap(), &platform());
    let error =
        generator::write(&generated.files, &out.path().join("file"), &out.path().join("run"));
    assert!(format!("{:#}", error.unwrap_err()).contains("nginx.service.d"));
}

#[test]
fn the_program_has_nothing_to_do_where_nothing_is_bound() {
    let run = |arguments: &[&Path]| {
        Command::new(env!("CARGO_BIN_EXE_bound-images-generator")).args(arguments).output().unwrap()
    };
    assert_eq!(run(&[]).status.code(), Some(1), "three directories are needed");
    if Path::new("/usr/lib/bootc/bound-images.d").exists() {
        println!("skipped: needs a machine without bound images");
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let output = run(&[out.path(), out.path(), out.path()]);
    assert!(output.status.success());
    assert_eq!(output.stderr, b"");
    assert!(tree(out.path()).is_empty());
}
