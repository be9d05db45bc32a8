//! Manifests, manifest lists and configs as text: parsing and refusing, nothing else.
//!
//! Formats: OCI image-spec 1.1 (`manifest.md`, `image-index.md`, `config.md`) and the Docker
//! distribution specification (manifest version 2, schema 2, and its list).

use std::collections::BTreeMap;

use binding::pull::Platform;
use oci_digest::Digest;
use serde::Deserialize;

use super::blob::{Compression, LayerBlob};
use super::error::{Kind, Refusal};
use super::platform::{shown, shown_platform};
use super::{ImageBytes, RawManifest};

/// Largest manifest or list: what Podman reads (containers/image, `iolimits.MaxManifestBodySize`).
pub const MAX_MANIFEST: u64 = 4 << 20;
/// Largest config: what Podman reads (containers/image, `iolimits.MaxConfigBodySize`).
pub const MAX_CONFIG: u64 = 4 << 20;
/// Most layers of an image. overlayfs stops at 500 lower directories.
pub const MAX_LAYERS: usize = 500;

/// Media type of an OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of a Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Media type of a Docker schema 2 manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Media type of an OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of a Docker image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// A reference to a blob, checked: sha256, and a size that is a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Media type of the blob, where given.
    pub media_type: Option<String>,
    /// SHA-256 of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// In a list: what the instance runs on.
    pub platform: Option<DescriptorPlatform>,
    /// Annotations, where given.
    pub annotations: BTreeMap<String, String>,
}

/// The platform of an instance in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DescriptorPlatform {
    /// For example `linux`.
    pub os: String,
    /// For example `amd64`.
    pub architecture: String,
    /// For example `v7`.
    pub variant: Option<String>,
}

