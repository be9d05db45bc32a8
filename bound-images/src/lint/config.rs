//! The configuration that a root brings.

use binding::{Code, Finding, Place, Root};
use host::config::{Config, DIRECTORIES, read_inside};

/// What the root's fragments say together, and what is wrong with them.
pub(super) fn check(root: &Root) -> (Config, Vec<Finding>) {
    let directories = DIRECTORIES.map(|path| (root, path));
    let place = Place::file("usr/lib/bound-images/config.d");
    let found = |place: Place, why: String| {
        Finding::new(Code::BadConfig, place, why, "correct or remove it (docs/upgrade.md)")
    };
    match read_inside(&directories) {
        Ok(config) => {
            let unknown = config.unknown.iter().map(|text| {
                let (place, why) = split(text, root).unwrap_or((place.clone(), text.clone()));
                found(place, why)
            });
            let findings = unknown.collect();
            (config, findings)
        }
        Err(error) => {
            let text = format!("{error:#}");
            (Config::default(), vec![found(place, text)])
        }
    }
}

/// `FILE:LINE: why`, with the file below the root.
fn split(text: &str, root: &Root) -> Option<(Place, String)> {
    let (head, why) = text.split_once(": ")?;
    let (file, line) = head.rsplit_once(':')?;
    let file = std::path::Path::new(file).strip_prefix(root.path()).ok()?;
    Some((Place::line(file.to_string_lossy(), line.parse().ok()?), why.to_owned()))
}
