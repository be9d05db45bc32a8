//! The record of a store: which images it was made for (`bound-images.json`).
//!
//! Fields are only ever added. A reader takes what it knows and ignores the rest, so that after a
//! rollback an older program reads what a newer one wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use oci_digest::Digest;
use serde::{Deserialize, Serialize};

use crate::bindings::Bindings;
use crate::pull::Platform;
use crate::reference::Reference;

/// Name of the record inside a store.
pub const RECORD_FILE: &str = "bound-images.json";
/// Where a root finds its store, root-relative.
pub const STORE_PATH: &str = "usr/lib/containers/storage";
/// Where the bindings of a root are, root-relative (bootc, "Logically bound images").
pub const BINDINGS_PATH: &str = "usr/lib/bootc/bound-images.d";
/// The schema that this program writes.
pub const SCHEMA: u32 = 1;
/// Largest record that is read, in bytes.
pub const MAX_RECORD: usize = 16 << 20;

/// What a store was made for. Deterministic: no clock, no host name, no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Schema of the file: [`SCHEMA`] when written by this program.
    pub schema: u32,
    /// One entry per binding.
    pub bindings: Vec<RecordBinding>,
}

/// One binding, as it was when the store was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordBinding {
    /// Name of the link, such as `nginx.container`.
    pub name: String,
    /// What was pulled.
    pub reference: Reference,
    /// The further name (`ImageTag=`) that the store gives to the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<Reference>,
    /// For which platform.
    pub platform: Platform,
    /// Whether the root may not boot without it.
    pub required: bool,
    /// Whether the image is in the store.
    pub present: bool,
    /// Digest of the manifest list, where the reference named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<Digest>,
    /// Digest of the instance manifest; none when not present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// Image id, 64 hex digits (digest of the config); none when not present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Layers from the lowest up; empty when not present.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<RecordLayer>,
}

/// One layer of a recorded image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordLayer {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Bytes of the uncompressed tar.
    pub size: u64,
    /// Layer id in the store, 64 hex digits.
    pub id: String,
}

/// Why a text is not a record.
#[derive(Debug)]
pub enum RecordError {
    /// Larger than [`MAX_RECORD`]; holds the size in bytes.
    TooLarge(usize),
    /// Not the JSON of a record.
    Json(serde_json::Error),
    /// Schema zero, which never was.
    Schema(u32),
    /// Two bindings of one name; holds the name.
    Repeated(String),
    /// An image or layer id that is not 64 hex digits; holds the id.
    Id(String),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(size) => {
                write!(f, "the record has {size} bytes, more than the {MAX_RECORD} allowed")
            }
            Self::Json(error) => write!(f, "the record is not valid: {error}"),
            Self::Schema(schema) => write!(f, "the record has schema {schema}, which never was"),
            Self::Repeated(name) => write!(f, "the record has two bindings named {name:?}"),
            Self::Id(id) => write!(f, "the record has {id:?} where 64 hex digits must stand"),
        }
    }
}

impl std::error::Error for RecordError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json(error) => Some(error),
            _ => None,
        }
    }
}

impl Record {
    /// A record of the present schema.
    #[must_use]
    pub fn new(bindings: Vec<RecordBinding>) -> Self {
        Self { schema: SCHEMA, bindings }
    }

    /// Reads a record. Unknown fields are ignored, also those of a newer schema.
    ///
    /// # Errors
    /// When the text is too large, not a record, or names a binding twice.
    pub fn parse(text: &[u8]) -> Result<Self, RecordError> {
        if text.len() > MAX_RECORD {
            return Err(RecordError::TooLarge(text.len()));
        }
        let record: Self = serde_json::from_slice(text).map_err(RecordError::Json)?;
        if record.schema == 0 {
            return Err(RecordError::Schema(0));
        }
        let mut names = BTreeSet::new();
        for binding in &record.bindings {
            if !names.insert(&binding.name) {
                return Err(RecordError::Repeated(binding.name.clone()));
            }
            // The ids become names of directories: only hex digits may get that far.
            let layers = binding.layers.iter().map(|layer| &layer.id);
            for id in binding.image.iter().chain(layers) {
                Digest::from_hex(id).map_err(|_| RecordError::Id(id.chars().take(80).collect()))?;
            }
        }
        Ok(record)
    }

    /// The one text of this record: compact JSON, bindings sorted by name, a line break at the end.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut sorted = self.clone();
        sorted.bindings.sort_by(|a, b| a.name.cmp(&b.name));
        // Strings, numbers and lists only: this cannot fail, and an empty text is no record.
        let mut text = serde_json::to_vec(&sorted).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// The store id: hex SHA-256 of [`Record::canonical`].
    #[must_use]
    pub fn store_id(&self) -> String {
        Digest::of(&self.canonical()).hex()
    }

    /// In what the bindings of a root differ from those that this record was made for; empty when
    /// they are the same. Sorted by binding. Whether images are present is not asked.
    #[must_use]
    pub fn matches(&self, bindings: &Bindings, host: &Platform) -> Vec<Mismatch> {
        let recorded: BTreeMap<&str, &RecordBinding> =
            self.bindings.iter().map(|binding| (binding.name.as_str(), binding)).collect();
        let wanted: BTreeMap<&str, _> = bindings
            .bindings
            .iter()
            .map(|binding| (binding.name.as_str(), (binding, binding.pull.platform(host))))
            .collect();
        let names: BTreeSet<&str> = recorded.keys().chain(wanted.keys()).copied().collect();
        let mut mismatches = Vec::new();
        for name in names {
            match (recorded.get(name), wanted.get(name)) {
                (Some(old), Some((new, platform))) => {
                    let mut changed = |what, recorded: String, wanted: String| {
                        if recorded != wanted {
                            let binding = name.to_owned();
                            mismatches.push(Mismatch::Changed { binding, what, recorded, wanted });
                        }
                    };
                    let alias = |alias: &Option<Reference>| {
                        alias.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)
                    };
                    let required = |required| if required { "yes" } else { "no" }.to_owned();
                    changed("reference", old.reference.to_string(), new.reference.to_string());
                    changed("ImageTag", alias(&old.alias), alias(&new.alias));
                    changed("platform", old.platform.to_string(), platform.to_string());
                    changed("Required", required(old.required), required(new.required));
                }
                (Some(_), None) => {
                    mismatches.push(Mismatch::Removed { binding: name.to_owned() });
                }
                (None, Some(_)) => mismatches.push(Mismatch::Added { binding: name.to_owned() }),
                (None, None) => {}
            }
        }
        mismatches
    }
}

/// One way in which the bindings of a root differ from a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Mismatch {
    /// The root has a binding that the record has not.
    Added {
        /// Name of the link.
        binding: String,
    },
    /// The record has a binding that the root has no more.
    Removed {
        /// Name of the link.
        binding: String,
    },
    /// A binding means something else now.
    Changed {
        /// Name of the link.
        binding: String,
        /// `reference`, `ImageTag`, `platform` or `Required`.
        what: &'static str,
        /// What the record says.
        recorded: String,
        /// What the root says.
        wanted: String,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { binding } => write!(f, "{binding} is bound but not in the record"),
            Self::Removed { binding } => write!(f, "{binding} is in the record but not bound"),
            Self::Changed { binding, what, recorded, wanted } => {
                write!(f, "{binding}: {what} is {wanted}, the record says {recorded}")
            }
        }
    }
}
