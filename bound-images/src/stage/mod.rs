//! Making the store of a root complete: look, resolve, plan, copy and fetch, verify, publish.
//!
//! Nothing is visible at the store's place until all of it is there; what was fetched before a
//! failure is kept beside it and used by the next attempt.

mod copy;
mod event;
mod fetch;
mod place;
mod plan;
mod resolve;

pub use event::{Event, Observer};
pub use plan::{Action, LayerPlan, Plan};

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;

use anyhow::Context as _;
use binding::{Finding, RECORD_FILE, Record, Root};
use overlay_store::{Builder, Damage};

use crate::settings::StageSettings;
use crate::source::{Source, SourceError};
use crate::state::{Held, State, StoreState};

/// What a stage did.
#[derive(Debug)]
pub enum Outcome {
    /// The root binds nothing.
    NoBindings,
    /// The store is complete already: its id.
    AlreadyThere(String),
    /// Only the plan was asked for.
    Planned(Plan),
    /// A store was published.
    Published(Published),
}

/// A store that was published.
#[derive(Debug)]
pub struct Published {
    /// Its id.
    pub store_id: String,
    /// How it was made.
    pub plan: Plan,
    /// Optional images that could not be had, by binding.
    pub missing: Vec<(String, String)>,
}

/// Why a root was not staged.
#[derive(Debug)]
pub enum StageError {
    /// The bindings are wrong; all that was found, warnings included.
    Bindings(Vec<Finding>),
    /// The store that is there is damaged.
    Damaged(Vec<Damage>),
    /// What is there must not be touched, or the place is unfit: why, and what to do.
    Refused(String),
    /// The disk has no room for it: how much is needed, how much is free.
    NoSpace(String),
    /// Unpacking needs rights that this process has not.
    NotRoot,
    /// Images could not be had, by binding.
    Sources(Vec<(String, SourceError)>),
    /// The layers of an image do not unpack: binding and why.
    Layers(Vec<(String, overlay_store::Error)>),
    /// Anything else, mostly I/O.
    Other(anyhow::Error),
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bindings(findings) => {
                let errors = findings.iter().filter(|finding| finding.is_error()).count();
                let problems = crate::render::count(errors, "problem");
                write!(f, "nothing was staged: the root's bindings have {problems}; solve that first")
            }
            Self::Damaged(damage) => write!(
                f,
                "nothing was staged: the store that is there is damaged ({}); stage with --repair to replace it",
                crate::render::count(damage.len(), "place")
            ),
            Self::NotRoot => f.write_str(
                "nothing was staged: layers hold files of many owners and device nodes: run it as root (a dry run needs no root)",
            ),
            Self::Refused(why) | Self::NoSpace(why) => write!(f, "nothing was staged: {why}"),
            Self::Sources(list) => {
                write!(f, "nothing was staged: {} could not be had", crate::render::count(list.len(), "image"))
            }
            Self::Layers(list) => {
                write!(f, "nothing was staged: {} could not be stored", crate::render::count(list.len(), "layer"))
            }
            Self::Other(error) => write!(f, "nothing was staged: {error:#}"),
        }
    }
}

