//! docs/air-gap.md, command by command: what it prints stands there. The host's part runs without a network.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use common::host::{Machine, NEW, ONE, id};
use common::images::{files, noise, pack, small};
use common::registry::FakeRegistry;
use common::{PROGRAM, Ran, World, have, source};

const PAGE: &str = "docs/air-gap.md";

/// A command of the page, where it is run, and what it prints there.
#[derive(Debug)]
struct Step {
    place: String,
    command: String,
    output: Vec<String>,
}

/// Takes the page apart: text, and the steps of the blocks that are marked `<!-- run: PLACE -->`.
fn steps(page: &str) -> Vec<Step> {
    let (mut steps, mut place, mut inside) = (Vec::<Step>::new(), String::new(), false);
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("<!-- run: ") {
            place = rest.trim_end_matches(" -->").to_owned();
        } else if line == "```console" && !place.is_empty() {
            inside = true;
        } else if line == "```" {
            (inside, place) = (false, String::new());
        } else if let (true, Some(command)) = (inside, line.strip_prefix("$ ")) {
            let command = command.to_owned();
            steps.push(Step { place: place.clone(), command, output: Vec::new() });
        } else if inside {
            steps.last_mut().unwrap().output.push(line.to_owned());
        }
    }
    steps
}

/// The page with these outputs.
fn with_output(page: &str, outputs: &[Vec<String>]) -> String {
    let (mut out, mut marked, mut inside) = (String::new(), false, false);
    let mut outputs = outputs.iter();
    for line in page.lines() {
        marked |= line.starts_with("<!-- run: ");
        if line == "```" {
            (marked, inside) = (false, false);
        }
        if !inside || line.starts_with("$ ") {
            out.push_str(&format!("{line}\n"));
        }
        if inside && line.starts_with("$ ") {
            outputs.next().unwrap().iter().for_each(|line| out.push_str(&format!("{line}\n")));
        }
        inside |= marked && line == "```console";
    }
    out
}

/// Lines that do not depend on which transfer was the faster one, nor on the skopeo of this machine.
fn comparable(lines: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = lines
        .iter()
        .filter(|line| !line.starts_with("warning: skopeo") && !line.is_empty())
        .map(|line| match line.split_once("] ") {
            Some((number, rest)) if number.starts_with('[') => format!("[] {rest}"),
            _ => line.clone(),
        })
        .collect();
    lines.sort();
    lines
}

/// What the page's machines are made of.
struct Stand {
    host: Machine,
    _registry: FakeRegistry,
}

