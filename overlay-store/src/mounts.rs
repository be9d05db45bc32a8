//! Whether something uses a store right now.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What `/proc/self/mountinfo` says of one mount (`proc_pid_mountinfo(5)`).
struct Mount<'a> {
    device: &'a str,
    root: String,
    point: String,
    kind: &'a str,
    options: String,
}

/// Says in words what uses the store at `directory`: a mount on it or of it, or a container whose
/// root file system is made of its layers (`links` are the link ids of those).
///
/// `mountinfo` is the text of that file. None when nothing does.
#[must_use]
pub fn user_of(directory: &Path, links: &[String], mountinfo: &str) -> Option<String> {
    let device = directory.metadata().ok().map(|metadata| {
        let device = metadata.dev();
        format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device))
    });
    let path = directory.to_string_lossy();
    let mounts: Vec<Mount<'_>> = mountinfo.lines().filter_map(parse).collect();
    // Where the directory lies on its own file system, told by the mount that holds it.
    let inside = mounts
        .iter()
        .filter(|mount| Some(mount.device) == device.as_deref() && below(&path, &mount.point))
        .max_by_key(|mount| mount.point.len())
        .map(|mount| {
            join(
                &mount.root,
                path.strip_prefix(mount.point.trim_end_matches('/')).unwrap_or_default(),
            )
        });
    for mount in &mounts {
        if below(&mount.point, &path) {
            return Some(format!("{} is mounted on it", mount.point));
        }
        let same_device = Some(mount.device) == device.as_deref();
        if same_device
            && inside
                .as_deref()
                .is_some_and(|inside| mount.root != "/" && below(&mount.root, inside))
        {
            return Some(format!("it is mounted at {}", mount.point));
        }
        let layers = format!("{path}/overlay/");
        if mount.kind == "overlay"
            && (mount.options.contains(&layers)
                || links.iter().any(|link| mount.options.contains(&format!("l/{link}"))))
        {
            return Some(format!("a container runs from it at {}", mount.point));
        }
    }
    None
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
    let device = before.nth(2)?;
    let (root, point) = (unescape(before.next()?), unescape(before.next()?));
    let mut after = after.split(' ');
    let kind = after.next()?;
    let options = unescape(after.nth(1).unwrap_or_default());
    Some(Mount { device, root, point, kind, options })
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
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        let device = directory.path().metadata().unwrap().dev();
        let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        let top = format!("1 0 {device} / / rw - ext4 /dev/x rw\n");
        let links = ["ABC".to_owned()];
        let found = |more: &str| user_of(directory.path(), &links, &format!("{top}{more}"));
        assert_eq!(found(""), None);
        assert!(
            found(&format!("2 1 {device} {path} /mnt/a\\040b rw - ext4 /dev/x rw"))
                .unwrap()
                .contains("/mnt/a b")
        );
        assert!(
            found(&format!("2 1 0:9 / {path}/overlay rw - tmpfs t rw"))
                .unwrap()
                .contains("mounted on it")
        );
        assert!(
            found("2 1 0:9 / /c/merged rw - overlay overlay rw,lowerdir=/s/l/ABC:l/DEF,upperdir=u")
                .is_some()
        );
        assert_eq!(found(&format!("2 1 0:9 / {path}-other rw - tmpfs t rw")), None);
        assert_eq!(found("2 1 0:9 / /c/merged rw - overlay overlay rw,lowerdir=l/DEF"), None);
    }
}
