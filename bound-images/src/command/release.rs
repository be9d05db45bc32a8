//! `bound-images release`.

use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use host::Role;

use super::{Exit, verify};
use crate::machine::{Machine, Target};
use crate::pool::released::{MAX_REASON, Release};
use crate::pool::{Unavailable, Writer};
use crate::render::{self, Style};
use crate::state;
use crate::system::journal;

/// How long another writer is waited for.
const WAIT: Duration = Duration::from_secs(10);

/// Lets one root boot although images are missing.
///
/// # Errors
/// When there is no such root, or it cannot be written down.
pub async fn run(
    machine: &Machine,
    root: &Path,
    reason: &str,
    style: Style,
) -> anyhow::Result<Exit> {
    let reason = reason.trim();
    if reason.is_empty() || reason.len() > MAX_REASON || reason.contains(char::is_control) {
        render::failed(&format!("the reason must be one line of 1 to {MAX_REASON} bytes"), style);
        return Ok(Exit::Usage);
    }
    let deployment = match machine.target(Some(root), Role::Staged)? {
        Target::Deployment(deployment) => deployment,
        Target::Plain(path) => bail!(
            "{} is not a root of this host (`bound-images status` shows them)",
            path.display()
        ),
    };
    if verify::reasons(&state::look_at(machine, &deployment)?).is_empty() {
        render::failed(&format!("{} is complete: it needs no release", deployment.id), style);
        return Ok(Exit::Usage);
    }
    let writer = match Writer::wait(&machine.pool_directory(), WAIT).await {
        Ok(writer) => writer,
        Err(Unavailable::Other(error)) => return Err(error),
        Err(Unavailable::Busy(lock)) => {
            bail!("a stage is running ({} is locked); try again", lock.display())
        }
    };
    Release::new(reason).write(&writer, &deployment.id)?;
    journal::released(deployment.id.as_str(), reason);
    render::released(&deployment.id, reason, style)?;
    Ok(Exit::Well)
}
