//! The environment that a Quadlet and drop-ins give a service, so far as Podman's configuration depends on
//! it.

use binding::Root;
use binding::quadlet::unit::Unit;

/// Largest `EnvironmentFile=` that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Files that a service names itself. `CONTAINERS_CONF` is none of them: Podman reads what it
/// names in place of the host's containers.conf, and `CONTAINERS_CONF_OVERRIDE` on top of either.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// `CONTAINERS_STORAGE_CONF`.
    pub(crate) storage_conf: Option<String>,
    /// `CONTAINERS_STORAGE_CONF_OVERRIDE`, which Podman reads from version 6 on.
    pub(crate) storage_override: Option<String>,
    /// `CONTAINERS_CONF_OVERRIDE`.
    pub(crate) conf_override: Option<String>,
    /// Whether one of them is set in a way that wins over our `Environment=`: by an
    /// `EnvironmentFile=`, or by a drop-in that comes after ours.
    pub(crate) by_file: bool,
}

const STORAGE_CONF: &str = "CONTAINERS_STORAGE_CONF";
const STORAGE_OVERRIDE: &str = "CONTAINERS_STORAGE_CONF_OVERRIDE";
const CONF_OVERRIDE: &str = "CONTAINERS_CONF_OVERRIDE";

/// What `[Service]` of a Quadlet and drop-ins sets. An `EnvironmentFile=` that cannot be read now is passed
/// over: it may be on a file system that is not mounted yet.
pub(crate) fn environment(unit: &Unit, root: &Root) -> Environment {
    let words = unit.words("Service", "Environment");
    let mut found = Environment::default();
    for (word, _) in &words {
        found.set(word);
    }
    for (file, _) in unit.all("Service", "EnvironmentFile") {
        let file = file.trim_matches('"');
        let Some(path) = file.strip_prefix('-').unwrap_or(file).strip_prefix('/') else { continue };
        let Ok(bytes) = root.read(path, MAX_FILE) else { continue };
        let mut here = Environment::default();
        for line in assignments(&String::from_utf8_lossy(&bytes)) {
            here.set(&line);
        }
        if here != Environment::default() {
            found.by_file = true;
            found.storage_conf = here.storage_conf.or(found.storage_conf);
            found.storage_override = here.storage_override.or(found.storage_override);
            found.conf_override = here.conf_override.or(found.conf_override);
        }
    }
    found
}

impl Environment {
    fn set(&mut self, assignment: &str) {
        match assignment.split_once('=') {
            Some((STORAGE_CONF, path)) => self.storage_conf = Some(path.to_owned()),
            Some((STORAGE_OVERRIDE, path)) => self.storage_override = Some(path.to_owned()),
            Some((CONF_OVERRIDE, path)) => self.conf_override = Some(path.to_owned()),
            _ => {}
        }
    }
}

/// The assignments of an environment file, `NAME=value` each, quotes taken away (systemd.exec(5)).
fn assignments(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.replace("\\\n", "").lines() {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else { continue };
        let value = value.trim();
        let unquoted =
            ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        found.push(format!("{}={}", name.trim_end(), unquoted.unwrap_or(value)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::assignments;

    #[test]
    fn environment_files() {
        let text = "# A=0\n; A=0\n\nA=1\n B = 'two words' \nC=\"3\"\nD=4\\\n4\nE\nF=\n";
        let want = ["A=1", "B=two words", "C=3", "D=44", "F="];
        assert_eq!(assignments(text), want);
    }
}
