//! Unpacking the members of one layer into its `diff` directory, as Podman's overlay driver does
//! (containers/storage `pkg/archive/archive.go`, `Unpack` and `extractTarFileEntry`).
//!
//! Nothing is ever written outside that directory: every path is opened below its handle with
//! `openat2(RESOLVE_IN_ROOT)`, and the last component is never followed.
//!
//! Where we do otherwise than Podman, on purpose:
//!
//! * a whiteout beside a directory of the same name makes that directory opaque (Podman lets the
//!   lower one shine through, and its own `system check` then calls the layer damaged);
//! * a file followed by its own whiteout stays (a whiteout speaks of lower layers only; Podman
//!   fails), and members that come twice replace each other (Podman cannot pull such a layer);
//! * old GNU sparse files are unpacked (Podman refuses the type);
//! * a default ACL is set when all else is made, so that nothing inherits an ACL that the layer does
//!   not give it (Podman sets it at once);
//! * directories that no member describes, and whiteouts, carry the time 0 instead of "now", so
//!   that the same layer always gives the same tree.

mod attributes;
mod path;
mod replaced;
mod scope;

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode};
use rustix::io::Errno;

use crate::budget::{Cost, Share};
use crate::split::Clones;
use crate::tar::{Chunk, Kind, Member};
use attributes::Attributes;
pub(crate) use path::clean;
use path::{Key, key};
pub(crate) use replaced::Replaced;
use scope::{Parent, Scope};

/// The prefix of names that hide something in a lower layer (image-spec `layer.md`).
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// The name that hides all of its directory in lower layers.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";
/// How overlayfs marks a directory that hides lower ones (kernel `overlayfs.rst`).
pub(crate) const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// The longest path whose file Podman opens again, in bytes: it puts the path of its store in front, and the
/// kernel takes 4,095 in all.
const MAX_REPLAYED: usize = 3584;

/// Where the content of a member goes, and how it is remembered in tar-split.
pub(crate) enum Content {
    /// To a file that gives it back at replay.
    File(Output),
    /// To a file that cannot give it back (sparse, reached through a link): kept raw as well.
    RawFile(Output),
    /// To nowhere: kept raw only.
    Raw,
}

/// A regular file being written.
pub(crate) struct Output {
    file: File,
    sparse: bool,
    /// Whether it has all its content by sharing that of another file.
    shared: bool,
    /// Data runs of a sparse file that are still to come.
    chunks: VecDeque<Chunk>,
    at: u64,
}

impl Output {
    /// Takes all of its content, `size` bytes at `offset` in the stream, from a clone, if there is one.
    pub(crate) fn share(&mut self, clones: &Clones, offset: u64, size: u64) {
        self.shared = clones.give(&self.file, offset, size);
    }

    /// Writes the next bytes of content, into the next data run of a sparse file.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if self.shared {
            return Ok(());
        }
        if !self.sparse {
            return self.file.write_all(bytes);
        }
        while !bytes.is_empty() {
            let Some(chunk) = self.chunks.front().copied() else {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "data after the last chunk",
                ));
            };
            let left = usize::try_from(chunk.length - self.at).unwrap_or(usize::MAX);
            let (now, rest) = bytes.split_at(left.min(bytes.len()));
            self.file.seek(SeekFrom::Start(chunk.offset + self.at))?;
            self.file.write_all(now)?;
            self.at += now.len() as u64;
            bytes = rest;
            if self.at == chunk.length {
                self.at = 0;
                self.chunks.pop_front();
            }
        }
        Ok(())
    }
}

/// What happened to the tree so far, and what is left to do at the end.
pub(crate) struct Unpacker {
    scope: Scope,
    replaced: Replaced,
    share: Rc<Share>,
    /// Owners and groups of all members but whiteouts: `--userns=auto` sizes its map by them.
    pub(crate) uids: BTreeSet<u32>,
    pub(crate) gids: BTreeSet<u32>,
    /// Names of members that leave nothing under their own name.
    nameless: HashSet<Key>,
    /// Whether a member met something that an earlier one made, or its name came twice.
    irregular: bool,
}

impl Unpacker {
    /// Unpacks into `diff`, an empty directory; replaced files are kept in `aside`, another one.
    /// What the tree takes on disk beside the bytes of the stream is taken from `share`.
    pub(crate) fn new(diff: OwnedFd, aside: OwnedFd, share: Rc<Share>) -> Self {
        Self {
            scope: Scope::new(diff, Rc::clone(&share)),
            share,
            replaced: Replaced::new(aside),
            uids: BTreeSet::new(),
            gids: BTreeSet::new(),
            nameless: HashSet::new(),
            irregular: false,
        }
    }

