//! Fetching layers: several at a time, each unpacked while it comes. Layers to be copied go the same
//! way, so that the network is busy while the disk is, and are fetched when no copy is whole.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::Context as _;
use overlay_store::{Budget, Builder, Expected};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::kept::{self, Kept};
use super::resolve::Answers;
use super::{Action, Event, LayerPlan, Meter, Observer, Plan, StageError, copy};
use crate::settings::StageSettings;
use crate::source::{Begun, ImageBytes, Kind, LayerBlob, Request, Sink, Source, SourceError};

/// Pieces of a blob that may wait for the unpacker: what bounds the memory of a transfer.
const PIECES: usize = 4;

/// Copies, or fetches and unpacks, the layers that the plan says, and corrects the plan where a layer
/// had to be fetched instead. When one fails, the others still complete: the next attempt has less
/// to do.
///
/// `budget` bounds what all of them take on disk together.
pub(super) async fn layers(
    settings: &StageSettings,
    plan: &mut Plan,
    answers: &Answers,
    builder: &Builder,
    budget: &Budget,
    source: Arc<Source>,
    observer: &Observer,
) -> Result<(), StageError> {
    let mut waiting: VecDeque<LayerPlan> = plan.to_copy().chain(plan.to_fetch()).cloned().collect();
    if settings.jobs <= 1 {
        // The order costs no time then, and the more are complete when it is cut off.
        waiting.make_contiguous().sort_by_key(|layer| (layer.action, layer.size));
    }
    let of = waiting.len();
    let meter = Meter::new(budget);
    if of > 0 {
        observer(Event::Fetching(&meter));
    }
    let mut running = JoinSet::new();
    let (mut done, mut sources, mut stores) = (0, Vec::new(), Vec::new());
    loop {
        while running.len() < settings.jobs.max(1)
            && let Some(layer) = waiting.pop_front()
        {
            let Some(answer) = answers.images.get(&layer.binding) else { continue };
            let came = Arc::default();
            observer(Event::Begun { layer: &layer, came: &came });
            let job = Job {
                source: Arc::clone(&source),
                request: answer.request.clone(),
                image: Arc::clone(&answer.image),
                ids: answer.ids.clone(),
                builder: builder.clone(),
                budget: budget.clone(),
                received: vec![meter.counter(), Arc::clone(&came)],
            };
            running.spawn(async move {
                let result = job.run(&layer).await;
                (layer, result)
            });
        }
        let Some(joined) = running.join_next().await else { break };
        let (layer, result) = joined.context("a transfer broke off")?;
        if result.is_err() {
            observer(Event::Broken { diff_id: layer.diff_id });
        }
        match result {
            Ok(action) => {
                done += 1;
                let LayerPlan { diff_id, size, .. } = layer;
                observer(Event::Layer { diff_id, action, size, done, of });
                if let Some(planned) = plan.layers.iter_mut().find(|known| known.id == layer.id) {
                    planned.action = action;
                }
            }
            Err(Failure::Source(error)) => sources.push((layer.binding, error)),
            Err(Failure::Store(error)) => {
                stores.push((format!("{}: layer {}", layer.binding, layer.diff_id.short()), error));
            }
            Err(Failure::Broken(error)) => return Err(error.into()),
        }
    }
    sources.sort_by(|one, other| one.0.cmp(&other.0));
    if !stores.is_empty() {
        return Err(StageError::Layers(stores));
    }
    if sources.is_empty() { Ok(()) } else { Err(StageError::Sources(sources)) }
}

/// What it takes to get one layer.
struct Job {
    source: Arc<Source>,
    request: Request,
    image: Arc<ImageBytes>,
    ids: Vec<String>,
    builder: Builder,
    budget: Budget,
    received: Vec<Arc<AtomicU64>>,
}

