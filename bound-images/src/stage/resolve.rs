//! Asking for manifests and configs: what each binding means, now and for good.
//!
//! A tag is resolved once. Its digest is written down before the first layer is fetched, so that
//! a stage that is interrupted goes on with the same image.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use binding::{Binding, Platform, Reference};
use oci_digest::Digest;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::home::{Home, Work};
use super::neighbour::Neighbour;
use super::{Event, Observer, StageError};
use crate::settings::StageSettings;
use crate::source::{ImageBytes, Request, Source, credentials};
use crate::state::{Held, State};
use crate::system::file::{read_optional, write_json};

/// The largest file of resolutions that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What one binding's reference gave.
pub(super) struct Answer {
    pub(super) request: Request,
    pub(super) image: Arc<ImageBytes>,
    /// Layer ids in the store, base first.
    pub(super) ids: Vec<String>,
}

/// What all bindings gave, by name of the link; optional ones may have failed.
pub(super) struct Answers {
    pub(super) images: BTreeMap<String, Answer>,
    failed: BTreeMap<String, String>,
}

impl Answers {
    /// Every layer once: its id, the ids of its image's layers, its place among them, its diff id.
    pub(super) fn layers(&self) -> Vec<(&str, &[String], usize, Digest)> {
        let mut seen = BTreeSet::new();
        let mut layers = Vec::new();
        for answer in self.images.values() {
            for (index, (id, blob)) in answer.ids.iter().zip(&answer.image.layers).enumerate() {
                if seen.insert(id.as_str()) {
                    layers.push((id.as_str(), answer.ids.as_slice(), index, blob.diff_id));
                }
            }
        }
        layers
    }

    /// Takes back the answer of a binding: its image cannot be had.
    pub(super) fn fail(&mut self, binding: &str, why: String) {
        self.images.remove(binding);
        self.failed.insert(binding.to_owned(), why);
    }

    /// Bindings that failed, and why.
    pub(super) fn missing(&self) -> Vec<(String, String)> {
        self.failed.iter().map(|(name, why)| (name.clone(), why.clone())).collect()
    }
}

/// What a reference resolved to for a platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Resolution {
    reference: Reference,
    platform: Platform,
    digest: Digest,
}

/// Asks `source` for the images of all bindings, a few at a time, and writes down in `work` what
/// tags resolved to.
pub(super) async fn all(
    settings: &StageSettings,
    state: &State,
    held: Option<&Held>,
    place: (&Home, Option<&Work>, &[Neighbour]),
    source: &Arc<Source>,
    observer: &Observer,
) -> Result<Answers, StageError> {
    let (home, work, neighbours) = place;
    let mut known = Vec::new();
    if !settings.refresh {
        for path in work.map(|work| home.resolutions(work)).unwrap_or_default() {
            known.extend(read(&path)?);
        }
        known.extend(recorded(held));
    }
    let prefetched = home.prefetched();
    let bindings = &state.bindings.bindings;
    let mut waiting: Vec<(String, Request)> = bindings
        .iter()
        .rev()
        .map(|binding| (binding.name.clone(), request(binding, state, settings, &known)))
        .collect();
    let mut answers = Answers { images: BTreeMap::new(), failed: BTreeMap::new() };
    let mut running = JoinSet::new();
    let mut failed = Vec::new();
    loop {
        while running.len() < settings.jobs.max(1)
            && let Some((name, request)) = waiting.pop()
        {
            let source = Arc::clone(source);
            // What is in a store of ours already was judged when it came there.
            let here = request.wanted().and_then(|digest| {
                neighbours
                    .iter()
                    .chain(&prefetched)
                    .find_map(|near| near.image(digest, &request.platform))
            });
            running.spawn(async move {
                let image = match here {
                    Some(image) => Ok(image),
                    None => source.image(&request).await,
                };
                (name, request, image)
            });
        }
        let Some(joined) = running.join_next().await else { break };
        let (name, request, image) = joined.context("a request for an image broke off")?;
        let Some(binding) = bindings.iter().find(|binding| binding.name == name) else { continue };
        match image {
            Ok(image) => {
                let digest = image.list.as_ref().map_or(image.manifest.digest, |list| list.digest);
                observer(Event::Resolved {
                    binding: &name,
                    reference: request.reference.to_string(),
                    digest,
                });
                let diff_ids: Vec<Digest> =
                    image.layers.iter().map(|layer| layer.diff_id).collect();
                let ids = overlay_store::id::layer_ids(&diff_ids);
                let platform = request.platform.clone();
                let reference = request.reference.clone();
                known.retain(|known| known.reference != reference || known.platform != platform);
                known.push(Resolution { reference, platform, digest });
                answers.images.insert(name, Answer { request, image: Arc::new(image), ids });
            }
            // A machine without skopeo is not an image that cannot be had.
            Err(error) if settings.late || (!binding.required && !error.kind.is_installation()) => {
                let optional = !binding.required;
                observer(Event::Unavailable { binding: &name, optional, why: error.to_string() });
                answers.failed.insert(name, error.to_string());
            }
            Err(error) => failed.push((name, error)),
        }
    }
    if let Some(work) = work {
        write(&work.resolved(), &mut known)?;
    }
    failed.sort_by(|one, other| one.0.cmp(&other.0));
    if failed.is_empty() { Ok(answers) } else { Err(StageError::Sources(failed)) }
}

fn request(
    binding: &Binding,
    state: &State,
    settings: &StageSettings,
    known: &[Resolution],
) -> Request {
    let platform = binding.pull.platform(&state.host);
    let pin = known
        .iter()
        .find(|known| known.reference == binding.reference && known.platform == platform)
        .map(|known| known.digest)
        .filter(|_| !binding.reference.is_pinned());
    Request {
        reference: binding.reference.clone(),
        pin,
        platform,
        pull: binding.pull.clone(),
        auth_files: credentials::candidates(
            binding.pull.auth_file.as_deref(),
            settings.authfile.as_deref(),
            &state.root,
        ),
    }
}

/// What the record of the store that is there says: a tag in it is not resolved again.
fn recorded(held: Option<&Held>) -> Vec<Resolution> {
    let bindings = held.into_iter().flat_map(|held| &held.record.bindings);
    bindings
        .filter_map(|binding| {
            let digest = binding.list.or(binding.manifest)?;
            let (reference, platform) = (binding.reference.clone(), binding.platform.clone());
            Some(Resolution { reference, platform, digest })
        })
        .collect()
}

fn read(path: &Path) -> anyhow::Result<Vec<Resolution>> {
    let bytes = read_optional(path, MAX_FILE)?.unwrap_or_default();
    // An unreadable file is one that a crash cut off, or not ours: then all is resolved anew.
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

fn write(path: &Path, known: &mut [Resolution]) -> anyhow::Result<()> {
    known.sort_by(|one, other| {
        (&one.reference, &one.platform).cmp(&(&other.reference, &other.platform))
    });
    write_json(path, &known)
}
