//! What the tree of a layer must look like after all members of its stream: a file system in
//! memory that follows the same rules as `unpack`, written apart from it so that the two judge
//! each other.

use std::collections::BTreeMap;
use std::io;

use super::acl;
use super::content::Expected;
use crate::tar::{Kind, Member, Time};
use crate::unpack::{OPAQUE, OPAQUE_XATTR, WHITEOUT, clean};

/// The most links that are followed in one path, as in the kernel.
const MAX_LINKS: usize = 40;
/// The most bytes of paths, link targets and attributes of one layer: a million files in the field
/// have 100 MB of them.
const MAX_TEXT: usize = 1 << 30;

/// One inode.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    pub(super) link: Vec<u8>,
    pub(super) device: (u32, u32),
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Names that it has.
    pub(super) names: u64,
    /// Content that the stream's digest does not prove.
    pub(super) content: Option<Box<Expected>>,
}

/// The tree: paths to inodes. The root is not in it: no member changes it.
#[derive(Default)]
pub(super) struct Model {
    pub(super) paths: BTreeMap<Vec<u8>, usize>,
    pub(super) nodes: Vec<Node>,
    /// Bytes of paths, link targets and attributes so far, those that are gone included.
    text: usize,
}

impl Node {
    fn new(kind: Kind, mode: u32) -> Self {
        Self {
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            link: Vec::new(),
            device: (0, 0),
            xattrs: BTreeMap::new(),
            names: 1,
            content: None,
        }
    }

    fn whiteout(uid: u32, gid: u32) -> Self {
        Self { uid, gid, ..Self::new(Kind::CharDevice, 0) }
    }

    fn is_whiteout(&self) -> bool {
        self.kind == Kind::CharDevice && self.device == (0, 0)
    }

    /// Owner, mode, time and attributes as the member says.
    fn describe(&mut self, member: &Member) {
        (self.uid, self.gid) = (member.uid, member.gid);
        if self.kind != Kind::Symlink {
            self.mode = member.mode;
        }
        if !(self.kind == Kind::Symlink && member.kind == Kind::HardLink) {
            let too_old = member.mtime.seconds < 0 && self.kind != Kind::Symlink;
            self.mtime = if too_old { Time::default() } else { member.mtime };
        }
        if member.kind == Kind::HardLink {
            // Giving a file its owner again takes its capabilities, as in Podman.
            self.xattrs.remove(b"security.capability".as_slice());
        }
        if self.kind != Kind::Symlink
            && let Some(list) = self.xattrs.get_mut(acl::ACCESS)
        {
            *list = acl::changed(list, member.mode);
        }
        for (name, value) in member.xattrs.iter().filter(|(name, _)| name != b"security.selinux") {
            self.xattrs.insert(name.clone(), value.clone());
        }
        self.apply_acl();
    }

    /// A list of who may do what is a part of the mode, and the other way round.
    fn apply_acl(&mut self) {
        let Some(list) = self.xattrs.get(acl::ACCESS).filter(|_| self.kind != Kind::Symlink) else {
            return;
        };
        let (mode, kept) = acl::applied(list, self.mode);
        self.mode = mode;
        if !kept {
            self.xattrs.remove(acl::ACCESS);
        }
    }

    fn hide_below(&mut self) {
        self.xattrs.insert(OPAQUE_XATTR.as_bytes().to_vec(), b"y".to_vec());
    }
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn join(directory: &[u8], base: &[u8]) -> Vec<u8> {
    if directory.is_empty() { base.to_vec() } else { [directory, b"/", base].concat() }
}

impl Model {
    /// Takes in the next member; `content` is given where the stream's digest does not prove it.
    pub(super) fn add(&mut self, member: &Member, content: Option<Expected>) -> io::Result<()> {
        let path = clean(&member.name)?;
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (directory, base) = match slash {
            Some(slash) => {
                (path.get(..slash).unwrap_or_default(), path.get(slash + 1..).unwrap_or_default())
            }
            None => (&[][..], path.as_slice()),
        };
        if base.is_empty() {
            return Ok(());
        }
        if base.starts_with(WHITEOUT) && base != OPAQUE {
            return self.whiteout(
                directory,
                base.strip_prefix(WHITEOUT).unwrap_or_default(),
                member,
            );
        }
        let parent =
            self.directory(directory, true)?.ok_or_else(|| wrong("a parent is no directory"))?;
        if base == OPAQUE {
            if let Some(node) = self.node(&parent) {
                node.hide_below();
            }
            return Ok(());
        }
        self.place(&join(&parent, base), member, content)
    }

    fn node(&mut self, path: &[u8]) -> Option<&mut Node> {
        self.paths.get(path).and_then(|inode| self.nodes.get_mut(*inode))
    }

    fn insert(&mut self, path: &[u8], node: Node) -> io::Result<()> {
        self.name(path, self.nodes.len())?;
        self.nodes.push(node);
        Ok(())
    }

    fn name(&mut self, path: &[u8], inode: usize) -> io::Result<()> {
        self.hold(path.len())?;
        self.paths.insert(path.to_vec(), inode);
        Ok(())
    }

    /// Accounts for what is held in memory: a few bytes of a hostile layer can name a lot.
    fn hold(&mut self, size: usize) -> io::Result<()> {
        self.text = self.text.saturating_add(size);
        if self.text > MAX_TEXT {
            return Err(wrong("it has more than 1 GiB of names, link targets and attributes"));
        }
        Ok(())
    }

