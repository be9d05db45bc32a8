//! The same images give the same store, byte for byte, however it came about; and the size of a
//! layer has no part in how much memory that takes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/peers.rs"]
mod peers;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use peers::{Registry, Root, layer_id, mkimage, text, texts};
use serde_json::{Value, json};

/// A bundle of the Debian images and one with every corner; the names of all.
fn bundle(directory: &Path) -> (PathBuf, Vec<String>) {
    let (debian, images) = peers::debian_images();
    let bundle = directory.join("bundle");
    peers::run("cp", ["-a".as_ref(), debian.as_os_str(), bundle.as_os_str()]).well();
    let mut names: Vec<String> =
        images.iter().map(|image| text(image, "name").to_owned()).collect();
    let name = "registry.test/corners:1";
    peers::corner_image(directory, &bundle, name);
    names.push(name.to_owned());
    (bundle, names)
}

fn file_of(name: &str) -> String {
    let word = name.rsplit('/').next().unwrap();
    format!("{}.container", word.split(':').next().unwrap())
}

fn bind<'a>(root: &Root, names: impl IntoIterator<Item = &'a String>) {
    for name in names {
        root.bind_container(&file_of(name), name);
    }
}

/// All of a root's store, and what is left beside it.
fn tree_of(root: &Root) -> peers::Tree {
    let mut tree = peers::tree(root.store().parent().unwrap());
    // The time when the store was put into it.
    tree.remove(Path::new("")).unwrap();
    tree
}

#[test]
fn stores_are_byte_identical() {
    if peers::skipped(&["mmdebstrap", "python3", "zstd"]) {
        return;
    }
    let _turn = ONE_AT_A_TIME.lock();
    let scratch = peers::scratch();
    let (bundle, names) = bundle(scratch.path());
    let stage = |root: &Root, jobs: &str| {
        let args = ["--bundle", bundle.to_str().unwrap(), "--jobs", jobs];
        root.stage(None, &args).with_result("published");
    };
    let root = |name: &str| Root::new(scratch.path().join(name));

    let first = root("first");
    bind(&first, &names);
    stage(&first, "1");
    let first = tree_of(&first);
    assert!(first.len() > 5000, "{}", first.len());

    let second = root("a-second-one/with/a/longer/path");
    bind(&second, names.iter().rev());
    stage(&second, "4");
    same("other order, path and jobs", &first, &tree_of(&second));

    // One image after the other: the earlier layers come by hard links.
    let grown = root("grown");
    for name in names.iter().rev() {
        bind(&grown, [name]);
        stage(&grown, "3");
    }
    same("grown, image by image", &first, &tree_of(&grown));

    // And back from more than is wanted.
    let shrunk = root("shrunk");
    bind(&shrunk, &names);
    stage(&shrunk, "2");
    fs::remove_file(shrunk.0.join("usr/lib/bootc/bound-images.d").join(file_of(&names[1])))
        .unwrap();
    stage(&shrunk, "2");
    let small = root("small");
    bind(&small, names.iter().filter(|name| **name != names[1]));
    stage(&small, "2");
    same("shrunk", &tree_of(&small), &tree_of(&shrunk));

    // No time in there is that of the run: the images have none later than this.
    let latest = 1_700_000_000;
    let late: Vec<_> = first.iter().filter(|(_, entry)| entry.mtime.0 > latest).collect();
    assert!(late.is_empty(), "{late:#?}");
}

#[track_caller]
fn same(why: &str, one: &peers::Tree, other: &peers::Tree) {
    let mut differences = peers::differences(one, other);
    let count = differences.len();
    differences.truncate(20);
    assert!(differences.is_empty(), "{why}: {count} differ:\n{}", differences.join("\n"));
}

/// What one test writes to the disk the other must not wait for.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const MIB: usize = 1 << 20;

/// An image with one layer of one file that does not compress, `size` mebibytes of it.
fn big_image(directory: &Path, layout: &Path, name: &str, size: usize, packed: &str) -> Value {
    let data = directory.join("data");
    let mut file = BufWriter::with_capacity(MIB, File::create(&data).unwrap());
    // xorshift64 (Marsaglia): the same bytes every time.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..size * MIB / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes()).unwrap();
    }
    file.flush().unwrap();
    let entries = directory.join("big.json");
    fs::write(&entries, json!([{"path": "data", "from": "data"}]).to_string()).unwrap();
    let layer = format!("{}={packed}", entries.display());
    let image = mkimage(&["image", layout.to_str().unwrap(), "--ref", name, "--layer", &layer]);
    fs::remove_file(data).unwrap();
    image
}

/// Stages and says how much memory the process had at its peak, in bytes (`VmHWM` of proc(5)).
fn peak_of(root: &Root, registry: Option<&Registry>, args: &[&str]) -> usize {
    let mut command = root.stage_command(registry, args);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        // Gone as soon as the process has ended.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kibibytes) = line.and_then(|line| line.trim().strip_suffix(" kB")) {
            peak = kibibytes.parse::<usize>().unwrap() * 1024;
        }
        if let Some(exit) = child.try_wait().unwrap() {
            assert!(exit.success(), "{exit}");
            return peak;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn memory_does_not_grow_with_layers() {
    if peers::skipped(&["skopeo", "docker-registry", "python3", "zstd"]) {
        return;
    }
    let _turn = ONE_AT_A_TIME.lock();
    let scratch = peers::scratch();
    let registry = Registry::start(&scratch.path().join("registry"));
    for (packed, from_registry) in [("zstd", false), ("none", true)] {
        // Both of a size that comes in parts.
        let peaks = [30, 300].map(|size| {
            let directory = scratch.path().join(format!("{packed}{size}"));
            fs::create_dir(&directory).unwrap();
            let layout = directory.join("layout");
            let mut name = "registry.test/big:1".to_owned();
            let image = big_image(&directory, &layout, &name, size, packed);
            let root = Root::new(directory.join("root"));
            let peak = if from_registry {
                registry.push(&layout, &name, &format!("big:{size}"));
                name = format!("{}/big:{size}", registry.address);
                root.bind_container("big.container", &name);
                peak_of(&root, Some(&registry), &[])
            } else {
                root.bind_container("big.container", &name);
                peak_of(&root, None, &["--bundle", layout.to_str().unwrap()])
            };
            let layer = layer_id(&texts(&image, "diff_ids"));
            let data = root.store().join("overlay").join(layer).join("diff/data");
            assert_eq!(fs::metadata(data).unwrap().len(), (size * MIB) as u64);
            fs::remove_dir_all(&directory).unwrap();
            peak
        });
        let [small, large] = peaks;
        println!("{packed}: {} KiB for 30 MiB, {} KiB for 300 MiB", small >> 10, large >> 10);
        assert!(small > MIB, "{small}: not measured");
        assert!(
            large < small + 16 * MIB,
            "{packed}: {small} bytes for 30 MiB, {large} for 300 MiB"
        );
        assert!(large < 64 * MIB, "{packed}: {large}");
    }
}
