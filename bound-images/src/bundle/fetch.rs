//! Getting layers into a bundle: several at a time, as stored, from another bundle where one has them.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::BundleError;
use super::ask::Found;
use super::event::{Event, Observer};
use super::place::unfit;
use super::plan::{Action, BlobPlan, Plan};
use super::work::Work;
use crate::source::several::Several;
use crate::source::{Kind, LayerBlob, Sink, SourceError};

/// Pieces of a blob that may wait for the disk: what bounds the memory of a transfer.
const PIECES: usize = 4;

/// Copies or fetches what the plan says, and corrects it where a layer had to be fetched instead. When one fails, the
/// others still complete: the next run has less to do.
pub(super) async fn layers(
    jobs: usize,
    plan: &mut Plan,
    found: &[Found],
    work: &Arc<Work>,
    sources: &Arc<Several>,
    observer: &Observer,
) -> Result<(), BundleError> {
    let is_to_get = |blob: &&BlobPlan| matches!(blob.action, Action::Copy | Action::Fetch);
    let mut waiting: VecDeque<BlobPlan> = plan.blobs.iter().filter(is_to_get).cloned().collect();
    if jobs <= 1 {
        // The order costs no time then, and the more are complete when it is cut off.
        waiting.make_contiguous().sort_by_key(|blob| (blob.action, blob.size));
    }
    let of = waiting.len();
    let mut running = JoinSet::new();
    let (mut done, mut sources_failed, mut place_failed) = (0, Vec::new(), None);
    loop {
        // A disk that is full, or gone, is not tried with the rest of them.
        while running.len() < jobs.max(1)
            && place_failed.is_none()
            && let Some(blob) = waiting.pop_front()
        {
            let Some(one) = found.get(blob.image) else { continue };
            let Some(layer) = one.image.layers.get(blob.index) else { continue };
            let job = Job {
                found: one.clone(),
                layer: layer.clone(),
                work: Arc::clone(work),
                sources: Arc::clone(sources),
            };
            running.spawn(async move {
                let result = job.run(&blob).await;
                (blob, job.found.wish.name(), result)
            });
        }
        let Some(joined) = running.join_next().await else { break };
        let (blob, name, result) = joined.context("a transfer broke off")?;
        match result {
            Ok((action, fault)) => {
                done += 1;
                if let Some(why) = fault {
                    observer(Event::NotCopied { digest: blob.digest, why });
                }
                observer(Event::Blob { digest: blob.digest, action, size: blob.size, done, of });
                let planned = plan
                    .blobs
                    .iter_mut()
                    .find(|known| (known.digest, known.size) == (blob.digest, blob.size));
                if let Some(planned) = planned {
                    planned.action = action;
                }
            }
            Err(Failure::Source(error)) => sources_failed.push((name, error)),
            Err(Failure::Place(error)) => place_failed = Some(error),
        }
    }
    if let Some(error) = place_failed {
        return Err(unfit(error, &plan.bundle));
    }
    plan.sort();
    sources_failed.sort_by(|one, other| one.0.cmp(&other.0));
    if sources_failed.is_empty() { Ok(()) } else { Err(BundleError::Sources(sources_failed)) }
}

enum Failure {
    Source(SourceError),
    Place(io::Error),
}

/// What it takes to get one layer.
struct Job {
    found: Found,
    layer: LayerBlob,
    work: Arc<Work>,
    sources: Arc<Several>,
}

impl Job {
    /// Gets the layer, and says how, and why a copy could not be used.
    async fn run(&self, blob: &BlobPlan) -> Result<(Action, Option<String>), Failure> {
        let (request, image) = (&self.found.wish.request, &self.found.image);
        let mut fault = None;
        let from = blob.from.as_deref().filter(|_| blob.action == Action::Copy);
        if let Some(bundle) = self.sources.bundles.iter().find(|one| Some(one.path()) == from) {
            let copied = self.transfer(|sink| bundle.layer(request, &self.layer, sink)).await;
            match copied {
                Ok(()) => return Ok((Action::Copy, None)),
                Err(Failure::Source(error)) => fault = Some(error.why),
                Err(failure) => return Err(failure),
            }
        }
        let registry = &self.sources.registry;
        let fetch = || self.transfer(|sink| registry.layer(request, image, &self.layer, sink));
        let fetched = match fetch().await {
            Err(Failure::Source(error))
                if error.kind == Kind::Corrupt && registry.pass_over(&self.layer) =>
            {
                fetch().await
            }
            fetched => fetched,
        };
        match (fetched, fault) {
            (Ok(()), fault) => Ok((Action::Fetch, fault)),
            (Err(Failure::Source(mut error)), Some(fault)) => {
                error.why = format!("{}; {fault}", error.why);
                Err(Failure::Source(error))
            }
            (Err(failure), _) => Err(failure),
        }
    }

    /// Writes what `send` delivers; only what it says is whole gets its name.
    async fn transfer<F>(&self, send: impl FnOnce(Sink) -> F) -> Result<(), Failure>
    where
        F: Future<Output = Result<(), SourceError>>,
    {
        let (sender, receiver) = mpsc::channel(PIECES);
        let work = Arc::clone(&self.work);
        let writing = tokio::task::spawn_blocking(move || work.receive(receiver));
        let (sent, written) = tokio::join!(send(Sink::from(sender)), writing);
        let written = written.map_err(|error| Failure::Place(io::Error::other(error)))?;
        match (sent, written) {
            (Ok(()), Ok(part)) => {
                let (work, digest) = (Arc::clone(&self.work), self.layer.digest);
                let kept = tokio::task::spawn_blocking(move || work.keep(&part, digest)).await;
                kept.map_err(io::Error::other).and_then(|kept| kept).map_err(Failure::Place)
            }
            (Err(error), Ok(part)) => {
                self.work.discard(&part);
                Err(Failure::Source(error))
            }
            // The source only noticed that nobody listened any more.
            (_, Err(error)) => Err(Failure::Place(error)),
        }
    }
}
