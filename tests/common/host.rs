//! A host on disk: deployments as ostree and bootc's composefs backend lay them out, in a directory that
//! stands for the running system, and a bundle in place of registries.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::Value;

use super::images::small;
use super::{PROGRAM, Ran, World};

pub const ONE: &str = "registry.example/ns/one:1";
pub const TWO: &str = "registry.example/ns/two:1";
pub const NEW: &str = "registry.example/ns/new:1";

/// A host whose `/` is `WORLD/host`, and a bundle in place of registries.
pub struct Machine {
    pub world: World,
}

/// The id of a deployment that a letter stands for.
pub fn id(letter: &str) -> String {
    format!("{}.0", letter.repeat(64))
}

/// What ostree writes when a root is staged: a GVariant `a{sv}` with `target`.
pub fn staged_file(id: &str) -> Vec<u8> {
    staged_file_in("lab", id)
}

/// The same for a root in that stateroot.
pub fn staged_file_in(stateroot: &str, id: &str) -> Vec<u8> {
    let variant = |value: &[u8], kind: &str| [value, b"\0", kind.as_bytes()].concat();
    // Each offset has one byte: all of it is shorter than 256.
    let dictionary = |entries: &[(&str, Vec<u8>)]| {
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        for (key, value) in entries {
            out.resize(out.len().next_multiple_of(8), 0);
            let mut entry = [key.as_bytes(), b"\0"].concat();
            let end = u8::try_from(entry.len()).unwrap();
            entry.resize(entry.len().next_multiple_of(8), 0);
            entry.extend(value);
            entry.push(end);
            out.extend(entry);
            ends.push(u8::try_from(out.len()).unwrap());
        }
        [out, ends].concat()
    };
    let text = |text: &str| variant(&[text.as_bytes(), b"\0"].concat(), "s");
    let target = dictionary(&[("name", text(id)), ("osname", text(stateroot))]);
    dictionary(&[("target", variant(&target, "a{sv}"))])
}

impl Machine {
    /// A is booted and binds one and two.
    pub fn new() -> Self {
        let world = World::new();
        for image in [ONE, TWO, NEW] {
            small(&world, image);
        }
        let machine = Self { world };
        fs::create_dir_all(machine.top().join("run/ostree")).unwrap();
        machine.deploy("a", &[("one", ONE), ("two", TWO)]);
        machine.boot("a");
        machine
    }

    pub fn top(&self) -> PathBuf {
        self.world.path("host")
    }

    pub fn pool(&self) -> PathBuf {
        self.top().join("sysroot/bound-images")
    }

    pub fn files(&self, letter: &str) -> PathBuf {
        self.files_in("lab", letter)
    }

    pub fn files_in(&self, stateroot: &str, letter: &str) -> PathBuf {
        self.top().join(format!("sysroot/ostree/deploy/{stateroot}/deploy/{}", id(letter)))
    }

    pub fn deploy(&self, letter: &str, images: &[(&str, &str)]) {
        self.deploy_in("lab", letter, images);
    }

    pub fn deploy_in(&self, stateroot: &str, letter: &str, images: &[(&str, &str)]) {
        let files = self.files_in(stateroot, letter);
        let (quadlets, links) = (
            files.join("usr/share/containers/systemd"),
            files.join("usr/lib/bootc/bound-images.d"),
        );
        fs::create_dir_all(&quadlets).unwrap();
        fs::create_dir_all(&links).unwrap();
        for (name, image) in images {
            let text = format!("[Container]\nImage={image}\n");
            fs::write(quadlets.join(format!("{name}.container")), text).unwrap();
            let target = format!("/usr/share/containers/systemd/{name}.container");
            symlink(target, links.join(format!("{name}.container"))).unwrap();
        }
    }

    pub fn undeploy(&self, letter: &str) {
        fs::remove_dir_all(self.files(letter)).unwrap();
    }

