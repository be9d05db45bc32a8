//! Puts files where they belong.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::plan::{Base, OutputFile};

/// Writes `files` below the two directories, each under a temporary name first: Podman may be
/// reading the old one. A file that is there with the same text is left alone, since Podman reads
/// a storage.conf again when its time changes.
///
/// Nothing is synced: both directories are on a tmpfs.
///
/// # Errors
/// The first file that could not be written.
pub fn write(files: &[OutputFile], normal: &Path, run: &Path) -> Result<()> {
    for file in files {
        let base = match file.base {
            Base::Normal => normal,
            Base::Run => run,
        };
        let path = base.join(&file.path);
        write_one(&path, &file.text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn write_one(path: &Path, text: &str) -> Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        bail!("the path has no file name");
    };
    fs::create_dir_all(dir).with_context(|| format!("make the directory {}", dir.display()))?;
    if is_same(path, text)? {
        return Ok(());
    }
    // Hidden, and of no suffix that systemd or Podman reads. Only one generator runs at a time.
    let temporary = dir.join(format!(".{name}.new"));
    let written = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // What matters is the first error; a file that is left over is never read.
        drop(fs::remove_file(&temporary));
    }
    Ok(written?)
}

fn is_same(path: &Path, text: &str) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() && meta.len() == text.len() as u64 => {
            Ok(fs::read(path)? == text.as_bytes())
        }
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
