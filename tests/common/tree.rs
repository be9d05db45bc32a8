//! All that there is to say of a directory and what is in it, to be compared.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use oci_digest::Digest;

/// What is below a directory, itself included, by path below it.
pub type Tree = BTreeMap<PathBuf, Entry>;

/// All that a file is, save inode number, ctime and atime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Type and permissions.
    pub mode: u32,
    pub owner: (u32, u32),
    /// Of a device node.
    pub device: u64,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// SHA-256 of a file's content, or the text of a link.
    pub content: String,
    pub links: u64,
    /// The first path that is the same file.
    pub same_as: PathBuf,
}

impl Entry {
    pub fn is_directory(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    pub fn is_whiteout(&self) -> bool {
        self.mode & 0o170_000 == 0o020_000 && self.device == 0
    }
}

/// Looks at everything below `top`.
pub fn tree(top: &Path) -> Tree {
    let mut out = BTreeMap::new();
    let mut seen = BTreeMap::new();
    walk(top, PathBuf::new(), &mut seen, &mut out);
    out
}

type Seen = BTreeMap<(u64, u64), PathBuf>;

fn walk(top: &Path, below: PathBuf, seen: &mut Seen, out: &mut Tree) {
    let path = if below.as_os_str().is_empty() { top.to_owned() } else { top.join(&below) };
    let meta = fs::symlink_metadata(&path).unwrap();
    let kind = meta.file_type();
    let content = if kind.is_symlink() {
        format!("{:?}", fs::read_link(&path).unwrap())
    } else if kind.is_file() {
        Digest::of(&fs::read(&path).unwrap()).to_string()
    } else {
        String::new()
    };
    let device = if kind.is_char_device() || kind.is_block_device() { meta.rdev() } else { 0 };
    let same_as = seen.entry((meta.dev(), meta.ino())).or_insert_with(|| below.clone()).clone();
    let entry = Entry {
        mode: meta.mode(),
        owner: (meta.uid(), meta.gid()),
        device,
        mtime: (meta.mtime(), meta.mtime_nsec()),
        xattrs: xattrs(&path),
        content,
        // A directory's count depends on the file system.
        links: if kind.is_dir() { 0 } else { meta.nlink() },
        same_as,
    };
    out.insert(below.clone(), entry);
    if kind.is_dir() {
        let mut names: Vec<_> =
            fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            walk(top, below.join(name), seen, out);
        }
    }
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut list = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, list.as_mut_slice()).unwrap();
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let names = names.filter(|name| *name != b"security.selinux");
    names
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let length =
                rustix::fs::lgetxattr(path, OsStr::from_bytes(name), value.as_mut_slice()).unwrap();
            (String::from_utf8_lossy(name).into_owned(), value[..length].to_vec())
        })
        .collect()
}

/// How two trees differ, one line for every path.
pub fn differences(one: &Tree, other: &Tree) -> Vec<String> {
    let mut paths: Vec<&PathBuf> = one.keys().chain(other.keys()).collect();
    paths.sort();
    paths.dedup();
    let differing = paths.into_iter().filter(|path| one.get(*path) != other.get(*path));
    differing.map(|path| format!("{path:?}: {:?} / {:?}", one.get(path), other.get(path))).collect()
}
