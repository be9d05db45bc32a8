//! Owner, mode, times and extended attributes, set in Podman's order: owner, then mode (changing
//! the owner clears set-id bits), then times, then extended attributes.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::tar::{Kind, Member, Time};

pub(super) use crate::time::EPOCH as ZERO;

/// How the kernel names a directory's default ACL (`acl(5)`, "Linux extended attributes").
pub(super) const DEFAULT_ACL: &str = "system.posix_acl_default";

pub(super) struct Attributes<'a> {
    member: &'a Member,
    times: Timestamps,
}

impl<'a> Attributes<'a> {
    pub(super) fn of(member: &'a Member) -> Self {
        // Podman gives what is older than 1970 that time, but for symbolic links.
        let clamp = |time: Time| match member.kind {
            Kind::Symlink => time,
            _ if time.seconds < 0 => Time::default(),
            _ => time,
        };
        let mtime = clamp(member.mtime);
        // Podman: a file is never older by access than by modification.
        let atime = clamp(member.atime.unwrap_or(member.mtime)).max(mtime);
        let spec =
            |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) };
        let times = Timestamps { last_access: spec(atime), last_modification: spec(mtime) };
        Self { member, times }
    }

    pub(super) fn times(&self) -> Timestamps {
        self.times.clone()
    }

    pub(super) fn apply_to_file(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        let (uid, gid) = self.owner();
        rustix::fs::fchown(file, Some(uid), Some(gid))?;
        rustix::fs::fchmod(file, self.mode())?;
        rustix::fs::futimens(file, &self.times)?;
        for (name, value) in self.xattrs() {
            set(name, rustix::fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty()))?;
        }
        Ok(())
    }

    pub(super) fn apply_to_name(
        &self,
        parent: &OwnedFd,
        base: &[u8],
        kind: Kind,
    ) -> io::Result<()> {
        let (uid, gid) = self.owner();
        rustix::fs::chownat(parent, base, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        let is_link = match kind {
            Kind::Symlink => true,
            // A hard link to a symbolic link: the mode is not for the link's target.
            Kind::HardLink => {
                let stat = rustix::fs::statat(parent, base, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
            }
            _ => false,
        };
        if !is_link {
            rustix::fs::chmodat(parent, base, self.mode(), AtFlags::empty())?;
        }
        if kind != Kind::Directory && !(kind == Kind::HardLink && is_link) {
            rustix::fs::utimensat(parent, base, &self.times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if self.member.xattrs.is_empty() {
            return Ok(());
        }
        // There is no setxattrat yet in the kernels we run on: name the entry through its parent.
        let here = format!("/proc/self/fd/{}/", parent.as_raw_fd());
        let path = [here.as_bytes(), base].concat();
        for (name, value) in self.xattrs() {
            set(
                name,
                rustix::fs::lsetxattr(path.as_slice(), name.as_slice(), value, XattrFlags::empty()),
            )?;
        }
        Ok(())
    }

    fn owner(&self) -> (Uid, Gid) {
        (Uid::from_raw(self.member.uid), Gid::from_raw(self.member.gid))
    }

    fn mode(&self) -> Mode {
        Mode::from_raw_mode(self.member.mode)
    }

    /// What the entries of a directory inherit: set when there are no more to come.
    pub(super) fn default_acl(&self) -> Option<&'a [u8]> {
        let found = self.member.xattrs.iter().find(|(name, _)| name == DEFAULT_ACL.as_bytes());
        found.map(|(_, value)| value.as_slice())
    }

    /// All but the SELinux label, which is the host's to give, and a default ACL.
    fn xattrs(&self) -> impl Iterator<Item = &(Vec<u8>, Vec<u8>)> {
        let other = |name: &[u8]| name != b"security.selinux" && name != DEFAULT_ACL.as_bytes();
        self.member.xattrs.iter().filter(move |(name, _)| other(name))
    }
}

/// A file system without this kind of attribute is no reason to fail, as in Podman.
fn set(name: &[u8], result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Err(Errno::OPNOTSUPP) | Ok(()) => Ok(()),
        Err(error) => {
            let name = std::ffi::OsStr::from_bytes(name).to_string_lossy().into_owned();
            let error = io::Error::from(error);
            Err(io::Error::new(error.kind(), format!("extended attribute {name}: {error}")))
        }
    }
}

pub(super) fn set_default_acl(directory: &OwnedFd, value: &[u8]) -> io::Result<()> {
    let result = rustix::fs::fsetxattr(directory, DEFAULT_ACL, value, XattrFlags::empty());
    set(DEFAULT_ACL.as_bytes(), result)
}

pub(super) fn zero_time(parent: &OwnedFd, base: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::utimensat(parent, base, &ZERO, AtFlags::SYMLINK_NOFOLLOW)?)
}