    /// Makes what `member` describes, but for its content and attributes.
    pub(crate) fn begin(&mut self, member: &Member) -> io::Result<Content> {
        let path = clean(&member.name)?;
        let (directory, base) = path::split(&path);
        // Replay takes no name twice, also where nothing on disk shows that it was there before.
        if (base.is_empty() || base.starts_with(WHITEOUT)) && !self.nameless.insert(key(&path)) {
            self.irregular = true;
        }
        if base.starts_with(WHITEOUT) || base.is_empty() {
            self.share.take(Cost::WHITEOUT)?;
        } else {
            self.share.take(Cost::of(member))?;
        }
        if base.starts_with(WHITEOUT) && base != OPAQUE {
            self.whiteout(directory, base, member)?;
            return Ok(Content::Raw);
        }
        self.uids.insert(member.uid);
        self.gids.insert(member.gid);
        if base.is_empty() {
            // The root of a layer is never changed by a member (it gets its mode from below).
            return Ok(Content::Raw);
        }
        let parent = self.scope.parent(directory)?;
        if base == OPAQUE {
            self.scope.make_opaque(&parent, b"")?;
            return Ok(Content::Raw);
        }
        self.make(&parent, base, member)
    }

    fn make(&mut self, parent: &Parent, base: &[u8], member: &Member) -> io::Result<Content> {
        path::require_short(&parent.path, base)?;
        let is_new = member.kind == Kind::Directory
            && !scope::kind(&parent.fd, base).is_ok_and(|there| there.is_directory);
        let made = self.replacing(parent, base, member.kind, |fd| match member.kind {
            Kind::Regular => {
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                rustix::fs::openat(fd, base, flags, Mode::RUSR | Mode::WUSR).map(Some)
            }
            Kind::Directory => rustix::fs::mkdirat(fd, base, Mode::RWXU).map(|()| None),
            Kind::Symlink => rustix::fs::symlinkat(member.link.as_slice(), fd, base).map(|()| None),
            Kind::HardLink => Err(Errno::NOSYS),
            Kind::CharDevice => {
                node(fd, base, FileType::CharacterDevice, member.device).map(|()| None)
            }
            Kind::BlockDevice => {
                node(fd, base, FileType::BlockDevice, member.device).map(|()| None)
            }
            Kind::Fifo => node(fd, base, FileType::Fifo, (0, 0)).map(|()| None),
        });
        let file = match member.kind {
            Kind::HardLink => {
                self.hard_link(parent, base, member)?;
                None
            }
            _ => made?,
        };
        if is_new {
            self.scope.is_new(parent, base)?;
        }
        let Some(file) = file else { return Ok(Content::Raw) };
        let mut output = Output {
            file: File::from(file),
            sparse: member.sparse.is_some(),
            shared: false,
            chunks: VecDeque::new(),
            at: 0,
        };
        if let Some(map) = &member.sparse {
            output.file.set_len(map.real_size)?;
            output.chunks.extend(map.chunks.iter().copied());
            // tar-split has the bytes once more.
            self.share.take_bytes(member.size)?;
            return Ok(Content::RawFile(output));
        }
        let unreachable = parent.path.len() + base.len() > MAX_REPLAYED;
        if parent.through_link || unreachable || path::has_dots(&member.name) || member.size == 0 {
            self.share.take_bytes(member.size)?;
            return Ok(Content::RawFile(output));
        }
        Ok(Content::File(output))
    }

    /// Runs `make`; when something is in the way, takes it out of the way and runs it again. A
    /// directory that meets a directory stays.
    fn replacing<T>(
        &mut self,
        parent: &Parent,
        base: &[u8],
        kind: Kind,
        make: impl Fn(&OwnedFd) -> Result<Option<T>, Errno>,
    ) -> io::Result<Option<T>> {
        if kind == Kind::HardLink {
            return Ok(None);
        }
        match make(&parent.fd) {
            Err(Errno::EXIST) => {}
            other => {
                return Ok(other?);
            }
        }
        self.irregular = true;
        let there = scope::kind(&parent.fd, base)?;
        if kind == Kind::Directory && there.is_directory {
            return Ok(None);
        }
        self.remove(parent, base)?;
        let made = make(&parent.fd)?;
        if kind == Kind::Directory && there.is_whiteout {
            self.scope.make_opaque(parent, base)?;
        }
        Ok(made)
    }

    fn remove(&mut self, parent: &Parent, base: &[u8]) -> io::Result<()> {
        self.scope.forget();
        self.replaced.remove(&parent.fd, base, &path::join(&parent.path, base))
    }

