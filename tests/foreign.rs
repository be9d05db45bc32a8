//! Layers taken from stores that Podman wrote: the same store as if all had been fetched, whatever
//! is wrong with the other one.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/peers.rs"]
mod peers;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use oci_digest::Digest;
use overlay_store::Foreign;
use peers::{Root, hex, mkimage, text, texts};
use serde_json::{Value, json};
use tempfile::TempDir;

const TOOLS: [&str; 6] = ["podman", "skopeo", "crun", "python3", "zstd", "unshare"];
const NAME: &str = "registry.test/foreign:1";

/// An image, a root that was staged without any other store, and what that gave.
struct World {
    scratch: TempDir,
    bundle: PathBuf,
    image: Value,
    wanted: peers::Tree,
}

impl World {
    /// An image with gzip and zstd layers, with every corner.
    fn new() -> Self {
        let scratch = peers::scratch();
        let bundle = scratch.path().join("bundle");
        let image = corners(scratch.path(), &bundle, ["gzip", "zstd", "gzip"]);
        let mut world = Self { scratch, bundle, image, wanted: peers::Tree::new() };
        let root = world.root("reference");
        world.stage(&root, &world.no_store()).with_result("published");
        world.wanted = peers::tree(&root.store());
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// A directory that no store is in.
    fn no_store(&self) -> PathBuf {
        let empty = self.path("empty");
        fs::create_dir_all(&empty).unwrap();
        empty
    }

    fn root(&self, name: &str) -> Root {
        let root = Root::new(self.path(name));
        root.bind_container("app.container", NAME);
        root
    }

    fn stage(&self, root: &Root, from: &Path) -> peers::Staged {
        let (bundle, from) = (self.bundle.to_str().unwrap(), from.to_str().unwrap());
        root.stage(None, &["--bundle", bundle, "--foreign-store", from])
    }

    /// Podman's store with the image in it.
    fn podman_store(&self) -> PathBuf {
        let store = self.path("podman");
        // Podman 4.3 makes a name of the layout's path, so that must be in lower case.
        // Its runroot must not have more than 50 characters, wherever these sources are.
        let script = "mount -t tmpfs tmpfs /dev/shm; mount --bind \"$2\" /mnt; exec podman --root \"$1\" \
             --runroot /dev/shm/run --storage-driver overlay pull -q \"oci:/mnt:$3\"";
        let words = [&store, &self.bundle].map(|path| path.to_str().unwrap());
        let words = [&words[..], &[NAME]].concat();
        let start = ["--mount", "--propagation", "private", "sh", "-ec", script, "sh"];
        peers::run("unshare", start.iter().chain(&words)).well();
        store
    }

    /// The store that was made is the one that fetching makes, and it is whole.
    #[track_caller]
    fn assert_same(&self, root: &Root, what: &str) {
        let differences = peers::differences(&self.wanted, &peers::tree(&root.store()));
        assert!(differences.is_empty(), "{what}:\n{}", differences.join("\n"));
        assert_whole(root);
    }

    /// The id in Podman's store of the layer that is fetched when it is damaged there: its base.
    fn base(&self) -> String {
        peers::chain_id(&texts(&self.image, "diff_ids")[..1])
    }
}

#[track_caller]
fn assert_whole(root: &Root) {
    let words = ["verify", "--deep", "--root", root.0.to_str().unwrap()];
    peers::run(env!("CARGO_BIN_EXE_bound-images"), words).well();
}

/// Three layers, packed like this.
fn corners(directory: &Path, layout: &Path, packed: [&str; 3]) -> Value {
    peers::corner_image(directory, layout, "registry.test/corners:1");
    let noise: String =
        (0..300_000u32).map(|n| char::from(b'a' + (n % 1009 * (n % 1009) % 23) as u8)).collect();
    let list = json!([
        {"path": "big", "content": noise, "uid": 7},
        {"path": "bytes", "base64": "AP8K", "mode": "4711"},
        {"path": "zeros", "zeros": 100_000},
        {"path": format!("long/{}", "n".repeat(240)), "content": "long"},
    ]);
    fs::write(directory.join("big.json"), list.to_string()).unwrap();
    let sources: Vec<String> = ["big.json", "corners.json", "hiding.json"]
        .iter()
        .zip(packed)
        .map(|(file, how)| format!("{}={how}", directory.join(file).display()))
        .collect();
    let mut words = vec!["image", layout.to_str().unwrap(), "--ref", NAME];
    for source in &sources {
        words.extend(["--layer", source]);
    }
    mkimage(&words)
}

/// What was done with each layer, sorted.
fn actions(staged: &peers::Staged) -> Vec<String> {
    let events = staged.of_kind("layer");
    let mut actions: Vec<String> =
        events.iter().map(|event| text(event, "action").to_owned()).collect();
    actions.sort();
    actions
}

#[test]
fn podmans_layers_are_not_fetched_again() {
    if peers::skipped(&TOOLS) {
        return;
    }
    let world = World::new();
    let store = world.podman_store();
    copies_all(&world, &store);
}

#[test]
fn newer_podmans_layers_are_not_fetched_again() {
    if peers::skipped(&["unshare", "python3", "zstd"]) {
        return;
    }
    let setup = peers::run(peers::project().join("tests/setup/chroot.sh"), ["trixie"]);
    if setup.exit == 2 {
        println!("skipped: needs {}", setup.stderr.trim());
        return;
    }
    let chroot = setup.well().stdout.trim().to_owned();
    let world = World::new();
    let (script, none) = (world.path("script"), world.path("none"));
    fs::create_dir(&none).unwrap();
    let pull = "podman --root /in/newer --runroot /run/newer --storage-driver overlay pull -q";
    fs::write(&script, format!("{pull} oci:/in/bundle:{NAME}\n")).unwrap();
    let tool = peers::project().join("tests/peers/in-chroot.sh");
    let words = [&PathBuf::from(chroot), &none, &world.scratch.path().to_owned(), &script];
    peers::run(tool, words).well();
    copies_all(&world, &world.path("newer"));
}

/// A dry run and a stage, with a bundle that has no layers left: where else could they be from?
fn copies_all(world: &World, store: &Path) {
    let before = peers::tree(store);
    // As on an ostree host, where bootc's store is behind a link.
    let link = world.path("link");
    symlink(store, &link).unwrap();
    let blobs = world.bundle.join("blobs/sha256");
    for layer in texts(&world.image, "layers") {
        fs::remove_file(blobs.join(hex(&layer))).unwrap();
    }
    let root = world.root("root");
    let (bundle, from) = (world.bundle.to_str().unwrap(), link.to_str().unwrap());
    let empty = world.no_store();
    let empty = empty.to_str().unwrap();
    let words = ["--bundle", bundle, "--foreign-store", empty, "--foreign-store", from];
    let planned = root.stage(None, &[&words[..], &["--dry-run"]].concat());
    let plan = planned.of_kind("plan")[0].clone();
    for layer in plan["layers"].as_array().unwrap() {
        assert_eq!((text(layer, "action"), text(layer, "from")), ("copy", from), "{plan}");
    }
    assert_eq!(plan["bytes_to_fetch"], 0);
    assert!(!root.store().exists());

    let staged = root.stage(None, &words).with_result("published");
    assert_eq!(actions(&staged), ["copy"; 3], "{}", staged.stderr);
    assert_eq!(staged.of_kind("done")[0]["fetched"], 0);
    world.assert_same(&root, "copied");
    let changed = peers::differences(&before, &peers::tree(store));
    assert!(changed.is_empty(), "the other store was changed:\n{}", changed.join("\n"));
}

/// What can be wrong with the base layer in the other store; each is done in a copy of it.
type Damage = (&'static str, fn(&Path, &str));

const DAMAGES: [Damage; 13] = [
    ("a flipped byte", |store, id| {
        let path = store.join(format!("overlay/{id}/diff/big"));
        let mut bytes = fs::read(&path).unwrap();
        bytes[200_000] ^= 1;
        fs::write(path, bytes).unwrap();
    }),
    ("a file that grew", |store, id| {
        let path = store.join(format!("overlay/{id}/diff/big"));
        let mut bytes = fs::read(&path).unwrap();
        bytes.push(b'x');
        fs::write(path, bytes).unwrap();
    }),
    ("a file that is gone", |store, id| {
        fs::remove_file(store.join(format!("overlay/{id}/diff/zeros"))).unwrap();
    }),
    ("a fifo for a file", |store, id| {
        let path = store.join(format!("overlay/{id}/diff/big"));
        fs::remove_file(&path).unwrap();
        peers::run("mkfifo", [path]).well();
    }),
    ("a link that leads out", |store, id| {
        let path = store.join(format!("overlay/{id}/diff/big"));
        let outside = store.join("outside");
        fs::rename(&path, &outside).unwrap();
        symlink(outside, path).unwrap();
    }),
    ("a tar-split that ends early", |store, id| {
        let path = store.join(format!("overlay-layers/{id}.tar-split.gz"));
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..bytes.len() - 20]).unwrap();
    }),
    ("no tar-split", |store, id| {
        fs::remove_file(store.join(format!("overlay-layers/{id}.tar-split.gz"))).unwrap();
    }),
    ("a fifo for a tar-split", |store, id| {
        let path = store.join(format!("overlay-layers/{id}.tar-split.gz"));
        fs::remove_file(&path).unwrap();
        peers::run("mkfifo", [path]).well();
    }),
    ("no tree", |store, id| {
        fs::rename(store.join(format!("overlay/{id}")), store.join("elsewhere")).unwrap();
    }),
    ("an incomplete layer", |store, id| edit(store, id, "flags", json!({"incomplete": true}))),
    ("a mapped layer", |store, id| {
        let map = json!([{"container_id": 0, "host_id": 100_000, "size": 65_536}]);
        edit(store, id, "uidmap", map);
    }),
    ("a wrong size", |store, id| edit(store, id, "diff-size", json!(4096))),
    ("the tree of a composefs layer", |store, id| {
        fs::create_dir(store.join(format!("overlay/{id}/composefs-data"))).unwrap();
    }),
];