    /// Removes a name with all below it.
    fn remove(&mut self, path: &[u8]) {
        let below = [path, b"/"].concat();
        let gone: Vec<Vec<u8>> = self
            .paths
            .range(path.to_vec()..)
            .take_while(|(known, _)| known.starts_with(path))
            .filter(|(known, _)| known.as_slice() == path || known.starts_with(&below))
            .map(|(known, _)| known.clone())
            .collect();
        for path in gone {
            if let Some(node) = self.paths.remove(&path).and_then(|inode| self.nodes.get_mut(inode))
            {
                node.names -= 1;
            }
        }
    }

    fn place(&mut self, path: &[u8], member: &Member, content: Option<Expected>) -> io::Result<()> {
        let attributes = member.xattrs.iter().map(|(name, value)| name.len() + value.len());
        self.hold(attributes.sum::<usize>() + member.link.len())?;
        if member.kind == Kind::HardLink {
            return self.hard_link(path, member);
        }
        let there = self.node(path).map(|node| (node.kind, node.is_whiteout()));
        if let (Kind::Directory, Some((Kind::Directory, _))) = (member.kind, there) {
            if let Some(node) = self.node(path) {
                node.describe(member);
            }
            return Ok(());
        }
        self.remove(path);
        let mut node = Node::new(member.kind, 0o777);
        node.describe(member);
        node.link.clone_from(&member.link);
        node.device = member.device;
        node.content = content.filter(|_| member.kind == Kind::Regular).map(Box::new);
        if member.kind == Kind::Directory && matches!(there, Some((_, true))) {
            node.hide_below();
        }
        self.insert(path, node)
    }

    fn hard_link(&mut self, path: &[u8], member: &Member) -> io::Result<()> {
        let target = clean(&member.link)?;
        let slash = target.iter().rposition(|byte| *byte == b'/');
        let (directory, base) = match slash {
            Some(slash) => (
                target.get(..slash).unwrap_or_default(),
                target.get(slash + 1..).unwrap_or_default(),
            ),
            None => (&[][..], target.as_slice()),
        };
        let parent =
            self.directory(directory, false)?.ok_or_else(|| wrong("a hard link to nothing"))?;
        let inode =
            *self.paths.get(&join(&parent, base)).ok_or_else(|| wrong("a hard link to nothing"))?;
        if self.paths.get(path) != Some(&inode) {
            self.remove(path);
            self.name(path, inode)?;
            if let Some(node) = self.nodes.get_mut(inode) {
                node.names += 1;
            }
        }
        if let Some(node) = self.nodes.get_mut(inode) {
            node.describe(member);
        }
        Ok(())
    }

    fn whiteout(&mut self, directory: &[u8], hidden: &[u8], member: &Member) -> io::Result<()> {
        let Some(parent) = self.directory_for_whiteout(directory)? else { return Ok(()) };
        let path = join(&parent, hidden);
        match self.node(&path) {
            None => self.insert(&path, Node::whiteout(member.uid, member.gid))?,
            Some(node) if node.kind == Kind::Directory => node.hide_below(),
            Some(_) => {}
        }
        Ok(())
    }

    /// A whiteout below something that is no directory says nothing.
    fn directory_for_whiteout(&mut self, path: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match self.walk(path)? {
            Walked::Directory(path) => Ok(Some(path)),
            Walked::NoDirectory => Ok(None),
            Walked::Missing => self.directory(path, true),
        }
    }

    /// The resolved path of a directory, made with its parents where asked to.
    fn directory(&mut self, path: &[u8], make: bool) -> io::Result<Option<Vec<u8>>> {
        match self.walk(path)? {
            Walked::Directory(path) => return Ok(Some(path)),
            _ if !make => return Ok(None),
            _ => {}
        }
        let mut here = Vec::new();
        let mut done = 0;
        for part in path.split(|byte| *byte == b'/') {
            done += part.len() + usize::from(done > 0);
            here = match self.walk(path.get(..done).unwrap_or_default())? {
                Walked::Directory(next) => next,
                Walked::Missing => {
                    let next = join(&here, part);
                    self.insert(&next, Node::new(Kind::Directory, 0o755))?;
                    next
                }
                Walked::NoDirectory => {
                    let next = join(&here, part);
                    if !self.node(&next).is_some_and(|node| node.is_whiteout()) {
                        return Ok(None);
                    }
                    self.remove(&next);
                    let mut node = Node::new(Kind::Directory, 0o755);
                    node.hide_below();
                    self.insert(&next, node)?;
                    next
                }
            };
        }
        Ok(Some(here))
    }

    /// Follows a path as the kernel does inside a root.
    fn walk(&mut self, path: &[u8]) -> io::Result<Walked> {
        let mut here: Vec<u8> = Vec::new();
        let mut todo: Vec<Vec<u8>> = parts(path);
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == b".." {
                let up = here.iter().rposition(|byte| *byte == b'/').unwrap_or_default();
                here.truncate(up);
                continue;
            }
            let next = join(&here, &part);
            let Some(node) = self.node(&next) else { return Ok(Walked::Missing) };
            match node.kind {
                Kind::Directory => here = next,
                Kind::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(wrong("too many symbolic links"));
                    }
                    let link = node.link.clone();
                    if link.starts_with(b"/") {
                        here.clear();
                    }
                    todo.extend(parts(&link));
                }
                _ => return Ok(Walked::NoDirectory),
            }
        }
        Ok(Walked::Directory(here))
    }
}

/// The components of a path, the first one last.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let mut parts: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
    parts.reverse();
    parts
}

enum Walked {
    Directory(Vec<u8>),
    NoDirectory,
    Missing,
}