impl Stand {
    fn new(page: &str) -> Self {
        let host = Machine::new();
        let world = &host.world;
        let registry = FakeRegistry::start();
        let conf = format!(
            "[[registry]]\nprefix = \"registry.example\"\nlocation = \"{}\"\ninsecure = true\n",
            registry.host()
        );
        fs::write(world.path("registries.conf"), conf).unwrap();
        let base = files(&[("etc/os-release", "NAME=base")]);
        let amd64 = ["--platform", "linux/amd64"];
        for (name, size) in [("httpd", 300_000), ("forwarder", 100_000)] {
            // What gzip makes of a layer depends on its version, and the page has digests.
            let image = pack(world, name, &[base.clone(), noise(name, size)], "none", &amd64);
            image.push(&registry, &format!("web/{name}"), "2.4");
        }
        world.bind_images(&[
            ("forwarder", "registry.example/web/forwarder:2.4"),
            ("httpd", "registry.example/web/httpd:2.4"),
        ]);
        for name in ["httpd", "forwarder"] {
            let text = format!(
                "[Container]\nImage=registry.example/web/{name}:2.4\n\n[Install]\nWantedBy=multi-user.target\n"
            );
            world.write(&format!("usr/share/containers/systemd/{name}.container"), text);
        }
        // A root that bound-images is installed in.
        for file in ["overlay-images/images.lock", "overlay-layers/layers.lock"] {
            world.write(&format!("{}/{file}", binding::STORE_PATH), "");
        }
        world.run("storage-conf", &["enable"]).expect(0, &[]);
        fs::create_dir(world.path("stick")).unwrap();
        let stand = Self { host, _registry: registry };
        stand.shim("connected", "exec \"$PROGRAM\" \"$@\"");
        // The host of the test lies in a directory, which is no part of what a reader sees.
        let top = stand.host.top();
        let strip = format!(
            "set -o pipefail\n\"$PROGRAM\" \"$@\" --host {0} 2>&1 | sed 's|{0}/|/|g'",
            top.display()
        );
        stand.shim("host", &strip);
        let toml = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        let (comment, _) = toml.split_once('\n').unwrap();
        let path = top.join(comment.trim_start_matches("# /"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, toml).unwrap();
        stand
    }

    fn shim(&self, place: &str, text: &str) {
        let path = self.host.world.path(&format!("bin-{place}/bound-images"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/usr/bin/env bash\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The root that was built becomes one that is staged on the host.
    fn deploy(&self) {
        self.host.deploy("b", &[]);
        let mut copy = std::process::Command::new("cp");
        copy.args(["-a", "usr"]).arg(self.host.files("b")).current_dir(self.host.world.root());
        assert!(copy.status().unwrap().success());
        self.host.stage_root("b");
    }

    fn run(&self, step: &Step) -> Ran {
        let world = &self.host.world;
        let mut command = world.command_of("unshare");
        command.arg("--mount");
        if step.place == "host" {
            // Not even the loopback is up.
            command.arg("--net");
        }
        let script = format!(
            "mount -t tmpfs none /mnt; mkdir /mnt/stick; mount --bind \"$W/stick\" /mnt/stick; cd \"$W\"
             if [ {0} = host ]; then ! ip route get 192.0.2.1 2>/dev/null; fi
             export PATH=\"$W/bin-{0}:$PATH\"; exec 2>&1; {1}",
            step.place, step.command
        );
        command.args(["--", "bash", "-ec", &script]);
        command.env("PROGRAM", PROGRAM).env("W", world.path("").as_os_str());
        Ran::of(command.output().unwrap())
    }
}

#[test]
fn the_walk_through_is_true() {
    if !have(&["python3", "skopeo", "unshare", "mount", "ip"]) {
        return;
    }
    if std::env::consts::ARCH != "x86_64" {
        eprintln!("skipped: needs x86_64, whose images the page has");
        return;
    }
    let page = fs::read_to_string(source(PAGE)).unwrap();
    let stand = Stand::new(&page);
    let steps = steps(&page);
    assert!(steps.iter().any(|step| step.place == "host") && steps.len() > 6, "{steps:?}");
    let bless = std::env::var_os("BLESS").is_some();
    let mut outputs = Vec::new();
    for step in &steps {
        if step.place == "host" && !stand.host.files("b").exists() {
            stand.deploy();
        }
        let ran = stand.run(step);
        assert_eq!(ran.code, Some(0), "$ {}\n{}", step.command, ran.all());
        let output: Vec<String> = ran.out.lines().map(str::to_owned).collect();
        if !bless {
            let (got, wanted) = (comparable(&output), comparable(&step.output));
            assert_eq!(got, wanted, "$ {}\n{}", step.command, ran.out);
        }
        outputs
            .push(output.into_iter().filter(|line| !line.starts_with("warning: skopeo")).collect());
    }
    if bless {
        fs::write(source(PAGE), with_output(&page, &outputs)).unwrap();
    }
    // What was booted from the stick is what was bundled.
    assert!(stand.host.pool().join("roots").join(id("b")).exists());
}

/// A host with a configured bundle that lacks something, and no registry.
fn configure(host: &Machine, bundles: &[&Path]) {
    let path = host.top().join("etc/bound-images/config.d/50-stick.toml");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let shown: Vec<String> =
        bundles.iter().map(|path| format!("{:?}", path.display().to_string())).collect();
    fs::write(path, format!("bundles = [{}]\nretries = 0\n", shown.join(", "))).unwrap();
}

#[test]
fn configured_bundles_that_are_absent_broken_or_incomplete() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let host = Machine::new();
    let (whole, stick) = (host.world.path("bundle"), host.world.path("stick"));
    host.deploy("b", &[("one", ONE), ("new", NEW)]);
    host.stage_root("b");
    // Not plugged in: the registry is asked, in vain, and the update is held back.
    configure(&host, &[&stick]);
    let ran = host.run(&["stage"]);
    ran.expect(3, &["one.container", "new.container", "nothing was staged"]);
    host.run(&["gate"]).expect(1, &["held back"]);
    // What is no bundle is passed over, and said.
    fs::create_dir(&stick).unwrap();
    host.run(&["stage"]).expect(3, &["oci-layout", "passed over"]);
    // One that lacks an image: which, and that it was looked for there.
    let other = World::new();
    small(&other, ONE);
    fs::remove_dir(&stick).unwrap();
    let copied =
        std::process::Command::new("cp").arg("-a").arg(other.path("bundle")).arg(&stick).status();
    assert!(copied.unwrap().success());
    let ran = host.run(&["stage"]);
    ran.expect(3, &["new.container", "nothing in its index has the name", "nothing was staged"]);
    assert!(!ran.errors().contains("one.container"), "{}", ran.all());
    // Together they have all, and a layer that is damaged in one comes from the other.
    configure(&host, &[&stick, &whole]);
    let damaged =
        fs::read_dir(stick.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    for path in damaged {
        let mut bytes = fs::read(&path).unwrap();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes).unwrap();
        }
    }
    host.run(&["stage"]).expect(0, &["is damaged", "Staged 2 images"]);
    host.run(&["gate"]).expect(0, &["is complete"]);
    // What was typed is the only one.
    host.deploy("c", &[("new", NEW)]);
    host.stage_root("c");
    let typed = host.run(&["stage", "--refresh", "--bundle", stick.to_str().unwrap()]);
    typed.expect(
        1,
        &["nothing in its index has the name", "write the bundle again with `bound-images bundle`"],
    );
}
