//! Roots in, files out: `tests/generator/NN-name/root` must give `NN-name/expected`, in which
//! `normal` is systemd's first directory, `run` is `/run/bound-images`, and `warnings` has what the
//! kernel log is told. `UPDATE_GOLDEN=1` writes `expected` anew: look at the difference.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
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
    generator::write(&generated, &out.join("normal"), &out.join("run")).unwrap();
    let warnings: String = generated.warnings.iter().map(|line| format!("{line}\n")).collect();
    // What is read without a root handle is named by where the case is.
    let warnings = warnings.replace(root.to_str().unwrap(), "");
    fs::write(out.join("warnings"), warnings).unwrap();
}

/// Every file below `dir`: path → text.
fn tree(dir: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(&at).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            if let Ok(target) = fs::read_link(&path) {
                files.insert(name, format!("link to {}\n", target.display()));
            } else if path.is_dir() {
                todo.push(path);
            } else {
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
                match text.strip_prefix("link to ") {
                    Some(target) => symlink(target.trim_end(), path).unwrap(),
                    None => fs::write(path, text).unwrap(),
                }
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
            if name == "root" || name.starts_with("environment.d/") {
                continue;
            }
            let parsed: toml_edit::DocumentMut = text.parse().unwrap();
            if let Some(service) = name.strip_prefix("containers.conf.d/") {
                let service = service.strip_suffix(".conf").unwrap();
                assert_eq!(parsed["engine"]["pull_policy"].as_str(), Some("never"), "{name}");
                // A file of an administrator's may spell them in any letter case.
                let lower: toml_edit::DocumentMut = text
                    .replace("[Containers]", "[containers]")
                    .replace("Annotations", "annotations")
                    .parse()
                    .unwrap();
                let list = lower["containers"]["annotations"].as_array().unwrap();
                let ours = format!("bound-images.service={service}");
                assert!(list.iter().any(|value| value.as_str() == Some(&ours)), "{text}");
                let appends = list.iter().any(|value| value.is_inline_table());
                // Only an administrator's own list, without it, replaces those of other files.
                assert!(appends || list.iter().next().unwrap().as_str() == Some("mine=yes"));
            } else if name.starts_with("storage.override.") {
                let files = [(name.clone(), text)];
                let none = storage_conf::Environment::default();
                let counts =
                    storage_conf::effective(storage_conf::Generation::Since6, &none, &files);
                assert!(counts.unwrap().lists("/usr/lib/containers/storage").is_some(), "{name}");
            } else {
                let conf = storage_conf::StorageConf::parse(&name, &text).unwrap();
                assert!(conf.lists_store("/usr/lib/containers/storage"), "{name}");
            }
            seen += 1;
        }
    }
    assert!(seen > 10);
}

/// systemd itself reads the units and drop-ins, over services such as Podman's generator writes.
#[test]
fn systemd_understands_every_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("skipped: needs systemd-analyze");
        return;
    }
    // One run for all that differ in name; a case at a time would take ten times as long.
    let mut seen = BTreeMap::new();
    for case in cases() {
        for (name, text) in tree(&case.join("expected/normal")) {
            let unit = name.split('/').next().unwrap().trim_end_matches(".d").to_owned();
            if unit != "local-fs.target.wants" {
                seen.entry((unit, text)).or_insert_with(|| name.clone());
            }
        }
    }
    let mut rounds: Vec<BTreeMap<String, (String, String)>> = Vec::new();
    for ((unit, text), name) in seen {
        let round = match rounds.iter().position(|round| !round.contains_key(&unit)) {
            Some(round) => round,
            None => {
                rounds.push(BTreeMap::new());
                rounds.len() - 1
            }
        };
        rounds[round].insert(unit, (name, text));
    }
    assert!(rounds.len() > 2, "the mount and several drop-ins of nginx.service differ");
    for round in rounds {
        let units = tempfile::tempdir().unwrap();
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no", "--recursive-errors=no"]);
        for (unit, (name, text)) in round {
            // Podman and this program need not be installed to judge the syntax.
            let text = text
                .replace("/usr/bin/podman", "/bin/true")
                .replace("/usr/lib/systemd/system-generators/bound-images-generator", "/bin/true");
            if unit.ends_with(".service") {
                let service =
                    "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true pull\n";
                fs::write(units.path().join(&unit), service).unwrap();
            }
            fs::create_dir_all(units.path().join(&name).parent().unwrap()).unwrap();
            fs::write(units.path().join(&name), text).unwrap();
            // A template is judged by an instance.
            command.arg(units.path().join(unit.replace("@.service", "@x.service")));
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let about: Vec<_> =
            said.lines().filter(|line| line.contains(units.path().to_str().unwrap())).collect();
        assert!(output.status.success() && about.is_empty(), "{said}");
    }
}

