//! Images from a bundle: any OCI layout, found by digest or by the full name in an annotation.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use binding::pull::Platform;
use binding::reference::Reference;
use oci_digest::Digest;

use super::blob::{Delivery, LayerBlob, PIECE, Sink};
use super::error::{Asked, Kind, Refusal, SourceError};
use super::layout::Layout;
use super::manifest::{
    DOCKER_LIST, Descriptor, MAX_CONFIG, MAX_MANIFEST, Manifest, OCI_INDEX, Parts, assemble,
    check_config_descriptor, no_instance, parse_manifest,
};
use super::platform::choose;
use super::{ImageBytes, RawManifest, Request};

/// The annotations that may carry an image's full name, of the OCI layout and of containerd.
const NAMES: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];
/// Deepest nesting of indexes that is searched.
const MAX_DEPTH: usize = 8;
/// Most descriptors that are looked at in one bundle.
const MAX_ENTRIES: usize = 10_000;
/// Most names that an error lists.
const MAX_NAMES: usize = 20;

/// An OCI layout to read images from.
#[derive(Clone, Debug)]
pub struct Bundle {
    layout: Arc<Layout>,
    entries: Arc<Vec<Descriptor>>,
}

impl Bundle {
    /// Opens a layout and reads its whole index tree.
    ///
    /// # Errors
    /// When `path` is no OCI layout, or its index is too deep, too large or unreadable. The
    /// image that the error names is the bundle itself.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let read = || {
            let layout = Layout::open(path)?;
            let entries = walk(&layout)?;
            Ok(Self { layout: Arc::new(layout), entries: Arc::new(entries) })
        };
        read().map_err(|refusal: Refusal| refusal.of(path.display()).asked(Asked::Bundle))
    }

    /// See [`super::Source::image`].
    ///
    /// # Errors
    /// [`SourceError`].
    pub async fn image(&self, request: &Request) -> Result<ImageBytes, SourceError> {
        let (bundle, wanted) = (self.clone(), request.clone());
        let work = move || bundle.read_image(&wanted);
        in_background(work).await.map_err(|refusal| of_bundle(refusal, request))
    }

    /// See [`super::Source::layer`].
    ///
    /// # Errors
    /// [`SourceError`].
    pub async fn layer(
        &self,
        request: &Request,
        blob: &LayerBlob,
        sink: impl Into<Sink>,
    ) -> Result<(), SourceError> {
        let layout = Arc::clone(&self.layout);
        let delivery = Delivery::new(blob.digest, blob.size, sink);
        let work = move || send_blob(&layout, delivery);
        in_background(work).await.map_err(|refusal| of_bundle(refusal, request))
    }

    /// Whether it has a blob of that digest and size, as far as its name and length tell.
    #[must_use]
    pub fn has(&self, digest: Digest, size: u64) -> bool {
        self.layout.blob(digest, size).is_ok()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.layout.path()
    }

    fn read_image(&self, request: &Request) -> Result<ImageBytes, Refusal> {
        let found = match request.wanted() {
            Some(digest) => self.entries.iter().find(|entry| entry.digest == digest),
            None => find_name(&self.entries, &request.reference, &request.platform)
                .map_err(|refusal| self.layout.refuse(refusal.kind, refusal.why))?,
        };
        let found = found.ok_or_else(|| {
            let why = lacks(&self.entries, &request.reference, request.wanted());
            self.layout.refuse(Kind::NotFound, why)
        })?;
        let top = self.manifest(found)?;
        let (list, (manifest, parsed)) = match top {
            (raw, Manifest::List { instances, .. }) => {
                let instance = choose(&instances, &request.platform)
                    .ok_or_else(|| no_instance(&instances, &request.platform))?;
                (Some(raw), self.manifest(instance)?)
            }
            single => (None, single),
        };
        let Manifest::Image { config: config_descriptor, layers, .. } = parsed else {
            return Err(Refusal::new(Kind::Unsupported, "its list names another list"));
        };
        check_config_descriptor(&config_descriptor)?;
        let config =
            self.layout.read_blob(config_descriptor.digest, config_descriptor.size, MAX_CONFIG)?;
        assemble(Parts { list, manifest, config_descriptor, layers, config }, &request.platform)
    }

    fn manifest(&self, entry: &Descriptor) -> Result<(RawManifest, Manifest), Refusal> {
        let bytes = self.layout.read_blob(entry.digest, entry.size, MAX_MANIFEST)?;
        let parsed = parse_manifest(&bytes)?;
        let (Manifest::List { media_type, .. } | Manifest::Image { media_type, .. }) = &parsed;
        let media_type = media_type.clone();
        Ok((RawManifest { digest: entry.digest, media_type, bytes }, parsed))
    }
}

