//! What a root binds that was staged and is not complete yet: it survives the reboot that the gate
//! made of it, so that its images are fetched in the background until it is staged again.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use binding::record::MAX_RECORD;
use binding::{Binding, Bindings, Place, Platform, PullOptions, RECORD_FILE, Record, Reference};
use host::RootId;
use serde::{Deserialize, Serialize};

use super::Writer;
use crate::system::file::{read_optional, write_json};

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// The most entries that are looked at.
const MAX_ENTRIES: usize = 1000;

/// The bindings of one root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    schema: u32,
    images: Vec<WantedImage>,
}

/// One binding and what it resolved to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct WantedImage {
    binding: String,
    reference: Reference,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alias: Option<Reference>,
    platform: Platform,
    required: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cert_dir: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls_verify: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry: Option<u32>,
}

/// A wanted root that was found in the pool.
#[derive(Clone, Debug)]
pub struct Found {
    /// The root.
    pub root: RootId,
    /// Since when.
    pub since: SystemTime,
    /// What it wants; none when the file cannot be understood.
    pub wanted: Option<Wanted>,
}

impl Wanted {
    /// What `bindings` want. Passwords and keys are left out: they must not be written down, so
    /// that a binding with `Creds=` waits until its root is staged again.
    #[must_use]
    pub fn of(bindings: &[Binding], host: &Platform) -> Self {
        let images = bindings
            .iter()
            .filter(|binding| {
                binding.pull.creds.is_none() && binding.pull.decryption_keys.is_empty()
            })
            .map(|binding| WantedImage {
                binding: binding.name.clone(),
                reference: binding.reference.clone(),
                alias: binding.alias.clone(),
                platform: binding.pull.platform(host),
                required: binding.required,
                auth_file: binding.pull.auth_file.clone(),
                cert_dir: binding.pull.cert_dir.clone(),
                tls_verify: binding.pull.tls_verify,
                retry: binding.pull.retry,
            })
            .collect();
        Self { schema: 1, images }
    }

    /// As bindings, which serve no service.
    #[must_use]
    pub fn bindings(&self) -> Vec<Binding> {
        let binding = |image: &WantedImage| Binding {
            name: image.binding.clone(),
            quadlet: String::new(),
            place: Place::file(image.binding.clone()),
            reference: image.reference.clone(),
            alias: image.alias.clone(),
            pull: PullOptions {
                auth_file: image.auth_file.clone(),
                cert_dir: image.cert_dir.clone(),
                tls_verify: image.tls_verify,
                retry: image.retry,
                os: Some(image.platform.os.clone()),
                arch: Some(image.platform.architecture.clone()),
                variant: image.platform.variant.clone(),
                ..PullOptions::default()
            },
            services: Vec::new(),
            required: image.required,
        };
        self.images.iter().map(binding).collect()
    }
}

impl Found {
    /// Whether all that it wants was fetched into the pool at `directory`: what is being made for it has
    /// its record then, which is written last.
    #[must_use]
    pub fn is_fetched(&self, directory: &Path) -> bool {
        let path = directory.join("partial").join(self.root.as_str()).join("store");
        let record = read_optional(&path.join(RECORD_FILE), MAX_RECORD as u64).ok().flatten();
        let record = record.and_then(|text| Record::parse(&text).ok());
        let (Some(record), Some(wanted)) = (record, &self.wanted) else { return false };
        let bindings = Bindings { bindings: wanted.bindings(), findings: Vec::new() };
        record.matches(&bindings, &Platform::host()).is_empty()
            && record.bindings.iter().all(|binding| binding.present)
    }
}

/// The wanted roots of the pool at `directory`, the newest first.
///
/// # Errors
/// When they cannot be listed. A file that cannot be understood is listed without its content.
pub fn read_all(directory: &Path) -> anyhow::Result<Vec<Found>> {
    let directory = directory.join("wanted");
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot list {}", directory.display()));
        }
    };
    let mut all = Vec::new();
    for entry in entries.take(MAX_ENTRIES) {
        let entry = entry.with_context(|| format!("cannot list {}", directory.display()))?;
        let name = entry.file_name();
        let root = name.to_str().and_then(|name| RootId::parse(name.strip_suffix(".json")?));
        let Some(root) = root else { continue };
        let since = entry.metadata().and_then(|metadata| metadata.modified());
        let since = since.unwrap_or(SystemTime::UNIX_EPOCH);
        let wanted = match read(&entry.path()) {
            Ok(wanted) => wanted,
            Err(error) => {
                log::warn!("{error:#}");
                None
            }
        };
        all.push(Found { root, since, wanted });
    }
    all.sort_by(|one, other| (other.since, &one.root).cmp(&(one.since, &other.root)));
    Ok(all)
}

fn read(path: &Path) -> anyhow::Result<Option<Wanted>> {
    let Some(bytes) = read_optional(path, MAX_FILE)? else { return Ok(None) };
    let wanted = serde_json::from_slice(&bytes);
    wanted.map(Some).with_context(|| format!("{} is not valid", path.display()))
}

fn path(pool: &Writer, root: &RootId) -> PathBuf {
    pool.directory().join("wanted").join(format!("{root}.json"))
}

/// Writes down what a root wants. What stands there already is left alone, with its time.
///
/// # Errors
/// When the disk is at fault.
pub fn write(pool: &Writer, root: &RootId, wanted: &Wanted) -> anyhow::Result<()> {
    let path = path(pool, root);
    if read(&path).ok().flatten().as_ref() == Some(wanted) {
        return Ok(());
    }
    write_json(&path, wanted)
}

/// Forgets what a root wants.
///
/// # Errors
/// When the disk is at fault.
pub fn remove(pool: &Writer, root: &RootId) -> anyhow::Result<()> {
    pool.remove_file(&format!("wanted/{root}.json"))
}
