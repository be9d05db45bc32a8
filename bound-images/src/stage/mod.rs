//! Making the store of a root complete: look, resolve, plan, copy and fetch, verify, publish.
//!
//! Nothing is visible at the store's place until all of it is there; what was fetched before a
//! failure is kept beside it and used by the next attempt.

mod again;
mod copy;
mod error;
mod event;
mod fetch;
mod home;
mod kept;
mod late;
mod meter;
mod neighbour;
mod place;
mod plan;
mod pooled;
mod reading;
mod resolve;

pub use error::StageError;
pub use event::{Event, Observer};
pub use home::{Site, Wish};
pub use meter::{Meter, Reading};
pub use plan::{Action, LayerPlan, Plan};
pub use reading::read_all;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

use binding::{Binding, Finding, RECORD_FILE, Record, finding};
use overlay_store::Builder;

use self::home::{Home, Work};
use self::neighbour::Neighbour;
use self::resolve::Answers;
use crate::requirement;
use crate::settings::StageSettings;
use crate::source::Source;
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
    /// A store of the pool that has exactly these images is this root's as well now.
    Linked(Published),
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

/// Stages the root whose `state` was looked at, at the place `site`. `source` is asked for images,
/// `observer` is told what happens.
///
/// # Errors
/// [`StageError`]; then the store's place is as it was before.
pub async fn stage(
    settings: &StageSettings,
    state: &State,
    site: Site<'_>,
    source: Arc<Source>,
    observer: &Observer,
) -> Result<Outcome, StageError> {
    let mut again = None;
    let mut told = Vec::new();
    loop {
        let state = again.as_ref().unwrap_or(state);
        let source = Arc::clone(&source);
        match attempt(settings, state, site, source, (observer, &mut told)).await? {
            Some(outcome) => return Ok(outcome),
            None => again = Some(again::look(settings, state, site, observer)?),
        }
    }
}

/// One attempt; none when another stage had to be waited for. What is `told` is not told again.
async fn attempt(
    settings: &StageSettings,
    state: &State,
    site: Site<'_>,
    source: Arc<Source>,
    (observer, told): (&Observer, &mut Vec<Finding>),
) -> Result<Option<Outcome>, StageError> {
    judge_bindings(settings, state, observer, told)?;
    let held = match &state.store {
        StoreState::Ours(held) if held.is_whole() && !settings.refresh => {
            if !settings.dry_run
                && let Ok(home) = Home::find(site, state, None)
            {
                home.sweep().await;
            }
            return Ok(Some(Outcome::AlreadyThere(held.record.store_id())));
        }
        StoreState::Ours(held) => Some(held.as_ref()),
        StoreState::Absent | StoreState::Foreign(_) if state.bindings.bindings.is_empty() => {
            return Ok(Some(Outcome::NoBindings));
        }
        StoreState::Absent => None,
        StoreState::Foreign(why) => {
            return Err(StageError::Refused(format!(
                "{} holds something that bound-images did not put there ({why}); move it away first",
                state.root.join(binding::STORE_PATH).display()
            )));
        }
    };
    // What lies inside a root of this host came with its image: nobody here verified it, its files
    // belong to ostree's repository, and whoever boots it looks nowhere else.
    if let (Site::Pool { .. }, Some(held)) = (site, held)
        && held.name.is_none()
    {
        let what = match held.damage.is_empty() {
            true => "not what its files ask for",
            false => "damaged",
        };
        return Err(StageError::Refused(format!(
            "the root has a store inside of it ({}) that is {what}, and that cannot be changed here; \
             build the image anew, with the right store or with none",
            state.root.join(binding::STORE_PATH).display()
        )));
    }
    // A store in the pool is replaced by another one; what is inside a root is the only one it has.
    if let Some(held) = held
        && !held.damage.is_empty()
        && held.name.is_none()
        && !settings.repair
    {
        let bundle = settings.bundle.as_ref();
        let bundle = bundle.map(|path| format!(" --bundle {}", path.display())).unwrap_or_default();
        let repair = format!("{}{bundle} --repair", state.stage_command());
        return Err(StageError::Damaged(held.damage.clone(), repair));
    }
    let home = Home::find(site, state, held)?;
    let neighbours = home.neighbours(held);
    let settings = &settings_for(settings, &home);
    let stage =
        Stage { settings, state, held, home: &home, neighbours: &neighbours, source, observer };
    if settings.dry_run {
        return stage.plan_only().await.map(Some);
    }
    home::require_root()?;
    let Some(work) = home.claim().await? else { return Ok(None) };
    stage.run(work).await.map(Some)
}

