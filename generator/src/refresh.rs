//! A merged storage.conf made again when the file that it was made of has changed.
//!
//! The generator runs at boot and at daemon-reload, but Podman reads a storage.conf at each start
//! of a service, and an administrator who edits it and restarts a service expects the change to
//! count. So drop-ins that name a merged file run this before the service: three files are
//! looked at, and normally nothing is written. Where the host's storage.conf lists the store there is
//! no merged file, and this is not run.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use binding::{Root, STORE_PATH};

use crate::gather::{read_drop_ins, read_storage_conf, read_text};
use crate::write::write_file;

/// Writes to `target` the storage.conf that counts below `root`, or else the one at `source`, with
/// the store added.
///
/// # Errors
/// When the source is missing or wrong, or the target cannot be written; it is then as it was.
pub fn refresh(root: &Root, target: &Path, source: Option<&str>) -> Result<()> {
    let host = match source {
        None => read_storage_conf(root)?,
        Some(path) => match read_text(root, path.trim_start_matches('/'))? {
            Some(text) => Some((path.to_owned(), text)),
            None => bail!("there is no {path}"),
        },
    };
    let host = host.as_ref().map(|(path, text)| (path.as_str(), text.as_str()));
    let merged = storage_conf::merge(host, &format!("/{STORE_PATH}"))
        .map_err(|error| anyhow!("{error}: {} stays as it was", target.display()))?;
    write_file(target, &merged)?;
    // The drop-ins beside the host's; a service that names its own file has none.
    let over = target.with_file_name("storage.override.conf");
    if source.is_none() && over.exists() {
        let drop_ins = read_drop_ins(root)?;
        let merged = storage_conf::merge_drop_ins(&drop_ins, &format!("/{STORE_PATH}"))
            .map_err(|error| anyhow!("{error}: {} stays as it was", over.display()))?;
        write_file(&over, &merged.unwrap_or_default())?;
    }
    Ok(())
}
