//! Taking a layer over from another store of ours by hard links: no byte is read or written.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, Timespec, Timestamps, XattrFlags};

use crate::below::{self, DIRECTORY, STRICT};
use crate::error::{During, Result};
use crate::files::{is_directory, is_file};
use crate::layer;

/// The largest value of an extended attribute (`VFS`, `XATTR_SIZE_MAX`), and of a list of names.
const MAX_XATTR: usize = 64 << 10;

/// Makes `to` (a new directory) the same tree as `from`, but for a marker at its top: directories
/// anew, all else hard links.
///
/// # Errors
/// When the two are not on one file system, or the disk is at fault.
fn tree(from: &Path, to: &Path) -> Result<()> {
    let action = || format!("link {} to {}", from.display(), to.display());
    fs::create_dir(to).during(action)?;
    let (from, to) = (File::open(from).during(action)?, File::open(to).during(action)?);
    copy(&from.into(), &to.into()).during(action)
}

/// Takes the layer `id` of the store `from` over to the layer directory `to`; false (and nothing
/// left) when it is not there, or was never verified.
///
/// # Errors
/// As [`tree`].
pub(crate) fn layer(from: &Path, id: &str, to: &Path, split: &Path) -> Result<bool> {
    let source = from.join("overlay").join(id);
    let source_split = from.join("overlay-layers").join(format!("{id}.tar-split.gz"));
    // The store may have come with a root that we do not trust: a link in it could lead anywhere.
    let directories = [&from.join("overlay"), &from.join("overlay-layers"), &source];
    if !directories.into_iter().all(|path| is_directory(path)) || !is_file(&source_split) {
        return Ok(false);
    }
    if layer::verified(&source)?.is_none_or(|layer| layer.id != id) {
        return Ok(false);
    }
    tree(&source, to)?;
    fs::hard_link(&source_split, split).during(|| format!("link {}", source_split.display()))?;
    // The marker comes last: what a crash leaves must not look whole.
    fs::hard_link(source.join(layer::VERIFIED), to.join(layer::VERIFIED))
        .during(|| format!("link the marker of {}", source.display()))?;
    Ok(true)
}

/// A directory still to be copied, and those whose attributes are set once they are full. A stack
/// of our own: a layer may be deeper than the thread's.
fn copy(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut found: Vec<Vec<u8>> = vec![b".".to_vec()];
    let mut at = 0;
    while let Some(path) = found.get(at).cloned() {
        at += 1;
        let (source, target) = (open(from, &path)?, open(to, &path)?);
        for entry in Dir::read_from(&source)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_marker = path == b"." && name.to_bytes() == layer::VERIFIED.as_bytes();
            if name.to_bytes() == b"." || name.to_bytes() == b".." || is_marker {
                continue;
            }
            let stat = rustix::fs::statat(&source, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                rustix::fs::mkdirat(&target, name, Mode::RWXU)?;
                found.push([path.as_slice(), b"/", name.to_bytes()].concat());
            } else {
                rustix::fs::linkat(&source, name, &target, name, AtFlags::empty())?;
            }
        }
    }
    // Children before parents, since a change inside sets a directory's time.
    for path in found.iter().rev() {
        attributes(&open(from, path)?, &open(to, path)?)?;
    }
    Ok(())
}

fn open(root: &OwnedFd, path: &[u8]) -> io::Result<OwnedFd> {
    Ok(below::open(root, path, DIRECTORY, STRICT)?)
}

fn attributes(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let stat = rustix::fs::fstat(from)?;
    let owner = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(to, Some(owner.0), Some(owner.1))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let mut names = vec![0; MAX_XATTR];
    let length = rustix::fs::flistxattr(from, &mut names)?;
    let mut value = vec![0; MAX_XATTR];
    for name in names.get(..length).unwrap_or_default().split(|byte| *byte == 0) {
        // The SELinux label is the policy's business, not a part of the layer.
        if name.is_empty() || name == b"security.selinux" {
            continue;
        }
        let count = rustix::fs::fgetxattr(from, name, &mut value)?;
        rustix::fs::fsetxattr(
            to,
            name,
            value.get(..count).unwrap_or_default(),
            XattrFlags::empty(),
        )
        .map_err(|error| io::Error::other(format!("descriptor {}: {error}", to.as_raw_fd())))?;
    }
    let spec = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    let times = Timestamps {
        last_access: spec(stat.st_atime, stat.st_atime_nsec),
        last_modification: spec(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(rustix::fs::futimens(to, &times)?)
}
