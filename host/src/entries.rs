//! Boot loader entries that ostree writes (Boot Loader Specification, type 1): the order in which
//! its deployments would be booted.

use binding::Root;

use crate::ostree::Named;

/// Where entries are: `/boot` when it is mounted, else the one inside of the physical root.
const DIRECTORIES: [&str; 2] = ["boot/loader/entries", "sysroot/boot/loader/entries"];
/// The largest entry that is read, in bytes.
const MAX_ENTRY: u64 = 64 << 10;

/// The deployments that have an entry, the default one first. What cannot be read is
/// left out: this decides what things are called, not what is kept.
pub(crate) fn order(system: &Root) -> Vec<Named> {
    let found =
        DIRECTORIES.iter().find_map(|directory| Some((directory, system.list(directory).ok()?)));
    let Some((directory, entries)) = found else { return Vec::new() };
    let mut order: Vec<(u64, Named)> = Vec::new();
    for entry in entries {
        let Some(name) = entry.name.to_str().filter(|name| name.ends_with(".conf")) else {
            continue;
        };
        let Ok(text) = system.read(&format!("{directory}/{name}"), MAX_ENTRY) else { continue };
        let text = String::from_utf8_lossy(&text);
        let Some((version, argument)) = parse(&text) else { continue };
        // `/ostree/boot.1/OS/CSUM/0` is a link to the deployment's directory.
        let Ok(path) = system.resolve(&format!("sysroot{argument}")) else { continue };
        order.extend(Named::of_path(&format!("/{path}")).map(|named| (version, named)));
    }
    order.sort_by(|one, other| other.cmp(one));
    order.dedup();
    order.into_iter().map(|(_, named)| named).collect()
}

/// `version` and the `ostree=` argument.
fn parse(text: &str) -> Option<(u64, String)> {
    let value =
        |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix([' ', '\t']));
    let argument =
        value("options")?.split_whitespace().find_map(|word| word.strip_prefix("ostree="));
    let version = value("version").and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    Some((version, argument.filter(|argument| argument.starts_with('/'))?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn entries() {
        let text = "title Debian\nversion 2\noptions quiet ostree=/ostree/boot.1/lab/a1/0 rw\n";
        assert_eq!(parse(text), Some((2, "/ostree/boot.1/lab/a1/0".to_owned())));
        assert_eq!(parse("version 2\noptions quiet\n"), None);
        assert_eq!(parse("options ostree=relative\n"), None);
    }
}
