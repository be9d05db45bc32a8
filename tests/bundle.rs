//! `bundle`: what it writes, who can read it, and that a host without a network is staged from it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::images::{Image, files, make, noise};
use common::registry::{FakeRegistry, Login};
use common::{Ran, World, assert_same, have, picture, source};
use serde_json::{Value, json};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A registry with an image in two platforms behind a list, and one without a list; two roots of which one binds more.
struct Setting {
    world: World,
    registry: FakeRegistry,
    list: String,
    instances: [Image; 2],
    plain: Image,
}

fn run(program: &str, words: &[&str]) -> Ran {
    Ran::of(Command::new(program).args(words).output().unwrap())
}

fn setting() -> Setting {
    let world = World::new();
    let registry = FakeRegistry::start();
    fs::write(world.path("registries.conf"), registry.registries_conf()).unwrap();
    let base = files(&[("base", "same")]);
    let instance = |name: &str, platform: &str| {
        let layers = [base.clone(), noise(name, 50_000)];
        make(&world, name, &layers, &["--platform", platform])
    };
    let instances = [instance("one", "linux/amd64"), instance("two", "linux/arm64")];
    let plain = make(&world, "plain", &[base.clone(), noise("p", 80_000)], &[]);
    let layout = world.path("bundle");
    let mkimage = source("tests/corpus/mkimage.py");
    let made = run(
        "python3",
        &[
            mkimage.to_str().unwrap(),
            "list",
            layout.to_str().unwrap(),
            &instances[0].manifest,
            &instances[1].manifest,
        ],
    );
    made.expect(0, &[]);
    let made: Value = serde_json::from_str(&made.out).unwrap();
    let list = made["list"].as_str().unwrap().to_owned();
    for image in &instances {
        image.push(&registry, "ns/listed", "unused");
    }
    let bytes = fs::read(plain.blob(&list)).unwrap();
    for tag in ["1", &list] {
        registry.manifest("ns/listed", tag, INDEX, &bytes);
    }
    plain.push(&registry, "ns/plain", "1");
    Setting { world, registry, list, instances, plain }
}

impl Setting {
    /// A reference by tag, one pinned with a tag, one pinned without.
    fn references(&self) -> [String; 3] {
        let (host, list, plain) = (self.registry.host(), &self.list, &self.plain.manifest);
        [
            format!("{host}/ns/listed:1"),
            format!("{host}/ns/listed:9@{list}"),
            format!("{host}/ns/plain@{plain}"),
        ]
    }

    fn bind(&self) {
        let [tag, both, digest] = self.references();
        self.world.bind_images(&[("tag", &tag), ("both", &both), ("digest", &digest)]);
        // A second root, with one of them.
        bind_in(&self.world.path("other"), "plain", &digest);
    }

    /// `bundle` for these roots.
    fn bundle(&self, roots: &[&str], more: &[&str]) -> Ran {
        let mut command = self.world.command_of(common::PROGRAM);
        command.arg("bundle");
        for root in roots {
            command.arg("--root").arg(self.world.path(root));
        }
        command.args(more).arg(self.world.path("out"));
        Ran::of(command.output().unwrap())
    }

    fn asked(&self, part: &str) -> usize {
        let log = self.registry.log();
        log.iter().filter(|line| line.starts_with("GET") && line.contains(part)).count()
    }
}

fn bind_in(root: &Path, name: &str, reference: &str) {
    let (quadlets, links) =
        (root.join("usr/share/containers/systemd"), root.join("usr/lib/bootc/bound-images.d"));
    fs::create_dir_all(&quadlets).unwrap();
    fs::create_dir_all(&links).unwrap();
    let text = format!("[Container]\nImage={reference}\n");
    fs::write(quadlets.join(format!("{name}.container")), text).unwrap();
    let target = format!("/usr/share/containers/systemd/{name}.container");
    std::os::unix::fs::symlink(target, links.join(format!("{name}.container"))).unwrap();
}

fn index(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("index.json")).unwrap()).unwrap()
}

fn names(out: &Path) -> Vec<String> {
    let entries = index(out)["manifests"].as_array().unwrap().clone();
    let name = |entry: &Value| entry["annotations"]["org.opencontainers.image.ref.name"].clone();
    entries.iter().map(|entry| name(entry).as_str().unwrap_or("-").to_owned()).collect()
}

