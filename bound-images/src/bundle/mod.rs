//! Writing a bundle: an OCI layout with the images that roots bind, for a host that no registry can be reached from.
//!
//! Look, ask, plan, fetch, and at last name in the index what is there. Every blob gets its name when it is whole: a run
//! that is cut off costs what was on its way, and nothing else of the layout is touched.

mod ask;
mod error;
mod event;
mod fetch;
mod index;
mod parts;
mod place;
mod plan;
mod prune;
mod wish;
mod work;

pub use error::BundleError;
pub use event::{BundleSettings, Done, Event, Missing, Observer, Outcome, Pruned};
pub use index::Entry;
pub use plan::{Action, BlobPlan, ImagePlan, Kind, Plan};
pub use wish::{User, Wish, parse_platform, wishes};

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use binding::{Finding, finding};
use tokio::task::JoinSet;

use self::ask::{Answers, Found, Known, Resolution};
use self::place::{Blob, Place};
use self::work::{RESOLVED, WORK, Work};
use crate::requirement;
use crate::source::bundle::Bundle;
use crate::source::registry::Registry;
use crate::source::several::Several;
use crate::state::State;
use crate::system::file::read_optional;

/// The largest file of resolutions that is read, in bytes.
const MAX_RESOLVED: u64 = 1 << 20;

/// Writes what `roots` bind into the bundle of `settings`: from `others` what they have, the rest from `registry`.
///
/// # Errors
/// [`BundleError`]; what was complete is kept.
pub async fn write(
    settings: &BundleSettings,
    roots: &[State],
    others: Vec<Bundle>,
    registry: Registry,
    observer: &Observer,
) -> Result<Outcome, BundleError> {
    judge_bindings(settings, roots, observer)?;
    if roots.iter().all(|root| root.bindings.bindings.is_empty()) {
        return Ok(Outcome::NoBindings);
    }
    let mut place = Place::look(&settings.out, !settings.dry_run)?;
    let mut bundles: Vec<Bundle> = own(&place).into_iter().collect();
    bundles.extend(others);
    let sources = Arc::new(Several::new(bundles, registry));
    let known = Known { entries: place.entries.clone(), resolved: resolved(settings, &place) };
    let wishes = wishes(roots, &settings.platforms, settings.authfile.as_deref());
    let Answers { found, missing } = ask::all(settings, wishes, known, &sources, observer).await?;
    let mut plan = Plan::new(settings.out.clone(), &found);
    place = look_at_blobs(settings, place, &mut plan, &sources, observer).await?;
    let index = index::edit(place.index.as_deref(), &plan.entries, settings.prune)
        .map_err(|why| BundleError::Refused(format!("index.json: {why}")))?;
    let pruned = match (&place.layout, &place.index, &index) {
        (Some(layout), Some(old), Some(new)) if settings.prune => prune::plan(layout, old, new),
        _ => Pruned::default(),
    };
    place.require_space(plan.bytes_to_write())?;
    let mut done = Done { plan, missing, pruned };
    if settings.dry_run {
        return Ok(Outcome::Planned(done));
    }
    if index.is_none() && done.plan.blobs.iter().all(|blob| blob.action == Action::Keep) {
        clear_away(&mut place);
        return Ok(Outcome::AlreadyThere(done));
    }
    observer(Event::Planned(&done.plan));
    let work = Arc::new(Work::begin(&mut place)?);
    work.remember(&ask::resolutions(&found))?;
    fetch::layers(settings.jobs, &mut done.plan, &found, &work, &sources, observer).await?;
    let finish = move || {
        write_documents(&done.plan, &found, &work)?;
        let lost = done.plan.blobs.iter().find(|blob| !place.has(blob.digest, blob.size));
        if let Some(blob) = lost {
            let why = format!("{} went away while the bundle was written", blob.digest);
            return Err(BundleError::Refused(why));
        }
        if let Some(index) = index {
            work.index(&index)?;
        }
        for digest in &done.pruned.blobs {
            work.remove(*digest)?;
        }
        if let Some(work) = Arc::into_inner(work) {
            work.end();
        }
        Ok(done)
    };
    observer(Event::Writing);
    let done = tokio::task::spawn_blocking(finish).await.context("writing broke off")??;
    Ok(Outcome::Written(done))
}

