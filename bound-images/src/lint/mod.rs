//! All that can be known about the bound images of a root while it is built. Nothing is fetched or
//! written; what only a registry can tell is added by the command.

mod config;
mod gate;
mod storage;

use std::path::Path;

use anyhow::Context as _;
use binding::quadlet::search::Files;
use binding::{Binding, Code, Finding, Platform, Root, finding};
use host::config::Pin;

use crate::requirement::remedy;

pub(crate) use storage::remedy_of_missing;

/// What was found.
#[derive(Debug)]
pub struct Linted {
    /// The bindings that could be understood.
    pub bindings: Vec<Binding>,
    /// What is wrong, sorted by place.
    pub findings: Vec<Finding>,
    /// Whether these are files for a root, in which no operating system is.
    pub is_overlay: bool,
    /// Quadlets that name images, where none is bound.
    pub unbound: usize,
}

/// What an image has that is more than files to be copied into one.
const SYSTEM: [&str; 4] =
    ["usr/lib/os-release", "etc/os-release", "usr/bin", "usr/lib/systemd/systemd"];

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
        let option = match shown {
            Some(path) if path != Path::new("/") => format!(" --root {}", path.display()),
            _ => String::new(),
        };
        findings.extend(storage::check(&root, &option)?);
        findings.extend(gate::check(&root)?);
    }
    let unbound = binding::lint::count_unbound(&files, &bound);
    findings.extend(bound.findings);
    let is_overlay = SYSTEM.iter().all(|path| root.kind(path).is_err());
    if is_overlay {
        // Store and storage.conf come with the image that these files are copied into.
        let elsewhere = [Code::StoreMissing, Code::StoreNotListed];
        findings.retain(|finding| finding.is_error() || !elsewhere.contains(&finding.code));
    }
    finding::sort(&mut findings);
    Ok(Linted { bindings: bound.bindings, findings, is_overlay, unbound })
}
