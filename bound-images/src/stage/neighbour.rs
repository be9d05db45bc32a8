//! Stores of ours from which a new one takes what it shares with them: layers by hard links, and
//! manifests and configs, so that nobody need be asked for an image that is here.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::OnceLock;

use binding::{Platform, RECORD_FILE, Record, RecordBinding};
use oci_digest::Digest;
use overlay_store::{ImageEntry, Store, data_file_name};

use crate::source::manifest::{
    MAX_CONFIG, MAX_MANIFEST, Manifest, Parts, assemble, check_bytes, parse_manifest,
};
use crate::source::{ImageBytes, RawManifest};
use crate::state::Held;
use crate::system::file::read_optional;

/// A store of ours, or one that is being made.
#[derive(Debug)]
pub(super) struct Neighbour {
    /// Where it is.
    pub(super) directory: PathBuf,
    /// Its record; none for one that is being made.
    pub(super) record: Option<Record>,
    /// Layers and images of it that are known to be damaged.
    pub(super) damaged: BTreeSet<String>,
    /// The layers in its lists; `None` of what is being made, which has no lists yet.
    listed: Option<Listed>,
}

/// Read when it is first asked for; empty when they cannot be read: then nobody knows what else happened to that store,
/// and a deep check of it sees none of its layers.
type Listed = OnceLock<BTreeSet<String>>;

impl Neighbour {
    /// The store that a root has.
    pub(super) fn of(held: &Held) -> Self {
        Self {
            directory: held.directory.clone(),
            record: Some(held.record.clone()),
            damaged: held.damage.iter().map(|damage| damage.subject.clone()).collect(),
            listed: Some(OnceLock::from(ids(&held.store))),
        }
    }

    /// The store at `directory`, which is not looked at any further before it is used.
    pub(super) fn at(directory: PathBuf, damaged: BTreeSet<String>) -> Self {
        Self { listed: Some(Listed::new()), ..Self::unfinished(directory, damaged) }
    }

    /// The same, of one that is being made.
    pub(super) fn unfinished(directory: PathBuf, damaged: BTreeSet<String>) -> Self {
        let record =
            read_optional(&directory.join(RECORD_FILE), binding::record::MAX_RECORD as u64);
        let record = record.ok().flatten().and_then(|text| Record::parse(&text).ok());
        Self { directory, record, damaged, listed: None }
    }

    /// The size of a layer that can be taken over; none when it is not here, was never verified, is not in the store's
    /// lists or is damaged.
    pub(super) fn layer(&self, id: &str, diff_id: Digest) -> Option<u64> {
        if self.damaged.contains(id) {
            return None;
        }
        let found = overlay_store::verified(&self.directory.join("overlay").join(id)).ok()??;
        (found.id == id && found.diff_id == diff_id && self.lists(id)).then_some(found.size)
    }

    fn lists(&self, id: &str) -> bool {
        let Some(listed) = &self.listed else { return true };
        let read = || Store::open(&self.directory).map(|store| ids(&store)).unwrap_or_default();
        listed.get_or_init(read).contains(id)
    }

    /// The image with this manifest, or this list and its instance for `platform`, as it was
    /// stored; each part is checked against its digest.
    pub(super) fn image(&self, digest: Digest, platform: &Platform) -> Option<ImageBytes> {
        let fits = |binding: &&RecordBinding| {
            binding.present
                && binding.platform == *platform
                && (binding.list == Some(digest) || binding.manifest == Some(digest))
        };
        let binding = self.record.as_ref()?.bindings.iter().find(fits)?;
        let id = binding.image.as_deref().filter(|id| !self.damaged.contains(*id))?;
        let store = Store::open(&self.directory).ok()?;
        let entry = store.images.iter().find(|image| image.id == id)?;
        let list = match binding.list {
            Some(list) if list == digest => Some(self.manifest(entry, list)?),
            _ => None,
        };
        let manifest = self.manifest(entry, binding.manifest?)?;
        let Ok(Manifest::Image { config, layers, .. }) = parse_manifest(&manifest.bytes) else {
            return None;
        };
        let bytes = self.data(entry, config.digest, MAX_CONFIG)?;
        let parts = Parts { list, manifest, config_descriptor: config, layers, config: bytes };
        assemble(parts, platform).ok()
    }

    fn manifest(&self, entry: &ImageEntry, digest: Digest) -> Option<RawManifest> {
        let bytes = self.data(entry, digest, MAX_MANIFEST)?;
        let media_type = match parse_manifest(&bytes).ok()? {
            Manifest::List { media_type, .. } | Manifest::Image { media_type, .. } => media_type,
        };
        Some(RawManifest { digest, media_type, bytes })
    }

    /// The item of an image with that digest.
    fn data(&self, entry: &ImageEntry, digest: Digest, max: u64) -> Option<Vec<u8>> {
        let (key, _) = entry.data_digests.as_ref()?.iter().find(|(_, found)| **found == digest)?;
        let path = self.directory.join("overlay-images").join(&entry.id).join(data_file_name(key));
        let bytes = read_optional(&path, max).ok()??;
        check_bytes("item", &bytes, digest, None).ok()?;
        Some(bytes)
    }
}

fn ids(store: &Store) -> BTreeSet<String> {
    store.layers.iter().map(|layer| layer.id.clone()).collect()
}
