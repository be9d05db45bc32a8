//! The quick check of a store of ours: everything but the content of the layers' files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use oci_digest::Digest;
use serde::Serialize;

use crate::error::{During, Result};
use crate::json::{ImageEntry, LayerEntry, data_file_name};
use crate::read::{self, Store};
use crate::{id, layer};

/// The largest manifest or config that is read, in bytes.
const MAX_DATA: u64 = 32 << 20;
/// The largest `lower` file: 500 layers.
const MAX_LOWER: u64 = 1 << 16;
/// The most layers below one another: overlayfs mounts 500.
const MAX_DEPTH: usize = 500;

/// The most layers, and the most images, that a store is checked with: hosts have some hundred. Each
/// costs ten looks at the disk, and the gate has to answer.
const MAX_ENTRIES: usize = 10_000;
/// The most things that are told: more of them say nothing new.
const MAX_FOUND: usize = 1000;

/// One thing that is wrong in a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Damage {
    /// Image id or layer id that suffers; empty for the store itself.
    pub subject: String,
    /// The file, below the store.
    pub path: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.why)
    }
}

/// Takes away what is beyond the most that is told, and says so: of a store as a whole, since nothing
/// is known of what was not told.
pub fn limit_damage(found: &mut Vec<Damage>) {
    if found.len() > MAX_FOUND {
        found.truncate(MAX_FOUND);
        found.push(and_more());
    }
}

fn and_more() -> Damage {
    let why = format!("more than {MAX_FOUND} things are wrong in it, and the rest is not told");
    Damage { subject: String::new(), path: "overlay".to_owned(), why }
}

/// Checks lists, locks, links, markers, manifests and configs of `store`; no layer content is read.
/// An empty answer means that all is well.
///
/// # Errors
/// When the store cannot be looked at (not when it is wrong).
pub fn check(store: &Store) -> Result<Vec<Damage>> {
    let mut check = Check { store, found: BTreeSet::new(), links: BTreeMap::new() };
    check.lists()?;
    for (count, list) in [
        (store.layers.len(), "overlay-layers/layers.json"),
        (store.images.len(), "overlay-images/images.json"),
    ] {
        if count > MAX_ENTRIES {
            check.wrong("", list, format!("it has {count} entries, more than {MAX_ENTRIES}"));
            return Ok(check.found.into_iter().collect());
        }
    }
    let layers: BTreeMap<&str, &LayerEntry> =
        store.layers.iter().map(|layer| (layer.id.as_str(), layer)).collect();
    if layers.len() != store.layers.len() {
        check.wrong("", "overlay-layers/layers.json", "a layer id stands twice");
    }
    check.links = layers.keys().map(|id| (*id, id::link_id(id))).collect();
    for layer in &store.layers {
        if check.is_full() {
            break;
        }
        check.layer(layer, &layers)?;
    }
    check.images(&layers)?;
    check.extras(&layers)?;
    Ok(check.found.into_iter().collect())
}

struct Check<'a> {
    store: &'a Store,
    found: BTreeSet<Damage>,
    /// Layer ids and their link ids.
    links: BTreeMap<&'a str, String>,
}