/// Those that the list of the store gives away: nothing is tried then, and nothing said.
const SEEN_AT_ONCE: [&str; 6] = [
    "no tar-split",
    "a fifo for a tar-split",
    "no tree",
    "an incomplete layer",
    "a mapped layer",
    "the tree of a composefs layer",
];

/// Changes one field of a layer's entry.
fn edit(store: &Path, id: &str, key: &str, value: Value) {
    let path = store.join("overlay-layers/layers.json");
    let mut list: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let entries = list.as_array_mut().unwrap();
    entries.iter_mut().find(|entry| entry["id"] == id).unwrap()[key] = value;
    fs::write(path, list.to_string()).unwrap();
}

#[test]
fn what_is_wrong_there_is_fetched() {
    if peers::skipped(&TOOLS) {
        return;
    }
    let world = World::new();
    let (store, id) = (world.podman_store(), world.base());
    for (number, (what, damage)) in DAMAGES.iter().enumerate() {
        let other = world.path(&format!("other{number}"));
        peers::run("cp", ["-a".as_ref(), store.as_os_str(), other.as_os_str()]).well();
        damage(&other, &id);
        let root = world.root(&format!("root{number}"));
        let staged = world.stage(&root, &other).with_result("published");
        assert_eq!(actions(&staged), ["copy", "copy", "fetch"], "{what}: {}", staged.stderr);
        let warnings: Vec<&str> =
            staged.stderr.lines().filter(|line| line.starts_with("warning")).collect();
        let told = usize::from(!SEEN_AT_ONCE.contains(what));
        assert_eq!(warnings.len(), told, "{what}: {}", staged.stderr);
        let diff_id = texts(&world.image, "diff_ids").swap_remove(0);
        let short = &hex(&diff_id)[..12];
        for warning in warnings {
            assert!(warning.contains(other.to_str().unwrap()) && warning.contains(short));
        }
        world.assert_same(&root, what);
    }
}