fn blobs(out: &Path) -> Vec<String> {
    let read = fs::read_dir(out.join("blobs/sha256")).unwrap();
    let mut names: Vec<String> =
        read.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn several_roots_go_into_one_bundle_that_peers_read() {
    if !have(&["python3", "skopeo", "podman", "unshare"]) {
        return;
    }
    let setting = setting();
    setting.bind();
    let world = &setting.world;
    let out = world.path("out");
    let plan = setting.bundle(&["root", "other"], &["--dry-run"]);
    plan.expect(0, &["2 images in 3 layers: 3 to fetch", "Nothing was changed"]);
    assert!(!out.exists(), "a dry run changed something");
    let ran = setting.bundle(&["root", "other"], &[]);
    ran.expect(0, &["Bundled 2 images", &format!("ns/listed:1 is {}", setting.list)]);
    let [tag, both, digest] = setting.references();
    let mut wanted = vec![tag.clone(), both.clone(), digest.clone()];
    wanted.sort();
    assert_eq!(names(&out), wanted);
    // The list, its instance for this machine, the other image: every blob once.
    assert_eq!(blobs(&out).len(), 3 + 2 + 3);
    assert!(!out.join(".bound-images").exists());
    for layer in setting.instances[0].layers.iter().chain(&setting.plain.layers) {
        assert_eq!(setting.asked(layer), 1, "{layer}");
    }

    // Again: nothing is asked for, and not a byte changes.
    let (before, asked) = (picture(&out), setting.registry.log().len());
    setting.bundle(&["other", "root"], &[]).expect(0, &["Nothing to do", "2 images"]);
    assert_same(&before, &picture(&out), "a run with nothing to do");
    assert_eq!(setting.registry.log().len(), asked, "the registry was asked");

    // The list is sparse: whoever wants one image reads it, whoever wants them all is told.
    for reference in [&tag, &both, &digest] {
        let from = format!("oci:{}:{reference}", out.display());
        run("skopeo", &["inspect", &from]).expect(0, &["\"Digest\""]);
        let to = format!("dir:{}", world.path("copy").display());
        run("skopeo", &["--insecure-policy", "copy", "-q", &from, &to]).expect(0, &[]);
        fs::remove_dir_all(world.path("copy")).unwrap();
    }
    let from = format!("oci:{}:{tag}", out.display());
    let to = format!("dir:{}", world.path("copy").display());
    let all = run("skopeo", &["--insecure-policy", "copy", "-q", "--all", &from, &to]);
    all.expect(1, &["no such file or directory"]);
    let top = world.path("podman");
    // Podman takes no runroot of more than 50 characters, wherever these sources are.
    let short = tempfile::tempdir_in("/tmp").unwrap();
    let stores = ["--root", top.to_str().unwrap(), "--runroot", short.path().to_str().unwrap()];
    let mut podman = Command::new("podman");
    // Podman 4 calls an image by the path of its layout, which must be in lower case.
    podman.current_dir(world.path("")).args(stores);
    podman.args(["--storage-driver", "vfs", "pull", "-q", &format!("oci:out:{tag}")]);
    let pulled = Ran::of(podman.output().unwrap());
    let config = setting.instances[0].config.trim_start_matches("sha256:");
    pulled.expect(0, &[config]);

    // No network but the loopback of an empty namespace, and no registry.
    drop(setting.registry);
    for root in ["root", "other"] {
        let script = format!("exec \"$P\" stage --root \"$W/{root}\" --bundle \"$W/out\"");
        let mut command = world.command_of("unshare");
        command.args(["--net", "--", "sh", "-ec", &script]);
        command.env("P", common::PROGRAM).env("W", world.path(""));
        Ran::of(command.output().unwrap()).expect(0, &["Staged"]);
        let mut command = world.command_of(common::PROGRAM);
        command.args(["verify", "--deep", "--root"]).arg(world.path(root));
        Ran::of(command.output().unwrap()).expect(0, &["is complete"]);
    }
}

#[test]
fn the_same_bytes_in_any_order_and_the_same_blobs_as_skopeo() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let setting = setting();
    setting.bind();
    let out = setting.world.path("out");
    setting.bundle(&["other"], &[]).expect(0, &["Bundled 1 image "]);
    let said = setting.bundle(&["root"], &[]);
    said.expect(0, &["there already", "Bundled 2 images"]);
    let step_by_step = fs::read(out.join("index.json")).unwrap();
    fs::remove_dir_all(&out).unwrap();
    setting.bundle(&["root", "other"], &[]).expect(0, &["Bundled"]);
    assert_eq!(fs::read(out.join("index.json")).unwrap(), step_by_step);

    // Both platforms: what skopeo writes with --all.
    let arm = ["--platform", "linux/amd64", "--platform", "linux/arm64"];
    let refused = setting.bundle(&["root"], &arm);
    refused.expect(1, &["digest.container", "another platform", "not written"]);
    fs::remove_file(setting.world.root().join("usr/lib/bootc/bound-images.d/digest.container"))
        .unwrap();
    setting.bundle(&["root"], &arm).expect(0, &["Bundled 2 images"]);
    let skopeo = setting.world.path("skopeo");
    let copy = |reference: &str, name: &str| {
        let to = format!("oci:{}:{name}", skopeo.display());
        let conf = setting.world.path("registries.conf");
        let words = [
            "--registries-conf",
            conf.to_str().unwrap(),
            "--insecure-policy",
            "copy",
            "-q",
            "--all",
        ];
        let from = format!("docker://{reference}");
        run("skopeo", &[&words[..], &[from.as_str(), to.as_str()]].concat()).expect(0, &[]);
    };
    let [tag, both, digest] = setting.references();
    copy(&tag, &tag);
    copy(&digest, &digest);
    assert_eq!(blobs(&skopeo), blobs(&out));

    // skopeo's own layout has nothing left to do but for the name that skopeo was not told of.
    setting.world.bind_images(&[("plain", &digest)]);
    fs::remove_dir_all(&out).unwrap();
    fs::rename(&skopeo, &out).unwrap();
    let asked = setting.registry.log().len();
    setting.bundle(&["root"], &[]).expect(0, &["0 to fetch", "Bundled 2 images"]);
    assert!(names(&out).contains(&both));
    setting.bundle(&["root"], &[]).expect(0, &["Nothing to do"]);
    assert_eq!(setting.registry.log().len(), asked, "the registry was asked");
}

