//! Which auth file opens a registry.
//!
//! Format: `containers-auth.json(5)`, which is Docker's `config.json` with namespaced keys. The
//! first file *with an entry for the image* wins, so that a placeholder in an image never beats
//! the administrator's secret. Secrets leave this module only as the content of a private file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use binding::pull::Secret;
use binding::reference::Reference;
use binding::root::Root;
use serde::Deserialize;

use super::error::{Kind, Refusal};

/// Largest auth file that is read.
const MAX_AUTH_FILE: u64 = 1 << 20;

/// A place where an auth file may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthFile {
    /// On the running system.
    Host(PathBuf),
    /// In a root; resolved inside it.
    InRoot {
        /// The root's directory.
        root: PathBuf,
        /// The file, relative to the root.
        path: String,
    },
}

impl fmt::Display for AuthFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(path) => write!(f, "{}", path.display()),
            Self::InRoot { root, path } => write!(f, "{}", root.join(path).display()),
        }
    }
}

/// The candidates for a binding of `root`, in order: its Quadlet's `AuthFile=` (inside the root,
/// then on the running system), the configured file, what bootc and ostree use on the running
/// system, then what they find in the root.
#[must_use]
pub fn candidates(quadlet: Option<&str>, configured: Option<&Path>, root: &Path) -> Vec<AuthFile> {
    let in_root = |path: &str| AuthFile::InRoot {
        root: root.to_owned(),
        path: path.trim_start_matches('/').to_owned(),
    };
    let host = |path: &str| AuthFile::Host(PathBuf::from(path));
    let mut found = Vec::new();
    if let Some(path) = quadlet {
        found.extend([in_root(path), host(path)]);
    }
    found.extend(configured.map(|path| AuthFile::Host(path.to_owned())));
    found.extend([
        host("/run/ostree/auth.json"),
        host("/etc/ostree/auth.json"),
        in_root("etc/ostree/auth.json"),
        in_root("usr/lib/ostree/auth.json"),
    ]);
    found
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    identitytoken: Option<String>,
    username: Option<String>,
}

impl Entry {
    /// Whether it could open anything: `{}` and an empty user are placeholders.
    fn is_filled(&self) -> bool {
        let filled = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
        let user = self.auth.as_deref().and_then(|text| STANDARD.decode(text.trim()).ok());
        filled(&self.identitytoken)
            || filled(&self.username)
            || user.is_some_and(|pair| !pair.is_empty() && !pair.starts_with(b":"))
    }
}

/// The keys under which credentials for an image may stand, the longest first:
/// `registry/name/space`, …, `registry`.
fn keys(reference: &Reference) -> Vec<String> {
    let mut key = reference.repository();
    let mut found = vec![key.to_owned()];
    while let Some((shorter, _)) = key.rsplit_once('/') {
        found.push(shorter.to_owned());
        key = shorter;
    }
    found
}

/// Docker's older keys: `https://registry/v1/` means `registry`, and Docker Hub has three names.
fn normal_key(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let key = match bare {
        Some(bare) => bare.split('/').next().unwrap_or(bare),
        None => key,
    };
    match key {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        key => key,
    }
}

/// Whether an auth file has an entry for the image: a filled one, or a credential helper.
///
/// # Errors
/// A text that says why it is not an auth file; never quotes it.
pub fn has_entry(text: &[u8], reference: &Reference) -> Result<bool, String> {
    // serde's own message could quote a secret: only the position is told.
    let document: Document = serde_json::from_slice(text).map_err(|error| {
        format!("it is not an auth file (line {}, column {})", error.line(), error.column())
    })?;
    let auths = document.auths.unwrap_or_default();
    let helpers = document.cred_helpers.unwrap_or_default();
    Ok(keys(reference).iter().any(|key| {
        auths.iter().any(|(name, entry)| normal_key(name) == key && entry.is_filled())
            || (key == reference.registry() && helpers.keys().any(|name| normal_key(name) == key))
    }))
}

/// Who asks, by an auth file that has an entry for the image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Login {
    /// `user:password`.
    Basic(Secret),
    /// A credential helper, or a token: what only skopeo knows how to use.
    Other,
}

