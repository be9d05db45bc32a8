//! The names that images have in a store. Pure.
//!
//! One name that stands for two images makes every Podman command fail, so names are planned for
//! the whole store at once. An unpinned reference gives `repository:tag`. A pinned one gives
//! `repository@digest` and nothing else, since Podman drops the tag of `repository:tag@digest`.
//! Bindings that come to the same image id share one image, with the names and manifests of all.

use std::collections::{BTreeMap, BTreeSet};

use oci_digest::Digest;

use crate::bindings::Binding;
use crate::finding::{self, Code, Finding, Place};
use crate::pull::Platform;
use crate::reference::Reference;

/// A binding whose image is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Name of the link.
    pub binding: String,
    /// Where the effective `Image=` stands.
    pub place: Place,
    /// What was pulled.
    pub reference: Reference,
    /// The further name from `ImageTag=`.
    pub alias: Option<Reference>,
    /// For which platform.
    pub platform: Platform,
    /// Digest of the manifest list, where the reference named one.
    pub list: Option<Digest>,
    /// Digest of the instance manifest.
    pub manifest: Digest,
    /// Image id, 64 hex digits.
    pub image: String,
}

/// One image record of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredImage {
    /// Image id, 64 hex digits.
    pub image: String,
    /// Names, sorted; each is unique in the whole store.
    pub names: Vec<String>,
    /// Instance manifests. The first is the primary one: that of the first binding by name.
    pub manifests: Vec<Digest>,
    /// Manifest lists, sorted.
    pub lists: Vec<Digest>,
}

/// Plans the images of a store, sorted by image id.
///
/// # Errors
/// All findings: a name that would stand for two images, a reference for two platforms, or a pin
/// that is the digest of neither the list nor the instance.
pub fn plan_names(resolved: &[Resolved]) -> Result<Vec<StoredImage>, Vec<Finding>> {
    let mut sorted: Vec<&Resolved> = resolved.iter().collect();
    sorted.sort_by(|a, b| a.binding.cmp(&b.binding));
    let mut owners: BTreeMap<String, &Resolved> = BTreeMap::new();
    let mut images: BTreeMap<&str, StoredImage> = BTreeMap::new();
    let mut findings = Vec::new();
    for one in &sorted {
        let image = images.entry(&one.image).or_insert_with(|| StoredImage {
            image: one.image.clone(),
            names: Vec::new(),
            manifests: Vec::new(),
            lists: Vec::new(),
        });
        if !image.manifests.contains(&one.manifest) {
            image.manifests.push(one.manifest);
        }
        image.lists.extend(one.list);
        for reference in std::iter::once(&one.reference).chain(&one.alias) {
            let name = reference.stored_name();
            image.names.push(name.clone());
            let owner = *owners.entry(name.clone()).or_insert(one);
            findings.extend(check_name(&name, owner, one));
        }
    }
    // A pin is judged against the merged image: the same image may have come by two lists.
    for one in &sorted {
        let Some(image) = images.get(one.image.as_str()) else { continue };
        let digests: BTreeSet<Digest> =
            image.manifests.iter().chain(&image.lists).copied().collect();
        for reference in std::iter::once(&one.reference).chain(&one.alias) {
            findings.extend(check_pin(reference, one, &digests));
        }
    }
    if !findings.is_empty() {
        finding::sort(&mut findings);
        return Err(findings);
    }
    let mut images: Vec<StoredImage> = images.into_values().collect();
    for image in &mut images {
        image.names.sort();
        image.names.dedup();
        image.lists.sort();
        image.lists.dedup();
    }
    Ok(images)
}

fn check_name(name: &str, owner: &Resolved, one: &Resolved) -> Option<Finding> {
    let (code, why, fix) = if owner.platform != one.platform {
        let why = format!(
            "{} binds {name} for {}, {} for {}",
            one.binding, one.platform, owner.binding, owner.platform
        );
        (Code::TwoPlatforms, why, "bind it for one platform, or pin each by its own manifest")
    } else if owner.image != one.image {
        let why = format!(
            "{name} is image {} for {}, but image {} for {}",
            one.image, one.binding, owner.image, owner.binding
        );
        (Code::NameConflict, why, "give one of the two another tag, or pin both")
    } else {
        return None;
    };
    Some(Finding::new(code, one.place.clone(), why, fix).about(name))
}

fn check_pin(reference: &Reference, one: &Resolved, digests: &BTreeSet<Digest>) -> Option<Finding> {
    let pin = reference.digest().filter(|pin| !digests.contains(pin))?;
    let why = format!("{pin} is a digest of neither a list nor a manifest of image {}", one.image);
    let fix = "correct the digest, or name the image by a tag";
    Some(
        Finding::new(Code::DigestMismatch, one.place.clone(), why, fix)
            .about(reference.to_string()),
    )
}

/// Conflicts that can be told before anything is fetched: one reference for two platforms. A store
/// cannot hold both under one name. The place is that of the later binding.
#[must_use]
pub fn check_conflicts(bindings: &[Binding], host: &Platform) -> Vec<Finding> {
    let mut seen: BTreeMap<String, (&Binding, Platform)> = BTreeMap::new();
    let mut findings = Vec::new();
    let mut sorted: Vec<&Binding> = bindings.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    for binding in sorted {
        let platform = binding.pull.platform(host);
        for reference in std::iter::once(&binding.reference).chain(&binding.alias) {
            let stored = reference.stored_name();
            let Some((first, other)) = seen.get(&stored) else {
                seen.insert(stored, (binding, platform.clone()));
                continue;
            };
            if *other != platform {
                let why = format!(
                    "{} binds {stored} for {platform}, {} for {other}",
                    binding.name, first.name
                );
                let fix = "bind it for one platform, or pin each by the digest of its own manifest";
                let place = binding.place.clone();
                findings.push(Finding::new(Code::TwoPlatforms, place, why, fix).about(stored));
            }
        }
    }
    finding::sort(&mut findings);
    findings
}
