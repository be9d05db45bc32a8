//! Podman (5.4 and 6, in chroots) judges what the generator writes: its own generator must make the
//! services that our drop-ins are for, and it must read the merged configuration as we mean it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Runs a script in the chroot of a suite with the golden cases at `/in`; its output, or none where there can
/// be no chroot.
fn in_chroot(suite: &str, script: &str) -> Option<String> {
    let project = project();
    let made = Command::new(project.join("tests/setup/chroot.sh")).arg(suite).output().unwrap();
    if made.status.code() == Some(2) {
        println!("skipped: needs {}", String::from_utf8_lossy(&made.stderr).trim());
        return None;
    }
    let chroot = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let store = tempfile::tempdir().unwrap();
    let file = store.path().join("script");
    fs::write(&file, script).unwrap();
    let output = Command::new(project.join("tests/peers/in-chroot.sh"))
        .arg(&chroot)
        .arg(store.path())
        .arg(project.join("tests/generator"))
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The services of each case that have a drop-in with something in it.
fn ours() -> BTreeMap<String, BTreeSet<String>> {
    let mut cases = BTreeMap::new();
    for case in fs::read_dir(project().join("tests/generator")).unwrap() {
        let case = case.unwrap();
        let name = case.file_name().into_string().unwrap();
        let mut services = BTreeSet::new();
        for entry in fs::read_dir(case.path().join("expected/normal")).into_iter().flatten() {
            let entry = entry.unwrap().file_name().into_string().unwrap();
            services.extend(entry.strip_suffix(".service.d").map(|base| format!("{base}.service")));
        }
        cases.insert(name, services);
    }
    cases
}

#[test]
fn podmans_generator_makes_the_services_that_are_wired() {
    for suite in ["trixie", "experimental"] {
        makes_the_services_that_are_wired(suite);
    }
}

fn makes_the_services_that_are_wired(suite: &str) {
    let Some(said) = in_chroot(
        suite,
        "for case in /in/*/; do
             echo \"case $(basename \"$case\")\"
             dirs=
             for top in run etc usr/share; do
                 [ ! -d \"$case/root/$top/containers/systemd\" ] ||
                     dirs=$dirs:$case/root/$top/containers/systemd
             done
             # It fails where a Quadlet is broken, and prints what it made of the others.
             QUADLET_UNIT_DIRS=${dirs#:} /usr/lib/systemd/system-generators/podman-system-generator \
                 --dryrun --no-kmsg-log 2>/tmp/errors || true
         done\n",
    ) else {
        return;
    };
    let mut podmans: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut case = String::new();
    for line in said.lines() {
        if let Some(name) = line.strip_prefix("case ") {
            name.clone_into(&mut case);
            podmans.insert(case.clone(), BTreeSet::new());
        } else if let Some(path) = line.strip_prefix("---").and_then(|l| l.strip_suffix("---")) {
            let service = Path::new(path).file_name().unwrap().to_str().unwrap().to_owned();
            podmans.get_mut(&case).unwrap().insert(service);
        }
    }
    let mut compared = 0;
    for (case, services) in ours() {
        let podmans = &podmans[&case];
        if case == "09-broken-quadlets-beside-good" {
            let warnings = project().join("tests/generator").join(case).join("expected/warnings");
            let warnings = fs::read_to_string(warnings).unwrap();
            assert!(warnings.contains("Podman 5.4 then makes no service of any Quadlet"));
            assert!(podmans.is_empty(), "Podman makes services after all: {podmans:?}");
            continue;
        }
        for service in services {
            // Podman makes a link for the default instance of a template, which has no text.
            let template = service.split_once('@').map(|(base, _)| format!("{base}@.service"));
            let known = podmans.contains(&service)
                || template.is_some_and(|template| podmans.contains(&template));
            assert!(known, "{case}: {service} is none of Podman's: {podmans:?}");
            compared += 1;
        }
    }
    assert!(compared > 60, "{compared}");
}

/// Nothing is lost of what a service brings along, and ours counts.
#[test]
fn podman_reads_the_merged_configuration() {
    for suite in ["trixie", "experimental"] {
        reads_the_merged_configuration(suite);
    }
}

fn reads_the_merged_configuration(suite: &str) {
    let Some(said) = in_chroot(
        suite,
        "mkdir -p /tmp/rootfs /tmp/storage
         printf '[containers]\\nannotations = [\"host=1\"]\\n' >/tmp/host.conf
         export CONTAINERS_CONF=/tmp/host.conf
         podman() {
             command podman --root /tmp/storage --runroot /tmp/run --storage-driver vfs \"$@\"
         }
         for service in override appending base; do
             export CONTAINERS_CONF_OVERRIDE=/in/33-own-environment/expected/run/containers.conf.d/$service.service.conf
             podman create --name $service --rootfs /tmp/rootfs true >/dev/null
             echo \"$service $(podman inspect --format '{{json .Config.Annotations}}' $service)\"
             echo \"env $service $(podman inspect --format '{{json .Config.Env}}' $service)\"
         done
         # Why files that running containers were started with are kept.
         if CONTAINERS_CONF_OVERRIDE=/tmp/gone podman ps 2>/tmp/error; then exit 1; fi
         echo \"gone $(cat /tmp/error)\"
         if podman run --rm quay.io/example/nginx:1 true 2>/tmp/error; then exit 1; fi
         echo \"pull $(cat /tmp/error)\"\n",
    ) else {
        return;
    };
    let line = |start: &str| {
        said.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_else(|| panic!("{said}"))
    };
    for (service, host, mine) in
        [("override", false, true), ("appending", true, true), ("base", true, false)]
    {
        let annotations = line(&format!("{service} "));
        let has = |what: &str| annotations.contains(what);
        assert!(has(&format!("\"bound-images.service\":\"{service}.service\"")), "{annotations}");
        assert!(has("\"bound-images.reference\":\"quay.io/example/nginx:1.27@"), "{annotations}");
        assert_eq!(has("\"host\":\"1\""), host, "{service}: {annotations}");
        assert_eq!(has("\"mine\":\"yes\""), mine, "{service}: {annotations}");
    }
    assert!(line("env override ").contains("MINE=1"), "{said}");
    assert!(!line("env base ").contains("MINE=1"), "{said}");
    assert!(line("gone ").contains("no such file"), "{said}");
    // Podman says so without asking the registry, which would be another error.
    assert!(line("pull ").contains("image not known"), "{said}");
}