#[test]
fn a_list_that_makes_no_sense_is_told_and_all_is_fetched() {
    if peers::skipped(&TOOLS) {
        return;
    }
    let world = World::new();
    let store = world.path("other");
    fs::create_dir_all(store.join("overlay-layers")).unwrap();
    let list = store.join("overlay-layers/layers.json");
    for (number, text) in ["{", "[{\"id\": 7}]", "\0"].into_iter().enumerate() {
        fs::write(&list, text).unwrap();
        let root = world.root(&format!("root{number}"));
        let staged = world.stage(&root, &store).with_result("published");
        assert_eq!(actions(&staged), ["fetch"; 3]);
        assert!(staged.stderr.contains("warning: no layers are copied from"), "{}", staged.stderr);
        world.assert_same(&root, text);
    }
    fs::remove_file(&list).unwrap();
    peers::run("mkfifo", [&list]).well();
    let root = world.root("fifo");
    let staged = world.stage(&root, &store).with_result("published");
    assert!(staged.stderr.contains("not a regular file"), "{}", staged.stderr);
}

#[test]
fn a_layer_from_another_blob_is_its_own_blob() {
    if peers::skipped(&TOOLS) {
        return;
    }
    let mut world = World::new();
    let store = world.podman_store();
    // The same layers, packed otherwise.
    world.bundle = world.path("repacked");
    world.image = corners(world.scratch.path(), &world.bundle, ["zstd", "none", "gzip"]);
    let root = world.root("root");
    let staged = world.stage(&root, &store).with_result("published");
    assert_eq!(actions(&staged), ["copy"; 3], "{}", staged.stderr);
    assert_whole(&root);
    let list = fs::read(root.store().join("overlay-layers/layers.json")).unwrap();
    let list: Value = serde_json::from_slice(&list).unwrap();
    let (diff_ids, blobs) = (texts(&world.image, "diff_ids"), texts(&world.image, "layers"));
    for (number, blob) in [&diff_ids[0], &diff_ids[1], &blobs[2]].into_iter().enumerate() {
        let id = peers::layer_id(&diff_ids[..=number]);
        let entries = list.as_array().unwrap();
        let entry = entries.iter().find(|entry| entry["id"] == id.as_str()).unwrap();
        assert_eq!(text(entry, "compressed-diff-digest"), blob, "layer {number}");
        let plain = entry["compressed-size"] == entry["diff-size"];
        assert_eq!(plain, number < 2, "layer {number}: {entry}");
    }
}

