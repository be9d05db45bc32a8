//! `bound-images verify`: quick, without reading the files in layers, or deep.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use binding::{Finding, Mismatch};
use serde::Serialize;

use super::Exit;
use crate::render::{self, Style};
use crate::source::registry::{Registry, RegistryOptions};
use crate::state::{self, State, StoreState};

/// What is wrong with the store of a root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The bindings that suffer; none where all of them do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The file at fault, below the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What is wrong.
    pub why: String,
    /// Whether only an optional binding suffers.
    pub optional: bool,
}

/// What `verify` says of a root.
#[derive(Debug)]
pub struct Verdict {
    /// The root as it was given.
    pub root: PathBuf,
    /// Whether every file was read.
    pub deep: bool,
    /// Id of its store, if it has one of ours.
    pub store_id: Option<String>,
    /// How many bindings it has.
    pub bindings: usize,
    /// Whether the store itself is damaged.
    pub damaged: bool,
    /// What is wrong with the store.
    pub problems: Vec<Problem>,
    /// What is wrong with the bindings.
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// Whether every required image is there and whole, and no binding is wrong.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.problems.iter().all(|problem| problem.optional)
            && !self.findings.iter().any(Finding::is_error)
    }
}

/// Checks the root `path`; every file in it if `deep`.
///
/// # Errors
/// When the root cannot be looked at.
pub async fn run(
    path: &Path,
    deep: bool,
    environment: Vec<(OsString, OsString)>,
    style: Style,
) -> anyhow::Result<Exit> {
    let mut state = state::look(path)?;
    if deep && let StoreState::Ours(held) = &mut state.store {
        held.look_deep()?;
    }
    let verdict = judge(state, deep);
    if style.format == crate::cli::Format::Table {
        for finding in &verdict.findings {
            render::finding(finding, style);
        }
        if let Some(warning) = policy_warning(environment).await {
            render::note(&format!("warning: {warning}"));
        }
    }
    render::verify(&verdict, style)?;
    Ok(if verdict.is_complete() { Exit::Well } else { Exit::Findings })
}

/// Decides what is wrong. Pure.
#[must_use]
pub fn judge(state: State, deep: bool) -> Verdict {
    let mut problems = Vec::new();
    let problem =
        |subject: Option<&str>, path: Option<&str>, why: String, optional: bool| Problem {
            subject: subject.map(str::to_owned),
            path: path.map(str::to_owned),
            why,
            optional,
        };
    let mut store_id = None;
    let fix = format!("run `bound-images stage --root {}`", state.root.display());
    match &state.store {
        StoreState::Absent if state.bindings.bindings.is_empty() => {}
        StoreState::Absent => {
            for binding in &state.bindings.bindings {
                let why = format!("{} is missing: the root has no store; {fix}", binding.reference);
                problems.push(problem(Some(&binding.name), None, why, !binding.required));
            }
        }
        StoreState::Foreign(why) => {
            let why = format!("not a store of bound-images: {why}");
            problems.push(problem(None, Some(binding::STORE_PATH), why, false));
        }
        StoreState::Ours(held) => {
            store_id = Some(held.record.store_id());
            for damage in &held.damage {
                let subject = held.bindings_of(&damage.subject).join(", ");
                let subject = Some(subject.as_str()).filter(|subject| !subject.is_empty());
                problems.push(problem(subject, Some(&damage.path), damage.why.clone(), false));
            }
            for mismatch in &held.mismatches {
                let optional = is_optional(&state, mismatch);
                problems.push(problem(None, None, format!("{mismatch}; {fix}"), optional));
            }
            for binding in &state.bindings.bindings {
                let absent =
                    held.recorded(binding, &state.host).is_some_and(|record| !record.present);
                if absent {
                    let why = format!("{} is missing; {fix}", binding.reference);
                    problems.push(problem(Some(&binding.name), None, why, !binding.required));
                }
            }
        }
    }
    problems.dedup();
    let damaged = matches!(&state.store, StoreState::Ours(held) if !held.damage.is_empty());
    let (root, bindings) = (state.root, state.bindings.bindings.len());
    Verdict { root, deep, store_id, bindings, damaged, problems, findings: state.bindings.findings }
}

/// A skopeo that does not enforce the signature policy is worth knowing of before an upgrade. No
/// skopeo at all is not: a root can be complete without one.
async fn policy_warning(environment: Vec<(OsString, OsString)>) -> Option<String> {
    let version = Registry::new(RegistryOptions::new(environment)).skopeo_version().await.ok()?;
    (!version.enforces_policy()).then(|| {
        format!("skopeo {version} does not enforce policy.json; roots whose policy demands signatures need 1.13 or newer")
    })
}

/// Whether only an optional binding differs from the record.
fn is_optional(state: &State, mismatch: &Mismatch) -> bool {
    let (Mismatch::Added { binding }
    | Mismatch::Removed { binding }
    | Mismatch::Changed { binding, .. }) = mismatch;
    state.bindings.bindings.iter().any(|known| known.name == *binding && !known.required)
}