    pub fn boot(&self, letter: &str) {
        let proc = self.top().join("proc/self");
        fs::create_dir_all(&proc).unwrap();
        let root = format!("/ostree/deploy/lab/deploy/{}", id(letter));
        let text = format!("30 1 8:1 {root} / rw - ext4 /dev/vda rw\n");
        fs::write(proc.join("mountinfo"), text).unwrap();
        self.unstage();
    }

    pub fn stage_root(&self, letter: &str) {
        self.stage_root_in("lab", letter);
    }

    pub fn stage_root_in(&self, stateroot: &str, letter: &str) {
        let path = self.top().join("run/ostree/staged-deployment");
        fs::write(path, staged_file_in(stateroot, &id(letter))).unwrap();
    }

    pub fn unstage(&self) {
        drop(fs::remove_file(self.top().join("run/ostree/staged-deployment")));
    }

    pub fn run(&self, words: &[&str]) -> Ran {
        let mut command = self.world.command_of(PROGRAM);
        command.args(words).arg("--host").arg(self.top());
        Ran::of(command.output().unwrap())
    }

    pub fn stage(&self, words: &[&str]) -> Ran {
        let bundle = self.world.path("bundle");
        self.run(&[&["stage", "--bundle", bundle.to_str().unwrap()], words].concat())
    }

    pub fn status(&self) -> Value {
        self.run(&["status", "--format", "json"]).json().remove(0)
    }

    pub fn root(&self, letter: &str) -> Value {
        let status = self.status();
        let roots = status["roots"].as_array().unwrap();
        roots.iter().find(|root| root["id"] == id(letter).as_str()).unwrap().clone()
    }

    pub fn link(&self, letter: &str) -> Option<String> {
        let target = fs::read_link(self.pool().join("roots").join(id(letter))).ok()?;
        Some(target.to_str().unwrap().to_owned())
    }

    pub fn stores(&self) -> usize {
        fs::read_dir(self.pool().join("stores")).map_or(0, Iterator::count)
    }
}

/// A root of bootc's composefs backend: an EROFS image of names, with the content of files in a
/// directory of objects (composefs, `doc/long-term-support` and bootc 1.16's repository).
pub fn composefs_root(host: &Machine, id: &str, images: &[(&str, &str)]) {
    let (sysroot, tree) = (host.top().join("sysroot"), host.world.path("tree"));
    let object = |text: &str| {
        let name = oci_digest::Digest::of(text.as_bytes()).hex();
        let path = format!("{}/{}", &name[..2], &name[2..]);
        let file = sysroot.join("composefs/objects").join(&path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        format!("/{path}")
    };
    let (quadlets, links) =
        (tree.join("usr/share/containers/systemd"), tree.join("usr/lib/bootc/bound-images.d"));
    fs::create_dir_all(&quadlets).unwrap();
    fs::create_dir_all(&links).unwrap();
    for (name, image) in images {
        let text = format!("[Container]\nImage={image}\n");
        let file = quadlets.join(format!("{name}.container"));
        let made = fs::File::create(&file).unwrap();
        made.set_len(text.len() as u64).unwrap();
        let set = |name: &str, value: &[u8]| {
            rustix::fs::fsetxattr(&made, name, value, rustix::fs::XattrFlags::empty()).unwrap();
        };
        set("trusted.overlay.metacopy", b"");
        set("trusted.overlay.redirect", object(&text).as_bytes());
        let target = format!("/usr/share/containers/systemd/{name}.container");
        symlink(target, links.join(format!("{name}.container"))).unwrap();
    }
    fs::create_dir_all(sysroot.join(format!("state/deploy/{id}/etc"))).unwrap();
    fs::create_dir_all(sysroot.join("composefs/images")).unwrap();
    let image = sysroot.join("composefs/images").join(id);
    let made =
        host.world.command_of("mkfs.erofs").arg("-x1").arg(&image).arg(&tree).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::remove_dir_all(tree).unwrap();
}