/// What a manifest turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manifest {
    /// A manifest list or image index.
    List {
        /// Its media type.
        media_type: String,
        /// Its instances, in order.
        instances: Vec<Descriptor>,
    },
    /// The manifest of one image.
    Image {
        /// Its media type.
        media_type: String,
        /// The config.
        config: Descriptor,
        /// The layers, lowest first.
        layers: Vec<Descriptor>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: Option<String>,
    digest: String,
    size: u64,
    platform: Option<DescriptorPlatform>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: Option<u64>,
    media_type: Option<String>,
    manifests: Option<Vec<RawDescriptor>>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

fn corrupt(why: impl Into<String>) -> Refusal {
    Refusal::new(Kind::Corrupt, why)
}

fn unsupported(why: impl Into<String>) -> Refusal {
    Refusal::new(Kind::Unsupported, why)
}

impl RawDescriptor {
    fn check(self) -> Result<Descriptor, Refusal> {
        let digest = self.digest.parse().map_err(|error| unsupported(format!("{error}")))?;
        Ok(Descriptor {
            media_type: self.media_type.filter(|text| !text.is_empty()),
            digest,
            size: self.size,
            platform: self.platform,
            annotations: self.annotations.unwrap_or_default(),
        })
    }
}

fn check_all(raw: Vec<RawDescriptor>) -> Result<Vec<Descriptor>, Refusal> {
    raw.into_iter().map(RawDescriptor::check).collect()
}

/// A text of a stranger, cut for an error message.
fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

/// Parses a manifest or list of any of the four known types. Without a `mediaType` its shape
/// decides, as in containers/image (`manifest.GuessMIMEType`).
///
/// # Errors
/// [`Kind::Corrupt`] for what is not a manifest, [`Kind::Unsupported`] for other types.
pub fn parse_manifest(bytes: &[u8]) -> Result<Manifest, Refusal> {
    if bytes.len() as u64 > MAX_MANIFEST {
        return Err(unsupported(format!("the manifest is larger than {MAX_MANIFEST} bytes")));
    }
    let raw: RawDocument = serde_json::from_slice(bytes)
        .map_err(|error| corrupt(format!("the manifest cannot be read: {error}")))?;
    let media_type = raw.media_type.filter(|text| !text.is_empty());
    let stated = media_type.as_deref();
    let schema1 =
        stated.is_some_and(|text| text.contains("manifest.v1+")) && stated != Some(OCI_MANIFEST);
    if raw.schema_version == Some(1) || raw.fs_layers.is_some() || schema1 {
        return Err(unsupported(
            "it has a Docker schema 1 manifest, a format that was withdrawn in 2017",
        ));
    }
    if raw.schema_version != Some(2) {
        return Err(corrupt("the manifest has no schemaVersion 2"));
    }
    match (raw.manifests, raw.config, raw.layers) {
        (Some(instances), None, None) => {
            let media_type = media_type.unwrap_or_else(|| OCI_INDEX.to_owned());
            if media_type != OCI_INDEX && media_type != DOCKER_LIST {
                return Err(unsupported(format!("{:?} is not an image list", cut(&media_type))));
            }
            Ok(Manifest::List { media_type, instances: check_all(instances)? })
        }
        (None, Some(config), layers) => {
            let config = config.check()?;
            let guess = || match config.media_type.as_deref() {
                Some(DOCKER_CONFIG) => DOCKER_MANIFEST.to_owned(),
                _ => OCI_MANIFEST.to_owned(),
            };
            let media_type = media_type.unwrap_or_else(guess);
            if media_type != OCI_MANIFEST && media_type != DOCKER_MANIFEST {
                return Err(unsupported(format!("{:?} is not an image", cut(&media_type))));
            }
            Ok(Manifest::Image {
                media_type,
                config,
                layers: check_all(layers.unwrap_or_default())?,
            })
        }
        // containers/image refuses these too (ValidateUnambiguousManifestFormat): two readers
        // could see two different images behind one digest.
        (Some(_), _, _) => Err(corrupt("the manifest is a list and an image at once")),
        (None, None, _) => Err(unsupported("the manifest names neither instances nor a config")),
    }
}

/// Checks that bytes are the promised ones.
///
/// # Errors
/// [`Kind::Corrupt`], naming `what` and both digests or sizes.
pub fn check_bytes(
    what: &str,
    bytes: &[u8],
    digest: Digest,
    size: Option<u64>,
) -> Result<(), Refusal> {
    if let Some(size) = size.filter(|size| *size != bytes.len() as u64) {
        let found = bytes.len();
        return Err(corrupt(format!("{what} {digest} has {found} bytes, not the {size} promised")));
    }
    let found = Digest::of(bytes);
    if found != digest {
        return Err(corrupt(format!(
            "{what} {digest} has the wrong content: its digest is {found}"
        )));
    }
    Ok(())
}

/// Checks what a manifest says of its config, before the config is fetched.
///
/// # Errors
/// [`Kind::Unsupported`] for an artifact (a signature, a chart, …) and for a config too large.
pub fn check_config_descriptor(config: &Descriptor) -> Result<(), Refusal> {
    match config.media_type.as_deref() {
        Some(OCI_CONFIG | DOCKER_CONFIG) => {}
        other => {
            let other = cut(other.unwrap_or("no media type"));
            return Err(unsupported(format!(
                "it is an artifact, not a container image (its config is {other:?})"
            )));
        }
    }
    if config.size > MAX_CONFIG {
        return Err(unsupported(format!("its config is larger than {MAX_CONFIG} bytes")));
    }
    Ok(())
}

/// The packing of a layer, from its media type.
///
/// # Errors
/// [`Kind::Unsupported`] for layers that are encrypted, foreign, or not tar at all.
pub fn parse_layer_type(media_type: &str) -> Result<Compression, Refusal> {
    if media_type.ends_with("+encrypted") {
        return Err(unsupported(
            "its layers are encrypted: the image proxy cannot decrypt them, so DecryptionKey= \
             cannot be honoured",
        ));
    }
    match media_type {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.docker.image.rootfs.diff.tar" => Ok(Compression::None),
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Compression::Gzip),
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Compression::Zstd),
        foreign if foreign.contains("nondistributable") || foreign.contains(".foreign.") => {
            Err(unsupported("it has a foreign layer, which registries do not distribute"))
        }
        other => Err(unsupported(format!("it has a layer of unknown type {:?}", cut(other)))),
    }
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
    created: Option<String>,
    rootfs: Option<RawRootfs>,
}