impl From<anyhow::Error> for StageError {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<overlay_store::Error> for StageError {
    fn from(error: overlay_store::Error) -> Self {
        Self::Other(error.into())
    }
}

/// Stages the root whose `state` was looked at. `source` is asked for images, `observer` is told
/// what happens.
///
/// # Errors
/// [`StageError`]; then the store's place is as it was before.
pub async fn stage(
    settings: &StageSettings,
    state: &State,
    source: Arc<Source>,
    observer: &Observer,
) -> Result<Outcome, StageError> {
    let findings = state.bindings.findings.clone();
    if findings.iter().any(Finding::is_error) {
        return Err(StageError::Bindings(findings));
    }
    for finding in findings {
        observer(Event::Finding(&finding));
    }
    let held = match &state.store {
        StoreState::Ours(held) if held.is_whole() && !settings.refresh => {
            if !settings.dry_run
                && let Ok(root) = Root::open(&state.root)
                && let Ok(place) = place::find(&root, &[])
            {
                place.sweep();
            }
            return Ok(Outcome::AlreadyThere(held.record.store_id()));
        }
        StoreState::Ours(held) => Some(held.as_ref()),
        StoreState::Absent | StoreState::Foreign(_) if state.bindings.bindings.is_empty() => {
            return Ok(Outcome::NoBindings);
        }
        StoreState::Absent => None,
        StoreState::Foreign(why) => {
            return Err(StageError::Refused(format!(
                "{} holds something that bound-images did not put there ({why}); move it away first",
                state.root.join(binding::STORE_PATH).display()
            )));
        }
    };
    if let Some(held) = held
        && !held.damage.is_empty()
        && !settings.repair
    {
        return Err(StageError::Damaged(held.damage.clone()));
    }
    let root =
        Root::open(&state.root).with_context(|| format!("cannot open {}", state.root.display()))?;
    let place = place::find(&root, &links(held))?;
    if settings.dry_run {
        return plan_only(settings, state, held, &place, source, observer).await;
    }
    place::require_root()?;
    let work = place.claim()?;
    let answers = resolve::all(settings, state, held, Some(&work), &source, observer).await?;
    let mut plan = make_plan(state, held, &answers, Some(work.builder()), true, &place)?;
    copy::plan(settings, &mut plan).await?;
    observer(Event::Planned(&plan));
    place.require_space(&plan)?;
    link_layers(held, &mut plan, work.builder())?;
    let room = place.available();
    fetch::layers(settings, &mut plan, &answers, work.builder(), room, source, observer).await?;
    finish(state, plan, answers, work, &place, observer)
}

async fn plan_only(
    settings: &StageSettings,
    state: &State,
    held: Option<&Held>,
    place: &place::Place,
    source: Arc<Source>,
    observer: &Observer,
) -> Result<Outcome, StageError> {
    let answers = resolve::all(settings, state, held, None, &source, observer).await?;
    let builder = place.unclaimed();
    let mut plan = make_plan(state, held, &answers, builder.as_ref(), false, place)?;
    copy::plan(settings, &mut plan).await?;
    place.require_space(&plan)?;
    Ok(Outcome::Planned(plan))
}

/// Link ids of the layers that are held, by which a running container gives itself away.
fn links(held: Option<&Held>) -> Vec<String> {
    let layers = held.into_iter().flat_map(|held| &held.store.layers);
    layers.map(|layer| overlay_store::id::link_id(&layer.id)).collect()
}

fn make_plan(
    state: &State,
    held: Option<&Held>,
    answers: &resolve::Answers,
    builder: Option<&Builder>,
    prove: bool,
    place: &place::Place,
) -> Result<Plan, StageError> {
    let mut there = BTreeMap::new();
    for (id, ids, index, diff_id) in answers.layers() {
        let kept = match builder {
            // What lies there was written by us, or came with the root: it is read before use.
            Some(builder) if prove => builder.proved_layer(ids, index, diff_id)?,
            Some(builder) => builder.layer(id)?,
            None => None,
        };
        let held_layer = held.and_then(|held| held.sound_layer(id));
        if let Some(layer) = kept {
            there.insert(id.to_owned(), (Action::Keep, layer.size));
        } else if let Some(layer) = held_layer {
            there.insert(id.to_owned(), (Action::Link, layer.size.unwrap_or_default()));
        }
    }
    Plan::new(&state.bindings.bindings, &state.host, answers, &there, place.store())
        .map_err(StageError::Bindings)
}

/// Takes layers over from the store that is there. Where the file system has no room for another
/// link to a file, the layer is fetched.
fn link_layers(held: Option<&Held>, plan: &mut Plan, builder: &Builder) -> Result<(), StageError> {
    let Some(held) = held else { return Ok(()) };
    for layer in plan.layers.iter_mut().filter(|layer| layer.action == Action::Link) {
        match builder.link_layer(&held.directory, &layer.id) {
            Ok(true) => {}
            Ok(false) => layer.action = Action::Fetch,
            Err(error)
                if matches!(
                    error.io_kind(),
                    Some(ErrorKind::TooManyLinks | ErrorKind::CrossesDevices)
                ) =>
            {
                layer.action = Action::Fetch;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn finish(
    state: &State,
    plan: Plan,
    answers: resolve::Answers,
    work: place::Work,
    place: &place::Place,
    observer: &Observer,
) -> Result<Outcome, StageError> {
    let builder = work.builder();
    let record = plan.record(&answers, |id| Ok(builder.layer(id)?.map(|layer| layer.size)))?;
    let text = record.canonical();
    builder.finish(&plan.images(&answers), &[(RECORD_FILE, &text)])?;
    verify(builder, &record)?;
    if let StoreState::Ours(held) = &state.store
        && held.damage.is_empty()
        && held.record.canonical() == text
    {
        // Nothing changed but that an optional image was asked for again, in vain.
        work.remove()?;
        return Ok(Outcome::AlreadyThere(record.store_id()));
    }
    observer(Event::Publishing);
    place.require_unused(&links(match &state.store {
        StoreState::Ours(held) => Some(held),
        StoreState::Absent | StoreState::Foreign(_) => None,
    }))?;
    overlay_store::publish(builder.directory(), place.store())?;
    if let Err(error) = work.remove() {
        // The store is in its place; what is left beside it goes at the next stage.
        log::warn!("{error}");
    }
    let missing = answers.missing();
    Ok(Outcome::Published(Published { store_id: record.store_id(), plan, missing }))
}

/// Reads what was written, as anybody else would, before it becomes visible.
fn verify(builder: &Builder, record: &Record) -> Result<(), StageError> {
    let store = overlay_store::Store::open(builder.directory())?;
    let mut damage = overlay_store::check(&store)?;
    damage.extend(crate::state::record_damage(record, &store));
    match damage.first() {
        None => Ok(()),
        Some(first) => Err(StageError::Refused(format!(
            "the store that was just written is not right: {first}"
        ))),
    }
}
