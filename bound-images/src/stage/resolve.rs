//! Asking for manifests and configs: what each binding means, now and for good.
//!
//! A tag is resolved once. Its digest is written down before the first layer is fetched, so that
//! a stage that is interrupted goes on with the same image.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use binding::{Binding, Platform, Reference};
use oci_digest::Digest;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::place::Work;
use super::{Event, Observer, StageError};
use crate::settings::StageSettings;
use crate::source::{ImageBytes, Request, Source, SourceError, credentials};
use crate::state::{Held, State};

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
    failed: BTreeMap<String, SourceError>,
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

    /// Optional bindings that failed, and why.
    pub(super) fn missing(&self) -> Vec<(String, String)> {
        self.failed.iter().map(|(name, error)| (name.clone(), error.to_string())).collect()
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
    work: Option<&Work>,
    source: &Arc<Source>,
    observer: &Observer,
) -> Result<Answers, StageError> {
    let mut known = match work {
        Some(work) if !settings.refresh => read(&work.resolved())?,
        _ => Vec::new(),
    };
    if !settings.refresh {
        known.extend(recorded(held));
    }
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
            running.spawn(async move {
                let image = source.image(&request).await;
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
            Err(error) if !binding.required && !error.kind.is_installation() => {
                observer(Event::Unavailable { binding: &name, why: error.to_string() });
                answers.failed.insert(name, error);
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
    use std::io::Read as _;
    let open = || {
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        File::options().read(true).custom_flags(flags).open(path)
    };
    let file = match open() {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot open {}", path.display())),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    // An unreadable file is one that a crash cut off, or not ours: then all is resolved anew.
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

fn write(path: &Path, known: &mut [Resolution]) -> anyhow::Result<()> {
    known.sort_by(|one, other| {
        (&one.reference, &one.platform).cmp(&(&other.reference, &other.platform))
    });
    let directory = path.parent().unwrap_or(path);
    let save = || {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&serde_json::to_vec(known)?)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        fs::File::open(directory)?.sync_all()
    };
    save().with_context(|| format!("cannot write {}", path.display()))
}