#[test]
fn a_layer_that_is_removed_meanwhile_is_fetched() {
    if peers::skipped(&TOOLS) {
        return;
    }
    let mut world = World::new();
    let files: Vec<Value> =
        (0..2000).map(|n| json!({"path": format!("d/{n}"), "content": format!("{n}")})).collect();
    let list = world.path("many.json");
    fs::write(&list, Value::Array(files).to_string()).unwrap();
    let bundle = world.bundle.to_str().unwrap();
    world.image = mkimage(&["image", bundle, "--ref", NAME, "--layer", list.to_str().unwrap()]);
    let reference = world.root("many-reference");
    world.stage(&reference, &world.no_store()).with_result("published");
    world.wanted = peers::tree(&reference.store());
    let store = world.podman_store();

    let root = world.root("root");
    let words = ["--bundle", bundle, "--foreign-store", store.to_str().unwrap()];
    let mut command = root.stage_command(None, &words);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = peers::layer_id(&texts(&world.image, "diff_ids"));
    let first = root.0.join(format!("usr/lib/containers/.bound-images/store/overlay/{id}/diff/d"));
    while !first.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    fs::remove_dir_all(store.join("overlay").join(world.base())).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    let output = child.wait_with_output().unwrap();
    // On a machine that kept us waiting, the copy may have been complete: then it is right as well.
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    println!("removed in mid-copy: {}", said.contains("is not copied from"));
    world.assert_same(&root, "removed while it was copied");
}

/// A process that has the lock for writing, as Podman while it adds a layer.
struct Holder(Child);

