//! `bound-images list`.

use std::path::Path;

use super::Exit;
use crate::render::{self, Style};
use crate::state::{self, ImageState};

/// Shows the bindings of the root `path`.
///
/// # Errors
/// When the root cannot be looked at.
pub fn run(path: &Path, style: Style) -> anyhow::Result<Exit> {
    let state = state::look(path)?;
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
