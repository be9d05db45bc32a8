//! The tree on disk beside the tree that should be there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Difference;
use super::model::{Model, Node};
use crate::below::{self, DIRECTORY, STRICT};
use crate::tar::{Kind, Time};

/// The largest value of an extended attribute (`XATTR_SIZE_MAX`), and of a list of names.
const MAX_XATTR: usize = 64 << 10;

/// The last second that a file system can store; later times become this: ext4 with small and with
/// large inodes, XFS with `bigtime`.
const LAST_SECONDS: [i64; 3] = [0x7fff_ffff, 0x3_7fff_ffff, 16_299_260_424];

/// The first second that these can store, in 1901; earlier times become this.
const FIRST_SECOND: i64 = -0x8000_0000;

/// Adds to `found` every way in which the tree in `diff` differs from `model`.
pub(super) fn compare(
    diff: &OwnedFd,
    mut model: Model,
    found: &mut Vec<Difference>,
) -> io::Result<()> {
    // Which inode on disk stands for which one of the model that has several names.
    let mut inodes: BTreeMap<usize, u64> = BTreeMap::new();
    let mut directories: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(directory) = directories.pop() {
        let fd = open_directory(diff, &directory)?;
        for entry in Dir::read_from(&fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let path = if directory.is_empty() {
                name.to_vec()
            } else {
                [&directory, &b"/"[..], name].concat()
            };
            let Some(inode) = model.paths.remove(&path) else {
                found.push((path, "is not in the layer".to_owned()));
                continue;
            };
            let Some(node) = model.nodes.get(inode) else { continue };
            let mut differ = |why: String| found.push((path.clone(), why));
            let stat = rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if node.names > 1 && *inodes.entry(inode).or_insert(stat.st_ino) != stat.st_ino {
                differ("is not a hard link to the file that it should be linked to".to_owned());
            }
            if attributes(node, &stat, &mut differ) {
                more(&fd, name, node, &mut differ)?;
            }
            if node.kind == Kind::Directory
                && FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            {
                directories.push(path);
            }
        }
    }
    for path in model.paths.into_keys() {
        found.push((path, "is missing".to_owned()));
    }
    found.sort();
    Ok(())
}

fn open_directory(diff: &OwnedFd, path: &[u8]) -> io::Result<OwnedFd> {
    Ok(below::open(diff, path, DIRECTORY, STRICT)?)
}

fn kind_of(mode: u32) -> (Option<Kind>, &'static str) {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => (Some(Kind::Regular), "a file"),
        FileType::Directory => (Some(Kind::Directory), "a directory"),
        FileType::Symlink => (Some(Kind::Symlink), "a symbolic link"),
        FileType::CharacterDevice => (Some(Kind::CharDevice), "a character device"),
        FileType::BlockDevice => (Some(Kind::BlockDevice), "a block device"),
        FileType::Fifo => (Some(Kind::Fifo), "a fifo"),
        _ => (None, "of an unknown type"),
    }
}

/// Compares what `stat` tells; false when not even the type is right.
fn attributes(node: &Node, stat: &rustix::fs::Stat, differ: &mut impl FnMut(String)) -> bool {
    let (kind, word) = kind_of(stat.st_mode);
    if kind != Some(node.kind) {
        differ(format!("is {word}, should be {:?}", node.kind));
        return false;
    }
    let mode = stat.st_mode & 0o7777;
    if node.kind != Kind::Symlink && mode != node.mode {
        differ(format!("has mode {mode:04o}, should have {:04o}", node.mode));
    }
    if (stat.st_uid, stat.st_gid) != (node.uid, node.gid) {
        differ(format!(
            "belongs to {}:{}, should to {}:{}",
            stat.st_uid, stat.st_gid, node.uid, node.gid
        ));
    }
    let found = Time {
        seconds: stat.st_mtime,
        nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
    };
    let cut = (node.mtime > found && LAST_SECONDS.contains(&found.seconds))
        || (node.mtime < found && found.seconds == FIRST_SECOND);
    if found != node.mtime && !cut {
        differ(format!(
            "was modified at {}.{:09}, should be {}.{:09}",
            found.seconds, found.nanoseconds, node.mtime.seconds, node.mtime.nanoseconds
        ));
    }
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    if matches!(node.kind, Kind::CharDevice | Kind::BlockDevice) && device != node.device {
        differ(format!(
            "is device {}:{}, should be {}:{}",
            device.0, device.1, node.device.0, node.device.1
        ));
    }
    true
}

/// Compares what needs to be read: link targets, extended attributes, content that is not proved.
fn more(
    parent: &OwnedFd,
    name: &[u8],
    node: &Node,
    differ: &mut impl FnMut(String),
) -> io::Result<()> {
    if node.kind == Kind::Symlink {
        let target = rustix::fs::readlinkat(parent, name, Vec::new())?;
        if target.as_bytes() != node.link.as_slice() {
            let wanted = String::from_utf8_lossy(&node.link).into_owned();
            differ(format!("links to {:?}, should to {wanted:?}", target.to_string_lossy()));
        }
    }
    xattrs(parent, name, node, differ)?;
    if node.kind == Kind::Regular
        && let Some(expected) = &node.content
    {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(parent, name, flags, Mode::empty())?);
        if !expected.is_in(&mut file)? {
            differ("has other content".to_owned());
        }
    }
    Ok(())
}

fn xattrs(
    parent: &OwnedFd,
    name: &[u8],
    node: &Node,
    differ: &mut impl FnMut(String),
) -> io::Result<()> {
    let path = [format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(), name].concat();
    let mut names = vec![0; MAX_XATTR];
    let length = match rustix::fs::llistxattr(path.as_slice(), &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut wanted = node.xattrs.clone();
    for attribute in names.get(..length).unwrap_or_default().split(|byte| *byte == 0) {
        // The label is the host's.
        if attribute.is_empty() || attribute == b"security.selinux" {
            continue;
        }
        let mut value = vec![0; MAX_XATTR];
        let count = rustix::fs::lgetxattr(path.as_slice(), attribute, &mut value)?;
        value.truncate(count);
        let shown = String::from_utf8_lossy(attribute).into_owned();
        match wanted.remove(attribute) {
            None => {
                differ(format!("has the extended attribute {shown}, which is not in the layer"))
            }
            Some(expected) if expected != value => {
                differ(format!("has another value of the extended attribute {shown}"))
            }
            Some(_) => {}
        }
    }
    for attribute in wanted.into_keys() {
        // Nothing could have set it: a kind that this file system, or Linux, does not have.
        let get = rustix::fs::lgetxattr(path.as_slice(), attribute.as_slice(), &mut names);
        if get == Err(Errno::OPNOTSUPP) {
            continue;
        }
        differ(format!("lacks the extended attribute {}", String::from_utf8_lossy(&attribute)));
    }
    Ok(())
}
