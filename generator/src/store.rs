//! Where the store of the booted root is, and whether it is what the root's files ask for.
//!
//! Only its record and lock files are looked at. Layers are for the gate and `verify`: reading them
//! would take longer than a generator may.

use std::collections::BTreeSet;

use anyhow::{Context, Result, anyhow, bail};
use binding::record::MAX_RECORD;
use binding::{Bindings, Kind, Mismatch, Platform, RECORD_FILE, Record, Root, STORE_PATH};
use host::config::Config;
use host::{DEFAULT_POOL, Linked, Pool, RootId};

use crate::booted::Booted;
use crate::gather::Found;
use crate::model::{Pooled, Store};

/// Finds the store of `root`, whose bindings are `bindings`.
///
/// A record below [`STORE_PATH`] is that of an embedded store, unless something is mounted there:
/// on a host with a pool that is the pool's store, at every daemon-reload. The empty store that
/// packages ship there has no record.
///
/// # Errors
/// When there is neither a store inside the root nor a root that could have one in the pool.
pub(crate) fn find(
    root: &Root,
    host: &Platform,
    bindings: &Bindings,
    booted: &Booted,
    config: &Config,
    warnings: &mut Vec<String>,
) -> Result<Found> {
    let has_record = root.kind(&format!("{STORE_PATH}/{RECORD_FILE}")).is_ok();
    match &booted.id {
        Some(id) if !has_record || booted.has_mount => {
            pooled(root, host, bindings, id, booted.has_mount, config, warnings)
        }
        _ => embedded(root, host, bindings, warnings),
    }
}

fn embedded(
    root: &Root,
    host: &Platform,
    bindings: &Bindings,
    warnings: &mut Vec<String>,
) -> Result<Found> {
    let record = read_record(root, STORE_PATH)?;
    check_locks(root, STORE_PATH)?;
    let mut differing = BTreeSet::new();
    for mismatch in record.matches(bindings, host) {
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
    Ok(Found { store: Store::Embedded, differing, absent: absent(&record) })
}

fn pooled(
    root: &Root,
    host: &Platform,
    bindings: &Bindings,
    id: &RootId,
    has_mount: bool,
    config: &Config,
    warnings: &mut Vec<String>,
) -> Result<Found> {
    let pool = Pool::at(config.pool.as_deref().unwrap_or(DEFAULT_POOL));
    if !matches!(root.kind(STORE_PATH), Ok(Kind::Dir)) {
        warnings.push(format!(
            "/{STORE_PATH} is not a directory: the store of this root cannot be mounted there; \
             create it in the image"
        ));
    }
    let mut found = linked_record(root, &pool, id);
    // A link that is gone does not undo what is mounted already.
    if let Err(why) = &found
        && has_mount
        && let Ok(mounted) = read_record(root, STORE_PATH)
    {
        warnings.push(format!("root {} would not find its store again: {why:#}", id.short()));
        found = Ok(mounted);
    }
    let judged = found.and_then(|record| judge(&record, bindings, host).map(|()| record));
    let (incomplete, absent) = match judged {
        Ok(record) => (None, absent(&record)),
        Err(why) => (Some(format!("{why:#}")), BTreeSet::new()),
    };
    let late_binding = config.late_binding.unwrap_or(true);
    if let Some(why) = &incomplete {
        let then = match late_binding {
            true => "its services wait until its images are fetched",
            false => "services whose image is missing will fail, since late-binding is off",
        };
        warnings.push(format!("root {} is not complete: {why}; {then}", id.short()));
    }
    let what = format!("/{}", pool.link(id));
    let store = Pooled { root: id.short(), what, is_complete: incomplete.is_none(), late_binding };
    Ok(Found { store: Store::Pool(store), differing: BTreeSet::new(), absent })
}

/// The configuration; where it is wrong, a warning and the defaults.
pub(crate) fn read_config(root: &Root, warnings: &mut Vec<String>) -> Config {
    let directories = host::config::DIRECTORIES.map(|path| (root, path));
    match host::config::read_inside(&directories) {
        Ok(config) => {
            warnings.extend(config.unknown.iter().cloned());
            config
        }
        Err(error) => {
            warnings.push(format!("{error:#}: the pool is taken to be {DEFAULT_POOL}"));
            Config::default()
        }
    }
}

/// The record of the store that the pool has for a root.
fn linked_record(root: &Root, pool: &Pool, id: &RootId) -> Result<Record> {
    let link = pool.link(id);
    match pool.linked(root, id)? {
        Linked::Nowhere => bail!("there is no /{link}"),
        Linked::Elsewhere(target) => bail!("/{link} does not lead to a store: {target}"),
        Linked::Store(name) => {
            let store = pool.store(&name);
            if root.kind(&store).is_err() {
                bail!("/{link} leads to /{store}, which is not there");
            }
            let record = pool.record(root, &name)?;
            check_locks(root, &store)?;
            Ok(record)
        }
    }
}

/// Whether a store with that record makes the root complete, so far as a record can tell.
fn judge(record: &Record, bindings: &Bindings, host: &Platform) -> Result<()> {
    if let Some(mismatch) = record.matches(bindings, host).first() {
        bail!("{mismatch}");
    }
    match record.bindings.iter().find(|bound| bound.required && !bound.present) {
        Some(bound) => bail!("{}: {} is not in its store", bound.name, bound.reference),
        None => Ok(()),
    }
}

fn absent(record: &Record) -> BTreeSet<String> {
    let absent = record.bindings.iter().filter(|bound| !bound.present);
    absent.map(|bound| bound.name.clone()).collect()
}

fn read_record(root: &Root, store: &str) -> Result<Record> {
    let path = format!("{store}/{RECORD_FILE}");
    let text = root
        .read(&path, MAX_RECORD as u64)
        .with_context(|| format!("read the record /{path} of the root's store"))?;
    // Its message has the cause in it already.
    Record::parse(&text).map_err(|error| anyhow!("read the record /{path}: {error}"))
}

/// On a read-only file system every podman command fails for want of one of these.
fn check_locks(root: &Root, store: &str) -> Result<()> {
    for lock in ["overlay-layers/layers.lock", "overlay-images/images.lock"] {
        let path = format!("{store}/{lock}");
        root.kind(&path).with_context(|| format!("the store is damaged: look at /{path}"))?;
    }
    Ok(())
}
