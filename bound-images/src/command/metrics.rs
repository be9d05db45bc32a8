//! `bound-images status --format prometheus`: the host for Prometheus.

use std::path::Path;

use anyhow::Context as _;

use super::{Exit, status};
use crate::machine::Machine;
use crate::render;
use crate::system::file::write_bytes;

/// Writes the metrics to a file, or to standard output. A file is replaced in one step, and only when
/// all could be looked at: else its age tells.
///
/// # Errors
/// When the roots cannot be found, or nothing can be written.
pub(super) fn run(machine: &Machine, out: Option<&Path>) -> anyhow::Result<Exit> {
    // Whether services run is asked by others: node_exporter knows all units.
    let status = status::gather(machine)?;
    let text = render::metrics(&status);
    match out {
        Some(file) => write_bytes(file, text.as_bytes(), 0o644, None)?,
        None => render::print(&text).context("cannot write the metrics")?,
    }
    Ok(status::exit(&status))
}
