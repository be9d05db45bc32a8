//! Whether something uses a store right now.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

/// What `/proc/self/mountinfo` says of one mount (`proc_pid_mountinfo(5)`).
struct Mount<'a> {
    id: u64,
    device: &'a str,
    root: String,
    point: String,
    kind: &'a str,
    options: String,
}

/// Says in words what uses the store at `directory`: a mount on it or of it, or a container whose
/// root file system is made of its layers (`links` are the link ids of those).
///
/// `mountinfo` is the text of that file. None when nothing in this mount namespace does.
///
/// # Errors
/// When the directory cannot be looked at, though it is there.
pub fn user_of(directory: &Path, links: &[String], mountinfo: &str) -> io::Result<Option<String>> {
    let mounts: Vec<Mount<'_>> = mountinfo.lines().filter_map(parse).collect();
    let place = match Place::of(directory) {
        Ok(place) => place,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(user(&place, links, &mounts))
}

/// Where a directory is, as mountinfo names it.
struct Place {
    /// Its path with all links resolved: mountinfo knows no others.
    path: String,
    /// The mount that holds it.
    mount: u64,
}

impl Place {
    fn of(directory: &Path) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let fd = rustix::fs::open(directory, flags, Mode::empty())?;
        let path = rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())?;
        // Not the device number: on btrfs that of a directory is not the one in mountinfo.
        let stat = rustix::fs::statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
        Ok(Self { path: path.to_string_lossy().into_owned(), mount: stat.stx_mnt_id })
    }
}

fn user(place: &Place, links: &[String], mounts: &[Mount<'_>]) -> Option<String> {
    let path = place.path.as_str();
    let holder = mounts.iter().find(|mount| mount.id == place.mount);
    // Where the directory lies on its own file system, told by the mount that holds it.
    let inside = holder.map(|holder| {
        join(
            &holder.root,
            path.strip_prefix(holder.point.trim_end_matches('/')).unwrap_or_default(),
        )
    });
    let layers = format!("{path}/overlay/");
    for mount in mounts {
        if below(&mount.point, path) {
            return Some(format!("{} is mounted on it", mount.point));
        }
        let same_device = holder.is_some_and(|holder| holder.device == mount.device);
        if same_device && inside.as_deref().is_some_and(|inside| is_part(&mount.root, inside)) {
            return Some(format!("it is mounted at {}", mount.point));
        }
        let by_link = || links.iter().any(|link| mount.options.contains(&format!("l/{link}")));
        if mount.kind == "overlay" && (mount.options.contains(&layers) || by_link()) {
            return Some(format!("a container runs from it at {}", mount.point));
        }
    }
    None
}

/// Whether what is mounted (`root`) is the directory or a part of it.
fn is_part(root: &str, directory: &str) -> bool {
    root != "/" && below(root, directory)
}

/// Whether `path` is `top` or below it.
fn below(path: &str, top: &str) -> bool {
    let top = top.trim_end_matches('/');
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn join(root: &str, rest: &str) -> String {
    format!("{}{rest}", root.trim_end_matches('/'))
}

fn parse(line: &str) -> Option<Mount<'_>> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ');
    let id = before.next()?.parse().ok()?;
    let device = before.nth(1)?;
    let (root, point) = (unescape(before.next()?), unescape(before.next()?));
    let mut after = after.split(' ');
    let kind = after.next()?;
    let options = unescape(after.nth(1).unwrap_or_default());
    Some(Mount { id, device, root, point, kind, options })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found() {
        let place = Place { path: "/srv/store".to_owned(), mount: 5 };
        let links = ["ABC".to_owned()];
        let top = "1 0 0:7 / / rw - ext4 /dev/x rw\n5 1 0:8 /sub /srv rw - btrfs /dev/y rw\n";
        let found = |more: &str| {
            let text = format!("{top}{more}");
            let mounts: Vec<Mount<'_>> = text.lines().filter_map(parse).collect();
            user(&place, &links, &mounts)
        };
        assert_eq!(found(""), None);
        assert!(
            found("6 1 0:8 /sub/store /mnt/a\\040b rw - btrfs /dev/y rw")
                .unwrap()
                .contains("/mnt/a b")
        );
        assert!(found("6 1 0:8 /sub/store/overlay /m rw - btrfs /dev/y rw").is_some());
        assert!(
            found("6 1 0:9 / /srv/store/overlay rw - tmpfs t rw")
                .unwrap()
                .contains("mounted on it")
        );
        assert!(
            found("6 1 0:9 / /c/merged rw - overlay overlay rw,lowerdir=/s/l/ABC:l/DEF,upperdir=u")
                .is_some()
        );
        assert!(
            found("6 1 0:9 / /m rw - overlay overlay rw,lowerdir=/srv/store/overlay/x/diff")
                .is_some()
        );
        for other in [
            "6 1 0:9 / /srv/store-other rw - tmpfs t rw",
            "6 1 0:9 / /c/merged rw - overlay overlay rw,lowerdir=l/DEF",
            "6 1 0:8 /sub /also rw - btrfs /dev/y rw",
            "6 1 0:9 /sub/store /elsewhere rw - ext4 /dev/z rw",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[test]
    fn a_link_to_a_store_is_looked_through() {
        let directory = tempfile::tempdir().unwrap();
        let (store, link) = (directory.path().join("store"), directory.path().join("link"));
        std::fs::create_dir(&store).unwrap();
        std::os::unix::fs::symlink(&store, &link).unwrap();
        let text = format!("9 1 0:9 / {}/overlay rw - tmpfs t rw", store.display());
        assert!(user_of(&link, &[], &text).unwrap().is_some());
        assert!(user_of(&directory.path().join("none"), &[], &text).unwrap().is_none());
    }
}
