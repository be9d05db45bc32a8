//! All that can be known about the bound images of a root while it is built. Nothing is fetched or
//! written; what only a registry can tell is added by the command.

mod config;
mod gate;
mod storage;

use std::path::Path;

use anyhow::Context as _;
use binding::quadlet::search::Files;
use binding::{Binding, Finding, Platform, Root, finding};
use host::config::Pin;

use crate::requirement::remedy;

/// What was found.
#[derive(Debug)]
pub struct Linted {
    /// The bindings that could be understood.
    pub bindings: Vec<Binding>,
    /// What is wrong, sorted by place.
    pub findings: Vec<Finding>,
}

/// Looks at the root in the directory `path`, which people know as `shown`; none: it is deployed, and
/// nobody changes it.
///
/// # Errors
/// When something of it cannot be looked at; what is wrong in it is a finding instead.
pub fn look(path: &Path, shown: Option<&Path>) -> anyhow::Result<Linted> {
    let root =
        Root::open(path).with_context(|| format!("cannot open the root {}", path.display()))?;
    let files = Files::new(&root);
    let bound = binding::read_files(&files)?;
    let (config, mut findings) = config::check(&root);
    findings.extend(binding::check_conflicts(&bound.bindings, &Platform::host()));
    let require_pins = config.pin == Some(Pin::Require);
    findings.extend(binding::lint::lint(&files, &bound, require_pins, &remedy(shown)));
    // A root that binds nothing needs neither a store nor a gate.
    if !bound.bindings.is_empty() || bound.has_errors() {
        findings.extend(storage::check(&root)?);
        findings.extend(gate::check(&root)?);
    }
    findings.extend(bound.findings);
    finding::sort(&mut findings);
    Ok(Linted { bindings: bound.bindings, findings })
}
