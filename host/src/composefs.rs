//! Deployments of bootc's composefs backend, from its files
//! (`crates/lib/src/bootc_composefs/{state,status}.rs` of bootc 1.16).
//!
//! `sysroot/state/deploy/ID` holds the state of a deployment (`etc`, `ID.origin`),
//! `sysroot/composefs/images/ID` is the EROFS image of its files, whose content is in
//! `sysroot/composefs/objects`.

use anyhow::{Context as _, Result};
use binding::{Kind, Root};
use serde::Deserialize;

use crate::RootId;

/// What bootc writes, last of all, when a root is staged.
pub(crate) const STAGED: &str = "run/composefs/staged-deployment";
/// Where the state of deployments is.
pub(crate) const DEPLOY: &str = "sysroot/state/deploy";
/// Where their images are.
pub(crate) const IMAGES: &str = "sysroot/composefs/images";
/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

#[derive(Deserialize)]
struct Staged {
    depl_id: String,
}

/// The ids of all deployments.
pub(crate) fn ids(system: &Root) -> Result<Vec<RootId>> {
    let listed = system.list_optional(DEPLOY).with_context(|| format!("cannot list /{DEPLOY}"))?;
    let entries = listed.unwrap_or_default();
    let names = entries.into_iter().filter(|entry| entry.kind == Kind::Dir).map(|entry| entry.name);
    Ok(names.filter_map(|name| RootId::of_composefs(name.to_str()?)).collect())
}

/// The id of the staged deployment; none when nothing is staged.
pub(crate) fn staged(system: &Root) -> Result<Option<RootId>> {
    let bytes =
        system.read_optional(STAGED, MAX_FILE).with_context(|| format!("cannot read /{STAGED}"))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let staged: Staged =
        serde_json::from_slice(&bytes).with_context(|| format!("/{STAGED} is not valid"))?;
    let id = RootId::of_composefs(&staged.depl_id);
    id.map(Some).with_context(|| format!("/{STAGED} names no deployment"))
}
