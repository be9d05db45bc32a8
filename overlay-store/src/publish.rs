//! Putting a finished store into its place, in one step that a crash cannot split.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::error::{During, Error, Result};

/// Moves the finished store `made` to `target`. What was at `target` before is at `made`
/// afterwards, for the caller to remove: the two are exchanged in one step.
///
/// # Errors
/// When they are not on one file system, or the disk is at fault.
pub fn publish(made: &Path, target: &Path) -> Result<()> {
    let action = || format!("move {} to {}", made.display(), target.display());
    let flags = match fs::symlink_metadata(target) {
        Ok(_) => RenameFlags::EXCHANGE,
        Err(error) if error.kind() == io::ErrorKind::NotFound => RenameFlags::NOREPLACE,
        Err(error) => return Err(error).during(action),
    };
    match rustix::fs::renameat_with(CWD, made, CWD, target, flags) {
        Ok(()) => {}
        Err(Errno::BUSY) => {
            return Err(Error::Invalid(format!(
                "{} is a mount point; unmount it, or work on the directory under it",
                target.display()
            )));
        }
        Err(error) => return Err(error).during(action),
    }
    for directory in [made.parent(), target.parent()].into_iter().flatten() {
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .during(|| format!("sync {}", directory.display()))?;
    }
    Ok(())
}