/// Every descriptor of the index tree, breadth first, so that an image named near the top is found
/// there. A nested index whose blob is missing is passed over: a bundle may hold a part of a list.
fn walk(layout: &Layout) -> Result<Vec<Descriptor>, Refusal> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut queue = VecDeque::from([(0, layout.index()?)]);
    while let Some((depth, entries)) = queue.pop_front() {
        for entry in &entries {
            let nested = matches!(entry.media_type.as_deref(), Some(OCI_INDEX | DOCKER_LIST));
            if !nested || !seen.insert(entry.digest) {
                continue;
            }
            if depth >= MAX_DEPTH {
                let why = format_args!("its indexes are nested deeper than {MAX_DEPTH}");
                return Err(layout.refuse(Kind::Unsupported, why));
            }
            match layout.read_blob(entry.digest, entry.size, MAX_MANIFEST) {
                Ok(bytes) => {
                    if let Manifest::List { instances, .. } = parse_manifest(&bytes)? {
                        queue.push_back((depth + 1, instances));
                    }
                }
                Err(refusal) if refusal.kind == Kind::NotFound => {}
                Err(refusal) => return Err(refusal),
            }
        }
        found.extend(entries);
        if found.len() > MAX_ENTRIES {
            let why = format_args!("its indexes have more than {MAX_ENTRIES} entries");
            return Err(layout.refuse(Kind::Unsupported, why));
        }
    }
    Ok(found)
}

/// The full names that a descriptor carries. `ref.name` is often only a tag: that is no full name.
pub(crate) fn names(entry: &Descriptor) -> impl Iterator<Item = Reference> {
    NAMES
        .iter()
        .filter_map(|key| entry.annotations.get(*key))
        .filter(|text| text.contains('/'))
        // What does not parse is somebody else's annotation, not our concern.
        .filter_map(|text| Reference::parse(text).ok())
}

/// The entry that carries the name. Several are fine when they are platforms of one image.
pub(crate) fn find_name<'a>(
    entries: &'a [Descriptor],
    wanted: &Reference,
    platform: &Platform,
) -> Result<Option<&'a Descriptor>, Refusal> {
    let named: BTreeMap<Digest, &Descriptor> = entries
        .iter()
        .filter(|entry| names(entry).any(|name| name == *wanted))
        .map(|entry| (entry.digest, entry))
        .collect();
    if named.len() < 2 {
        return Ok(named.into_values().next());
    }
    // In the order of the index, as a list would be searched.
    let mut left = named.clone();
    let candidates: Vec<&Descriptor> =
        entries.iter().filter_map(|entry| left.remove(&entry.digest)).collect();
    if candidates.iter().any(|entry| entry.platform.is_none()) {
        let digests: Vec<String> = named.keys().take(MAX_NAMES).map(Digest::to_string).collect();
        let why = format!("{} images carry the name: {}", named.len(), digests.join(", "));
        return Err(Refusal::new(Kind::Unsupported, why));
    }
    let copies: Vec<Descriptor> = candidates.into_iter().cloned().collect();
    let chosen = choose(&copies, platform).ok_or_else(|| no_instance(&copies, platform))?;
    Ok(named.get(&chosen.digest).copied())
}

/// "It lacks …", naming what it has.
fn lacks(entries: &[Descriptor], reference: &Reference, wanted: Option<Digest>) -> String {
    let have: BTreeSet<String> =
        entries.iter().flat_map(names).map(|name| name.to_string()).collect();
    let what = match wanted {
        Some(digest) => format!("nothing in its index has the digest {digest}"),
        None => format!("nothing in its index has the name {reference}"),
    };
    let shown: Vec<String> = have.iter().take(MAX_NAMES).cloned().collect();
    match (have.len(), have.len().saturating_sub(MAX_NAMES)) {
        (0, _) => format!("{what} (it has {} entries, none with a full name)", entries.len()),
        (_, 0) => format!("{what} (it has: {})", shown.join(", ")),
        (_, more) => format!("{what} (it has: {} and {more} more)", shown.join(", ")),
    }
}

fn send_blob(layout: &Layout, mut delivery: Delivery) -> Result<(), Refusal> {
    let mut file = layout.blob(delivery.digest(), delivery.size())?;
    let mut piece = vec![0; PIECE];
    loop {
        let count = file.read(&mut piece).map_err(|error| {
            layout.refuse(Kind::Io, format_args!("blob {}: {error}", delivery.digest()))
        })?;
        match piece.get(..count) {
            Some(filled) if count > 0 => delivery.push_blocking(filled)?,
            _ => break,
        }
    }
    delivery.finish().map_err(|refusal| {
        // On a disk nothing comes later: what is missing is damage, not a broken connection.
        let kind = if refusal.kind == Kind::Network { Kind::Corrupt } else { refusal.kind };
        layout.refuse(kind, refusal.why)
    })
}

fn of_bundle(refusal: Refusal, request: &Request) -> SourceError {
    refusal.of(&request.reference).asked(Asked::Bundle)
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Refusal::new(Kind::Io, format!("the reader broke: {error}"))))
}

#[cfg(test)]
#[path = "testing/bundle.rs"]
mod tests;
