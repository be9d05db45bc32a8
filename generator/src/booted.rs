//! Which root is booted, and whether that is another one than before.
//!
//! What the mounts say now counts. What was found before is kept in `/run/bound-images/root`, for
//! a later daemon-reload at which nothing can be told, and so that a soft reboot is noticed: `/run`
//! outlives it. It is kept together with what is mounted at `/` and `/etc` (device, path on it and
//! source), which a soft reboot changes. The numbers of mounts would not do: systemd runs
//! generators in a mount namespace of their own, where all are new.

use binding::Root;
use host::RootId;

/// Below [`crate::RUN`].
pub(crate) const KEPT: &str = "root";
/// The largest list of mounts that is read, in bytes.
const MAX_MOUNTINFO: u64 = 64 << 20;
/// The largest file of what is kept, in bytes.
const MAX_KEPT: u64 = 64 << 10;

/// What was found out.
#[derive(Debug, Default)]
pub(crate) struct Booted {
    /// The root; none on a plain machine.
    pub(crate) id: Option<RootId>,
    /// What to keep, if it can be told what is mounted.
    pub(crate) keep: Option<String>,
    /// Whether another root was booted when something was kept: `/run` outlived a soft reboot.
    pub(crate) is_another: bool,
    /// Whether something is mounted where the store belongs.
    pub(crate) has_mount: bool,
    /// Why it could not be told.
    pub(crate) warning: Option<String>,
}

/// Asks the host whose `/` is `root`.
pub(crate) fn booted(root: &Root) -> Booted {
    let text = root.read_optional("proc/self/mountinfo", MAX_MOUNTINFO).ok().flatten();
    let text = String::from_utf8_lossy(text.as_deref().unwrap_or_default());
    let path = format!("{}/{KEPT}", crate::RUN.trim_start_matches('/'));
    let kept = root.read_optional(&path, MAX_KEPT).ok().flatten();
    let kept = kept.and_then(|kept| String::from_utf8(kept).ok());
    let found = host::booted(root).map_err(|error| format!("{error:#}"));
    let mut booted = decide(found, key(&text), kept.as_deref());
    let store = format!("/{}", binding::STORE_PATH);
    booted.has_mount = host::parse_mountinfo(&text).iter().any(|mount| mount.point == store);
    booted
}

/// What is kept has two lines: the id and the key.
fn decide(found: Result<Option<RootId>, String>, key: String, kept: Option<&str>) -> Booted {
    let kept = kept.and_then(|kept| kept.trim_end().split_once('\n'));
    let same = kept.filter(|(_, known)| *known == key).and_then(|(id, _)| RootId::parse(id));
    let is_another = kept.is_some_and(|(_, known)| !key.is_empty() && known != key);
    let (now, warning) = match found {
        Ok(now) => (now, None),
        Err(why) => (None, Some(format!("it cannot be told which root is booted: {why}"))),
    };
    let id = now.or(same);
    let warning = warning.filter(|_| id.is_none());
    let keep = id.as_ref().filter(|_| !key.is_empty()).map(|id| format!("{id}\n{key}\n"));
    Booted { id, keep, is_another, has_mount: false, warning }
}

/// What is mounted at `/` and `/etc`, of the last mount at each; without the options, which a
/// remount changes. Empty where `/` is not in the list.
fn key(mountinfo: &str) -> String {
    let at = |wanted: &str| {
        mountinfo.lines().rev().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut fields = before.split(' ').skip(2);
            let (device, top, point) = (fields.next()?, fields.next()?, fields.next()?);
            let mut after = after.split(' ');
            let (kind, source) = (after.next()?, after.next()?);
            (point == wanted).then(|| format!("{device} {top} {kind} {source}"))
        })
    };
    match (at("/"), at("/etc")) {
        (None, _) => String::new(),
        (Some(top), None) => top,
        (Some(top), Some(etc)) => format!("{top}; {etc}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: &str) -> RootId {
        RootId::parse(&format!("{}.0", digit.repeat(64))).unwrap()
    }

    #[test]
    fn the_key_is_what_a_soft_reboot_changes() {
        let one = "30 1 254:1 /deploy/a / ro,relatime shared:1 - ext4 /dev/vda rw\n";
        let remounted = "99 7 254:1 /deploy/a / rw - ext4 /dev/vda rw,discard\n";
        assert_eq!(key(one), "254:1 /deploy/a ext4 /dev/vda");
        assert_eq!(key(one), key(remounted), "number, parent and options do not count");
        let etc = "31 30 254:1 /deploy/a/etc /etc rw - ext4 /dev/vda rw\n";
        let next = one.replace("/a", "/b");
        let want = "254:1 /deploy/b ext4 /dev/vda; 254:1 /deploy/a/etc ext4 /dev/vda";
        assert_eq!(key(&format!("{one}{next}{etc}")), want);
        assert_eq!(key("nonsense\n- - -\n"), "");
    }

    #[test]
    fn what_is_found_now_counts_and_what_was_kept_is_for_when_nothing_is() {
        let (a, b) = (id("a"), id("b"));
        let kept = format!("{a}\nkey\n");
        let table = [
            ("first boot", Ok(Some(a.clone())), "key", None, Some(&a), false),
            ("daemon-reload", Ok(Some(a.clone())), "key", Some(kept.as_str()), Some(&a), false),
            ("nothing found any more", Ok(None), "key", Some(&kept), Some(&a), false),
            ("not readable", Err("why".to_owned()), "key", Some(&kept), Some(&a), false),
            ("soft reboot", Ok(Some(b.clone())), "new", Some(&kept), Some(&b), true),
            ("soft reboot to a plain root", Ok(None), "new", Some(&kept), None, true),
            ("broken file", Ok(None), "key", Some("../../x\nkey\n"), None, false),
            ("empty file", Ok(None), "key", Some(""), None, false),
            ("no mounts", Ok(None), "", Some(&kept), None, false),
        ];
        for (name, found, key, kept, want, is_another) in table {
            let failed = found.is_err();
            let booted = decide(found, key.to_owned(), kept);
            assert_eq!(booted.id.as_ref(), want, "{name}");
            assert_eq!(booted.is_another, is_another, "{name}");
            assert_eq!(booted.keep.is_some(), want.is_some(), "{name}");
            assert_eq!(booted.warning.is_some(), failed && want.is_none(), "{name}");
        }
        assert!(decide(Err("why".into()), "key".into(), None).warning.unwrap().ends_with("why"));
    }
}
