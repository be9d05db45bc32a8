//! quadlet-examples: each file of it is explained, judged by `lint` and by Podman's generator, pinned, staged
//! from small images of the same names, and verified.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;
#[allow(dead_code, reason = "quadlet_peer.rs uses the rest")]
#[path = "quadlets/peer.rs"]
mod peer;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use binding::quadlet::text::parse_text;
use common::images::small;
use common::registry::FakeRegistry;
use common::{Ran, World, have, source};

const QUADLETS: &str = "usr/share/containers/systemd";
/// What an administrator does on a host; the rest is what an image has.
const ON_A_HOST: &str = "etc/";

/// Files below the directory, README.md aside.
fn files() -> BTreeSet<String> {
    fn walk(top: &Path, below: &str, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(top.join(below)).unwrap().map(|entry| entry.unwrap()) {
            let name = format!("{below}{}", entry.file_name().to_str().unwrap());
            match entry.file_type().unwrap().is_dir() {
                true => walk(top, &format!("{name}/"), found),
                false => drop(found.insert(name)),
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(&source("quadlet-examples"), "", &mut found);
    assert!(found.remove("README.md"));
    found
}

/// The table of the README: each file, and whether it is linked.
fn told() -> BTreeMap<String, bool> {
    let readme = fs::read_to_string(source("quadlet-examples/README.md")).unwrap();
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.map(|(file, rest)| (file.to_owned(), rest.starts_with("yes |"))).collect()
}

/// The references that the examples of an image have, in the order of their files.
fn references() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files().iter().filter(|file| !file.starts_with(ON_A_HOST)) {
        let text = fs::read_to_string(source("quadlet-examples").join(file)).unwrap();
        let lines = parse_text(&text).unwrap().assignments;
        let images = lines.into_iter().filter(|line| line.key == "Image").map(|line| line.value);
        found.extend(images.filter(|value| value.contains('/')));
    }
    found
}

/// A root as an image build makes it: the examples, their links, and what `make install` brings.
fn root() -> World {
    let world = World::new();
    for (file, linked) in told() {
        if file.starts_with(ON_A_HOST) {
            continue;
        }
        let bytes = fs::read(source("quadlet-examples").join(&file)).unwrap();
        world.write(&format!("{QUADLETS}/{file}"), bytes);
        if linked {
            world.link(&file, &format!("../../../share/containers/systemd/{file}"));
        }
    }
    for lock in ["overlay-layers/layers.lock", "overlay-images/images.lock"] {
        world.write(&format!("usr/lib/containers/storage/{lock}"), "");
    }
    world.run("storage-conf", &["enable"]);
    // With bootc, what bootc refuses is an error.
    world.write("usr/bin/bootc", "");
    world
}

/// How often `lint` tells each code.
fn linted(world: &World) -> BTreeMap<String, usize> {
    let mut codes = BTreeMap::new();
    let json = world.run("lint", &["--format", "json"]).json().remove(0);
    for finding in json["findings"].as_array().unwrap() {
        *codes.entry(finding["code"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    codes
}

#[test]
fn each_file_is_in_the_readme_and_nothing_else() {
    assert_eq!(told().into_keys().collect::<BTreeSet<_>>(), files());
}

#[test]
fn each_is_pinned_linted_staged_and_verified() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let (world, registry) = (root(), FakeRegistry::start());
    let mut conf = String::new();
    let mut hosts = BTreeSet::new();
    for reference in references() {
        let (host, rest) = reference.split_once('/').unwrap();
        let (name, tag) = rest.rsplit_once(':').unwrap();
        small(&world, &reference).push(&registry, &format!("{host}/{name}"), tag);
        if hosts.insert(host.to_owned()) {
            let to = format!("{}/{host}", registry.host());
            conf += &format!(
                "[[registry]]\nprefix = \"{host}\"\nlocation = \"{to}\"\ninsecure = true\n"
            );
        }
    }
    fs::write(world.path("registries.conf"), conf).unwrap();

    // As they are here: with tags, so that people can read them.
    let links = told().into_values().filter(|linked| *linked).count();
    assert_eq!(linted(&world), BTreeMap::from([("unpinned".to_owned(), links)]));
    let pinned = format!("Pinned {links} bindings.");
    world.run("pin", &[]).expect(0, &[&pinned]);
    world.run("lint", &["--strict"]).expect(0, &[]);

    world.stage(&[]).expect(0, &[&format!("Staged {} images", references().len())]);
    assert_eq!(linted(&world), BTreeMap::new());
    world.run("verify", &["--deep"]).expect(0, &["every file is as its layer has it"]);
    let list = world.run("list", &["--format", "json"]).json().remove(0);
    let mut services = BTreeSet::new();
    for binding in list["bindings"].as_array().unwrap() {
        assert_eq!((&binding["state"], &binding["pinned"]), (&"present".into(), &true.into()));
        let optional = binding["name"] == "status-page.container";
        assert_eq!(binding["required"], !optional, "{binding}");
        services.extend(binding["services"].as_array().unwrap().iter().map(|service| {
            let service = service.as_str().unwrap().strip_suffix(".service").unwrap();
            service.to_owned()
        }));
    }
    // Bound by a link of its own or by the image that it uses: none is left out.
    for file in files().iter().filter(|file| !file.contains('/')) {
        match file.rsplit_once('.').unwrap() {
            (name, "container") => assert!(services.contains(name), "{file}: {services:?}"),
            (name, "image") => assert!(services.contains(&format!("{name}-image")), "{file}"),
            (_, "pod") => {}
            _ => panic!("{file}: what is this?"),
        }
    }

    // The administrator's: told, and nothing else changes.
    for file in files().iter().filter(|file| file.starts_with(ON_A_HOST)) {
        world.write(file, fs::read(source("quadlet-examples").join(file)).unwrap());
    }
    assert_eq!(linted(&world), BTreeMap::from([("overridden".to_owned(), 1)]));
    world.run("verify", &["--deep"]).expect(0, &["overridden"]);
}

/// What the README says would go wrong otherwise, does.
#[test]
fn what_the_readme_warns_of_is_found() {
    if !have(&[]) {
        return;
    }
    let change = |file: &str, from: &str, to: &str| {
        let world = root();
        let path = world.root().join(QUADLETS).join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from:?}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
        let mut codes = linted(&world);
        codes.remove("unpinned");
        codes.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(change("fluent-bit.image", "#   AuthFile=", "AuthFile="), ["bootc-refuses"]);
    assert_eq!(change("security-agent.container", "Pull=never", "Pull=always"), ["pull-always"]);
    assert_eq!(change("worker@.container", "python:3.12-slim", "python:%i"), ["specifier"]);
    assert_eq!(change("console-web.container", "Pod=console", "Pod=other"), ["refused"]);
    assert_eq!(
        change("status-page.container", "Required=no", "Optional=yes"),
        ["unknown-binding-key"]
    );
    for (file, code) in
        [("fluent-bit.container", "bootc-refuses"), ("console.pod", "unknown-extension")]
    {
        let world = root();
        world.link(file, &format!("/{QUADLETS}/{file}"));
        assert_eq!(linted(&world).remove(code), Some(1), "{file}");
    }
    let dropin = "node-exporter.container.d/10-textfile.conf";
    let image = "[Container]\nImage=quay.io/other/exporter:1\n";
    assert_eq!(change(dropin, "[Container]\n", image), ["bootc-differs"]);
}

/// Podman's generator makes a service of each, without a complaint, and means the same images as we do.
#[test]
fn podmans_generator_accepts_each() {
    if !have(&["python3"]) {
        return;
    }
    for suite in [peer::PODMAN_5, peer::PODMAN_6] {
        let world = root();
        let cases = world.path("cases");
        let case = peer::case_dir(&cases, 0);
        fs::create_dir_all(&cases).unwrap();
        fs::rename(world.root(), &case).unwrap();
        let Some(asked) = peer::podman(suite, &cases) else { continue };
        let name = case.file_name().unwrap().to_str().unwrap();
        let read = peer::read(&case);
        let wrong = peer::disagreements(&read, &asked[name], peer::Bound::Images);
        assert!(wrong.is_empty(), "{suite}: {wrong:?}");
        let ours: BTreeSet<String> = peer::ours(&read).into_keys().collect();
        let theirs: BTreeSet<String> = asked[name][0].keys().cloned().collect();
        // An instance has no file of its own.
        let more: Vec<_> = ours.symmetric_difference(&theirs).collect();
        assert_eq!(more, ["worker@default.service"], "{suite}");
        // `script` asserts its exit code, which is 1 after an error in any Quadlet.
        let text = peer::script(suite, &case, STRICT).unwrap();
        for file in files().iter().filter(|file| !file.contains('/')) {
            let wanted = format!("SourcePath=/in/{QUADLETS}/{file}");
            assert!(text.lines().any(|line| line == wanted), "{suite}: {file}\n{text}");
        }
    }
}

/// What Podman adds to a container's unit does not contradict what the example says of its order.
#[test]
fn systemd_finds_no_ordering_cycle() {
    if !have(&["systemd-analyze"]) {
        return;
    }
    for suite in [peer::PODMAN_5, peer::PODMAN_6] {
        let world = root();
        fs::write(world.root().join("probe.target"), PROBE).unwrap();
        if peer::script(suite, &world.root(), GENERATE).is_none() {
            continue;
        }
        let units = world.root().join("units");
        fs::rename(world.root().join("probe.target"), units.join("probe.target")).unwrap();
        let mut command = world.command_of("systemd-analyze");
        command.args(["verify", "--man=no", "probe.target"]);
        command.env("SYSTEMD_UNIT_PATH", format!("{}:/usr/lib/systemd/system", units.display()));
        let said = Ran::of(command.output().unwrap());
        assert!(!said.err.contains("cycle"), "{suite}: {}", said.all());
        // And it was asked about them.
        let wants = fs::read_dir(units.join("sysinit.target.wants")).unwrap();
        assert_eq!(wants.count(), 1, "{suite}");
    }
}

/// A boot with a network.
const PROBE: &str = "[Unit]\nWants=network.target\nRequires=multi-user.target\n";
const GENERATE: &str = r"mkdir /in/units
QUADLET_UNIT_DIRS=/in/usr/share/containers/systemd \
    /usr/lib/systemd/system-generators/podman-system-generator --no-kmsg-log /in/units /tmp/2 /tmp/3
";
const STRICT: &str = r"QUADLET_UNIT_DIRS=/in/usr/share/containers/systemd \
    /usr/lib/systemd/system-generators/podman-system-generator --dryrun --no-kmsg-log
";
