//! What writing a bundle will do, per blob. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use oci_digest::Digest;

use super::ask::Found;
use super::index::Entry;

/// What a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A manifest list.
    List,
    /// A manifest.
    Manifest,
    /// A config.
    Config,
    /// A layer.
    Layer,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Manifest => "manifest",
            Self::Config => "config",
            Self::Layer => "layer",
        }
    }
}

/// Where a blob comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The bundle has it, and it was read.
    Keep,
    /// It was asked for to make the plan, and is written.
    Write,
    /// From another bundle.
    Copy,
    /// From a registry.
    Fetch,
}

impl Action {
    /// The word for it in tables and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Write => "write",
            Self::Copy => "copy",
            Self::Fetch => "fetch",
        }
    }
}

/// One blob of the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobPlan {
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// What it is.
    pub kind: Kind,
    /// Where it comes from.
    pub action: Action,
    /// The bundle to copy it from.
    pub from: Option<PathBuf>,
    /// The number of the image that it is fetched with.
    pub image: usize,
    /// The number of the layer in that image.
    pub index: usize,
}

/// One image of the bundle, for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePlan {
    /// The reference as it is bound.
    pub reference: String,
    /// The platform.
    pub platform: String,
    /// Digest of the list, or of the manifest.
    pub digest: Digest,
    /// Digest of the manifest.
    pub manifest: Digest,
}

/// What writing a bundle will do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the bundle is.
    pub bundle: PathBuf,
    /// The images, sorted by reference and platform.
    pub images: Vec<ImagePlan>,
    /// Every blob once: by action, then the largest first.
    pub blobs: Vec<BlobPlan>,
    /// What the index has to name, sorted.
    pub entries: Vec<Entry>,
}

impl Plan {
    /// All that `found` has, to be fetched.
    #[must_use]
    pub(super) fn new(bundle: PathBuf, found: &[Found]) -> Self {
        let mut blobs: BTreeMap<(Digest, u64), BlobPlan> = BTreeMap::new();
        let mut entries = Vec::new();
        let mut images = Vec::new();
        for (number, one) in found.iter().enumerate() {
            let image = &one.image;
            let mut add = |digest, size, kind, action, index| {
                let blob =
                    BlobPlan { digest, size, kind, action, from: None, image: number, index };
                blobs.entry((digest, size)).or_insert(blob);
            };
            let top = image.list.as_ref().unwrap_or(&image.manifest);
            if let Some(list) = &image.list {
                add(list.digest, list.bytes.len() as u64, Kind::List, Action::Write, 0);
            }
            let manifest = &image.manifest;
            add(manifest.digest, manifest.bytes.len() as u64, Kind::Manifest, Action::Write, 0);
            let config = image.config.len() as u64;
            add(image.config_digest, config, Kind::Config, Action::Write, 0);
            for (index, layer) in image.layers.iter().enumerate() {
                add(layer.digest, layer.size, Kind::Layer, Action::Fetch, index);
            }
            let entry = Entry {
                reference: one.wish.request.reference.clone(),
                digest: top.digest,
                size: top.bytes.len() as u64,
                media_type: top.media_type.clone(),
            };
            if !entries.contains(&entry) {
                entries.push(entry);
            }
            images.push(ImagePlan {
                reference: one.wish.request.reference.to_string(),
                platform: one.wish.request.platform.to_string(),
                digest: top.digest,
                manifest: manifest.digest,
            });
        }
        entries.sort();
        let mut plan = Self { bundle, images, blobs: blobs.into_values().collect(), entries };
        plan.sort();
        plan
    }

    /// By action, then the largest first.
    pub(super) fn sort(&mut self) {
        self.blobs.sort_by(|one, other| {
            (one.action, other.size, one.digest).cmp(&(other.action, one.size, other.digest))
        });
    }

    /// How many images there are, however many names they have.
    #[must_use]
    pub fn image_count(&self) -> usize {
        self.images.iter().map(|image| image.manifest).collect::<BTreeSet<_>>().len()
    }

    /// Blobs with that action.
    pub fn with(&self, action: Action) -> impl Iterator<Item = &BlobPlan> {
        self.blobs.iter().filter(move |blob| blob.action == action)
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self, action: Action) -> u64 {
        self.with(action).fold(0, |sum, blob| sum.saturating_add(blob.size))
    }

    /// What is new to the bundle, in bytes.
    #[must_use]
    pub fn bytes_to_write(&self) -> u64 {
        [Action::Write, Action::Copy, Action::Fetch]
            .into_iter()
            .fold(0, |sum, action| sum.saturating_add(self.bytes(action)))
    }
}
