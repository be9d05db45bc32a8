//! `bound-images list`.

use std::path::Path;

use host::Role;

use super::Exit;
use crate::machine::Machine;
use crate::render::{self, Style};
use crate::state::{self, ImageState};

/// Shows the bindings of the root that was typed, or of the booted one.
///
/// # Errors
/// When the root cannot be looked at.
pub fn run(machine: &Machine, root: Option<&Path>, style: Style) -> anyhow::Result<Exit> {
    let state = state::look_target(machine, &machine.target(root, Role::Booted)?)?;
    render::list(&state, style)?;
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
