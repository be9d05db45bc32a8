//! `bound-images list`.

use std::path::Path;

use anyhow::Context as _;
use binding::lint::check_unused;
use binding::quadlet::search::Files;
use binding::{Finding, Root, finding};
use host::Role;

use super::Exit;
use crate::machine::{Machine, Target};
use crate::render::{self, Style};
use crate::state::{self, ImageState, State};
use crate::system::bus::Bus;
use crate::system::systemd;

/// Shows the bindings of the root that was typed, or of the booted one.
///
/// # Errors
/// When the root cannot be looked at.
pub async fn run(
    machine: &Machine,
    root: Option<&Path>,
    bus: Option<&Bus>,
    style: Style,
) -> anyhow::Result<Exit> {
    let target = machine.target(root, Role::Booted)?;
    let mut state = state::look_target(machine, &target)?;
    // What takes space and serves nobody.
    let unused = unused(&state)?;
    state.bindings.findings.extend(unused);
    finding::sort(&mut state.bindings.findings);
    let runs = match &target {
        Target::Deployment(deployment) => deployment.role == Role::Booted,
        Target::Plain(_) => root.is_none(),
    };
    let services = state.bindings.bindings.iter().flat_map(|binding| binding.services.clone());
    let services: Vec<String> = services.collect();
    let states = match bus.filter(|_| runs && !services.is_empty()) {
        Some(bus) => systemd::states(bus, &services).await.unwrap_or_else(|why| {
            render::note(&format!("note: it cannot be told which services run: {why}"));
            Vec::new()
        }),
        None => Vec::new(),
    };
    render::list(&state, &states, style)?;
    if style.format == crate::cli::Format::Table {
        for finding in &state.bindings.findings {
            render::finding(finding, style);
        }
    }
    let fine =
        !state.bindings.has_errors()
            && state.bindings.bindings.iter().all(|binding| {
                !binding.required || state.image_state(binding) == ImageState::Present
            });
    Ok(if fine { Exit::Well } else { Exit::Findings })
}

/// Writes what the root binds as references for programs that mirror images.
///
/// # Errors
/// When the root cannot be looked at.
pub(crate) fn refs(machine: &Machine, root: Option<&Path>, style: Style) -> anyhow::Result<Exit> {
    let target = machine.target(root, Role::Booted)?;
    let state = state::look_target(machine, &target)?;
    render::refs(&state)?;
    for finding in state.bindings.findings.iter().filter(|finding| finding.is_error()) {
        render::finding(finding, style);
    }
    // What is missing here is just what a mirror is made for; a binding that is wrong is not in the list.
    Ok(if state.bindings.has_errors() { Exit::Findings } else { Exit::Well })
}

/// Images that are bound, and that no Quadlet uses.
fn unused(state: &State) -> anyhow::Result<Vec<Finding>> {
    let root = Root::open(&state.root)
        .with_context(|| format!("cannot open the root {}", state.root.display()))?;
    let bindings = &state.bindings.bindings;
    let mut unused = check_unused(&Files::new(&root), bindings);
    unused.retain(|finding| bindings.iter().any(|one| one.quadlet == finding.place.file));
    Ok(unused)
}
