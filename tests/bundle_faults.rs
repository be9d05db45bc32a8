//! `bundle` where things go wrong: registries that lie, places that are unfit, blobs that were damaged, runs that
//! were killed. What is whole is kept, and nothing half-done has a name.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Stdio};

use common::images::{Image, blob, files, make, noise};
use common::registry::{Does, FakeRegistry};
use common::{Ran, World, assert_same, end, have, picture, wait_until};
use oci_digest::Digest;
use rustix::process::Signal;

const ALWAYS: usize = usize::MAX;

/// A registry with one image of two layers, and a root that binds it with one retry.
struct Setting {
    world: World,
    registry: FakeRegistry,
    image: Image,
    reference: String,
}

fn setting() -> Setting {
    let world = World::new();
    let registry = FakeRegistry::start();
    fs::write(world.path("registries.conf"), registry.registries_conf()).unwrap();
    let image = make(&world, "app", &[files(&[("a", "1")]), noise("n", 200_000)], &[]);
    image.push(&registry, "ns/app", "1");
    let reference = format!("{}/ns/app:1", registry.host());
    world.bind("app.image", format!("[Image]\nImage={reference}\nRetry=1\nRetryDelay=20ms\n"));
    Setting { world, registry, image, reference }
}

impl Setting {
    fn bundle(&self, more: &[&str]) -> Ran {
        let out = self.world.path("out");
        self.world.run("bundle", &[&[out.to_str().unwrap()], more].concat())
    }