/// `/run` outlives a soft reboot, and what the root before had there must not; a daemon-reload
/// removes nothing, since running containers were started with these names.
#[test]
fn only_a_soft_reboot_removes_what_is_named_no_more() {
    let of = |name: &str| cases().into_iter().find(|case| case.ends_with(name)).unwrap();
    let out = tempfile::tempdir().unwrap();
    let run = out.path().join("run");
    let old = ["containers.conf.d/old.service.conf", "storage.conf.d/old.service.conf"];
    // Not ours: the configuration, and what other programs keep there.
    let others = ["config.d/50-mine.toml", "held-back.json"];
    for file in old.iter().chain(&others) {
        fs::create_dir_all(run.join(file).parent().unwrap()).unwrap();
        fs::write(run.join(file), "").unwrap();
    }
    generate(&of("28-mounted-already").join("root"), out.path());
    assert!(old.iter().chain(&others).all(|file| run.join(file).exists()));
    assert!(run.join("containers.conf.d/nginx.service.conf").exists());

    generate(&of("23-soft-reboot").join("root"), out.path());
    assert!(old.iter().all(|file| !run.join(file).exists()));
    assert!(others.iter().all(|file| run.join(file).exists()));
    assert!(run.join("containers.conf.d/nginx.service.conf").exists());
    assert!(fs::read_to_string(run.join("root")).unwrap().starts_with("b2b2"));

    generate(&of("36-nothing-bound-after-soft-reboot").join("root"), out.path());
    let left: Vec<String> = tree(&run).into_keys().collect();
    assert_eq!(left, others);
}