#[test]
fn a_tag_keeps_its_digest_until_it_is_asked_again() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let setting = setting();
    let tag = format!("{}/ns/plain:1", setting.registry.host());
    setting.world.bind_images(&[("app", &tag)]);
    let out = setting.world.path("out");
    setting.bundle(&["root"], &[]).expect(0, &[&setting.plain.manifest]);
    let moved = make(&setting.world, "moved", &[noise("m", 1000)], &[]);
    moved.push(&setting.registry, "ns/plain", "1");
    setting.bundle(&["root"], &[]).expect(0, &["Nothing to do", &setting.plain.manifest]);
    let ran = setting.bundle(&["root"], &["--refresh", "--format", "json"]);
    ran.expect(0, &[]);
    let done = ran.json().pop().unwrap();
    assert_eq!((&done["event"], &done["result"]), (&json!("done"), &json!("written")));
    assert_eq!(done["images"][0]["reference"], json!(tag));
    assert_eq!(done["images"][0]["digest"], json!(moved.manifest));
    assert_eq!(names(&out), [tag]);
    assert_eq!(index(&out)["manifests"][0]["digest"], json!(moved.manifest));
    assert!(
        blobs(&out).contains(&setting.plain.manifest[7..].to_owned()),
        "nothing is removed unasked"
    );
}

#[test]
fn another_bundle_saves_the_fetching_and_is_not_trusted() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let setting = setting();
    setting.bind();
    let (out, old) = (setting.world.path("out"), setting.world.path("old"));
    setting.bundle(&["root"], &[]).expect(0, &["Bundled"]);
    fs::rename(&out, &old).unwrap();
    let asked = setting.registry.log().len();
    let from = ["--from-bundle", old.to_str().unwrap()];
    setting.bundle(&["root"], &from).expect(0, &["3 to copy", "0 B fetched"]);
    assert_eq!(setting.registry.log().len(), asked, "the registry was asked");
    assert_eq!(blobs(&old), blobs(&out));

    fs::remove_dir_all(&out).unwrap();
    let wrong = &setting.plain.layers[1];
    let path = common::images::blob(&old, wrong);
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let ran = setting.bundle(&["root"], &from);
    ran.expect(0, &["was fetched", "wrong content", "Bundled 2 images"]);
    assert_ne!(fs::read(common::images::blob(&out, wrong)).unwrap(), bytes);
    let none = setting.bundle(&["root"], &["--from-bundle", "/nowhere"]);
    none.expect(3, &["/nowhere"]);
}

