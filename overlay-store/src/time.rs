//! Fixed times for what belongs to the store itself: two runs give the same bytes and times.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Timespec, Timestamps};
use rustix::io::Errno;

/// 1970-01-01: nothing in a store is about when it was made.
pub(crate) const EPOCH: Timestamps = Timestamps {
    last_access: Timespec { tv_sec: 0, tv_nsec: 0 },
    last_modification: Timespec { tv_sec: 0, tv_nsec: 0 },
};

pub(crate) fn reset_fd(fd: impl AsFd) -> Result<(), Errno> {
    rustix::fs::futimens(fd, &EPOCH)
}

pub(crate) fn reset_path(path: &std::path::Path) -> Result<(), Errno> {
    rustix::fs::utimensat(rustix::fs::CWD, path, &EPOCH, AtFlags::SYMLINK_NOFOLLOW)
}
