//! Whether the hook does its work on the running system: whether Podman loads it, and whether what
//! runs was judged by it. Nobody else would notice, since a hook that is not loaded says nothing.
//!
//! Limits: `--hooks-dir` among a service's own arguments and `CONTAINERS_CONF` in its environment are
//! not looked at; drop-ins of containers.conf are those of Podman 4.9 to 5.

mod conf;
mod starts;

pub use conf::{Conf, DEFAULT_DIRECTORY, merge};
pub use starts::{Start, parse as parse_starts, unrecorded};

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use binding::{Code, Finding, Kind, Place, Root};
use serde::Deserialize;

/// Its file in a directory of hooks.
pub const FILE: &str = "bound-images-hook.json";
/// The annotation that its file has to ask for, as a pattern.
const PATTERN: &str = "^bound-images\\.reference$";
/// Files of containers.conf, the last one to be read last (containers.conf(5); tried with Podman 5.4.2).
const FILES: [&str; 2] = ["usr/share/containers/containers.conf", "etc/containers/containers.conf"];
const DROP_INS: &str = "etc/containers/containers.conf.d";
/// Where the generator writes the file that comes on top, per service.
const OVERRIDES: &str = "run/bound-images/containers.conf.d";
/// The largest containers.conf or hook file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
const INSTALL: &str = "install bound-images completely (`make install`)";

/// The parts of a hook's file that count (oci-hooks(5)).
#[derive(Deserialize)]
struct HookFile {
    hook: HookProgram,
    when: HookWhen,
}

#[derive(Deserialize)]
struct HookProgram {
    path: String,
}

#[derive(Deserialize)]
struct HookWhen {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// What keeps Podman from loading the hook for `services` of the running system.
#[must_use]
pub fn check(system: &Root, services: &[String]) -> Vec<Finding> {
    let common = common_files(system);
    // A file that is not valid fails every command of Podman, which says so.
    let conf = merge(&common);
    if let Some(finding) = conf.ok().and_then(|conf| judge(system, &conf)) {
        // What is wrong for all is said once.
        return vec![finding];
    }
    let of_service = |service: &String| {
        let path = format!("{OVERRIDES}/{service}.conf");
        let text = read(system, &path).ok()??;
        let mut files = common.clone();
        files.push((path, text));
        judge(system, &merge(&files).ok()?).map(|finding| finding.about(service))
    };
    services.iter().filter_map(of_service).collect()
}

/// What containers.conf says for all of Podman's commands.
///
/// # Errors
/// Which file is not valid.
pub fn read_conf(system: &Root) -> Result<Conf, String> {
    merge(&common_files(system))
}

/// The files that all of Podman's commands read. What cannot be read fails Podman itself.
fn common_files(system: &Root) -> Vec<(String, String)> {
    let mut paths: Vec<String> = FILES.map(str::to_owned).to_vec();
    let entries = system.list_optional(DROP_INS).ok().flatten().unwrap_or_default();
    let mut names: Vec<String> = entries
        .into_iter()
        .filter(|entry| entry.kind != Kind::Dir)
        .filter_map(|entry| entry.name.into_string().ok())
        .filter(|name| name.ends_with(".conf"))
        .collect();
    names.sort();
    paths.extend(names.into_iter().map(|name| format!("{DROP_INS}/{name}")));
    let text = |path: String| Some((path.clone(), read(system, &path).ok()??));
    paths.into_iter().filter_map(text).collect()
}

fn read(system: &Root, path: &str) -> std::io::Result<Option<String>> {
    let bytes = system.read_optional(path, MAX_FILE)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Why the hook is not run with this configuration.
fn judge(system: &Root, conf: &Conf) -> Option<Finding> {
    // Of two files of one name, the one in the later directory counts (oci-hooks(5)).
    let found = conf.directories.iter().rev().find_map(|directory| {
        let path = format!("{}/{FILE}", directory.trim_matches('/'));
        Some((path.clone(), read(system, &path).transpose()?))
    });
    let Some((path, text)) = found else {
        const EFFECT: &str =
            "Podman does not start the hook, and a bound service may run another image unnoticed";
        let is_named =
            conf.directories.iter().any(|one| one.trim_end_matches('/') == DEFAULT_DIRECTORY);
        return Some(match conf.source.as_ref().filter(|_| !is_named) {
            Some(file) => {
                let why = format!("hooks_dir does not name {DEFAULT_DIRECTORY}: {EFFECT}");
                let fix = format!("add \"{DEFAULT_DIRECTORY}\" to that list");
                Finding::new(Code::HookOverridden, Place::file(file), why, fix)
            }
            None => {
                let path = format!("{}/{FILE}", DEFAULT_DIRECTORY.trim_matches('/'));
                missing(&path, &format!("it is not there: {EFFECT}"))
            }
        });
    };
    let parsed = text.map_err(|error| error.to_string()).and_then(|text| {
        serde_json::from_str::<HookFile>(&text).map_err(|error| error.to_string())
    });
    let file = match parsed {
        Ok(file) => file,
        Err(why) => return Some(missing(&path, &format!("it cannot be read: {why}"))),
    };
    if !file.when.annotations.contains_key(PATTERN) {
        let why = format!("it is not for containers with the annotation {PATTERN}");
        return Some(missing(&path, &why));
    }
    program_fault(system, &file.hook.path).map(|why| missing(&path, &why))
}

fn missing(path: &str, why: &str) -> Finding {
    Finding::new(Code::HookMissing, Place::file(path), why, INSTALL)
}

fn program_fault(system: &Root, program: &str) -> Option<String> {
    let follow = || -> std::io::Result<std::fs::Metadata> {
        let path = system.resolve(program.trim_start_matches('/'))?;
        std::fs::metadata(system.path().join(path))
    };
    match follow() {
        Err(error) => Some(format!("its program {program} cannot be run: {error}")),
        Ok(stat) if !stat.is_file() || stat.permissions().mode() & 0o111 == 0 => Some(format!(
            "its program {program} is not executable: Podman then starts no container that is bound"
        )),
        Ok(_) => None,
    }
}
