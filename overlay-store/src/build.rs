//! Making a store, beside the place where it will be published.
//!
//! A store in the making has the shape of a store: layers are unpacked straight into
//! `overlay/<layer id>`, and one that has its marker survives any crash. The rest is written at
//! the end, in one go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use oci_digest::Digest;
use rustix::fs::Mode;

use crate::budget::Budget;
use crate::error::{During, Error, Expected, Result};
use crate::files::{children, is_directory, is_file, own, remove_if_there, remove_tree};
use crate::json::{self, ImageEntry, LayerEntry, data_file_name};
use crate::layer::{self, Layer, SPLIT};
use crate::{id, link, time};

/// An image to be stored, as its registry has it.
#[derive(Clone, Debug)]
pub struct Image {
    /// Full references under which Podman finds it; unique in the store.
    pub names: Vec<String>,
    /// The config, byte for byte; its digest is the image's id.
    pub config: Vec<u8>,
    /// Instance manifests, byte for byte, the first one is the image's own.
    pub manifests: Vec<Vec<u8>>,
    /// Manifest lists that a reference names, byte for byte.
    pub lists: Vec<Vec<u8>>,
    /// Ids of its layers, base first.
    pub layers: Vec<String>,
    /// `created` of the config.
    pub created: Option<String>,
}

/// A store in the making.
#[derive(Clone, Debug)]
pub struct Builder {
    directory: PathBuf,
}

impl Builder {
    /// Begins in `directory`, or goes on with what an earlier attempt left there.
    ///
    /// # Errors
    /// When the directories cannot be made.
    pub fn open(directory: &Path) -> Result<Self> {
        // The store's own directory may be listed by anybody; what is in the images may not, since
        // set-user-id programs of every layer would be at hand for local users.
        for (name, mode) in [
            ("", 0o755),
            ("overlay", 0o700),
            ("overlay/l", 0o755),
            ("overlay-layers", 0o700),
            ("overlay-images", 0o700),
        ] {
            let path = directory.join(name);
            let path = if name.is_empty() { directory.to_owned() } else { path };
            let make = || match fs::DirBuilder::new().mode(mode).create(&path) {
                Ok(()) => own(&path, mode),
                // What is there may come with a root that we do not trust: never walk its links,
                // and let nobody else in.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => own(&path, mode),
                Err(error) => Err(error),
            };
            make().during(|| format!("make {}", path.display()))?;
        }
        Ok(Self { directory: directory.to_owned() })
    }

    /// What an earlier attempt left in `directory`, to be looked at only; none when nothing did.
    #[must_use]
    pub fn existing(directory: &Path) -> Option<Self> {
        is_directory(&directory.join("overlay")).then(|| Self { directory: directory.to_owned() })
    }