impl Job {
    /// Gets the layer, and says how.
    async fn run(self, layer: &LayerPlan) -> Result<Action, Failure> {
        if layer.action == Action::Copy {
            match copy::layer(layer, &self.ids, &self.builder, &self.budget).await {
                Ok(Ok(true)) => return Ok(Action::Copy),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => return Err(Failure::Store(error)),
                Err(error) => return Err(Failure::Broken(error)),
            }
        }
        let Some(blob) = self.image.layers.get(layer.index) else { return Ok(Action::Fetch) };
        let mut may_keep = true;
        loop {
            let opened = if may_keep {
                Kept::open(self.builder.directory(), blob, &self.budget)
            } else {
                None
            };
            let is_kept = opened.is_some();
            let fetched = self.fetch(layer.index, blob, opened).await;
            let failure = fetched.as_ref().err();
            let lacks_room = is_kept && failure.is_some_and(Failure::is_full);
            if lacks_room || failure.is_none_or(Failure::is_damage) {
                kept::forget(self.builder.directory(), blob);
            }
            match fetched {
                Ok(()) => return Ok(Action::Fetch),
                // The layer itself may have the room.
                Err(_) if lacks_room => may_keep = false,
                Err(failure)
                    if failure.is_of_source()
                        && self.source.pass_over(blob, failure.is_damage()) => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn fetch(
        &self,
        index: usize,
        blob: &LayerBlob,
        opened: Option<(Kept, Begun)>,
    ) -> Result<(), Failure> {
        let expected = Expected { blob: blob.digest, size: blob.size, diff_id: blob.diff_id };
        let (sender, receiver) = mpsc::channel(PIECES);
        let (kept, begun) = opened.unzip();
        let sink = Sink::counted(sender, self.received.clone()).going_on(begun);
        let (ids, builder) = (self.ids.clone(), self.builder.clone());
        let budget = self.budget.clone();
        let unpacking = tokio::task::spawn_blocking(move || {
            let pieces = Pieces { receiver, kept, piece: Vec::new(), at: 0 };
            builder.write_layer(&ids, index, &expected, &budget, pieces)
        });
        let (sent, written) =
            tokio::join!(self.source.layer(&self.request, &self.image, blob, sink), unpacking);
        judge(sent, written)
    }
}

enum Failure {
    Source(SourceError),
    Store(overlay_store::Error),
    Broken(anyhow::Error),
}

impl Failure {
    /// Whether bytes came that were not those of the layer.
    fn is_damage(&self) -> bool {
        match self {
            Self::Source(error) => error.kind == Kind::Corrupt,
            Self::Store(error) => error.is_source_fault(),
            Self::Broken(_) => false,
        }
    }

    /// Whether the disk has no room for it.
    fn is_full(&self) -> bool {
        let kind = match self {
            Self::Store(error) => error.io_kind(),
            Self::Source(_) | Self::Broken(_) => None,
        };
        kind == Some(io::ErrorKind::StorageFull)
    }

    /// Whether the bytes were wrong, and not what was done with them.
    fn is_of_source(&self) -> bool {
        match self {
            Self::Source(_) => true,
            Self::Store(error) => error.is_source_fault(),
            Self::Broken(_) => false,
        }
    }
}

/// Which of the two sides is at fault: one ends when the other fails.
fn judge(
    sent: Result<(), SourceError>,
    written: Result<overlay_store::Result<overlay_store::Layer>, tokio::task::JoinError>,
) -> Result<(), Failure> {
    let written = match written {
        Ok(written) => written,
        Err(error) => {
            return Err(Failure::Broken(anyhow::Error::from(error).context("unpacking broke off")));
        }
    };
    match (sent, written) {
        // Its size, digest and diff id were checked while it was unpacked.
        (_, Ok(_)) => Ok(()),
        (Ok(()), Err(error)) => Err(Failure::Store(error)),
        (Err(error), Err(fault)) if error.kind == Kind::Cancelled => Err(Failure::Store(fault)),
        (Err(error), Err(_)) => Err(Failure::Source(error)),
    }
}

/// The pieces of a blob as a stream of bytes.
struct Pieces {
    receiver: mpsc::Receiver<Vec<u8>>,
    kept: Option<Kept>,
    piece: Vec<u8>,
    at: usize,
}

impl Pieces {
    /// What cannot be kept any more must not keep the layer from coming.
    fn keep(&mut self, piece: &[u8]) {
        if let Some(Err(error)) = self.kept.as_mut().map(|kept| kept.add(piece)) {
            log::info!("what comes of a blob is not kept any more: {error}");
            self.kept = None;
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.receiver.blocking_recv() {
                Some(piece) => {
                    self.keep(&piece);
                    (self.piece, self.at) = (piece, 0);
                }
                None => return Ok(0),
            }
        }
        let rest = self.piece.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}
