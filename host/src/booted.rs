//! Which root is booted, also while the generator runs: nothing is mounted then but `/sysroot`,
//! `/run`, `/proc`, `/usr` and `/etc`.
//!
//! The `ostree=` argument of the kernel is never asked: it dangles after any deploy, rollback or
//! undeploy at run time, and after a soft reboot it names the root before.

use anyhow::{Context as _, Result};
use binding::Root;

use crate::RootId;
use crate::mountinfo::{self, Mount};
use crate::ostree::{self, BackingRoot, Named};

/// The largest list of mounts that is read, in bytes.
const MAX_MOUNTINFO: u64 = 64 << 20;

/// The id of the booted root; none when the host has no roots that we know: a plain machine.
///
/// In this order, since after a soft reboot the file of the third still names the root before:
/// 1. what of its file system is mounted at `/etc`, or else at `/`: `…/ostree/deploy/OS/deploy/ID`
///    or `…/state/deploy/ID`;
/// 2. the source of the mount at `/` (bootc's composefs backend): `composefs:ID` and the like;
/// 3. `backing-root-device-inode` in `/run/ostree-booted`.
///
/// # Errors
/// When the mounts cannot be read.
pub fn booted(system: &Root) -> Result<Option<RootId>> {
    Ok(find(system)?.map(|named| named.id))
}

/// As [`booted`], with the stateroot.
pub(crate) fn find(system: &Root) -> Result<Option<Named>> {
    let text = system
        .read_optional("proc/self/mountinfo", MAX_MOUNTINFO)
        .context("cannot read /proc/self/mountinfo")?
        .unwrap_or_default();
    let mounts = mountinfo::parse(&String::from_utf8_lossy(&text));
    if let Some(named) = of_mounts(&mounts) {
        return Ok(Some(named));
    }
    match ostree::backing_root(system)? {
        Some(backing) => ostree::of_inode(system, backing),
        None => Ok(None),
    }
}

fn of_mounts(mounts: &[Mount]) -> Option<Named> {
    let top = mountinfo::at(mounts, "/");
    let etc = mountinfo::at(mounts, "/etc");
    etc.and_then(|mount| of_path(mount.root.strip_suffix("/etc")?))
        .or_else(|| of_path(&top?.root))
        .or_else(|| of_source(&top?.source).map(Named::anywhere))
}

/// `/ostree/deploy/OS/deploy/ID` or `/state/deploy/ID`, with a subvolume or the like before it.
fn of_path(path: &str) -> Option<Named> {
    let of_composefs = || {
        let (above, name) = path.rsplit_once('/')?;
        above.ends_with("/state/deploy").then(|| RootId::of_composefs(name)).flatten()
    };
    Named::of_path(path).or_else(|| of_composefs().map(Named::anywhere))
}

/// `composefs:ID`, `composefs=ID`, `transient:composefs=ID`: how bootc's initramfs names the mount.
fn of_source(source: &str) -> Option<RootId> {
    let source = source.strip_prefix("transient:").unwrap_or(source);
    let id = source.strip_prefix("composefs:").or_else(|| source.strip_prefix("composefs="))?;
    RootId::of_composefs(id)
}

impl BackingRoot {
    pub(crate) fn is(self, device: u64, inode: u64) -> bool {
        (self.device, self.inode) == (device, inode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(root: &str, point: &str, kind: &str, source: &str) -> String {
        format!("30 1 0:5 {root} {point} rw,relatime shared:1 - {kind} {source} rw\n")
    }

    #[test]
    fn the_booted_root_is_told_by_the_mounts() {
        let id = "a1".repeat(32);
        let other = "b2".repeat(32);
        let deploy = format!("/ostree/deploy/lab/deploy/{id}.1");
        let old = format!("/ostree/deploy/lab/deploy/{other}.0");
        let state = format!("/state/deploy/{id}");
        let ext4 = |root: &str, point: &str| mount(root, point, "ext4", "/dev/vda");
        let serial = format!("{id}.1");
        let table = [
            ("plain ostree", ext4(&deploy, "/"), Some(serial.as_str())),
            ("a subvolume", ext4(&format!("/root{deploy}"), "/"), Some(&serial)),
            (
                "ostree's composefs",
                mount("/", "/", "overlay", "composefs") + &ext4(&format!("{deploy}/etc"), "/etc"),
                Some(&serial),
            ),
            (
                "after a soft reboot",
                ext4(&old, "/")
                    + &ext4(&format!("{old}/etc"), "/etc")
                    + &ext4(&deploy, "/")
                    + &ext4(&format!("{deploy}/etc"), "/etc"),
                Some(&serial),
            ),
            (
                "bootc's composefs",
                mount("/", "/", "overlay", "composefs:x") + &ext4(&format!("{state}/etc"), "/etc"),
                Some(&id),
            ),
            ("its source", mount("/", "/", "overlay", &format!("composefs:{id}")), Some(&id)),
            (
                "a transient one",
                mount("/", "/", "overlay", &format!("transient:composefs={id}")),
                Some(&id),
            ),
            ("a plain machine", ext4("/", "/"), None),
            ("a directory of that name", ext4("/ostree/deploy/lab/deploy/x.1", "/"), None),
            ("nonsense", "1 2 3 - \n- - -\n".to_owned(), None),
        ];
        for (name, text, wanted) in table {
            let found = of_mounts(&mountinfo::parse(&text));
            assert_eq!(found.as_ref().map(|named| named.id.as_str()), wanted, "{name}");
            let stateroot = found.and_then(|named| named.stateroot);
            let is_ostrees = wanted.is_some_and(|id| id.contains('.'));
            assert_eq!(stateroot.as_deref(), is_ostrees.then_some("lab"), "{name}");
        }
    }
}
