//! Small images in all formats, for a registry or an OCI layout.

use std::path::Path;

use binding::pull::{Platform, PullOptions};
use binding::reference::Reference;
use oci_digest::Digest;
use serde_json::{Value, json};

use super::registry_server::FakeRegistry;
use crate::source::Request;
use crate::source::manifest::{
    DOCKER_CONFIG, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST,
};

/// An image with two layers. The blobs are not gzip: sources never look inside.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) media_type: &'static str,
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) layers: Vec<Vec<u8>>,
}

impl Sample {
    pub(crate) fn oci(architecture: &str) -> Self {
        Self::of(
            architecture,
            OCI_MANIFEST,
            OCI_CONFIG,
            "application/vnd.oci.image.layer.v1.tar+gzip",
        )
    }

    pub(crate) fn docker(architecture: &str) -> Self {
        let layer = "application/vnd.docker.image.rootfs.diff.tar.gzip";
        Self::of(architecture, DOCKER_MANIFEST, DOCKER_CONFIG, layer)
    }

    fn of(architecture: &str, media_type: &'static str, config_type: &str, layer: &str) -> Self {
        // Larger than a pipe, so that a reader must keep up.
        let layers: Vec<Vec<u8>> = (1..3u8)
            .map(|number| {
                let seed = [architecture.as_bytes(), &[number]].concat();
                seed.iter().copied().cycle().take(300_000 * usize::from(number)).collect()
            })
            .collect();
        let diff_ids: Vec<_> = layers.iter().map(|_| Digest::of(b"tar")).collect();
        // Unknown keys and odd blanks: they must come through byte for byte.
        let config = format!(
            "{{ \"architecture\":\"{architecture}\",  \"os\":\"linux\", \"x-unknown\": [1, 2.50],\n \
             \"created\": \"2026-01-02T03:04:05Z\", \"rootfs\": {}}} ",
            json!({"type": "layers", "diff_ids": diff_ids})
        )
        .into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type,
            "config": describe(config_type, &config),
            "layers": layers.iter().map(|bytes| describe(layer, bytes)).collect::<Vec<_>>(),
            "x-unknown": {"b": 1, "a": 2},
        });
        let manifest = format!("{manifest}\n  ").into_bytes();
        Self { media_type, manifest, config, layers }
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    pub(crate) fn describe(&self) -> Value {
        describe(self.media_type, &self.manifest)
    }

    fn blobs(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.layers.iter().chain([&self.config])
    }

    /// Into a registry, by digest and by these tags.
    pub(crate) fn push(&self, registry: &FakeRegistry, name: &str, tags: &[&str]) {
        for bytes in self.blobs() {
            registry.blob(name, &Digest::of(bytes).to_string(), bytes);
        }
        let digest = self.digest().to_string();
        for reference in tags.iter().copied().chain([digest.as_str()]) {
            registry.manifest(name, reference, self.media_type, &self.manifest);
        }
    }

    /// Into a layout's blobs.
    pub(crate) fn save(&self, directory: &Path) {
        for bytes in self.blobs().chain([&self.manifest]) {
            save_blob(directory, bytes);
        }
    }
}

pub(crate) fn describe(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()})
}

/// An index of samples with their architectures.
pub(crate) fn index(samples: &[(&str, &Sample)]) -> Vec<u8> {
    let entries: Vec<Value> = samples
        .iter()
        .map(|(architecture, sample)| {
            let mut entry = sample.describe();
            entry["platform"] = json!({"os": "linux", "architecture": architecture});
            entry
        })
        .collect();
    format!("{}\n", json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}))
        .into_bytes()
}

pub(crate) fn save_blob(directory: &Path, bytes: &[u8]) {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join(Digest::of(bytes).hex()), bytes).unwrap();
}

/// `oci-layout` and `index.json`.
pub(crate) fn save_index(directory: &Path, entries: &[Value]) {
    std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
    let index = json!({"schemaVersion": 2, "manifests": entries});
    std::fs::write(directory.join("index.json"), index.to_string()).unwrap();
}

/// A request for linux/amd64.
pub(crate) fn request(reference: &str) -> Request {
    Request {
        reference: Reference::parse(reference).unwrap(),
        pin: None,
        platform: Platform { os: "linux".into(), architecture: "amd64".into(), variant: None },
        pull: PullOptions::default(),
        auth_files: Vec::new(),
    }
}