    fn hard_link(&mut self, parent: &Parent, base: &[u8], member: &Member) -> io::Result<()> {
        let target = clean(&member.link)?;
        let (directory, name) = path::split(&target);
        if name.is_empty() {
            return Err(invalid("a hard link to the root of the layer"));
        }
        if path::join(&parent.path, base) == target {
            return Err(invalid("a hard link to itself"));
        }
        let from = self
            .scope
            .existing_parent(directory)
            .map_err(|error| target_error(&member.link, &error))?;
        let link =
            |from: &OwnedFd| rustix::fs::linkat(from, name, &parent.fd, base, AtFlags::empty());
        let linked = match link(&from.fd) {
            Err(Errno::EXIST) => {
                let (one, other) = (scope::kind(&from.fd, name), scope::kind(&parent.fd, base)?);
                if one.is_ok_and(|one| one.inode == other.inode) {
                    // Linked already: nothing to replace.
                    self.irregular = true;
                    return Ok(());
                }
                self.irregular = true;
                self.remove(parent, base)?;
                link(&from.fd)
            }
            other => other,
        };
        linked.map_err(|error| target_error(&member.link, &error.into()))
    }

    /// Hides `base` (without its prefix) in lower layers.
    fn whiteout(&mut self, directory: &[u8], base: &[u8], member: &Member) -> io::Result<()> {
        let hidden = base.strip_prefix(WHITEOUT).unwrap_or_default();
        if hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Err(invalid("a whiteout that names nothing"));
        }
        // Below something that is hidden itself (`.wh.d`, then `d/.wh.x`) there is nothing to hide.
        let parent = match self.scope.parent_for_whiteout(directory)? {
            Some(parent) => parent,
            None => return Ok(()),
        };
        match node(&parent.fd, hidden, FileType::CharacterDevice, (0, 0)) {
            Ok(()) => {
                rustix::fs::chownat(
                    &parent.fd,
                    hidden,
                    Some(rustix::fs::Uid::from_raw(member.uid)),
                    Some(rustix::fs::Gid::from_raw(member.gid)),
                    AtFlags::SYMLINK_NOFOLLOW,
                )?;
                attributes::zero_time(&parent.fd, hidden)
            }
            Err(Errno::EXIST) => {
                if scope::kind(&parent.fd, hidden)?.is_directory {
                    self.scope.make_opaque(&parent, hidden)?;
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Gives what [`Unpacker::begin`] made its attributes, its content being complete.
    pub(crate) fn end(&mut self, member: &Member, content: Content) -> io::Result<()> {
        let path = clean(&member.name)?;
        let (directory, base) = path::split(&path);
        if base.is_empty() || base.starts_with(WHITEOUT) {
            return Ok(());
        }
        let attributes = Attributes::of(member);
        match content {
            Content::File(output) => attributes.apply_to_file(output.file.as_fd()),
            Content::RawFile(output) => {
                self.replaced.keep_raw(&output.file, member.size > 0)?;
                attributes.apply_to_file(output.file.as_fd())
            }
            Content::Raw => {
                let parent = self.scope.parent(directory)?;
                attributes.apply_to_name(&parent.fd, base, member.kind)?;
                if member.kind == Kind::Directory {
                    self.scope.set_later(
                        &parent,
                        base,
                        attributes.times(),
                        attributes.default_acl(),
                    )?;
                }
                Ok(())
            }
        }
    }

    /// Sets the times and default ACLs of directories, now that nothing changes in them any more. Says whether the
    /// tar-split must be written again, and with which files.
    pub(crate) fn finish(self) -> io::Result<Finished> {
        self.scope.set_directories()?;
        let replaced = (self.irregular).then_some(self.replaced);
        Ok(Finished { uids: self.uids, gids: self.gids, replaced })
    }
}

/// What is known once a layer is unpacked.
pub(crate) struct Finished {
    pub(crate) uids: BTreeSet<u32>,
    pub(crate) gids: BTreeSet<u32>,
    /// Set when members replaced each other: the files that went.
    pub(crate) replaced: Option<Replaced>,
}

fn node(
    parent: &OwnedFd,
    base: &[u8],
    kind: FileType,
    (major, minor): (u32, u32),
) -> Result<(), Errno> {
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(parent, base, kind, Mode::from_raw_mode(0 as RawMode), device)
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn target_error(link: &[u8], error: &io::Error) -> io::Error {
    let why = format!("hard link to {:?}: {error}", String::from_utf8_lossy(link));
    io::Error::new(error.kind(), why)
}
