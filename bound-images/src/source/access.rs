//! What decides over access to a registry besides the registry: credentials, and the signature
//! policy of the host where skopeo cannot enforce it.

use std::io::Write;
use std::path::{Path, PathBuf};

use binding::Root;
use binding::reference::Reference;
use tempfile::NamedTempFile;

use super::Request;
use super::credentials::{Login, auth_file_of, gather, login};
use super::error::{Kind, Refusal};
use crate::system::skopeo::Access;
use crate::system::skopeo_policy::{Demand, policy_demands};

/// Where policy.json is, in the order of `containers-policy.json(5)` for the system.
const POLICIES: [&str; 2] = ["/etc/containers/policy.json", "/usr/share/containers/policy.json"];

/// The largest policy of a root that is read.
const MAX_POLICY: u64 = 1 << 20;

/// Access to a registry, and how it came about.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) access: Access,
    /// What is in the file that `access` names; `None`: anonymous.
    pub(crate) login: Option<Login>,
    /// Where the credentials are from, for people; `None`: anonymous.
    tried: Option<String>,
    /// Removed when the last user is gone.
    _file: Option<NamedTempFile>,
}

/// Reads the policy that skopeo would read.
pub(crate) fn demand_of_host(
    policy: Option<&Path>,
    reference: &Reference,
) -> Result<Demand, Refusal> {
    let places: Vec<PathBuf> = match policy {
        Some(path) => vec![path.to_owned()],
        None => POLICIES.iter().map(PathBuf::from).collect(),
    };
    for path in places {
        let wrong = |why: String| {
            Refusal::new(Kind::Policy, format!("the policy {} {why}", path.display()))
        };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
        };
        return policy_demands(&text, reference)
            .map_err(|error| wrong(format!("is not valid: {error}")));
    }
    Ok(Demand::Nothing)
}

/// What the policy of a root asks. A policy that cannot be read may ask for anything.
pub(crate) fn demand_of_root(root: &Root, reference: &Reference) -> Demand {
    for path in POLICIES {
        return match root.read_optional(path.trim_start_matches('/'), MAX_POLICY) {
            Ok(Some(text)) => policy_demands(&text, reference).unwrap_or(Demand::Reject),
            Ok(None) => continue,
            Err(_) => Demand::Reject,
        };
    }
    Demand::Nothing
}

/// Finds credentials and puts them where only skopeo finds them.
pub(crate) fn grant(request: &Request, secrets: &Path) -> Result<Granted, Refusal> {
    let found = match &request.pull.creds {
        Some(creds) => {
            let content = auth_file_of(creds, &request.reference)?;
            Some(("Creds= of the Quadlet".to_owned(), content))
        }
        None => {
            let chosen = gather(&request.auth_files, &request.reference);
            for warning in &chosen.warnings {
                log::warn!("{}: {warning}", request.reference);
            }
            chosen.file
        }
    };
    let mut access = Access {
        authfile: None,
        cert_dir: request.pull.cert_dir.as_ref().map(PathBuf::from),
        tls_verify: request.pull.tls_verify,
    };
    let Some((tried, content)) = found else {
        return Ok(Granted { access, login: None, tried: None, _file: None });
    };
    let written = private_file(secrets).and_then(|mut file| {
        file.write_all(&content)?;
        Ok(file)
    });
    let file = written
        .map_err(|error| Refusal::new(Kind::Io, format!("writing a private auth file: {error}")))?;
    access.authfile = Some(file.path().to_owned());
    let login = Some(login(&content, &request.reference));
    Ok(Granted { access, login, tried: Some(tried), _file: Some(file) })
}

/// A file that only its owner reads (mode 0600), in `secrets` or else where temporary files go.
fn private_file(secrets: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("bound-images-auth-").suffix(".json");
    builder.tempfile_in(secrets).or_else(|_| builder.tempfile())
}

/// Tells with a 401 or 403 which registry it was and what was tried.
pub(crate) fn blame(mut refusal: Refusal, request: &Request, granted: &Granted) -> Refusal {
    if refusal.kind == Kind::Unauthorized {
        let registry = request.reference.registry();
        let tried = match &granted.tried {
            Some(file) => format!("tried with {file}"),
            None => "tried without credentials, since no auth file has an entry for it".to_owned(),
        };
        refusal.why = format!("registry {registry} refuses access ({tried}): {}", refusal.why);
    }
    refusal
}