/// Fetches what the bindings of `state` want into the place where its store would be made, and
/// publishes nothing: the root is not there now. True when all of it is there.
///
/// # Errors
/// [`StageError`]; what was complete is kept.
pub async fn prefetch(
    settings: &StageSettings,
    state: &State,
    site: Site<'_>,
    source: Arc<Source>,
    observer: &Observer,
) -> Result<bool, StageError> {
    home::require_root()?;
    let (home, settings, work) = loop {
        let home = Home::find(site, state, None)?;
        let settings = settings_for(settings, &home);
        if let Some(work) = home.claim().await? {
            break (home, settings, work);
        }
    };
    let neighbours = home.neighbours(None);
    let stage = Stage {
        settings: &settings,
        state,
        held: None,
        home: &home,
        neighbours: &neighbours,
        source,
        observer,
    };
    let answers = stage.resolve(Some(&work)).await?;
    let plan = stage.plan(&answers, Some(&work.builder), true)?;
    let (answers, plan) = stage.fetch(&work, answers, plan).await?;
    // With its record and manifests nobody need be asked when the root is staged again.
    let builder = &work.builder;
    let record = plan.record(&answers, |id| Ok(builder.layer(id)?.map(|layer| layer.size)))?;
    builder.finish(&plan.images(&answers), &[(RECORD_FILE, &record.canonical())])?;
    Ok(answers.missing().is_empty())
}

/// After an attempt that did not end, one layer at a time (and then the smallest first): what is cut off in the
/// middle of a layer is lost, so on a link too slow for one window every attempt has to end with more layers
/// than the one before, which several halves of layers would not give.
fn settings_for(settings: &StageSettings, home: &Home) -> StageSettings {
    let jobs = if home.unclaimed().is_some() { 1 } else { settings.jobs };
    StageSettings { jobs, ..settings.clone() }
}

/// Refuses bindings that are wrong and tells of those that are doubtful.
fn judge_bindings(
    settings: &StageSettings,
    state: &State,
    observer: &Observer,
    told: &mut Vec<Finding>,
) -> Result<(), StageError> {
    let mut findings = state.bindings.findings.clone();
    if settings.require_pins {
        findings.extend(unpinned(state));
        finding::sort(&mut findings);
    }
    // A root that runs is not made better by refusing it everything for one binding.
    if findings.iter().any(Finding::is_error) && !settings.late {
        return Err(StageError::Bindings(findings));
    }
    for finding in findings {
        if !told.contains(&finding) {
            observer(Event::Finding(&finding));
            told.push(finding);
        }
    }
    Ok(())
}

/// What this host's configuration refuses in a root that it has not staged before.
fn unpinned(state: &State) -> Vec<Finding> {
    let is_new = |binding: &&Binding| state.recorded(binding).is_none();
    let new: Vec<Binding> = state.bindings.bindings.iter().filter(is_new).cloned().collect();
    requirement::findings_of(&new, &requirement::remedy(state.directory()))
}

/// All that a stage works with.
struct Stage<'a> {
    settings: &'a StageSettings,
    state: &'a State,
    held: Option<&'a Held>,
    home: &'a Home,
    neighbours: &'a [Neighbour],
    source: Arc<Source>,
    observer: &'a Observer,
}

