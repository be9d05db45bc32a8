//! Images of the corpus builder: into the bundle, and from there into a registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use oci_digest::Digest;
use serde_json::{Value, json};

use super::host::{ONE, TWO};
use super::registry::FakeRegistry;
use super::{World, source};

/// An image that was made.
#[derive(Clone, Debug)]
pub struct Image {
    pub layout: PathBuf,
    /// Digest of the manifest.
    pub manifest: String,
    pub config: String,
    /// Digests of the blobs, base first.
    pub layers: Vec<String>,
}

/// Entries of a layer: a file of that name and content each.
pub fn files(entries: &[(&str, &str)]) -> Value {
    let entries: Vec<Value> = entries
        .iter()
        .map(|(path, content)| json!({"path": path, "content": content, "uid": 7, "gid": 8}))
        .collect();
    Value::Array(entries)
}

/// A layer that is `size` bytes long even when compressed.
pub fn noise(name: &str, size: usize) -> Value {
    let mut state = Digest::of(name.as_bytes())
        .hex()
        .bytes()
        .fold(1_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let text: String = (0..size)
        .map(|_| {
            // xorshift64: the same on every run.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(33 + (state % 94) as u8)
        })
        .collect();
    json!([{"path": name, "content": text}])
}

/// Makes an image in `bundle` of `world`; `reference` is its name there.
pub fn make(world: &World, reference: &str, layers: &[Value], more: &[&str]) -> Image {
    pack(world, reference, layers, "gzip", more)
}

/// As [`make`], with layers packed as `packing` says: with `none`, they are the same bytes on every machine.
pub fn pack(
    world: &World,
    reference: &str,
    layers: &[Value],
    packing: &str,
    more: &[&str],
) -> Image {
    let layout = world.path("bundle");
    let mut command = Command::new("python3");
    command.arg(source("tests/corpus/mkimage.py")).arg("image").arg(&layout);
    command.args(["--ref", reference]);
    let mut lists = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let list = world.path(&format!("layer-{number}.json"));
        fs::write(&list, layer.to_string()).unwrap();
        command.arg("--layer").arg(format!("{}={packing}", list.display()));
        lists.push(list);
    }
    let output = command.args(more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for list in lists {
        fs::remove_file(list).unwrap();
    }
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Image {
        layout,
        manifest: text(&made["manifest"]),
        config: text(&made["config"]),
        layers: made["layers"].as_array().unwrap().iter().map(text).collect(),
    }
}

/// A small image with two layers.
pub fn small(world: &World, reference: &str) -> Image {
    let base = json!([
        {"path": "bin", "type": "dir"},
        {"path": "bin/sh", "content": "not really", "mode": "4755"},
        {"path": "old", "content": "goes away"},
    ]);
    let name = json!([
        {"path": "old", "type": "whiteout"},
        {"path": "name", "content": reference, "xattrs": {"user.x": "y"}},
    ]);
    make(world, reference, &[base, name], &[])
}

/// The file of a blob.
pub fn blob(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
}

impl Image {
    pub fn blob(&self, digest: &str) -> PathBuf {
        blob(&self.layout, digest)
    }

    /// Into a registry under a tag and its digest.
    pub fn push(&self, registry: &FakeRegistry, name: &str, tag: &str) {
        for digest in self.layers.iter().chain([&self.config]) {
            registry.blob(name, digest, &fs::read(self.blob(digest)).unwrap());
        }
        let bytes = fs::read(self.blob(&self.manifest)).unwrap();
        for reference in [tag, &self.manifest] {
            registry.manifest(
                name,
                reference,
                "application/vnd.oci.image.manifest.v1+json",
                &bytes,
            );
        }
    }
}

/// Two bound images, and a bundle that has them.
pub fn two_images() -> World {
    let world = World::new();
    for image in [ONE, TWO] {
        small(&world, image);
    }
    world.bind_images(&[("one", ONE), ("two", TWO)]);
    world
}
