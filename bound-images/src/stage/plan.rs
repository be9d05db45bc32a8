//! What a stage will do, per layer. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use binding::{
    Binding, Finding, Platform, Record, RecordBinding, RecordLayer, Resolved, StoredImage,
};
use oci_digest::Digest;
use overlay_store::{Expected, Foreign, ForeignLayer};

use super::resolve::{Answer, Answers};

/// Where a layer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// An earlier attempt unpacked it.
    Keep,
    /// By hard links from the store that is there.
    Link,
    /// From a store that others write on this host.
    Copy,
    /// From the source.
    Fetch,
}

impl Action {
    /// The word for it in tables and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Link => "link",
            Self::Copy => "copy",
            Self::Fetch => "fetch",
        }
    }
}

/// One layer of the store to be, once however many images have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerPlan {
    /// Its id in the store.
    pub id: String,
    /// Its diff id.
    pub diff_id: Digest,
    /// Digest of its blob.
    pub blob: Digest,
    /// Bytes of its blob.
    pub size: u64,
    /// Where it comes from.
    pub action: Action,
    /// The binding whose image it is fetched with, and which of its layers it is.
    pub binding: String,
    /// Number of the layer in that image, from 0.
    pub index: usize,
    /// Where it can be copied from, best first; empty unless it is to be copied.
    pub copies: Vec<ForeignLayer>,
}

impl LayerPlan {
    /// What its bytes have to be.
    #[must_use]
    pub fn expected(&self) -> Expected {
        Expected { blob: self.blob, size: self.size, diff_id: self.diff_id }
    }
}

/// What a stage will do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the store goes.
    pub store: PathBuf,
    /// All layers, those to be fetched largest first.
    pub layers: Vec<LayerPlan>,
    /// The bindings, sorted by name.
    bindings: Vec<Binding>,
    host: Platform,
    stored: Vec<StoredImage>,
}

impl Plan {
    /// Plans a store at `store` for `bindings` that gave `answers`; `there` says which layers need
    /// not be fetched.
    ///
    /// # Errors
    /// Findings when the images cannot stand in one store under their names.
    pub(super) fn new(
        bindings: &[Binding],
        host: &Platform,
        answers: &Answers,
        there: &BTreeMap<String, (Action, u64)>,
        store: &Path,
    ) -> Result<Self, Vec<Finding>> {
        let resolved: Vec<Resolved> = bindings
            .iter()
            .filter_map(|binding| {
                let answer = answers.images.get(&binding.name)?;
                Some(Resolved {
                    binding: binding.name.clone(),
                    place: binding.place.clone(),
                    reference: binding.reference.clone(),
                    alias: binding.alias.clone(),
                    platform: binding.pull.platform(host),
                    list: answer.image.list.as_ref().map(|list| list.digest),
                    manifest: answer.image.manifest.digest,
                    image: answer.image.config_digest.hex(),
                })
            })
            .collect();
        let stored = binding::plan_names(&resolved)?;
        let mut layers: BTreeMap<String, LayerPlan> = BTreeMap::new();
        for (name, answer) in &answers.images {
            for (index, (id, blob)) in answer.ids.iter().zip(&answer.image.layers).enumerate() {
                let layer = LayerPlan {
                    id: id.clone(),
                    diff_id: blob.diff_id,
                    blob: blob.digest,
                    size: blob.size,
                    action: there.get(id).map_or(Action::Fetch, |(action, _)| *action),
                    binding: name.clone(),
                    index,
                    copies: Vec::new(),
                };
                // The same layer may be packed in two ways: the smaller one is fetched.
                let best = layers.entry(id.clone()).or_insert_with(|| layer.clone());
                if layer.size < best.size {
                    *best = layer;
                }
            }
        }
        let mut plan = Self {
            store: store.to_owned(),
            layers: layers.into_values().collect(),
            bindings: bindings.to_vec(),
            host: host.clone(),
            stored,
        };
        plan.sort();
        Ok(plan)
    }

    /// By action, the largest first.
    fn sort(&mut self) {
        self.layers.sort_by(|one, other| {
            (one.action, other.size, &one.id).cmp(&(other.action, one.size, &other.id))
        });
    }

