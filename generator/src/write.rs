//! Puts files where they belong.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::model::{Base, Content, Generated, OutputFile};

/// Directories below [`crate::RUN`] that have files of ours and no others.
const OURS: [&str; 3] = ["containers.conf.d", "environment.d", "storage.conf.d"];

/// Writes the files below the two directories. What drop-ins name is written before them, so that whoever
/// is killed meanwhile leaves none that names half a file. A file that is there with the same text is left alone,
/// since Podman reads a storage.conf again when its time changes; one with another text is replaced
/// at once, since Podman may be reading it.
///
/// After a soft reboot, files of the root before are removed. At a daemon-reload they are kept: a
/// container that still runs was started with their names in its environment, and Podman could not
/// clean up after it without them.
///
/// Nothing is synced: both directories are on a tmpfs.
///
/// # Errors
/// The first file that could not be written or removed.
pub fn write(generated: &Generated, normal: &Path, run: &Path) -> Result<()> {
    let (named, naming): (Vec<_>, Vec<_>) =
        generated.files.iter().partition(|file| file.base == Base::Run);
    for file in named.into_iter().chain(naming) {
        let base = match file.base {
            Base::Normal => normal,
            Base::Run => run,
        };
        let path = base.join(&file.path);
        let written = match (&file.content, file.base) {
            (Content::Link(target), _) => write_link(&path, target),
            // Nobody reads these before all generators are done.
            (Content::Text(text), Base::Normal) => {
                in_new_directory(&path, || fs::write(&path, text)).map_err(Into::into)
            }
            (Content::Text(text), Base::Run) => write_named(&path, text),
        };
        written.with_context(|| format!("write {}", path.display()))?;
    }
    if generated.is_another_root {
        remove_others(&generated.files, run)?;
    }
    Ok(())
}

/// Writes a file that nobody knows yet, as at boot, or replaces it.
fn write_named(path: &Path, text: &str) -> Result<()> {
    match in_directory(path, || File::create_new(path)?.write_all(text.as_bytes())) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => write_file(path, text),
        // Not removed when only its start was written: the next run sees that it is not the same.
        done => Ok(done?),
    }
}

/// Writes one file whole or not at all.
pub(crate) fn write_file(path: &Path, text: &str) -> Result<()> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        bail!("the path has no file name");
    };
    if is_same(path, text)? {
        return Ok(());
    }
    // Hidden, and of no suffix that systemd or Podman reads. Several services may start at once,
    // each with a run of its own.
    let temporary = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let written = in_directory(&temporary, || fs::write(&temporary, text))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // What matters is the first error; a file that is left over is never read.
        drop(fs::remove_file(&temporary));
    }
    Ok(written?)
}

fn write_link(path: &Path, target: &str) -> Result<()> {
    // systemd gives generators an empty directory; only tests find a link there already.
    match in_directory(path, || symlink(target, path)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            Ok(symlink(target, path)?)
        }
        other => Ok(other?),
    }
}

/// As [`in_directory`], where the directory is most likely to be missing.
fn in_new_directory(path: &Path, work: impl Fn() -> io::Result<()>) -> io::Result<()> {
    // What is wrong with it, `work` will say.
    drop(path.parent().map(fs::create_dir));
    in_directory(path, work)
}

/// Does `work`, which makes `path`; if that fails for want of a directory, once more after making
/// it.
fn in_directory(path: &Path, work: impl Fn() -> io::Result<()>) -> io::Result<()> {
    match (work(), path.parent()) {
        (Err(error), Some(dir)) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(dir)?;
            work()
        }
        (done, _) => done,
    }
}

fn is_same(path: &Path, text: &str) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() && meta.len() == text.len() as u64 => {
            let mut there = Vec::with_capacity(text.len() + 1);
            File::open(path)?.take(text.len() as u64 + 1).read_to_end(&mut there)?;
            Ok(there == text.as_bytes())
        }
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove_others(files: &[OutputFile], run: &Path) -> Result<()> {
    let wanted: BTreeSet<_> = files
        .iter()
        .filter(|file| file.base == Base::Run)
        .map(|file| run.join(&file.path))
        .collect();
    let mut there = vec![run.join("storage.conf"), run.join(crate::booted::KEPT)];
    for dir in OURS {
        let dir = run.join(dir);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("list {}", dir.display())),
        };
        for entry in entries {
            there.push(entry.with_context(|| format!("list {}", dir.display()))?.path());
        }
    }
    for path in there.iter().filter(|path| !wanted.contains(*path)) {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}
