//! The nasty images (tests/corpus/nasty.py), staged.
#![allow(unreachable_pub, missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::peers::{self, Root, Said, run, text, texts};

/// All that Podman and skopeo are asked about an image.
const STEPS: [&str; 12] = [
    "inspect",
    "run",
    "userns-auto",
    "uidmap",
    "copy-out",
    "save-docker",
    "save-oci",
    "commit",
    "build",
    "peer-unpacks",
    "peer-runs",
    "peer-copies-out",
];

/// A static busybox; says what is missing when there is none.
pub fn busybox() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let unpacked = peers::project().join("target/tools/bin");
    let mut places = std::env::split_paths(&path).chain([unpacked]);
    let found = places.find_map(|place| Some(place.join("busybox")).filter(|file| file.is_file()));
    if found.is_none() {
        println!("skipped: needs busybox");
    }
    found
}

/// Writes the images into the layout `layout`; what they are.
pub fn images(layout: &Path, busybox: &Path) -> Vec<Value> {
    let tool = peers::project().join("tests/corpus/nasty.py");
    let said = run("python3", [&tool, &layout.to_owned(), &busybox.to_owned()]).well();
    serde_json::from_str(&said.stdout).unwrap()
}

/// `registry.test/nasty/NAME:1` without the rest.
pub fn short(image: &Value) -> &str {
    text(image, "name").rsplit('/').next().unwrap().trim_end_matches(":1")
}

/// Says in which layout an image is, which store an image is asked about in, and what about it.
pub fn put(image: &mut Value, store: &str, steps: &[&str]) {
    image["store"] = json!(store);
    if image["layout"].is_null() {
        image["layout"] = json!("/in/layout");
    }
    image["steps"] = json!(if steps.is_empty() { STEPS.as_slice() } else { steps });
}

/// Stages these images from `layout` into a root at `path`; `verify --deep` is content with it.
pub fn stage<'a>(path: PathBuf, layout: &Path, images: impl Iterator<Item = &'a Value>) -> Root {
    let root = Root::new(path);
    for image in images {
        root.bind_container(&format!("{}.container", short(image)), text(image, "name"));
    }
    root.stage(None, &["--bundle", layout.to_str().unwrap()]).with_result("published");
    let mut verify = Command::new(env!("CARGO_BIN_EXE_bound-images"));
    let output = verify.args(["verify", "--deep", "--root"]).arg(&root.0).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    root
}

/// Runs a script of tests/peers in the chroot.
pub fn in_chroot(chroot: &str, store: &Path, inside: &Path, script: &Path) -> Said {
    let tool = peers::project().join("tests/peers/in-chroot.sh");
    run(tool, [Path::new(chroot), store, inside, script]).well()
}

/// Every layer of an image: the diff ids up to and with it.
pub fn layers(image: &Value) -> Vec<Vec<String>> {
    let diff_ids = texts(image, "diff_ids");
    (1..=diff_ids.len()).map(|end| diff_ids[..end].to_vec()).collect()
}

/// The tar stream of a layer of a store, made again from its tar-split and the tree `diff`.
pub fn replayed(store: &Path, id: &str, diff: &Path) -> std::io::Result<Vec<u8>> {
    let split = File::open(store.join(format!("overlay-layers/{id}.tar-split.gz")))?;
    let mut stream = Vec::new();
    overlay_store::split::replay(split, File::open(diff)?.into(), &mut stream)?;
    Ok(stream)
}

/// The same image with layers as zstd:chunked, as skopeo makes them; into the layout `chunked.oci`.
pub fn chunked(chroot: &str, scratch: &Path, inside: &Path, of: &Value) -> Value {
    let name = "registry.test/nasty/chunked:1";
    let script = scratch.join("chunk");
    // What is compressed already would stay as it is, and what is in the layout already would be taken.
    let line = format!(
        "skopeo --insecure-policy copy -q --dest-decompress oci:/in/layout:{} dir:/tmp/plain\n\
         skopeo --insecure-policy copy -q --dest-compress-format zstd:chunked dir:/tmp/plain oci:/in/chunked.oci:{name}\n",
        text(of, "name")
    );
    fs::write(&script, line).unwrap();
    let empty = scratch.join("empty");
    fs::create_dir(&empty).unwrap();
    in_chroot(chroot, &empty, inside, &script);
    let document = |path: &Path| -> Value {
        serde_json::from_slice(&fs::read(inside.join("chunked.oci").join(path)).unwrap()).unwrap()
    };
    let index = document(Path::new("index.json"));
    let is_it = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == name;
    let entry = index["manifests"].as_array().unwrap().iter().find(is_it).unwrap();
    let digest = text(entry, "digest");
    let manifest = document(&Path::new("blobs/sha256").join(peers::hex(digest)));
    for layer in manifest["layers"].as_array().unwrap() {
        let mark = "io.github.containers.zstd-chunked.manifest-checksum";
        assert!(layer["annotations"][mark].is_string(), "not zstd:chunked: {layer}");
    }
    let mut image = of.clone();
    image["name"] = json!(name);
    image["layout"] = json!("/in/chunked.oci");
    // It stands there without a list.
    image["list"] = json!(digest);
    image["manifest"] = json!(digest);
    image["config"] = manifest["config"]["digest"].clone();
    image
}
