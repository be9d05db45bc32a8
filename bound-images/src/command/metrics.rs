//! `bound-images status --format prometheus`: the host for Prometheus.

use std::path::Path;

use anyhow::{Context as _, bail};

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
    if let Some(file) = out {
        require_file(file)?;
    }
    // Whether services run is asked by others: node_exporter knows all units.
    let status = status::gather(machine)?;
    let text = render::metrics(&status);
    match out {
        Some(file) => write_bytes(file, text.as_bytes(), 0o644, None)?,
        None => render::print(&text).context("cannot write the metrics")?,
    }
    Ok(status::exit(&status))
}

/// Refuses a place that has something else than a file, since that is what it would have afterwards: /dev/stdout is a
/// link, /dev/null a device.
fn require_file(file: &Path) -> anyhow::Result<()> {
    if std::fs::symlink_metadata(file).is_ok_and(|found| !found.is_file()) {
        let shown = file.display();
        bail!(
            "{shown} is not a file, and would be replaced by one; name another place, or leave --out away for standard output"
        );
    }
    Ok(())
}