#[test]
fn a_merged_storage_conf_follows_its_source() {
    let top = tempfile::tempdir().unwrap();
    let (etc, target) = (top.path().join("etc/containers"), top.path().join("run/storage.conf"));
    fs::create_dir_all(&etc).unwrap();
    let root = Root::open(top.path()).unwrap();
    let made = |source: Option<&str>| {
        generator::refresh(&root, &target, source).map(|()| fs::read_to_string(&target).unwrap())
    };
    let none = made(None).unwrap();
    assert!(none.contains("additionalimagestores = [\"/usr/lib/containers/storage\"]"));
    let conf = "[storage]\ndriver = \"overlay\"\nrunroot = \"/run/a\"\ngraphroot = \"/srv/a\"\n";
    fs::write(etc.join("storage.conf"), conf).unwrap();
    let before = made(None).unwrap();
    assert!(before.starts_with(conf) && before.contains("/usr/lib/containers/storage"));
    // The same source leaves the very file in place.
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let same = inode(&target);
    assert_eq!(made(None).unwrap(), before);
    assert_eq!(inode(&target), same);

    fs::write(etc.join("storage.conf"), "[storage\n").unwrap();
    let why = format!("{:#}", made(None).unwrap_err());
    assert!(why.contains("/etc/containers/storage.conf:1:"), "{why}");
    assert_eq!(fs::read_to_string(&target).unwrap(), before);
    fs::write(etc.join("own.conf"), conf.replace("/srv/a", "/srv/own")).unwrap();
    assert!(made(Some("/etc/containers/own.conf")).unwrap().contains("/srv/own"));
    let why = format!("{:#}", made(Some("/etc/containers/gone.conf")).unwrap_err());
    assert!(why.contains("there is no /etc/containers/gone.conf"), "{why}");
    assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1, "nothing left over");
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error() {
    let out = tempfile::tempdir().unwrap();
    fs::write(out.path().join("file"), "").unwrap();
    let root = cases().into_iter().find(|case| case.ends_with("02-no-storage-conf")).unwrap();
    let generated = generator::generate(&Root::open(&root.join("root")).unwrap(), &platform());
    let error = generator::write(&generated, &out.path().join("file"), &out.path().join("run"));
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

/// What a service of a case is told to read, as each Podman reads it: the store is there, and what
/// drop-ins say is kept where Podman reads any.
#[test]
fn each_podman_sees_the_store_and_what_drop_ins_say() {
    use storage_conf::{Environment, Generation, effective};
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/generator");
    let text = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path.display().to_string(), text)
    };
    let stores = |generation, files: &[(String, String)]| -> Vec<String> {
        let counts = effective(generation, &Environment::default(), files).unwrap();
        counts.stores.into_iter().map(|store| store.value).collect()
    };
    const OURS: &str = "/usr/lib/containers/storage";
    let case = top.join("39-storage-conf-drop-ins/expected/run");
    let conf = text(case.join("storage.conf"));
    assert_eq!(stores(Generation::Since4_9, std::slice::from_ref(&conf)), [OURS]);
    let over = text(case.join("storage.override.conf"));
    assert!(over.1.contains("mountopt = \"nodev\""), "{}", over.1);
    assert_eq!(stores(Generation::Since6, &[conf.clone(), over]), ["/var/lib/shared", OURS]);
    // The service's own file is read last, and hides no more than what it hid before.
    let own = text(case.join("storage.override.d/redis.service.conf"));
    assert_eq!(stores(Generation::Since6, &[conf, own]), [OURS]);

    let case = top.join("40-drop-in-hides-listed-store");
    let conf = text(case.join("root/usr/share/containers/storage.conf"));
    let drop_in = text(case.join("root/etc/containers/storage.conf.d/50-shared.conf"));
    let over = text(case.join("expected/run/storage.override.conf"));
    assert_eq!(stores(Generation::Since6, &[conf.clone(), drop_in.clone()]), ["/var/lib/shared"]);
    assert_eq!(stores(Generation::Since6, &[conf, drop_in, over]), ["/var/lib/shared", OURS]);
}

#[test]
fn a_changed_drop_in_counts_at_the_next_start() {
    let top = tempfile::tempdir().unwrap();
    let drop_ins = top.path().join("etc/containers/storage.conf.d");
    fs::create_dir_all(&drop_ins).unwrap();
    let target = top.path().join("storage.conf");
    let over = top.path().join("storage.override.conf");
    let root = Root::open(top.path()).unwrap();
    let list = |path: &str| format!("[storage.options]\nadditionalimagestores = [\"{path}\"]\n");
    // Without one when the services were wired, none is named, and none is made.
    fs::write(drop_ins.join("1.conf"), list("/a")).unwrap();
    generator::refresh(&root, &target, None).unwrap();
    assert!(target.exists() && !over.exists());
    fs::write(&over, "").unwrap();
    generator::refresh(&root, &target, None).unwrap();
    let ours = "\"/usr/lib/containers/storage\"";
    assert!(fs::read_to_string(&over).unwrap().contains(&format!("[\"/a\", {ours}]")));
    // A faulty one changes nothing; Podman says what is wrong with it.
    fs::write(drop_ins.join("1.conf"), "x").unwrap();
    let error = generator::refresh(&root, &target, None).unwrap_err().to_string();
    assert!(error.contains("1.conf:1:") && error.contains("stays as it was"), "{error}");
    assert!(fs::read_to_string(&over).unwrap().contains("/a"));
    fs::remove_file(drop_ins.join("1.conf")).unwrap();
    generator::refresh(&root, &target, None).unwrap();
    assert_eq!(fs::read_to_string(&over).unwrap(), "", "all are gone");
}