    fn spawn(&self) -> Child {
        let out = self.world.path("out");
        let mut command = self.world.command("bundle", &[out.to_str().unwrap(), "--jobs", "1"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn asked(&self, part: &str) -> usize {
        let log = self.registry.log();
        log.iter().filter(|line| line.starts_with("GET") && line.contains(part)).count()
    }

    /// Every blob has the digest that it is called by, and nothing else is there.
    #[track_caller]
    fn assert_honest(&self) {
        let Ok(read) = fs::read_dir(self.world.path("out/blobs/sha256")) else { return };
        for entry in read.map(|entry| entry.unwrap()) {
            let digest = Digest::of(&fs::read(entry.path()).unwrap()).hex();
            assert_eq!(entry.file_name().to_string_lossy(), digest);
        }
    }

    fn all(&self) -> Vec<&String> {
        self.image.layers.iter().chain([&self.image.config, &self.image.manifest]).collect()
    }

    /// The bundle is whole: all blobs, one name, nothing beside it.
    #[track_caller]
    fn assert_whole(&self) {
        let out = self.world.path("out");
        self.assert_honest();
        assert_eq!(fs::read_dir(out.join("blobs/sha256")).unwrap().count(), 4);
        for digest in self.all() {
            assert!(blob(&out, digest).is_file(), "{digest}");
        }
        let index = fs::read_to_string(out.join("index.json")).unwrap();
        assert!(index.contains(&self.reference) && index.contains(&self.image.manifest));
        assert_eq!(fs::read_dir(&out).unwrap().count(), 3, "index.json, oci-layout, blobs");
    }
}

#[test]
fn registries_that_lie_and_fail() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let cases: &[(&str, usize, Does, i32, &str)] = &[
        ("manifest", 0, Does::Status(404), 1, "manifest unknown"),
        ("manifest", 0, Does::Status(401), 3, "refuses access"),
        ("manifest", 0, Does::Garble, 1, "not written"),
        ("config", 1, Does::Garble, 1, "tampered"),
        ("layer", 2, Does::Garble, 1, "tampered"),
        ("layer", 2, Does::Lengthen(100_000), 1, "tampered"),
        ("layer", 2, Does::Shorten(1000), 1, "tampered"),
        ("layer", 2, Does::Truncate(1000), 3, "network"),
        ("layer", 2, Does::Status(500), 3, "500"),
    ];
    let attempt = |(what, part, does, code, said): &(&str, usize, Does, i32, &str)| {
        let setting = setting();
        let path = match part {
            0 => "/manifests/1".to_owned(),
            1 => setting.image.config.clone(),
            _ => setting.image.layers[1].clone(),
        };
        setting.registry.fault(&path, does.clone(), ALWAYS);
        let ran = setting.bundle(&[]);
        assert_eq!(ran.code, Some(*code), "{what} {does:?}: {}", ran.all());
        ran.says(&["app.image", said, "the bundle was not written"]);
        setting.assert_honest();
        let out = setting.world.path("out");
        assert!(!out.join("index.json").exists(), "{what} {does:?}: it was named");
        assert_eq!(out.exists(), *part == 2, "nothing is made before all is known");
        let left = fs::read_dir(out.join(".bound-images")).into_iter().flatten();
        let parts = left.filter(|entry| {
            entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("part")
        });
        assert_eq!(parts.count(), 0, "{what} {does:?}: a part is left");
    };
    // Most of the time is skopeo's waiting.
    std::thread::scope(|scope| {
        let running: Vec<_> = cases.iter().map(|case| scope.spawn(move || attempt(case))).collect();
        running.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_run_that_was_killed_goes_on_where_it_was() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    for signal in [Signal::KILL, Signal::INT] {
        let setting = setting();
        setting.registry.fault(&setting.image.layers[1], Does::Hang, 1);
        let child = setting.spawn();
        let out = setting.world.path("out");
        wait_until("the large layer", 30, || setting.asked(&setting.image.layers[1]) > 0);
        assert!(blob(&out, &setting.image.layers[0]).is_file(), "the small one comes first");
        // Nobody else may write there meanwhile.
        setting.bundle(&[]).expect(1, &["another run is writing"]);
        setting.bundle(&["--dry-run"]).expect(0, &["1 to fetch", "1 there already"]);
        end(child, signal).says(if signal == Signal::INT { &["interrupted"] } else { &[] });
        assert!(!out.join("index.json").exists() && out.join(".bound-images").is_dir());
        setting.assert_honest();

        // The tag moves: the bundle that was begun is finished with what it was begun with.
        let moved = make(&setting.world, "moved", &[noise("m", 1000)], &[]);
        moved.push(&setting.registry, "ns/app", "1");
        let again = setting.bundle(&[]);
        again.expect(0, &["1 to fetch", "1 there already", &setting.image.manifest]);
        assert_eq!(setting.asked(&setting.image.layers[0]), 1, "a whole layer was fetched again");
        setting.assert_whole();
    }
}

#[test]
fn damaged_blobs_are_found_and_replaced() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let setting = setting();
    setting.bundle(&[]).expect(0, &["Bundled 1 image "]);
    let out = setting.world.path("out");
    let before = fs::read(out.join("index.json")).unwrap();
    let precious = setting.world.path("precious");
    fs::write(&precious, "precious").unwrap();
    type Spoil = fn(&Path, &Path);
    let ways: [(&str, Spoil); 4] = [
        ("flipped", |path, _| {
            let mut bytes = fs::read(path).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(path, bytes).unwrap();
        }),
        ("cut", |path, _| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("missing", |path, _| fs::remove_file(path).unwrap()),
        ("link", |path, precious| {
            fs::remove_file(path).unwrap();
            symlink(precious, path).unwrap();
        }),
    ];
    for digest in setting.all() {
        for (what, spoil) in ways {
            spoil(&blob(&out, digest), &precious);
            let ran = setting.bundle(&[]);
            ran.expect(0, &["Bundled 1 image "]);
            if what != "missing" {
                ran.says(&["is replaced"]);
            }
            setting.assert_whole();
            assert_eq!(fs::read(out.join("index.json")).unwrap(), before, "{what}");
            assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        }
    }
    // What is in its place and no file is not thrown away.
    let path = blob(&out, &setting.image.layers[0]);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("x"), "x").unwrap();
    assert_ne!(setting.bundle(&[]).code, Some(0));
    assert!(path.join("x").exists());
}

#[test]
fn places_that_are_unfit() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let setting = setting();
    let out = setting.world.path("out");
    let refused = |said: &[&str], code: i32| {
        let before = picture(&out);
        let ran = setting.bundle(&[]);
        ran.expect(code, &[said, &["the bundle was not written"]].concat());
        assert_same(&before, &picture(&out), &said.join(" "));
    };
    fs::write(&out, "a file").unwrap();
    refused(&["is not a directory"], 1);
    fs::remove_file(&out).unwrap();
    symlink("nowhere", &out).unwrap();
    refused(&["is a link to nothing"], 1);
    fs::remove_file(&out).unwrap();
    fs::create_dir(&out).unwrap();
    fs::write(out.join("thesis.tex"), "x").unwrap();
    refused(&["holds other things (thesis.tex)"], 1);
    fs::remove_file(out.join("thesis.tex")).unwrap();
    fs::write(out.join("oci-layout"), "{\"imageLayoutVersion\":\"2.0.0\"}").unwrap();
    refused(&["version \"2.0.0\""], 1);
    fs::write(out.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
    for index in ["", "{", "[]", "{\"schemaVersion\":2}", "{\"schemaVersion\":2,\"manifests\":7}"] {
        fs::write(out.join("index.json"), index).unwrap();
        refused(&["index.json cannot be read", "remove that file"], 1);
    }
    fs::write(out.join("index.json"), format!("{{{}", " ".repeat(5 << 20))).unwrap();
    refused(&["more than"], 1);
    fs::remove_file(out.join("index.json")).unwrap();
    // Blobs go nowhere else.
    let elsewhere = setting.world.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for link in [".bound-images", "blobs"] {
        symlink(&elsewhere, out.join(link)).unwrap();
        setting.bundle(&[]).expect(1, &["is not a directory; remove it"]);
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0, "{link}");
        fs::remove_file(out.join(link)).unwrap();
    }
    // An empty directory, and a link that somebody typed.
    fs::remove_dir_all(&out).unwrap();
    symlink(&elsewhere, &out).unwrap();
    setting.bundle(&[]).expect(0, &["Bundled 1 image "]);
    setting.assert_whole();
    assert!(elsewhere.join("index.json").is_file());
    let nowhere = setting.world.path("stick/bundle");
    let ran = setting.world.run("bundle", &[nowhere.to_str().unwrap()]);
    ran.expect(1, &["stick is not there; make it, or mount it, first"]);
}

#[test]
fn full_and_read_only_places() {
    if !have(&["python3", "skopeo", "unshare", "mount"]) {
        return;
    }
    let setting = setting();
    let world = &setting.world;
    fs::create_dir(world.path("out")).unwrap();
    // Too small: told before the first byte. No room for another file: in the middle of it.
    for (options, said) in
        [("size=100k", "are free: make room"), ("size=9m,nr_inodes=7", "is full")]
    {
        let asked = setting.asked(&setting.image.layers[1]);
        let ran = world.unshared(&format!(
            "mount -t tmpfs -o {options} none \"$W/out\"
             code=0; \"$P\" bundle --root \"$ROOT\" \"$W/out\" || code=$?
             find \"$W/out\" -name index.json; exit $code"
        ));
        ran.expect(3, &[said, "the bundle was not written"]);
        assert!(!ran.out.contains("index.json"), "{}", ran.all());
        if said.contains("free") {
            assert_eq!(setting.asked(&setting.image.layers[1]), asked, "a byte was fetched");
        }
    }
    let read_only = "mount --bind \"$W/out\" \"$W/out\"; mount -o remount,ro,bind \"$W/out\"
         exec \"$P\" bundle --root \"$ROOT\" \"$W/out\"";
    world.unshared(read_only).expect(1, &["read-only file system"]);
    setting.bundle(&[]).expect(0, &["Bundled"]);
    world.unshared(read_only).expect(0, &["Nothing to do"]);
    // As an ordinary user, who needs no more than a directory of his own.
    let user = "P2=\"$W/program\"; cp \"$P\" \"$P2\"; mkdir \"$W/his\"; chown 65534 \"$W/his\"
         try() { setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=\"$W/his\" \"$P2\" bundle --root \"$ROOT\" \"$1\"; }
         try \"$W/his/out\"; code=0; try \"$W/bundle\" || code=$?; exit $code";
    world.unshared(user).expect(1, &["Bundled 1 image ", "may not be written"]);
}

#[test]
fn the_signature_policy_counts() {
    if !have(&["python3", "skopeo", "unshare", "mount"]) {
        return;
    }
    let setting = setting();
    let policy = "{\"default\": [{\"type\": \"reject\"}]}";
    fs::write(setting.world.path("policy.json"), policy).unwrap();
    let ran = setting.world.unshared(
        "mount -t tmpfs none /etc/containers; cp \"$W/policy.json\" /etc/containers/
         exec \"$P\" bundle --root \"$ROOT\" \"$W/out\"",
    );
    ran.expect(1, &["app.image", "polic", "the bundle was not written"]);
    assert_eq!(setting.asked("/blobs/"), 0, "something was fetched all the same");
}