#[derive(Deserialize)]
struct RawRootfs {
    diff_ids: Option<Vec<String>>,
}

/// The parts of an image, fetched, before they are checked against each other.
#[derive(Debug)]
pub struct Parts {
    /// The list the image was chosen from.
    pub list: Option<RawManifest>,
    /// The image's manifest, already checked against its digest.
    pub manifest: RawManifest,
    /// `config` of the manifest.
    pub config_descriptor: Descriptor,
    /// `layers` of the manifest.
    pub layers: Vec<Descriptor>,
    /// The config itself.
    pub config: Vec<u8>,
}

/// Checks that the parts are one whole image for `platform`.
///
/// # Errors
/// [`Kind::Corrupt`], [`Kind::Unsupported`], or [`Kind::Platform`] when the reference named a
/// single image whose config is for another platform (in a list, the list has the say, as in
/// Podman: cross-built images often carry the builder's architecture in their config).
pub fn assemble(parts: Parts, platform: &Platform) -> Result<ImageBytes, Refusal> {
    let Parts { list, manifest, config_descriptor, layers, config } = parts;
    check_config_descriptor(&config_descriptor)?;
    let config_digest = config_descriptor.digest;
    check_bytes("config", &config, config_digest, Some(config_descriptor.size))?;
    let parsed: RawConfig = serde_json::from_slice(&config)
        .map_err(|error| corrupt(format!("config {config_digest} cannot be read: {error}")))?;
    if list.is_none() {
        check_platform(&parsed, platform)?;
    }
    let diff_ids = parsed.rootfs.and_then(|rootfs| rootfs.diff_ids).unwrap_or_default();
    if layers.len() > MAX_LAYERS {
        let count = layers.len();
        return Err(unsupported(format!("it has {count} layers, more than {MAX_LAYERS}")));
    }
    if diff_ids.len() != layers.len() {
        return Err(corrupt(format!(
            "its manifest has {} layers but its config {} diff_ids",
            layers.len(),
            diff_ids.len()
        )));
    }
    let layers = layers
        .into_iter()
        .zip(diff_ids)
        .map(|(layer, diff_id)| {
            let media_type = layer.media_type.unwrap_or_default();
            Ok(LayerBlob {
                compression: parse_layer_type(&media_type)?,
                digest: layer.digest,
                size: layer.size,
                media_type,
                diff_id: diff_id
                    .parse()
                    .map_err(|error| corrupt(format!("its config: {error}")))?,
            })
        })
        .collect::<Result<_, Refusal>>()?;
    Ok(ImageBytes { list, manifest, config, config_digest, layers, created: parsed.created })
}

fn check_platform(config: &RawConfig, wanted: &Platform) -> Result<(), Refusal> {
    // Only what the config states can contradict; images without either field exist.
    let other = |has: &str, wants: &str| !has.is_empty() && has != wants;
    if other(&config.os, &wanted.os) || other(&config.architecture, &wanted.architecture) {
        let has = shown(&config.os, &config.architecture, config.variant.as_deref());
        let wants = shown_platform(wanted);
        return Err(Refusal::new(
            Kind::Platform,
            format!("it is an image for another platform: {has}, not {wants}"),
        ));
    }
    Ok(())
}

/// "No instance for …", naming what there is.
#[must_use]
pub fn no_instance(instances: &[Descriptor], wanted: &Platform) -> Refusal {
    let mut has: Vec<String> = instances
        .iter()
        .filter_map(|instance| instance.platform.as_ref())
        .map(|has| cut(&shown(&has.os, &has.architecture, has.variant.as_deref())))
        .filter(|text| text != "unknown/unknown")
        .collect();
    has.sort();
    has.dedup();
    has.truncate(20);
    let wants = shown_platform(wanted);
    let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
    Refusal::new(Kind::Platform, format!("its list has no image for {wants} (it has: {has})"))
}

#[cfg(test)]
#[path = "testing/manifest.rs"]
mod tests;