/// Refuses bindings that are wrong and tells of those that are doubtful.
fn judge_bindings(
    settings: &BundleSettings,
    roots: &[State],
    observer: &Observer,
) -> Result<(), BundleError> {
    let mut all: Vec<(PathBuf, Vec<Finding>)> = Vec::new();
    for root in roots {
        let mut findings = root.bindings.findings.clone();
        if settings.require_pins {
            let remedy = requirement::remedy(root.directory());
            findings.extend(requirement::findings_of(&root.bindings.bindings, &remedy));
            finding::sort(&mut findings);
            findings.dedup();
        }
        all.push((root.root.clone(), findings));
    }
    if all.iter().flat_map(|(_, findings)| findings).any(Finding::is_error) {
        return Err(BundleError::Bindings(all));
    }
    for (root, findings) in &all {
        for finding in findings {
            observer(Event::Finding { root, finding });
        }
    }
    Ok(())
}

/// The bundle that is there, to take manifests from.
fn own(place: &Place) -> Option<Bundle> {
    place.index.as_ref()?;
    match Bundle::open(&place.path) {
        Ok(bundle) => Some(bundle),
        Err(error) => {
            // Its blobs are looked at one by one.
            log::warn!("{}; what is wrong in it is replaced", error.why);
            None
        }
    }
}

/// What an earlier run resolved that did not end. A file that is cut off, or not ours, says nothing.
fn resolved(settings: &BundleSettings, place: &Place) -> Vec<Resolution> {
    if settings.refresh {
        return Vec::new();
    }
    let bytes = read_optional(&place.path.join(WORK).join(RESOLVED), MAX_RESOLVED);
    serde_json::from_slice(&bytes.ok().flatten().unwrap_or_default()).unwrap_or_default()
}

/// Reads the blobs that are there, a few at a time, and finds out where the others come from.
async fn look_at_blobs(
    settings: &BundleSettings,
    place: Place,
    plan: &mut Plan,
    sources: &Several,
    observer: &Observer,
) -> Result<Place, BundleError> {
    let place = Arc::new(place);
    let mut waiting: Vec<usize> = (0..plan.blobs.len()).rev().collect();
    let mut running = JoinSet::new();
    let mut damaged = Vec::new();
    loop {
        while running.len() < settings.jobs.max(1)
            && let Some(number) = waiting.pop()
        {
            let Some(blob) = plan.blobs.get(number) else { continue };
            let (place, digest, size) = (Arc::clone(&place), blob.digest, blob.size);
            running.spawn_blocking(move || (number, place.check(digest, size)));
        }
        let Some(joined) = running.join_next().await else { break };
        let (number, there) = joined.context("a reader broke off")?;
        let Some(blob) = plan.blobs.get_mut(number) else { continue };
        if there == Blob::Right {
            blob.action = Action::Keep;
            continue;
        }
        if let Blob::Wrong(why) = there {
            damaged.push((blob.digest, why));
        }
        let others = sources.bundles.iter().filter(|other| other.path() != settings.out);
        let copy = others.into_iter().find(|other| other.has(blob.digest, blob.size));
        if let Some(other) = copy.filter(|_| blob.action == Action::Fetch) {
            (blob.action, blob.from) = (Action::Copy, Some(other.path().to_owned()));
        }
    }
    damaged.sort();
    for (digest, why) in damaged {
        observer(Event::Damaged { digest, why });
    }
    plan.sort();
    Arc::into_inner(place)
        .ok_or_else(|| anyhow::anyhow!("a reader of the bundle did not end").into())
}

/// What was asked for to make the plan.
fn write_documents(plan: &Plan, found: &[Found], work: &Work) -> Result<(), BundleError> {
    for blob in plan.with(Action::Write) {
        let Some(Found { image, .. }) = found.get(blob.image) else { continue };
        let bytes = match blob.kind {
            Kind::List => image.list.as_ref().map(|list| list.bytes.as_slice()),
            Kind::Manifest => Some(image.manifest.bytes.as_slice()),
            Kind::Config => Some(image.config.as_slice()),
            Kind::Layer => None,
        };
        if let Some(bytes) = bytes {
            work.write(blob.digest, bytes)?;
        }
    }
    Ok(())
}

/// Removes what an earlier run left half-done, now that nothing needs it, if that can be done.
fn clear_away(place: &mut Place) {
    if place.path.join(WORK).symlink_metadata().is_ok()
        && let Ok(work) = Work::begin(place)
    {
        work.end();
    }
}