    /// Copies what would be fetched and stands in one of `stores`, those first in it first.
    pub(super) fn copy_from(&mut self, stores: &[Foreign]) {
        for layer in self.layers.iter_mut().filter(|layer| layer.action == Action::Fetch) {
            let expected = layer.expected();
            layer.copies = stores.iter().flat_map(|store| store.find(&expected)).collect();
            if !layer.copies.is_empty() {
                layer.action = Action::Copy;
            }
        }
        self.sort();
    }

    /// Layers that come from a store that others write.
    pub fn to_copy(&self) -> impl Iterator<Item = &LayerPlan> {
        self.layers.iter().filter(|layer| layer.action == Action::Copy)
    }

    /// Bytes that the layers to be written have as blobs: what they take on disk, at the least.
    #[must_use]
    pub fn bytes_to_write(&self) -> u64 {
        self.to_copy().fold(self.bytes_to_fetch(), |sum, layer| sum.saturating_add(layer.size))
    }

    /// Layers that come from the source.
    pub fn to_fetch(&self) -> impl Iterator<Item = &LayerPlan> {
        self.layers.iter().filter(|layer| layer.action == Action::Fetch)
    }

    /// Bytes of their blobs.
    #[must_use]
    pub fn bytes_to_fetch(&self) -> u64 {
        self.to_fetch().fold(0, |sum, layer| sum.saturating_add(layer.size))
    }

    /// Images in the store to be.
    #[must_use]
    pub fn image_count(&self) -> usize {
        self.stored.len()
    }

    /// The images as they are stored: one for every image id, with all its names and manifests.
    pub(super) fn images(&self, answers: &Answers) -> Vec<overlay_store::Image> {
        self.stored.iter().filter_map(|stored| image(stored, answers)).collect()
    }

    /// The record; `size` gives the uncompressed size of a layer.
    ///
    /// # Errors
    /// What `size` fails with, or when it knows nothing of a layer.
    pub(super) fn record(
        &self,
        answers: &Answers,
        size: impl Fn(&str) -> anyhow::Result<Option<u64>>,
    ) -> anyhow::Result<Record> {
        let mut out = Vec::new();
        for binding in &self.bindings {
            let answer = answers.images.get(&binding.name);
            let mut layers = Vec::new();
            for (id, blob) in
                answer.into_iter().flat_map(|answer| answer.ids.iter().zip(&answer.image.layers))
            {
                let size =
                    size(id)?.ok_or_else(|| anyhow::anyhow!("the layer {id} is not there"))?;
                layers.push(RecordLayer { diff_id: blob.diff_id, size, id: id.clone() });
            }
            out.push(RecordBinding {
                name: binding.name.clone(),
                reference: binding.reference.clone(),
                alias: binding.alias.clone(),
                platform: binding.pull.platform(&self.host),
                required: binding.required,
                present: answer.is_some(),
                list: answer.and_then(|answer| answer.image.list.as_ref()).map(|list| list.digest),
                manifest: answer.map(|answer| answer.image.manifest.digest),
                image: answer.map(|answer| answer.image.config_digest.hex()),
                layers,
            });
        }
        Ok(Record::new(out))
    }
}

/// Puts one image together from the answers of all bindings that came to it.
fn image(stored: &StoredImage, answers: &Answers) -> Option<overlay_store::Image> {
    let mine: Vec<&Answer> = answers
        .images
        .values()
        .filter(|answer| answer.image.config_digest.hex() == stored.image)
        .collect();
    let first = mine.first()?;
    let mut manifests: BTreeMap<Digest, &[u8]> = BTreeMap::new();
    let mut lists: BTreeMap<Digest, &[u8]> = BTreeMap::new();
    for answer in &mine {
        manifests.insert(answer.image.manifest.digest, &answer.image.manifest.bytes);
        if let Some(list) = &answer.image.list {
            lists.insert(list.digest, &list.bytes);
        }
    }
    let wanted: BTreeSet<&Digest> = stored.lists.iter().collect();
    Some(overlay_store::Image {
        names: stored.names.clone(),
        config: first.image.config.clone(),
        manifests: stored
            .manifests
            .iter()
            .filter_map(|digest| manifests.get(digest))
            .map(|bytes| bytes.to_vec())
            .collect(),
        lists: lists
            .iter()
            .filter(|(digest, _)| wanted.contains(digest))
            .map(|(_, bytes)| bytes.to_vec())
            .collect(),
        layers: first.ids.clone(),
        created: first.image.created.clone(),
    })
}
