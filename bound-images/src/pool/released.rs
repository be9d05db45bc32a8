//! Roots that the operator lets boot although images are missing.

use std::path::Path;

use anyhow::{Context as _, bail};
use binding::Root;
use host::{Pool, RootId};
use serde::{Deserialize, Serialize};

use super::Writer;
use crate::system::file::write_json;

/// The number of the form in which it is written.
const SCHEMA: u32 = 1;
/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 64 << 10;
/// The longest reason, in bytes.
pub const MAX_REASON: usize = 4096;

/// Why one root was released. It is good for that root only: one deployment, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    schema: u32,
    /// What the operator said.
    pub reason: String,
}

impl Release {
    /// A release for that reason.
    #[must_use]
    pub fn new(reason: &str) -> Self {
        Self { schema: SCHEMA, reason: reason.to_owned() }
    }

    /// The release of a root; none when it has none.
    ///
    /// # Errors
    /// When it is there and cannot be read: a release must not come out of a broken file, nor out of
    /// one whose meaning only another release of this program knows.
    pub fn read(system: &Root, pool: &Pool, root: &RootId) -> anyhow::Result<Option<Self>> {
        let path = pool.below(&format!("released/{root}.json"));
        let bytes = system
            .read_optional(&path, MAX_FILE)
            .with_context(|| format!("cannot read /{path}"))?;
        let Some(bytes) = bytes else { return Ok(None) };
        let release: Self =
            serde_json::from_slice(&bytes).with_context(|| format!("/{path} is not valid"))?;
        if release.schema != SCHEMA {
            bail!("/{path} has schema {}, and only {SCHEMA} is known here", release.schema);
        }
        Ok(Some(release))
    }

    /// Writes it down.
    ///
    /// # Errors
    /// When the disk is at fault.
    pub fn write(&self, pool: &Writer, root: &RootId) -> anyhow::Result<()> {
        let path: &Path = pool.directory();
        write_json(&path.join("released").join(format!("{root}.json")), self)
    }
}
