//! A mount namespace of our own, in which the pool can be written although `/sysroot` is read-only
//! on the host, as `ostree admin` does it.
//!
//! A mount namespace belongs to a thread: [`enter`] must run before there are others. What is
//! written in it is seen by everybody; only the mount's read-only flag differs.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::StatVfsMountFlags;

static ENTERED: AtomicBool = AtomicBool::new(false);

/// Leaves the host's mount namespace for a copy of it. Mounts of the host still come in, ours do not
/// get out. Does nothing the second time.
///
/// # Errors
/// When the kernel refuses: not root.
pub fn enter() -> anyhow::Result<()> {
    if ENTERED.load(Ordering::Relaxed) {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS).context("cannot enter a mount namespace of its own")?;
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .context("cannot keep mounts to itself")?;
    ENTERED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Makes `path` writable for this process when it is on a mount that is read-only, in a mount
/// namespace of its own. Does nothing when it is writable, or is not there yet and what it would be
/// made in is writable.
///
/// # Errors
/// When the kernel refuses: not root, or the file system itself is read-only.
pub fn make_writable(path: &Path) -> anyhow::Result<()> {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(path);
    let is_read_only = |path: &Path| {
        rustix::fs::statvfs(path).map(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY))
    };
    let look = || format!("cannot look at {}", existing.display());
    if !is_read_only(existing).with_context(look)? || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    enter()?;
    let point = mount_point(existing)?;
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    mount(None::<&str>, point.as_str(), None::<&str>, flags, None::<&str>)
        .with_context(|| format!("cannot make {point} writable"))?;
    if is_read_only(existing).with_context(look)? {
        bail!("{} is on a read-only file system", existing.display());
    }
    Ok(())
}

/// The mount point that holds `path`.
#[allow(clippy::disallowed_methods, reason = "a path of the running system, not of a root")]
fn mount_point(path: &Path) -> anyhow::Result<String> {
    let path = path.canonicalize().with_context(|| format!("cannot resolve {}", path.display()))?;
    let text = std::fs::read_to_string("/proc/self/mountinfo")
        .context("cannot read /proc/self/mountinfo")?;
    let points = host::mount_points(&text);
    let found = points.into_iter().filter(|point| path.starts_with(point));
    found.max_by_key(String::len).with_context(|| format!("no mount holds {}", path.display()))
}
