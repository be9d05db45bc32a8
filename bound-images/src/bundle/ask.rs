//! Asking for manifests and configs: what each reference means, now and in this bundle from now on.
//!
//! A tag is resolved once, also where several platforms are wanted. What the bundle names already keeps its digest.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use binding::Reference;
use oci_digest::Digest;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::BundleError;
use super::event::{BundleSettings, Event, Missing, Observer};
use super::wish::Wish;
use crate::source::bundle::find_name;
use crate::source::manifest::Descriptor;
use crate::source::several::Several;
use crate::source::{ImageBytes, SourceError};

/// What a wish gave.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) wish: Wish,
    pub(super) image: Arc<ImageBytes>,
}

/// What all wishes gave.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Sorted by reference and platform.
    pub(super) found: Vec<Found>,
    pub(super) missing: Vec<Missing>,
}

/// What a tag resolved to: kept until the index says it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Resolution {
    pub(super) reference: Reference,
    pub(super) digest: Digest,
}

/// What is known of tags before anybody is asked.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The entries of the index.
    pub(super) entries: Vec<Descriptor>,
    /// What a run resolved that did not end.
    pub(super) resolved: Vec<Resolution>,
}

impl Known {
    fn of(&self, wish: &Wish) -> Option<Digest> {
        let (reference, platform) = (&wish.request.reference, &wish.request.platform);
        // Of a name that several images have, nothing is known.
        let named = find_name(&self.entries, reference, platform).ok().flatten();
        let resolved = self.resolved.iter().find(|known| known.reference == *reference);
        named.map(|entry| entry.digest).or(resolved.map(|known| known.digest))
    }
}

/// Asks for all of them, a few references at a time.
pub(super) async fn all(
    settings: &BundleSettings,
    wishes: Vec<Wish>,
    known: Known,
    sources: &Arc<Several>,
    observer: &Observer,
) -> Result<Answers, BundleError> {
    let mut groups: BTreeMap<Reference, Vec<Wish>> = BTreeMap::new();
    for wish in wishes {
        groups.entry(wish.request.reference.clone()).or_default().push(wish);
    }
    let mut waiting = groups.into_values();
    let known = Arc::new(known);
    let mut running = JoinSet::new();
    let (mut answers, mut failed) = (Answers::default(), Vec::new());
    loop {
        while running.len() < settings.jobs.max(1)
            && let Some(group) = waiting.next()
        {
            let (sources, known, refresh) =
                (Arc::clone(sources), Arc::clone(&known), settings.refresh);
            running.spawn(async move { one_reference(group, &known, &sources, refresh).await });
        }
        let Some(joined) = running.join_next().await else { break };
        for (wish, image) in joined.context("a request for an image broke off")? {
            match image {
                Ok(image) => {
                    observer(Event::Resolved { wish: &wish, digest: top(&image) });
                    answers.found.push(Found { wish, image: Arc::new(image) });
                }
                // A machine without skopeo is not an image that cannot be had.
                Err(error) if !wish.required && !error.kind.is_installation() => {
                    let why = error.to_string();
                    observer(Event::Unavailable { wish: &wish, why: why.clone() });
                    answers.missing.push(missing(wish, why));
                }
                Err(error) => failed.push((wish.name(), error)),
            }
        }
    }
    if !failed.is_empty() {
        failed.sort_by(|one, other| one.0.cmp(&other.0));
        return Err(BundleError::Sources(failed));
    }
    let key = |wish: &Wish| (wish.request.reference.clone(), wish.request.platform.clone());
    answers.found.sort_by_cached_key(|found| key(&found.wish));
    answers.missing.sort_by_cached_key(|one| (one.reference.clone(), one.platform.clone()));
    Ok(answers)
}

/// One reference, platform after platform: the first one resolves it for all.
async fn one_reference(
    group: Vec<Wish>,
    known: &Known,
    sources: &Several,
    refresh: bool,
) -> Vec<(Wish, Result<ImageBytes, SourceError>)> {
    let mut digest = None;
    let mut answers = Vec::new();
    for mut wish in group {
        if !wish.request.reference.is_pinned() {
            wish.request.pin = if refresh { digest } else { known.of(&wish).or(digest) };
        }
        let image = match (refresh, wish.request.wanted()) {
            // The bundles would say what the tag meant when they were made.
            (true, None) => sources.registry.image(&wish.request).await,
            _ => sources.image(&wish.request).await,
        };
        if let Ok(image) = &image {
            digest = Some(top(image));
        }
        answers.push((wish, image));
    }
    answers
}

/// What the reference means: the list where it names one.
fn top(image: &ImageBytes) -> Digest {
    image.list.as_ref().map_or(image.manifest.digest, |list| list.digest)
}

fn missing(wish: Wish, why: String) -> Missing {
    Missing {
        reference: wish.request.reference.to_string(),
        platform: wish.request.platform,
        users: wish.users,
        why,
    }
}

/// What tags resolved to, to be written down.
pub(super) fn resolutions(found: &[Found]) -> Vec<Resolution> {
    let tags = found.iter().filter(|one| !one.wish.request.reference.is_pinned());
    let mut out: Vec<Resolution> = tags
        .map(|one| Resolution {
            reference: one.wish.request.reference.clone(),
            digest: top(&one.image),
        })
        .collect();
    out.sort();
    out.dedup();
    out
}