impl Holder {
    fn of(store: &Path) -> Self {
        let hold = "import fcntl, sys\nfile = open(sys.argv[1], 'r+')\nfcntl.lockf(file, fcntl.LOCK_EX)\n\
             print('held', flush=True)\nsys.stdin.read()\n";
        let mut command = Command::new("python3");
        command.args(["-c", hold]).arg(store.join("overlay-layers/layers.lock"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn a_store_that_stays_locked_is_given_up() {
    if peers::skipped(&["python3"]) {
        return;
    }
    let scratch = peers::scratch();
    let store = scratch.path();
    fs::create_dir(store.join("overlay-layers")).unwrap();
    fs::write(store.join("overlay-layers/layers.json"), "[]").unwrap();
    let open = || Foreign::open(store, &BTreeSet::new(), Duration::from_millis(100));
    assert!(open().unwrap().is_some(), "a store without a lock");
    assert!(!store.join("overlay-layers/layers.lock").exists(), "the lock was made");
    fs::write(store.join("overlay-layers/layers.lock"), "").unwrap();
    assert!(open().unwrap().is_some());
    let holder = Holder::of(store);
    let error = open().unwrap_err();
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::TimedOut), "{error}");
    drop(holder);
    assert!(open().unwrap().is_some());
    let none = Foreign::open(&store.join("none"), &BTreeSet::new(), Duration::ZERO);
    assert!(none.unwrap().is_none());
}

#[test]
fn a_sparse_file_that_podman_cannot_give_back_is_fetched() {
    if peers::skipped(&TOOLS) {
        return;
    }
    let mut world = World::new();
    let file = world.path("sparse");
    let holes = fs::File::create(&file).unwrap();
    std::os::unix::fs::FileExt::write_at(&holes, b"data", 1 << 20).unwrap();
    holes.set_len(2 << 20).unwrap();
    let tar = world.path("layer.tar");
    let (from, to) = (world.scratch.path().to_str().unwrap(), tar.to_str().unwrap());
    peers::run("tar", ["-C", from, "--format=pax", "--sparse", "-cf", to, "sparse"]).well();
    let bytes = fs::read(&tar).unwrap();
    assert!(bytes.len() < 1 << 20, "not a sparse member");
    let digest = Digest::of(&bytes).to_string();
    fs::write(world.bundle.join("blobs/sha256").join(hex(&digest)), &bytes).unwrap();
    let layer = json!({"digest": digest, "size": bytes.len(), "compression": "none", "diff_id": digest, "tar_size": bytes.len()});
    let bundle = world.bundle.to_str().unwrap();
    world.image = mkimage(&["image", bundle, "--ref", NAME, "--layer", &layer.to_string()]);
    let reference = world.root("sparse-reference");
    world.stage(&reference, &world.no_store()).with_result("published");
    world.wanted = peers::tree(&reference.store());
    let store = world.podman_store();
    let root = world.root("root");
    let staged = world.stage(&root, &store).with_result("published");
    assert_eq!(actions(&staged), ["fetch"], "{}", staged.stderr);
    assert!(staged.stderr.contains("warning: layer "), "{}", staged.stderr);
    world.assert_same(&root, "sparse");
}

/// On a file system that can, large files share their data with those of the other store.
#[test]
fn data_is_shared_where_it_can_be() {
    if peers::skipped(&TOOLS) || peers::skipped(&["mkfs.xfs", "filefrag"]) {
        return;
    }
    let world = World::new();
    world.podman_store();
    let diff =
        format!("overlay/{}/diff/big", peers::layer_id(&texts(&world.image, "diff_ids")[..1]));
    let script = "cd \"$1\"; truncate -s 512M disk; mkfs.xfs -q -m reflink=1 disk; mkdir disk.d
        if ! mount -o loop disk disk.d; then echo 'no XFS here'; exit 0; fi
        cp -a podman root disk.d/
        \"$2\" stage --root disk.d/root --bundle bundle --foreign-store \"$PWD/disk.d/podman\"
        \"$2\" verify --deep --root disk.d/root
        filefrag -v \"disk.d/root/usr/lib/containers/storage/$3\"
        cp -a disk.d/root copied
        umount disk.d; rm disk";
    world.root("root");
    let words = [world.scratch.path().to_str().unwrap(), env!("CARGO_BIN_EXE_bound-images"), &diff];
    let start = ["--mount", "--propagation", "private", "sh", "-ec", script, "sh"];
    let said = peers::run("unshare", start.iter().chain(&words)).well();
    if said.stdout.contains("no XFS here") {
        println!("skipped: needs a kernel that mounts XFS: {}", said.stderr);
        return;
    }
    assert!(said.stdout.contains("3 copied, 0 B fetched"), "{said:?}");
    assert!(said.stdout.contains("shared"), "{said:?}");
    let copied = peers::tree(&world.path("copied/usr/lib/containers/storage"));
    let differences = peers::differences(&world.wanted, &copied);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn a_store_that_is_being_changed_is_waited_for() {
    if peers::skipped(&TOOLS) {
        return;
    }
    let world = World::new();
    let store = world.podman_store();
    let holder = Holder::of(&store);
    let root = world.root("root");
    let (bundle, from) = (world.bundle.to_str().unwrap(), store.to_str().unwrap());
    let words = ["--bundle", bundle, "--foreign-store", from];
    let mut command = root.stage_command(None, &words);
    let mut stage = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(stage.try_wait().unwrap().is_none(), "the lock was not heeded");
    assert!(!root.store().exists());
    drop(holder);
    let output = stage.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("\"action\":\"copy\"").count(), 6, "planned and done: {said}");
    world.assert_same(&root, "after waiting");
}
