//! Small files of ours: read with a bound, written in one step that a crash cannot split.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

/// The content of a regular file, at most `max` bytes; none when it is not there. The last
/// component is not followed, and a fifo is not waited for.
///
/// # Errors
/// When it cannot be read, is not a regular file or is larger.
pub fn read_optional(path: &Path, max: u64) -> anyhow::Result<Option<Vec<u8>>> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let action = || format!("cannot read {}", path.display());
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(action),
    };
    let read = || {
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max {
            let why = format!("larger than {max} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        Ok(bytes)
    };
    read().map(Some).with_context(action)
}

/// Writes `value` as JSON to `path` (mode 0600): beside it, synced, moved into its place.
///
/// # Errors
/// When it cannot be written; then what was there is there still.
pub fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    write_json_with_mode(path, value, 0o600)
}

/// As [`write_json`], with another mode.
///
/// # Errors
/// As [`write_json`].
pub fn write_json_with_mode(path: &Path, value: &impl Serialize, mode: u32) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    write_bytes(path, &text, mode, None)
}

/// Writes `bytes` to `path`: beside it, synced, moved into its place. `owner`: user and group.
///
/// # Errors
/// As [`write_json`].
pub fn write_bytes(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    owner: Option<(u32, u32)>,
) -> anyhow::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        parent => parent.unwrap_or(path),
    };
    let save = || {
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(directory)?;
        file.write_all(bytes)?;
        if let Some((user, group)) = owner {
            std::os::unix::fs::fchown(file.as_file(), Some(user), Some(group))?;
        }
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        sync_directory(directory)
    };
    save().with_context(|| format!("cannot write {}", path.display()))
}

/// Gives a file another content in one step; it keeps its mode and owner. A file with several links
/// is replaced under this name only: the others may be in somebody's repository.
///
/// # Errors
/// When it cannot be written, or cannot keep its owner; then it is as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let directory = path.parent().unwrap_or(path);
    let save = || {
        let old = fs::symlink_metadata(path)?;
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(directory)?;
        file.write_all(bytes)?;
        let new = file.as_file().metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            std::os::unix::fs::fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
        }
        // After the owner: a change of that takes the bits of set-uid files away.
        file.as_file().set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        sync_directory(directory)
    };
    save().with_context(|| format!("cannot write {}", path.display()))
}

/// Makes what was added to or taken from a directory survive a power cut.
///
/// # Errors
/// When it cannot be synced.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
