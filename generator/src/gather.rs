//! Reads from a root all that the plan decides by.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use binding::quadlet::search::Files;
use binding::{Binding, Kind, Platform, Root};
use host::config::Pin;
use storage_conf::{Environment, Generation, plan_drop_ins, plan_search};

use crate::booted::Booted;
use crate::live::{self, Live};
use crate::model::{Bound, Inputs, Store};
use crate::store;

/// Everything the plan needs; `None` when the root has no bindings.
pub(crate) fn gather(root: &Root, host: &Platform, booted: &Booted) -> Result<Option<Inputs>> {
    // Each Quadlet is read once for both.
    let files = Files::new(root);
    let bindings = binding::read_files(&files)?;
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
    warnings.extend(booted.warning.clone());
    let config = store::read_config(root, &mut warnings);
    let store = store::find(root, host, &bindings, booted, &config, &mut warnings)?;
    let require_pins = config.pin == Some(Pin::Require);

    let mut bound = Vec::new();
    for Binding { name, reference, alias, services, .. } in bindings.bindings {
        if store.differing.contains(&name) {
            continue;
        }
        if store.absent.contains(&name) {
            warnings.push(format!("{name}: the record says that {reference} is not in the store"));
            continue;
        }
        let require_pin = require_pins && !reference.is_pinned();
        bound.push(Bound { name, reference, alias, services, require_pin });
    }
    let (live, more) = live::read(&files)?;
    warnings.extend(more);
    let conf = read_storage_conf(root)?;
    let drop_ins = read_drop_ins(root).unwrap_or_else(|error| {
        warnings.push(format!("drop-ins of storage.conf: {error:#}"));
        Vec::new()
    });
    let own = read_own(root, &live);
    Ok(Some(Inputs { bound, store: store.store, live, conf, drop_ins, own, warnings }))
}

/// A store, and the bindings that are not wired to it.
pub(crate) struct Found {
    pub(crate) store: Store,
    /// Bindings that mean something else than in the record.
    pub(crate) differing: BTreeSet<String>,
    /// Bindings whose image it does not have, and never will.
    pub(crate) absent: BTreeSet<String>,
}

/// The files that services name themselves: path → text, or why there is none.
fn read_own(root: &Root, live: &Live) -> BTreeMap<String, Result<String, String>> {
    let units = live.services.values().chain(live.pods.values().map(|pod| &pod.unit));
    let paths = units.flat_map(|unit| {
        let environment = &unit.environment;
        let storage = environment.storage_conf.iter().chain(&environment.storage_override);
        storage.chain(&environment.conf_override)
    });
    let mut own = BTreeMap::new();
    for path in paths {
        let text = match path.strip_prefix('/').map(|path| read_text(root, path)) {
            Some(Ok(Some(text))) => Ok(text),
            Some(Ok(None)) => Err(format!("there is no {path}")),
            Some(Err(error)) => Err(format!("{error:#}")),
            None => Err(format!("{path} is not an absolute path")),
        };
        own.insert(path.clone(), text);
    }
    own
}

/// The storage.conf that counts: its path from `/` and its text.
pub(crate) fn read_storage_conf(root: &Root) -> Result<Option<(String, String)>> {
    for path in storage_conf::SEARCH {
        if let Some(text) = read_text(root, path)? {
            return Ok(Some((format!("/{path}"), text)));
        }
    }
    Ok(None)
}

/// The drop-ins of storage.conf that Podman reads from version 6 on: path and text, in its order.
pub(crate) fn read_drop_ins(root: &Root) -> Result<Vec<(String, String)>> {
    let search = plan_search(Generation::Since6, &Environment::default());
    let mut directories = Vec::new();
    for directory in search.drop_ins {
        let entries = match root.list_optional(directory.trim_start_matches('/')) {
            Ok(entries) => entries.unwrap_or_default(),
            Err(error) => return Err(error).with_context(|| format!("list {directory}")),
        };
        let files = entries.into_iter().filter(|entry| entry.kind != Kind::Dir);
        let names = files.filter_map(|entry| entry.name.into_string().ok()).collect();
        directories.push((directory, names));
    }
    let mut found = Vec::new();
    for path in plan_drop_ins(&directories).read {
        if let Some(text) = read_text(root, path.trim_start_matches('/'))? {
            found.push((path, text));
        }
    }
    Ok(found)
}

/// The text of a configuration file; none when there is no such file.
pub(crate) fn read_text(root: &Root, path: &str) -> Result<Option<String>> {
    let text = root
        .read_optional(path, storage_conf::MAX_SIZE as u64)
        .with_context(|| format!("read /{path}"))?;
    text.map(|text| String::from_utf8(text).with_context(|| format!("read /{path}"))).transpose()
}
