//! `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`). Pure.

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Numbers of the device, `254:1`: the same for all mounts of one file system.
    pub device: String,
    /// What of its file system is mounted.
    pub root: String,
    /// Where.
    pub point: String,
    /// `ext4`, `overlay`.
    pub kind: String,
    /// A device, or what the file system calls its source.
    pub source: String,
    /// Options of the file system.
    pub options: String,
}

/// The mounts in the order in which they were made. A line that is none is left out.
#[must_use]
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

/// The mount that is seen at `point`, which is the last one made there.
pub(crate) fn at<'a>(mounts: &'a [Mount], point: &str) -> Option<&'a Mount> {
    mounts.iter().rev().find(|mount| mount.point == point)
}

fn line(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(2);
    let device = before.next()?.to_owned();
    let (root, point) = (unescape(before.next()?), unescape(before.next()?));
    let mut after = after.split(' ');
    let (kind, source) = (after.next()?.to_owned(), unescape(after.next()?));
    let options = unescape(after.next().unwrap_or_default());
    Some(Mount { device, root, point, kind, source, options })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// Where things are mounted, from the text of a mountinfo file.
#[must_use]
pub fn mount_points(text: &str) -> Vec<String> {
    parse(text).into_iter().map(|mount| mount.point).collect()
}