impl Stage<'_> {
    async fn run(&self, work: Work) -> Result<Outcome, StageError> {
        let answers = self.resolve(Some(&work)).await?;
        let plan = self.plan(&answers, Some(&work.builder), true)?;
        // An upgrade that changes no image costs one link.
        if let Some(record) = self.known_record(&plan, &answers)?
            && self.home.adopt(&work, &record)?
        {
            work.remove()?;
            let (store_id, missing) = (record.store_id(), answers.missing());
            return Ok(Outcome::Linked(Published { store_id, plan, missing }));
        }
        let (answers, plan) = self.fetch(&work, answers, plan).await?;
        self.finish(plan, answers, work)
    }

    /// The record of the store to be, when all of its layers are here already.
    fn known_record(&self, plan: &Plan, answers: &Answers) -> anyhow::Result<Option<Record>> {
        if plan.layers.iter().any(|layer| layer.action != Action::Link) {
            return Ok(None);
        }
        let sizes: BTreeMap<&str, u64> = plan
            .layers
            .iter()
            .filter_map(|layer| {
                let near = |near: &Neighbour| near.layer(&layer.id, layer.diff_id);
                Some((layer.id.as_str(), self.neighbours.iter().find_map(near)?))
            })
            .collect();
        plan.record(answers, |id| Ok(sizes.get(id).copied())).map(Some)
    }

    async fn plan_only(&self) -> Result<Outcome, StageError> {
        let answers = self.resolve(None).await?;
        let builder = self.home.unclaimed();
        let mut plan = self.plan(&answers, builder.as_ref(), false)?;
        copy::plan(self.settings, &mut plan).await?;
        self.home.require_space(&plan, builder.as_ref())?;
        Ok(Outcome::Planned(plan))
    }

    /// Everything but the publishing: afterwards all layers are in the working directory.
    async fn fetch(
        &self,
        work: &Work,
        mut answers: Answers,
        mut plan: Plan,
    ) -> Result<(Answers, Plan), StageError> {
        copy::plan(self.settings, &mut plan).await?;
        (self.observer)(Event::Planned(&plan));
        self.home.make_space(&plan, &work.builder)?;
        self.link_layers(&mut plan, &work.builder)?;
        let (budget, source) = (self.home.budget()?, Arc::clone(&self.source));
        let fetched = fetch::layers(
            self.settings,
            &mut plan,
            &answers,
            &work.builder,
            &budget,
            source,
            self.observer,
        )
        .await;
        match fetched {
            Ok(()) => Ok((answers, plan)),
            Err(error) if self.settings.late => {
                late::leave_out(error, &mut answers, &work.builder, self.observer)?;
                let plan = self.plan(&answers, Some(&work.builder), false)?;
                Ok((answers, plan))
            }
            Err(error) => Err(error),
        }
    }

    async fn resolve(&self, work: Option<&Work>) -> Result<Answers, StageError> {
        let place = (self.home, work, self.neighbours);
        resolve::all(self.settings, self.state, self.held, place, &self.source, self.observer).await
    }

    fn plan(
        &self,
        answers: &Answers,
        builder: Option<&Builder>,
        prove: bool,
    ) -> Result<Plan, StageError> {
        let mut there = BTreeMap::new();
        for (id, ids, index, diff_id) in answers.layers() {
            let kept = match builder {
                Some(builder) if prove && self.home.is_foreign_ground() => {
                    builder.proved_layer(ids, index, diff_id)?
                }
                Some(builder) => builder.layer(id)?,
                None => None,
            };
            if let Some(layer) = kept {
                there.insert(id.to_owned(), (Action::Keep, layer.size));
            } else if let Some(size) =
                self.neighbours.iter().find_map(|near| near.layer(id, diff_id))
            {
                there.insert(id.to_owned(), (Action::Link, size));
            }
        }
        let (bindings, host) = (&self.state.bindings.bindings, &self.state.host);
        Plan::new(bindings, host, answers, &there, self.home.shown()).map_err(StageError::Bindings)
    }

    /// Takes layers over from the stores that have them. Where the file system has no room for
    /// another link to a file, the layer is fetched.
    fn link_layers(&self, plan: &mut Plan, builder: &Builder) -> Result<(), StageError> {
        for layer in plan.layers.iter_mut().filter(|layer| layer.action == Action::Link) {
            let near =
                self.neighbours.iter().find(|near| near.layer(&layer.id, layer.diff_id).is_some());
            let linked = match near {
                Some(near) => builder.link_layer(&near.directory, &layer.id),
                None => Ok(false),
            };
            match linked {
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

    fn finish(&self, plan: Plan, answers: Answers, work: Work) -> Result<Outcome, StageError> {
        let builder = &work.builder;
        let record = plan.record(&answers, |id| Ok(builder.layer(id)?.map(|layer| layer.size)))?;
        let text = record.canonical();
        let missing = answers.missing();
        if self.home.adopt(&work, &record)? {
            work.remove()?;
            return Ok(Outcome::Linked(Published { store_id: record.store_id(), plan, missing }));
        }
        builder.finish(&plan.images(&answers), &[(RECORD_FILE, &text)])?;
        verify(builder, &record)?;
        if let Some(held) = self.held
            && held.damage.is_empty()
            && held.record.canonical() == text
        {
            // Nothing changed but that a missing image was asked for again, in vain.
            work.remove()?;
            return Ok(Outcome::AlreadyThere(record.store_id()));
        }
        (self.observer)(Event::Publishing);
        self.home.publish(&work, &record, self.state)?;
        if let Err(error) = work.remove() {
            // The store is in its place; what is left beside it goes at the next stage.
            log::warn!("{error}");
        }
        Ok(Outcome::Published(Published { store_id: record.store_id(), plan, missing }))
    }
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
