//! Fetching layers: several at a time, each unpacked while it comes.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use anyhow::Context as _;
use overlay_store::{Builder, Expected};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::resolve::Answers;
use super::{Event, LayerPlan, Observer, Plan, StageError};
use crate::settings::StageSettings;
use crate::source::{Kind, Source, SourceError};

/// Pieces of a blob that may wait for the unpacker: what bounds the memory of a transfer.
const PIECES: usize = 4;

/// Fetches and unpacks the layers that the plan says. When one fails, the others still complete:
/// the next attempt has less to do.
///
/// `max_size` bounds what one layer may grow to, in bytes.
pub(super) async fn layers(
    settings: &StageSettings,
    plan: &Plan,
    answers: &Answers,
    builder: &Builder,
    max_size: u64,
    source: Arc<Source>,
    observer: &Observer,
) -> Result<(), StageError> {
    let mut waiting: VecDeque<LayerPlan> = plan.to_fetch().cloned().collect();
    let of = waiting.len();
    let mut running = JoinSet::new();
    let (mut done, mut sources, mut stores) = (0, Vec::new(), Vec::new());
    loop {
        while running.len() < settings.jobs.max(1)
            && let Some(layer) = waiting.pop_front()
        {
            let Some(answer) = answers.images.get(&layer.binding) else { continue };
            let (source, request, image) =
                (Arc::clone(&source), answer.request.clone(), Arc::clone(&answer.image));
            let (ids, builder) = (answer.ids.clone(), builder.clone());
            running.spawn(async move {
                let Some(blob) = image.layers.get(layer.index) else { return (layer, Ok(())) };
                let expected =
                    Expected { blob: blob.digest, size: blob.size, diff_id: blob.diff_id };
                let (sender, receiver) = mpsc::channel(PIECES);
                let index = layer.index;
                let unpacking = tokio::task::spawn_blocking(move || {
                    let pieces = Pieces { receiver, piece: Vec::new(), at: 0 };
                    builder.write_layer(&ids, index, &expected, max_size, pieces)
                });
                let (sent, written) =
                    tokio::join!(source.layer(&request, &image, blob, sender), unpacking);
                (layer, judge(sent, written))
            });
        }
        let Some(joined) = running.join_next().await else { break };
        let (layer, result) = joined.context("a transfer broke off")?;
        match result {
            Ok(()) => {
                done += 1;
                observer(Event::Layer { diff_id: layer.diff_id, fetched: layer.size, done, of });
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

enum Failure {
    Source(SourceError),
    Store(overlay_store::Error),
    Broken(anyhow::Error),
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
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.receiver.blocking_recv() {
                Some(piece) => (self.piece, self.at) = (piece, 0),
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