/// The entry for the image: the one of its longest key, as skopeo takes it.
pub(crate) fn login(text: &[u8], reference: &Reference) -> Login {
    let Ok(document) = serde_json::from_slice::<Document>(text) else { return Login::Other };
    let helpers = document.cred_helpers.unwrap_or_default();
    if helpers.keys().any(|name| normal_key(name) == reference.registry()) {
        return Login::Other;
    }
    let auths = document.auths.unwrap_or_default();
    let entry = keys(reference).into_iter().find_map(|key| {
        let filled =
            |(name, entry): &(&String, &Entry)| normal_key(name) == key && entry.is_filled();
        let (_, entry) = auths.iter().find(filled)?;
        Some(entry)
    });
    let pair = entry.filter(|entry| entry.identitytoken.is_none()).and_then(|entry| {
        let pair = STANDARD.decode(entry.auth.as_deref()?.trim()).ok()?;
        // Docker ends some with NUL bytes.
        Some(String::from_utf8(pair).ok()?.trim_end_matches('\0').to_owned())
    });
    match pair {
        Some(pair) if !pair.starts_with(':') && pair.contains(':') => {
            Login::Basic(Secret::new(pair))
        }
        _ => Login::Other,
    }
}

/// What the candidates gave.
#[derive(Default)]
pub struct Chosen {
    /// The winner and its content. `None`: anonymous.
    pub file: Option<(String, Vec<u8>)>,
    /// The files that exist but could not be used, and why.
    pub warnings: Vec<String>,
}

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.file.as_ref().map(|(name, _)| name);
        f.debug_struct("Chosen").field("file", &name).field("warnings", &self.warnings).finish()
    }
}

/// Chooses among contents: `(name, Ok(content) | Err(why it cannot be read))`, absent ones left
/// out, in order of precedence.
#[must_use]
pub fn choose(read: Vec<(String, Result<Vec<u8>, String>)>, reference: &Reference) -> Chosen {
    let mut chosen = Chosen::default();
    for (name, content) in read {
        let checked =
            content.and_then(|text| has_entry(&text, reference).map(|found| (found, text)));
        match checked {
            Ok((true, text)) => {
                chosen.file = Some((name, text));
                break;
            }
            Ok((false, _)) => {}
            Err(why) => chosen.warnings.push(format!("auth file {name} is passed over: {why}")),
        }
    }
    chosen
}

/// Reads the candidates and chooses.
#[must_use]
pub fn gather(files: &[AuthFile], reference: &Reference) -> Chosen {
    let read = files
        .iter()
        .filter_map(|file| {
            let content = match file {
                AuthFile::Host(path) => read_in(Path::new("/"), &path.to_string_lossy()),
                AuthFile::InRoot { root, path } => read_in(root, path),
            };
            content.transpose().map(|content| (file.to_string(), content))
        })
        .collect();
    choose(read, reference)
}

fn read_in(root: &Path, path: &str) -> Result<Option<Vec<u8>>, String> {
    // A root whose images are fetched although its files are gone: it has no credentials either.
    if !root.exists() {
        return Ok(None);
    }
    Root::open(root)
        .and_then(|root| root.read_optional(path.trim_start_matches('/'), MAX_AUTH_FILE))
        .map_err(|error| error.to_string())
}

/// `Creds=user:password` as an auth file for the registry of the image.
///
/// # Errors
/// [`Kind::Unsupported`] without a password: nobody is there to ask for it.
pub fn auth_file_of(creds: &Secret, reference: &Reference) -> Result<Vec<u8>, Refusal> {
    let pair = creds.expose();
    if pair.split_once(':').is_none_or(|(user, _)| user.is_empty()) {
        return Err(Refusal::new(Kind::Unsupported, "its Creds= is not user:password"));
    }
    let entry = serde_json::json!({ "auth": STANDARD.encode(pair) });
    Ok(serde_json::json!({ "auths": { reference.registry(): entry } }).to_string().into_bytes())
}

#[cfg(test)]
#[path = "testing/credentials.rs"]
mod tests;
