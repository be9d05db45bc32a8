//! The files that are installed beside the programs: where they go, whether systemd takes them, and
//! whether what they say twice agrees. Three empty programs stand for ours; their man pages and
//! completions are the real ones.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn have(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&paths).any(|at| at.join(program).is_file());
    if !found {
        eprintln!("skipped: needs {program}");
    }
    found
}

fn run(command: &mut Command) -> Output {
    command.env("LC_ALL", "C.UTF-8").env("SYSTEMD_PAGER", "").output().unwrap()
}

/// All that was said.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A directory in which `make install` was run, with programs that do nothing.
struct Installed {
    directory: tempfile::TempDir,
    prefix: &'static str,
}

impl Installed {
    fn below(prefix: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let build = directory.path().join("build");
        fs::create_dir(&build).unwrap();
        for program in ["bound-images", "bound-images-generator", "bound-images-hook"] {
            fs::write(build.join(program), "#!/bin/sh\n").unwrap();
            fs::set_permissions(build.join(program), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let output = run(Command::new(project().join("units/pages.sh"))
            .arg(&build)
            .env("RUN_ON_THIS", env!("CARGO_BIN_EXE_bound-images")));
        assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
        let installed = Self { directory, prefix };
        installed.make("install");
        installed
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn units(&self) -> PathBuf {
        self.root().join("usr/lib/systemd/system")
    }

    fn make(&self, target: &str) {
        let output = run(Command::new("make")
            .arg("-s")
            .arg("-C")
            .arg(project())
            .arg(target)
            .arg(format!("BUILD={}", self.directory.path().join("build").display()))
            .arg(format!("DESTDIR={}", self.root().display()))
            .arg(format!("PREFIX={}", self.prefix)));
        assert!(output.status.success(), "make {target}: {}", said(&output));
        assert_eq!(said(&output), "");
    }

    /// `MODE PATH [-> TARGET]` of everything that is not a directory, and of the store's directories.
    fn listing(&self) -> String {
        let mut lines = Vec::new();
        for path in below(&self.root()) {
            let metadata = fs::symlink_metadata(&path).unwrap();
            let shown = path.strip_prefix(self.root()).unwrap().display().to_string();
            if metadata.is_dir() && !shown.starts_with("usr/lib/containers/storage") {
                continue;
            }
            let mode = metadata.mode() & 0o7777;
            lines.push(match fs::read_link(&path) {
                Ok(target) => format!("link /{shown} -> {}", target.display()),
                Err(_) => format!("{mode:04o} /{shown}"),
            });
        }
        lines.sort_by(|a, b| a[5..].cmp(&b[5..]));
        lines.join("\n") + "\n"
    }

    /// The distribution's own units, so that all the names that ours mention are there.
    fn add_units_of_the_machine(&self) -> bool {
        let Some(theirs) = ["/usr/lib/systemd/system", "/lib/systemd/system"]
            .into_iter()
            .find(|path| Path::new(path).join("multi-user.target").is_file())
        else {
            eprintln!("skipped: needs systemd's units");
            return false;
        };
        let output =
            run(Command::new("cp").arg("-an").arg(format!("{theirs}/.")).arg(self.units()));
        assert!(output.status.success(), "{}", said(&output));
        for name in ["ostree", "bootc"] {
            let unit = format!("{name}-finalize-staged.service");
            fs::copy(vendor().join(&unit), self.units().join(&unit)).unwrap();
            let program = self.root().join("usr/bin").join(name);
            fs::write(&program, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        true
    }

    fn verify(&self, units: &[String]) -> Output {
        // The manual pages are no files of this machine.
        let mut command = Command::new("systemd-analyze");
        command.current_dir(self.units()).args(["verify", "--man=no"]);
        command.arg(format!("--root={}", self.root().display()));
        run(command.args(units))
    }
}

/// Everything below a directory.
fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found
}

fn vendor() -> PathBuf {
    project().join("tests/units/vendor")
}

/// The values of `key` in a unit file.
fn values(text: &str, key: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(name, _)| *name == key).map(|(_, value)| value.to_owned()).collect()
}

fn our_units(installed: &Installed) -> Vec<String> {
    let names = fs::read_dir(installed.units()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut ours: Vec<String> = names.filter(|name| name.starts_with("bound-images-")).collect();
    ours.sort();
    ours
}

#[test]
fn every_file_is_where_a_distribution_puts_it() {
    if !have("make") {
        return;
    }
    let installed = Installed::below("/usr");
    let expected = fs::read_to_string(project().join("tests/units/installed")).unwrap();
    assert_eq!(installed.listing(), expected);
    // Again: an upgrade.
    installed.make("install");
    assert_eq!(installed.listing(), expected);
}

#[test]
fn every_link_of_an_installed_document_leads_to_an_installed_file() {
    if !have("make") {
        return;
    }
    let installed = Installed::below("/usr");
    let (mut dead, mut checked) = (Vec::new(), 0);
    for document in below(&installed.root()) {
        if document.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&document).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
        for link in links.filter(|link| !link.starts_with("https://") && !link.starts_with('#')) {
            checked += 1;
            let path = link.split('#').next().unwrap();
            if !document.with_file_name(path).is_file() {
                dead.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
    assert!(checked > 40, "only {checked} links were found");
}

/// systemd cannot look into the arguments of openat2(2), with which every root is read, and so takes all of it away.
#[test]
fn no_unit_takes_openat2_away() {
    let units = project().join("units");
    let mut read = 0;
    for path in
        below(&units).iter().filter(|path| path.extension().is_some_and(|end| end == "service"))
    {
        let text = fs::read_to_string(path).unwrap();
        assert!(
            !text.lines().any(|line| line.starts_with("RestrictSUIDSGID=")),
            "{}",
            path.display()
        );
        read += 1;
    }
    assert!(read >= 7, "{read}");
}

#[test]
fn uninstall_leaves_what_others_need() {
    if !have("make") {
        return;
    }
    let installed = Installed::below("/usr");
    let other = installed.units().join("multi-user.target.wants/other.service");
    std::os::unix::fs::symlink("../other.service", &other).unwrap();
    installed.make("uninstall");
    // Podman fails where a store that is configured is not there.
    let left = installed.listing();
    let other =
        "link /usr/lib/systemd/system/multi-user.target.wants/other.service -> ../other.service";
    let (store, rest): (Vec<_>, Vec<_>) =
        left.lines().partition(|line| line.contains("/usr/lib/containers/storage"));
    assert_eq!((store.len(), rest), (6, vec![other]), "{left}");
    assert!(!installed.units().join("ostree-finalize-staged.service.d").exists());
    assert!(!installed.root().join("usr/share/doc/bound-images").exists());
    // And where there is nothing of it any more.
    installed.make("uninstall");
    assert_eq!(installed.listing(), left);
}

#[test]
fn another_prefix_moves_programs_and_units_together() {
    if !have("make") {
        return;
    }
    let installed = Installed::below("/opt/x");
    let mut named = 0;
    for path in below(&installed.root()) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if path.extension().is_some_and(|extension| extension == "md") {
            continue;
        }
        for (start, _) in text.match_indices("/bound-images") {
            let before = &text[..start];
            assert!(!before.ends_with("/usr/bin"), "{} names /usr/bin", path.display());
            assert!(!before.ends_with("/usr/libexec"), "{} names /usr/libexec", path.display());
            named +=
                usize::from(before.ends_with("/opt/x/bin") || before.ends_with("/opt/x/libexec"));
        }
    }
    assert!(named >= 9, "{named}");
    for (page, path) in [
        ("bound-images-hook.8", "/opt/x/libexec/bound\\-images\\-hook"),
        ("bound-images-generator.8", "/opt/x/lib/systemd/system\\-generators/"),
    ] {
        let page = installed.root().join("opt/x/share/man/man8").join(page);
        assert!(fs::read_to_string(&page).unwrap().contains(path), "{}", page.display());
    }
    assert!(installed.root().join("opt/x/lib/systemd/system/bound-images-stage.path").is_file());
}

#[test]
fn systemd_takes_every_unit() {
    if !have("systemd-analyze") || !have("make") {
        return;
    }
    let installed = Installed::below("/usr");
    if !installed.add_units_of_the_machine() {
        return;
    }
    let mut units = our_units(&installed);
    assert!(units.len() >= 9, "{units:?}");
    units.extend(["ostree", "bootc"].map(|name| format!("{name}-finalize-staged.service")));
    let output = installed.verify(&units);
    assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));

    // It would have seen a fault.
    let unit = installed.units().join("bound-images-stage.service");
    let text = fs::read_to_string(&unit).unwrap().replace("TimeoutStopSec=", "TimeoutStopSecond=");
    fs::write(&unit, text).unwrap();
    let output = installed.verify(&["bound-images-stage.service".into()]);
    assert!(said(&output).contains("TimeoutStopSecond"), "{}", said(&output));
    let drop_in = installed.units().join("ostree-finalize-staged.service.d/50-bound-images.conf");
    fs::remove_file(installed.root().join("usr/bin/bound-images")).unwrap();
    assert!(drop_in.is_file());
    let output = installed.verify(&["ostree-finalize-staged.service".into()]);
    assert!(said(&output).contains("bin/bound-images"), "the gate is not read: {}", said(&output));
}

#[test]
fn presets_enable_what_may_be_disabled_and_nothing_else() {
    if !have("systemctl") || !have("make") {
        return;
    }
    let installed = Installed::below("/usr");
    let root = format!("--root={}", installed.root().display());
    let output = run(Command::new("systemctl").args([&root, "preset-all"]));
    assert!(output.status.success(), "{}", said(&output));
    let state = |unit: &String| {
        let output = run(Command::new("systemctl").args([&root, "is-enabled", unit]));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let states: BTreeMap<_, _> =
        our_units(&installed).into_iter().map(|unit| (unit.clone(), state(&unit))).collect();
    for (unit, state) in &states {
        let optional = ["-verify.service", "-gc.timer", "-metrics.timer"]
            .iter()
            .any(|end| unit.ends_with(end));
        assert_eq!(state, if optional { "enabled" } else { "static" }, "{unit}");
    }
    let wanted = installed.root().join("etc/systemd/system/boot-complete.target.requires");
    assert!(fs::symlink_metadata(wanted.join("bound-images-verify.service")).is_ok());
}

#[test]
fn the_drop_ins_keep_the_vendors_line() {
    for name in ["ostree", "bootc"] {
        let unit = format!("{name}-finalize-staged.service");
        let drop_in = project().join(format!("units/{unit}.d/50-bound-images.conf"));
        let ours = values(&fs::read_to_string(drop_in).unwrap(), "ExecStop");
        let mut compared = 0;
        // Debian's package, unpacked by install-tools.sh: Debian 12 has it in /lib.
        let unpacked = project().join("target/tools/ostree-boot");
        let directories = [
            vendor(),
            "/usr/lib/systemd/system".into(),
            unpacked.join("usr/lib/systemd/system"),
            unpacked.join("lib/systemd/system"),
        ];
        for directory in directories {
            let Ok(text) = fs::read_to_string(directory.join(&unit)) else { continue };
            let mut wanted = vec![String::new(), "/usr/bin/bound-images gate --remember".into()];
            wanted.extend(values(&text, "ExecStop"));
            assert_eq!(ours, wanted, "{}", directory.join(&unit).display());
            compared += 1;
        }
        assert!(compared >= 1);
        if compared == 1 {
            eprintln!("skipped: needs {unit} of a distribution; compared with our copy only");
        }
    }
}

/// `NAME -> id` of message_id.rs.
fn message_ids() -> BTreeMap<String, String> {
    let text = fs::read_to_string(project().join("bound-images/src/system/message_id.rs")).unwrap();
    let constants = text.lines().filter_map(|line| line.strip_prefix("pub const "));
    let pairs = constants.map(|line| {
        let (name, value) = line.split_once(": &str = \"").unwrap();
        (name.to_owned(), value.strip_suffix("\";").unwrap().to_owned())
    });
    pairs.collect()
}

#[test]
fn the_catalog_explains_every_message_id() {
    let text = fs::read_to_string(project().join("units/bound-images.catalog")).unwrap();
    let ids = message_ids();
    let known: BTreeSet<_> = ids.values().map(String::as_str).collect();
    let explained: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
    assert_eq!(explained.len(), ids.len());
    assert_eq!(explained.into_iter().collect::<BTreeSet<_>>(), known);
    assert_eq!(known.len(), ids.len(), "an id is used twice");
    for id in known {
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }
}

#[test]
fn systemd_takes_the_catalog() {
    if !have("journalctl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let catalog = directory.path().join("usr/lib/systemd/catalog");
    fs::create_dir_all(&catalog).unwrap();
    fs::copy(project().join("units/bound-images.catalog"), catalog.join("bound-images.catalog"))
        .unwrap();
    let root = format!("--root={}", directory.path().display());
    let output = run(Command::new("journalctl").args([&root, "--update-catalog"]));
    assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
    let output = run(Command::new("journalctl").args([&root, "--list-catalog"]));
    let listed: BTreeSet<_> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| line.split_once(" bound-images: ").expect("Defined-By, Subject").0.to_owned())
        .collect();
    assert_eq!(listed, message_ids().into_values().collect());
}

#[test]
fn the_table_of_exposures_is_what_systemd_says() {
    if !have("systemd-analyze") {
        return;
    }
    let output = run(&mut Command::new(project().join("units/security.sh")));
    assert!(output.status.success(), "{}", said(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    let text = fs::read_to_string(project().join("docs/units.md")).unwrap();
    let header = table.lines().next().unwrap();
    assert!(text.contains("| unit | exposure (systemd "), "docs/units.md has no table");
    if !text.contains(header) {
        eprintln!("skipped: needs the systemd of the table in docs/units.md; here: {header}");
        return;
    }
    assert!(text.contains(&table), "docs/units.md lacks this, of units/security.sh:\n{table}");
}
