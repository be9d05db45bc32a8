//! `pin = "require"`: what a root, or the host for its new roots, demands of references.
//!
//! A root's own configuration, below its `/usr`, always counts. What the host's `/etc` and `/run` say is
//! laid over it, as it will be when that root is booted; what they demand counts for images that were
//! not staged before, so that a new line in `/etc` does not condemn the root that runs.

use std::path::Path;

use anyhow::Context as _;
use binding::{Binding, Code, Finding, Place, Root, Severity, finding};
use host::config::{DIRECTORIES, Pin, read_inside};

use crate::state::State;

/// Whose references have to be pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Demand {
    /// Nobody's.
    None,
    /// Those of images that were not staged before.
    New,
    /// All.
    All,
}

/// Adds an error for each reference that the configuration refuses; `system` is the `/` of the host
/// that the root belongs to.
///
/// # Errors
/// When the root cannot be opened.
pub(crate) fn check(state: &mut State, path: &Path, system: Option<&Root>) -> anyhow::Result<()> {
    let root =
        Root::open(path).with_context(|| format!("cannot open the root {}", path.display()))?;
    let (demand, fault) = demand(&root, system.unwrap_or(&root));
    let mut findings: Vec<Finding> = fault.into_iter().collect();
    let refused = |binding: &Binding| match demand {
        Demand::None => false,
        Demand::New => state.recorded(binding).is_none(),
        Demand::All => true,
    };
    let bindings: Vec<Binding> =
        state.bindings.bindings.iter().filter(|binding| refused(binding)).cloned().collect();
    findings.extend(findings_of(&bindings, &remedy(state.directory())));
    if !findings.is_empty() {
        state.bindings.findings.extend(findings);
        finding::sort(&mut state.bindings.findings);
    }
    Ok(())
}

/// What the configuration demands, and what is wrong with the root's own.
fn demand(root: &Root, system: &Root) -> (Demand, Option<Finding>) {
    let [own, etc, run] = DIRECTORIES;
    let is_required = |directories: &[(&Root, &str)]| {
        read_inside(directories).map(|config| config.pin == Some(Pin::Require))
    };
    match is_required(&[(root, own), (system, etc), (system, run)]) {
        Ok(false) => (Demand::None, None),
        Ok(true) if matches!(is_required(&[(root, own)]), Ok(true)) => (Demand::All, None),
        Ok(true) => (Demand::New, None),
        // Whether that is a fault can only be told by the program that the root brings, which may be
        // newer: it must not be held back for ever by an older one.
        Err(error) => {
            let mut found = Finding::new(
                Code::BadConfig,
                Place::file(own.trim_start_matches('/')),
                format!("whether the root demands digests cannot be told: {error:#}"),
                "correct or remove the file",
            );
            found.severity = Severity::Warning;
            (Demand::None, Some(found))
        }
    }
}

/// An error for each of these without a digest. Pure.
#[must_use]
pub fn findings_of(bindings: &[Binding], fix: &str) -> Vec<Finding> {
    let mut findings = binding::lint::check_pins(bindings, true, fix);
    findings.retain(|finding| finding.code == Code::Unpinned);
    findings
}

/// What to do about a reference without a digest in the root at `directory`; none: in one that is
/// deployed, which nobody changes.
#[must_use]
pub fn remedy(directory: Option<&Path>) -> String {
    match directory {
        Some(path) => format!("run `bound-images pin --root {}`", path.display()),
        None => {
            "pin it where the image of the root is built (`bound-images pin --root DIR`)".to_owned()
        }
    }
}
