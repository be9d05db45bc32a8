//! systemd's own drop-ins for the services of Quadlets, so far as Podman's configuration depends on
//! them: `systemctl edit` makes them, and Podman's generator knows nothing of them.

use std::collections::BTreeMap;

use binding::Root;
use binding::quadlet::search::{Files, dropin_dirs};
use binding::quadlet::unit::Unit;

use crate::environment::{Environment, environment};

/// Where systemd looks for units that nobody generated, in its order (systemd.unit(5)).
const TOPS: [&str; 5] = [
    "etc/systemd/system.control",
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
];
/// The drop-in that is written here. Among drop-ins, the last by name wins.
pub(crate) const NAME: &str = "50-bound-images.conf";

/// `foo.service.d` → the directories of that name.
#[derive(Debug, Default)]
pub(crate) struct DropIns {
    dirs: BTreeMap<String, Vec<String>>,
}

impl DropIns {
    /// Lists them. What cannot be listed is passed over, as systemd does.
    pub(crate) fn read(root: &Root) -> Self {
        let mut dirs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for top in TOPS {
            for entry in root.list(top).unwrap_or_default() {
                if let Some(name) = entry.name.to_str().filter(|name| name.ends_with("service.d")) {
                    dirs.entry(name.to_owned()).or_default().push(format!("{top}/{name}"));
                }
            }
        }
        Self { dirs }
    }

    /// The environment of `service`, which Podman makes of `unit`.
    pub(crate) fn environment(&self, service: &str, unit: &Unit, files: &Files<'_>) -> Environment {
        let found = self.files(service, files.root);
        if found.is_empty() {
            return environment(unit, files.root);
        }
        let (mut before, mut all) = (unit.clone(), unit.clone());
        for (name, path) in found {
            // What Podman's parser does not take, systemd may; such a file sets nothing here.
            let Ok(text) = files.text(&path) else { continue };
            if name.as_str() < NAME {
                before.merge(&path, text.clone());
            }
            all.merge(&path, text);
        }
        let (before, mut all) = (environment(&before, files.root), environment(&all, files.root));
        // One that comes after ours would win over our Environment=.
        all.by_file |= before != all;
        all
    }

    /// File name → path of the drop-ins of a service: of one name, the first that systemd finds.
    fn files(&self, service: &str, root: &Root) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for dir in dropin_dirs(service).iter().filter_map(|name| self.dirs.get(name)).flatten() {
            for entry in root.list(dir).unwrap_or_default() {
                if let Some(name) = entry.name.to_str().filter(|name| name.ends_with(".conf")) {
                    found.entry(name.to_owned()).or_insert_with(|| format!("{dir}/{name}"));
                }
            }
        }
        found
    }
}