impl Check<'_> {
    fn is_full(&self) -> bool {
        self.found.len() > MAX_FOUND
    }

    fn wrong(&mut self, subject: &str, path: &str, why: impl Into<String>) {
        if self.found.len() >= MAX_FOUND {
            self.found.insert(and_more());
            return;
        }
        let damage = Damage { subject: subject.to_owned(), path: path.to_owned(), why: why.into() };
        self.found.insert(damage);
    }

    /// The bytes of a file, or a finding.
    fn bytes(&mut self, subject: &str, path: &str, max: u64) -> Option<Vec<u8>> {
        match read::bytes(&self.store.directory.join(path), max) {
            Ok(Some(bytes)) => return Some(bytes),
            Ok(None) => self.wrong(subject, path, "missing"),
            Err(error) => self.wrong(subject, path, error.to_string()),
        }
        None
    }

    fn lists(&mut self) -> Result<()> {
        for (directory, name) in [("overlay-layers", "layers"), ("overlay-images", "images")] {
            let (list, lock) =
                (format!("{directory}/{name}.json"), format!("{directory}/{name}.lock"));
            let text = self.bytes("", &list, 64 << 20);
            let token = self.bytes("", &lock, 4096);
            if let (Some(text), Some(token)) = (text, token)
                && token != Digest::of(&text).hex().as_bytes()
            {
                self.wrong(
                    "",
                    &lock,
                    format!("its token does not match {name}.json: one of them was changed"),
                );
            }
        }
        self.modes()
    }

    /// Nobody but root may reach the images' files.
    fn modes(&mut self) -> Result<()> {
        let path = self.store.directory.join("overlay");
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                if metadata.mode() & 0o077 != 0 {
                    self.wrong("", "overlay", "other users may enter it: its mode must be 0700");
                }
                Ok(())
            }
            Ok(_) => {
                self.wrong("", "overlay", "not a directory");
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.wrong("", "overlay", "missing");
                Ok(())
            }
            Err(error) => Err(error).during(|| format!("look at {}", path.display())),
        }
    }

    fn layer(&mut self, entry: &LayerEntry, layers: &BTreeMap<&str, &LayerEntry>) -> Result<()> {
        let id = entry.id.as_str();
        if !id::is_id(id) {
            self.wrong(id, "overlay-layers/layers.json", format!("{id:?} is not a layer id"));
            return Ok(());
        }
        let link = id::link_id(id);
        let top = format!("overlay/{id}");
        for (name, mode) in
            [("diff", Some(0o555)), ("empty", None), ("work", None), ("merged", None)]
        {
            self.directory(id, &format!("{top}/{name}"), mode)?;
        }
        self.same(id, &format!("{top}/link"), link.as_bytes(), "it should name the layer's link");
        match self.lower(id, layers) {
            Some(lower) if lower.is_empty() => self.absent(id, &format!("{top}/lower"))?,
            Some(lower) => self.same(
                id,
                &format!("{top}/lower"),
                lower.as_bytes(),
                "it should name the layers below",
            ),
            None => {}
        }
        let symlink = format!("overlay/l/{link}");
        match fs::read_link(self.store.directory.join(&symlink)) {
            Ok(target) if target == Path::new(&format!("../{id}/diff")) => {}
            Ok(target) => self.wrong(id, &symlink, format!("it leads to {}", target.display())),
            Err(error) => self.wrong(id, &symlink, error.to_string()),
        }
        self.split(id)?;
        self.marker(entry)
    }

    /// The text of the `lower` file; none (and a finding) when a layer below is not there.
    fn lower(&mut self, id: &str, layers: &BTreeMap<&str, &LayerEntry>) -> Option<String> {
        let mut links = Vec::new();
        let mut at = layers.get(id).and_then(|layer| layer.parent.as_deref());
        while let Some(parent) = at {
            let Some(entry) = layers.get(parent) else {
                self.wrong(
                    id,
                    "overlay-layers/layers.json",
                    format!("the layer below it, {parent}, is missing"),
                );
                return None;
            };
            if links.len() > layers.len().min(MAX_DEPTH) {
                self.wrong(
                    id,
                    "overlay-layers/layers.json",
                    "more than 500 layers are below it, or they go round in a circle",
                );
                return None;
            }
            links.push(format!("l/{}", self.links.get(parent).map_or("", String::as_str)));
            at = entry.parent.as_deref();
        }
        Some(links.join(":"))
    }

    fn directory(&mut self, subject: &str, path: &str, mode: Option<u32>) -> Result<()> {
        match fs::symlink_metadata(self.store.directory.join(path)) {
            Ok(metadata) if metadata.is_dir() => {
                let found = metadata.mode() & 0o7777;
                if mode
                    .is_some_and(|mode| found != mode || metadata.uid() != 0 || metadata.gid() != 0)
                {
                    let owner = format!("{}:{}", metadata.uid(), metadata.gid());
                    self.wrong(
                        subject,
                        path,
                        format!("mode {found:04o}, owner {owner}; should be 0555, 0:0"),
                    );
                }
            }
            Ok(_) => self.wrong(subject, path, "not a directory"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.wrong(subject, path, "missing")
            }
            Err(error) => return Err(error).during(|| format!("look at {path}")),
        }
        Ok(())
    }

    fn same(&mut self, subject: &str, path: &str, expected: &[u8], why: &str) {
        if self.bytes(subject, path, MAX_LOWER).is_some_and(|found| found != expected) {
            self.wrong(subject, path, format!("wrong content: {why}"));
        }
    }

    fn absent(&mut self, subject: &str, path: &str) -> Result<()> {
        match fs::symlink_metadata(self.store.directory.join(path)) {
            Ok(_) => self.wrong(subject, path, "should not be there: the layer has none below it"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).during(|| format!("look at {path}")),
        }
        Ok(())
    }

    fn split(&mut self, id: &str) -> Result<()> {
        let path = format!("overlay-layers/{id}.tar-split.gz");
        match fs::symlink_metadata(self.store.directory.join(&path)) {
            // An empty gzip file has 20 bytes.
            Ok(metadata) if metadata.is_file() && metadata.len() >= 20 => {}
            Ok(_) => self.wrong(id, &path, "empty or not a file"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.wrong(id, &path, "missing")
            }
            Err(error) => return Err(error).during(|| format!("look at {path}")),
        }
        Ok(())
    }

    fn marker(&mut self, entry: &LayerEntry) -> Result<()> {
        let path = format!("overlay/{}/{}", entry.id, layer::VERIFIED);
        let directory = self.store.directory.join("overlay").join(&entry.id);
        match layer::verified(&directory)? {
            None => {
                self.wrong(&entry.id, &path, "missing or not valid: the layer was never verified")
            }
            Some(layer) => {
                let same = layer.id == entry.id
                    && layer.parent == entry.parent
                    && Some(layer.diff_id) == entry.diff_id
                    && Some(layer.size) == entry.size;
                if !same {
                    self.wrong(&entry.id, &path, "it speaks of another layer than layers.json");
                }
            }
        }
        Ok(())
    }

    fn images(&mut self, layers: &BTreeMap<&str, &LayerEntry>) -> Result<()> {
        let list = "overlay-images/images.json";
        let mut names = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for image in &self.store.images {
            if self.is_full() {
                break;
            }
            for name in image.names.iter().flatten() {
                if !names.insert(name) {
                    self.wrong(
                        &image.id,
                        list,
                        format!("the name {name} stands twice; every podman command fails"),
                    );
                }
            }
            if !ids.insert(&image.id) {
                self.wrong(&image.id, list, "the image stands twice");
            }
            if let Some(layer) = image.layer.as_deref()
                && !layers.contains_key(layer)
            {
                self.wrong(&image.id, list, format!("its layer {layer} is missing"));
            }
            self.data(image);
        }
        Ok(())
    }

    /// Manifests and config, whole and with the digests that they are known by.
    fn data(&mut self, image: &ImageEntry) {
        let (none, no_digests) = (Vec::new(), BTreeMap::new());
        let keys = image.data_names.as_ref().unwrap_or(&none);
        let digests = image.data_digests.as_ref().unwrap_or(&no_digests);
        let config = format!("sha256:{}", image.id);
        for needed in [config.as_str(), "manifest"] {
            if !keys.iter().any(|key| key == needed) {
                self.wrong(&image.id, "overlay-images/images.json", format!("it has no {needed}"));
            }
        }
        if !id::is_id(&image.id) {
            self.wrong(&image.id, "overlay-images/images.json", "not an image id");
            return;
        }
        for key in keys {
            let path = format!("overlay-images/{}/{}", image.id, data_file_name(key));
            let Some(bytes) = self.bytes(&image.id, &path, MAX_DATA) else { continue };
            let found = Digest::of(&bytes);
            let named = key.strip_prefix("manifest-").unwrap_or(key);
            let by_name = named.parse::<Digest>().ok();
            if by_name.is_some_and(|wanted| wanted != found) || digests.get(key) != Some(&found) {
                let wanted = by_name.or_else(|| digests.get(key).copied());
                let wanted = wanted.map_or_else(|| "known".to_owned(), |wanted| wanted.to_string());
                self.wrong(&image.id, &path, format!("its digest is {found}, should be {wanted}"));
            }
        }
    }

    /// Names that no list speaks of.
    fn extras(&mut self, layers: &BTreeMap<&str, &LayerEntry>) -> Result<()> {
        let links: BTreeSet<String> = self.links.values().cloned().collect();
        let images: BTreeSet<&str> =
            self.store.images.iter().map(|image| image.id.as_str()).collect();
        self.extra("overlay", &|name| name == "l" || layers.contains_key(name))?;
        self.extra("overlay/l", &|name| links.contains(name))?;
        self.extra("overlay-layers", &|name| {
            name == "layers.json"
                || name == "layers.lock"
                || name.strip_suffix(".tar-split.gz").is_some_and(|id| layers.contains_key(id))
        })?;
        self.extra("overlay-images", &|name| {
            name == "images.json" || name == "images.lock" || images.contains(name)
        })
    }

    fn extra(&mut self, directory: &str, known: &dyn Fn(&str) -> bool) -> Result<()> {
        let action = || format!("list {directory}");
        let entries = match fs::read_dir(self.store.directory.join(directory)) {
            Ok(entries) => entries,
            // Said already where something in it is needed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).during(action),
        };
        for entry in entries {
            if self.is_full() {
                break;
            }
            let name = entry.during(action)?.file_name().to_string_lossy().into_owned();
            if !known(&name) {
                self.wrong("", &format!("{directory}/{name}"), "no list speaks of it");
            }
        }
        Ok(())
    }
}