#[test]
fn what_no_root_wants_stays_until_it_is_pruned() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let setting = setting();
    setting.bind();
    let out = setting.world.path("out");
    setting.bundle(&["root"], &[]).expect(0, &["Bundled"]);
    // Something of others: its name is no full one, and its manifest nothing that we know.
    let artifact =
        json!({"schemaVersion": 2, "blobs": [{"digest": setting.plain.layers[1], "size": 1}]});
    let artifact = artifact.to_string();
    let name = oci_digest::Digest::of(artifact.as_bytes());
    fs::write(common::images::blob(&out, &name.to_string()), &artifact).unwrap();
    let mut edited = index(&out);
    let foreign = json!({"mediaType": "application/x", "digest": name, "size": artifact.len(), "x": {"own": 1}});
    edited["manifests"].as_array_mut().unwrap().insert(1, foreign.clone());
    edited["annotations"] = json!({"whose": "theirs"});
    fs::write(out.join("index.json"), edited.to_string()).unwrap();

    let before = picture(&out);
    setting.bundle(&["other"], &[]).expect(0, &["Nothing to do"]);
    assert_same(&before, &picture(&out), "what another root wants");
    let plan = setting.bundle(&["other"], &["--prune", "--dry-run"]);
    plan.expect(0, &["2 entries that no root wants and 4 blobs", "would be removed"]);
    assert_same(&before, &picture(&out), "a dry run");
    setting.bundle(&["other"], &["--prune"]).expect(0, &["2 entries", "removed"]);
    assert_eq!(names(&out), ["-".to_owned(), setting.references()[2].clone()]);
    assert_eq!(index(&out)["manifests"][0], foreign);
    assert_eq!(index(&out)["annotations"], json!({"whose": "theirs"}));
    let left = blobs(&out);
    assert_eq!(left.len(), 1 + 4, "{left:?}");
    for layer in &setting.plain.layers {
        assert!(left.contains(&layer[7..].to_owned()), "a layer that is wanted went");
    }
    setting.bundle(&["other"], &["--prune"]).expect(0, &["Nothing to do"]);
}

#[test]
fn optional_images_credentials_and_wrong_bindings() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let setting = setting();
    let (world, host) = (&setting.world, setting.registry.host());
    let plain = format!("{host}/ns/plain:1");
    world.bind_images(&[("app", &plain)]);
    let gone = format!("[Container]\nImage={host}/ns/gone:1\n[X-BoundImage]\nRequired=no\n");
    world.bind("gone.container", &gone);
    setting.registry.login(Login::Basic("dXNlcjpwdw==".to_owned()));
    setting.bundle(&["root"], &["--jobs", "1"]).expect(3, &["app.container", "refuses access"]);
    assert!(!world.path("out").exists(), "a failure made something");
    let auth = json!({"auths": {&host: {"auth": "dXNlcjpwdw=="}}});
    fs::write(world.path("auth.json"), auth.to_string()).unwrap();
    let authfile = world.path("auth.json");
    let more = ["--authfile", authfile.to_str().unwrap(), "--format", "json"];
    let ran = setting.bundle(&["root"], &more);
    ran.expect(0, &[]);
    let events = ran.json();
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    for kind in ["resolved", "unavailable", "planned", "blob", "writing", "done"] {
        assert!(kinds.contains(&kind), "{kind} is not among {kinds:?}");
    }
    let done = events.last().unwrap();
    assert_eq!(done["missing"][0]["reference"], json!(format!("{host}/ns/gone:1")));
    assert_eq!(done["missing"][0]["bindings"][0]["name"], json!("gone.container"));
    assert!(
        common::containing(&world.path("out"), "dXNlcjpwdw").is_empty(),
        "a secret was written"
    );

    bind_in(&world.path("other"), "short", "nginx");
    let wrong = setting.bundle(&["root", "other"], &[]);
    wrong.expect(1, &["short name", "/other:", "1 problem", "the bundle was not written"]);
    fs::create_dir_all(world.path("empty/usr")).unwrap();
    setting.bundle(&["empty"], &[]).expect(0, &["Nothing to do: there are no links"]);
    setting.bundle(&["bundle"], &[]).expect(2, &["is not a root"]);
    setting.bundle(&["root"], &["--platform", "arm64"]).expect(2, &["linux/arm64"]);
    setting.bundle(&["root"], &["--authfile", "/nowhere"]).expect(2, &["/nowhere"]);
    run(common::PROGRAM, &["bundle", "/tmp/x"]).expect(2, &["--root"]);
}