    /// Where the store is being made.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn layer_directory(&self, id: &str) -> PathBuf {
        self.directory.join("overlay").join(id)
    }

    fn split_path(&self, id: &str) -> PathBuf {
        self.directory.join("overlay-layers").join(format!("{id}.tar-split.gz"))
    }

    /// The layer `id`, if it is here already, whole and verified.
    ///
    /// # Errors
    /// When its marker cannot be read.
    pub fn layer(&self, id: &str) -> Result<Option<Layer>> {
        let directory = self.layer_directory(id);
        if !is_directory(&directory) {
            return Ok(None);
        }
        let has_split = is_file(&directory.join(SPLIT)) || is_file(&self.split_path(id));
        Ok(layer::verified(&directory)?.filter(|layer| layer.id == id && has_split))
    }

    /// Like [`Builder::layer`], but every file of the layer is read and compared first: what lies
    /// here may have been changed since, or have come with a root that we do not trust. A layer
    /// that is not what its marker says is removed.
    ///
    /// # Errors
    /// When the disk is at fault.
    pub fn proved_layer(
        &self,
        ids: &[String],
        index: usize,
        diff_id: Digest,
    ) -> Result<Option<Layer>> {
        let (Some(id), below) = (ids.get(index), ids.get(..index).unwrap_or_default()) else {
            return Ok(None);
        };
        let Some(layer) = self.layer(id)? else { return Ok(None) };
        let directory = self.layer_directory(id);
        let inside = directory.join(SPLIT);
        let split = if is_file(&inside) { inside } else { self.split_path(id) };
        let proved = layer.diff_id == diff_id
            && layer.parent.as_ref() == below.last()
            && layer::frame_is_right(&directory, id, below)
            && crate::deep::compare_layer(
                &directory.join("diff"),
                &split,
                Some(layer.size),
                Some(diff_id),
            )
            .is_ok_and(|differences| differences.is_empty());
        if proved {
            return Ok(Some(layer));
        }
        self.discard(id)?;
        Ok(None)
    }

    /// Unpacks a layer (see [`layer::write`]); what a crash left of it is removed first.
    ///
    /// # Errors
    /// Anything of [`Error`]; nothing of the layer is left then.
    pub fn write_layer(
        &self,
        ids: &[String],
        index: usize,
        expected: &Expected,
        budget: &Budget,
        blob: impl Read,
    ) -> Result<Layer> {
        let id =
            ids.get(index).ok_or_else(|| Error::Invalid(format!("no layer number {index}")))?;
        self.discard(id)?;
        let share = budget.share();
        let directory = self.layer_directory(id);
        let written = layer::write_within(&directory, ids, index, expected, &share, blob);
        // What it took is given back only once it is gone.
        match written {
            Ok(_) => share.keep(),
            Err(_) => self.discard(id)?,
        }
        written
    }

    /// Takes the layer `id` over from the store at `from`, one of ours on the same file system, by
    /// hard links. False when that store does not have it, or never verified it.
    ///
    /// # Errors
    /// When the disk is at fault; nothing of the layer is left then.
    pub fn link_layer(&self, from: &Path, id: &str) -> Result<bool> {
        self.discard(id)?;
        let linked = link::layer(from, id, &self.layer_directory(id), &self.split_path(id));
        if linked.is_err() {
            self.discard(id)?;
        }
        linked
    }

    /// Removes what there is of a layer.
    pub(crate) fn discard(&self, id: &str) -> Result<()> {
        // The marker first: a removal that is interrupted must not leave a layer that looks whole.
        remove_if_there(&self.layer_directory(id).join(layer::VERIFIED))?;
        remove_tree(&self.layer_directory(id))?;
        remove_if_there(&self.split_path(id))
    }

    /// Completes the store with these images and no other layers than theirs, and `files` (name,
    /// content) beside them at the top.
    ///
    /// # Errors
    /// When a layer is missing, a name comes twice, or the disk is at fault.
    pub fn finish(&self, images: &[Image], files: &[(&str, &[u8])]) -> Result<()> {
        let layers = self.layers(images)?;
        self.remove_others(&layers)?;
        self.write_layers(&layers)?;
        self.write_images(images)?;
        for (name, content) in files {
            self.file(name, content, 0o644)?;
        }
        for name in ["overlay/l", "overlay", "overlay-layers", "overlay-images", ""] {
            self.reset_time(name)?;
        }
        let directory = fs::File::open(&self.directory).during(|| self.action("open"))?;
        rustix::fs::syncfs(&directory).during(|| self.action("sync"))
    }

    fn action(&self, verb: &str) -> String {
        format!("{verb} {}", self.directory.display())
    }

    /// All layers of the images, each once, in a fixed order.
    fn layers(&self, images: &[Image]) -> Result<BTreeMap<String, Layer>> {
        let mut layers = BTreeMap::new();
        for id in images.iter().flat_map(|image| &image.layers) {
            if !layers.contains_key(id) {
                let layer = self.layer(id)?;
                let layer =
                    layer.ok_or_else(|| Error::Invalid(format!("layer {id} is not there")))?;
                layers.insert(id.clone(), layer);
            }
        }
        Ok(layers)
    }

    /// Removes what earlier attempts left and this store does not have.
    fn remove_others(&self, layers: &BTreeMap<String, Layer>) -> Result<()> {
        for path in children(&self.directory.join("overlay"))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name != "l" && !layers.contains_key(&name) {
                remove_if_there(&path.join(layer::VERIFIED))?;
                remove_tree(&path)?;
            }
        }
        for path in children(&self.directory.join("overlay/l"))? {
            remove_tree(&path)?;
        }
        for path in children(&self.directory.join("overlay-layers"))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !name.strip_suffix(".tar-split.gz").is_some_and(|id| layers.contains_key(id)) {
                remove_tree(&path)?;
            }
        }
        for path in children(&self.directory.join("overlay-images"))? {
            remove_tree(&path)?;
        }
        for path in children(&self.directory)? {
            if !["overlay", "overlay-layers", "overlay-images"]
                .iter()
                .any(|name| path.ends_with(name))
            {
                remove_tree(&path)?;
            }
        }
        Ok(())
    }

    fn write_layers(&self, layers: &BTreeMap<String, Layer>) -> Result<()> {
        let mut entries = Vec::new();
        for (id, layer) in layers {
            let directory = self.layer_directory(id);
            let link = id::link_id(id);
            let path = self.directory.join("overlay/l").join(&link);
            std::os::unix::fs::symlink(format!("../{id}/diff"), &path)
                .during(|| format!("make {}", path.display()))?;
            self.reset_time(&format!("overlay/l/{link}"))?;
            let inside = directory.join(SPLIT);
            if is_file(&inside) {
                fs::rename(&inside, self.split_path(id))
                    .during(|| format!("move {}", inside.display()))?;
            }
            self.reset_time(&format!("overlay-layers/{id}.tar-split.gz"))?;
            for name in ["empty", "work", "merged", "link", "lower", layer::VERIFIED, ""] {
                if name != "lower" || layer.parent.is_some() {
                    self.reset_time(&format!("overlay/{id}/{name}"))?;
                }
            }
            entries.push(LayerEntry {
                id: id.clone(),
                parent: layer.parent.clone(),
                created: json::EPOCH.to_owned(),
                blob: Some(layer.blob),
                blob_size: Some(layer.blob_size),
                diff_id: Some(layer.diff_id),
                size: Some(layer.size),
                compression: layer.compression,
                uids: layer.uids.clone(),
                gids: layer.gids.clone(),
            });
        }
        self.list("overlay-layers", "layers", &entries)
    }

    fn write_images(&self, images: &[Image]) -> Result<()> {
        let mut entries = BTreeMap::new();
        let mut names = BTreeSet::new();
        for image in images {
            if let Some(name) = image.names.iter().find(|name| !names.insert(name.as_str())) {
                return Err(Error::Invalid(format!(
                    "the name {name} would stand twice in the store"
                )));
            }
            let entry = self.write_image(image)?;
            let id = entry.id.clone();
            if entries.insert(id.clone(), entry).is_some() {
                return Err(Error::Invalid(format!(
                    "the image {id} would stand twice in the store"
                )));
            }
        }
        let entries: Vec<ImageEntry> = entries.into_values().collect();
        self.list("overlay-images", "images", &entries)
    }

    fn write_image(&self, image: &Image) -> Result<ImageEntry> {
        let id = Digest::of(&image.config).hex();
        let directory = format!("overlay-images/{id}");
        let path = self.directory.join(&directory);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .during(|| format!("make {}", path.display()))?;
        let first = image
            .manifests
            .first()
            .ok_or_else(|| Error::Invalid(format!("image {id} has no manifest")))?;
        // The order is containers/image's: config, lists, manifests, and the image's own once more.
        let mut items = vec![(Digest::of(&image.config).to_string(), &image.config)];
        for manifest in image.lists.iter().chain(&image.manifests) {
            let key = format!("manifest-{}", Digest::of(manifest));
            if items.iter().all(|(known, _)| *known != key) {
                items.push((key, manifest));
            }
        }
        items.push(("manifest".to_owned(), first));
        for (key, bytes) in &items {
            self.file(&format!("{directory}/{}", data_file_name(key)), bytes, 0o600)?;
        }
        self.reset_time(&directory)?;
        Ok(ImageEntry {
            id,
            digest: Some(Digest::of(image.lists.first().unwrap_or(first))),
            names: Some(image.names.clone()),
            layer: image.layers.last().cloned(),
            metadata: Some("{}".to_owned()),
            data_names: Some(items.iter().map(|(key, _)| key.clone()).collect()),
            data_sizes: Some(
                items.iter().map(|(key, bytes)| (key.clone(), bytes.len() as u64)).collect(),
            ),
            data_digests: Some(
                items.iter().map(|(key, bytes)| (key.clone(), Digest::of(bytes))).collect(),
            ),
            created: json::created(image.created.as_deref()),
        })
    }

    /// Writes `NAME.json` and its lock file. The lock file's content is a token that changes with
    /// the list: a running Podman reads the list again when it does.
    fn list(&self, directory: &str, name: &str, entries: &impl serde::Serialize) -> Result<()> {
        let text =
            serde_json::to_vec(entries).map_err(|error| Error::Invalid(error.to_string()))?;
        self.file(&format!("{directory}/{name}.json"), &text, 0o600)?;
        self.file(&format!("{directory}/{name}.lock"), Digest::of(&text).hex().as_bytes(), 0o644)
    }

    /// Writes a new file; not synced by itself, [`Builder::finish`] syncs all at once.
    fn file(&self, name: &str, content: &[u8], mode: u32) -> Result<()> {
        let path = self.directory.join(name);
        remove_if_there(&path)?;
        let write = || {
            let mut file =
                fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
            file.write_all(content)?;
            Ok::<_, io::Error>(time::reset_fd(&file)?)
        };
        write().during(|| format!("write {}", path.display()))
    }

    fn reset_time(&self, name: &str) -> Result<()> {
        let path = self.directory.join(name);
        time::reset_path(&path).during(|| format!("set the time of {}", path.display()))
    }
}
