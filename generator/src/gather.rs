//! Reads from a root all that the plan decides by.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, anyhow, bail};
use binding::quadlet::image::{meaning, parse_image};
use binding::quadlet::search::{ETC, Files, Search, USR};
use binding::quadlet::service::services;
use binding::quadlet::unit::Unit;
use binding::record::MAX_RECORD;
use binding::{Binding, Mismatch, Platform, RECORD_FILE, Record, Reference, Root, STORE_PATH};

use crate::plan::{Bound, Inputs, LiveUnit};

/// Quadlets that someone put there since boot. Podman reads them before all others.
const RUN: &str = "run/containers/systemd";

/// Everything the plan needs; `None` when the root has no bindings.
pub(crate) fn gather(root: &Root, host: &Platform) -> Result<Option<Inputs>> {
    let bindings = binding::read(root)?;
    let mut warnings: Vec<String> = bindings
        .findings
        .iter()
        .filter(|finding| finding.is_error())
        .map(ToString::to_string)
        .collect();
    if bindings.bindings.is_empty() {
        if warnings.is_empty() {
            return Ok(None);
        }
        bail!("{}", warnings.join("; "));
    }
    let record = read_store(root)?;
    let mut differing = BTreeSet::new();
    for mismatch in record.matches(&bindings, host) {
        warnings.push(format!("{mismatch}: the store was made for other bindings"));
        match mismatch {
            // Whether a root may boot without an image says nothing about which image it is.
            Mismatch::Changed { what: "Required", .. } => {}
            Mismatch::Added { binding }
            | Mismatch::Removed { binding }
            | Mismatch::Changed { binding, .. } => {
                differing.insert(binding);
            }
        }
    }
    let missing: BTreeSet<&str> = record
        .bindings
        .iter()
        .filter(|bound| !bound.present)
        .map(|bound| bound.name.as_str())
        .collect();

    let mut bound = Vec::new();
    for Binding { name, reference, alias, services, .. } in bindings.bindings {
        if differing.contains(&name) {
            continue;
        }
        if missing.contains(name.as_str()) {
            warnings.push(format!("{name}: the record says that {reference} is not in the store"));
            continue;
        }
        bound.push(Bound { name, reference, alias, services });
    }
    let (live, more) = read_live(root)?;
    warnings.extend(more);
    let conf = read_storage_conf(root)?;
    let mut own_conf = BTreeMap::new();
    for path in live.values().filter_map(|unit| unit.storage_conf.as_deref()) {
        let text = match path.strip_prefix('/').map(|path| read_text(root, path)) {
            Some(Ok(Some(text))) => Ok(text),
            Some(Ok(None)) => Err(format!("there is no {path}")),
            Some(Err(error)) => Err(format!("{error:#}")),
            None => Err(format!("{path} is not an absolute path")),
        };
        own_conf.insert(path.to_owned(), text);
    }
    Ok(Some(Inputs { bound, live, conf, own_conf, warnings }))
}

/// The record of a store that Podman can use.
fn read_store(root: &Root) -> Result<Record> {
    let path = format!("{STORE_PATH}/{RECORD_FILE}");
    let text = root
        .read(&path, MAX_RECORD as u64)
        .with_context(|| format!("read the record /{path} of the root's store"))?;
    // Its message has the cause in it already.
    let record =
        Record::parse(&text).map_err(|error| anyhow!("read the record /{path}: {error}"))?;
    // On a read-only file system every podman command fails for want of one of these.
    for lock in ["overlay-layers/layers.lock", "overlay-images/images.lock"] {
        let path = format!("{STORE_PATH}/{lock}");
        root.kind(&path).with_context(|| format!("the store is damaged: look at /{path}"))?;
    }
    Ok(record)
}

/// The Quadlets as Podman reads them on the running system, by the services made of them.
fn read_live(root: &Root) -> Result<(BTreeMap<String, LiveUnit>, Vec<String>)> {
    let search = Search::read(root, &[RUN, ETC, USR])?;
    let files = Files::new(root);
    let mut live = BTreeMap::new();
    let mut warnings = Vec::new();
    for extension in [".container", ".image"] {
        for name in search.names(extension) {
            let Some(path) = search.find(&files, name) else { continue };
            match search.unit(&files, path) {
                Ok((unit, _)) => {
                    let found = live_unit(&unit, &search, &files);
                    for service in services(&unit).0 {
                        live.insert(service, found.clone());
                    }
                }
                Err(finding) => warnings.push(finding.to_string()),
            }
        }
    }
    Ok((live, warnings))
}

fn live_unit(unit: &Unit, search: &Search, files: &Files<'_>) -> LiveUnit {
    let found = meaning(unit, search, files, &mut Vec::new());
    let parse = |value, key| parse_image(value, key).ok();
    let (reference, alias) = match &found {
        Ok(found) => {
            let alias = found.tag.as_ref().and_then(|tag| parse(tag, "ImageTag"));
            (parse(&found.image, "Image"), alias)
        }
        Err(_) => (None, None),
    };
    let alias = alias.filter(|alias: &Reference| Some(alias) != reference.as_ref());
    let environment = unit.words("Service", "Environment");
    let variable = |name: &str| {
        let value =
            |(word, _): &(String, _)| word.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
        environment.iter().rev().find_map(value)
    };
    LiveUnit {
        path: unit.path.clone(),
        is_image: unit.name.ends_with(".image"),
        reference,
        alias,
        storage_conf: variable("CONTAINERS_STORAGE_CONF"),
        has_override: variable("CONTAINERS_CONF_OVERRIDE").is_some(),
    }
}

/// The storage.conf that counts: its path from `/` and its text.
fn read_storage_conf(root: &Root) -> Result<Option<(String, String)>> {
    for path in storage_conf::SEARCH {
        if let Some(text) = read_text(root, path)? {
            return Ok(Some((format!("/{path}"), text)));
        }
    }
    Ok(None)
}

fn read_text(root: &Root, path: &str) -> Result<Option<String>> {
    let text = root
        .read_optional(path, storage_conf::MAX_SIZE as u64)
        .with_context(|| format!("read /{path}"))?;
    text.map(|text| String::from_utf8(text).with_context(|| format!("read /{path}"))).transpose()
}
