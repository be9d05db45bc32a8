//! Whether Podman finds a store where one belongs, and whether the root's storage.conf lets it.

use std::io;

use anyhow::Context as _;
use binding::{Code, Finding, Kind, Place, Root, STORE_PATH, Severity};
use storage_conf::{ConfError, Environment, Generation, MAX_SIZE, SEARCH, StorageConf};

use crate::podman_conf::gather;
use crate::state::{self, StoreState};

/// Drop-ins of storage.conf, which Podman 6 reads and older versions do not.
const DROP_INS: [&str; 4] = [
    "usr/share/containers/storage.conf.d",
    "usr/share/containers/storage.rootful.conf.d",
    "etc/containers/storage.conf.d",
    "etc/containers/storage.rootful.conf.d",
];
/// What a store must have, even an empty one: on a read-only file system Podman cannot make them, and
/// then fails whatever it is asked for.
const LOCKS: [&str; 2] = ["overlay-layers/layers.lock", "overlay-images/images.lock"];
/// How many faults of a store are told; `verify` tells all.
const MAX_DAMAGE: usize = 3;

/// What is wrong with the store's place and with storage.conf; `option` is what names the root in a
/// command.
pub(super) fn check(root: &Root, option: &str) -> anyhow::Result<Vec<Finding>> {
    let (listed, mut findings) = check_conf(root, option)?;
    findings.extend(check_store(root, listed, option)?);
    Ok(findings)
}

/// Whether the root's storage.conf lists the store, and what is wrong with it.
fn check_conf(root: &Root, option: &str) -> anyhow::Result<(bool, Vec<Finding>)> {
    let ours = format!("/{STORE_PATH}");
    let mut findings = Vec::new();
    let mut parsed = Vec::new();
    for path in SEARCH {
        let Some(text) = text(root, path)? else { continue };
        match StorageConf::parse(path, &text) {
            Ok(conf) => parsed.push((path, conf)),
            // Podman reads the first file only.
            Err(error) if parsed.is_empty() => {
                findings.push(invalid(&error));
                return Ok((false, findings));
            }
            Err(_) => {}
        }
    }
    let main = parsed.first();
    if let Some((path, conf)) = main.filter(|(_, conf)| !conf.reads_overlay()) {
        let driver = conf.driver().unwrap_or_default();
        let why = format!("the driver {driver:?} cannot read {ours}");
        let fix = "set driver = \"overlay\"";
        findings.push(Finding::new(Code::StorageConfDriver, Place::file(*path), why, fix));
        return Ok((false, findings));
    }
    let listed = main.is_some_and(|(_, conf)| conf.lists_store(&ours));
    let below = parsed.iter().skip(1).find(|(_, conf)| conf.lists_store(&ours));
    let dropins = check_drop_ins(root, &ours, listed)?;
    if let (Some((path, _)), Some((hidden, _)), false) = (main, below, listed) {
        let why = format!("it takes the place of {hidden}, which lists {ours}");
        let fix = format!("list {ours} in additionalimagestores here too");
        findings.push(Finding::new(Code::StorageConfHides, Place::file(*path), why, fix));
    } else if !listed && !dropins.iter().any(|found| found.code == Code::StorageConfDropin) {
        let path = main.map_or(SEARCH[0], |(path, _)| path);
        let why = format!(
            "{ours} is not in additionalimagestores: bound services see it, but `podman inspect` and \
             `podman start` of their containers do not"
        );
        let fix = format!("run `bound-images storage-conf enable{option}`");
        findings.push(Finding::new(Code::StoreNotListed, Place::file(path), why, fix));
    }
    findings.extend(dropins);
    // A drop-in of the wrong form or type, which only Podman 6 reads.
    if let Err(error) = gather(root, Generation::Since6, &Environment::default()).result {
        findings.push(invalid(&error));
    }
    Ok((listed, findings))
}

fn check_drop_ins(root: &Root, ours: &str, listed: bool) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for directory in DROP_INS {
        let entries = match root.list_optional(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => continue,
            other => other?.unwrap_or_default(),
        };
        let names = entries.iter().filter_map(|entry| entry.name.to_str());
        for name in names.filter(|name| name.ends_with(".conf")) {
            let path = format!("{directory}/{name}");
            let Some(text) = text(root, &path)? else { continue };
            match additional_stores(&text) {
                // Podman 6 says below what is wrong with it.
                Err(_) | Ok(Said::Nothing) => {}
                Ok(Said::Replaces(stores)) if listed && !stores.iter().any(|one| one == ours) => {
                    let why = format!(
                        "from Podman 6 on, its list takes the place of the one with {ours}"
                    );
                    let fix = "add {append = true} to the list, or add the store";
                    let place = Place::file(path);
                    findings.push(Finding::new(Code::StorageConfDropin, place, why, fix));
                }
                Ok(Said::Replaces(stores) | Said::Adds(stores))
                    if !listed && stores.iter().any(|one| one == ours) =>
                {
                    let why =
                        format!("only this drop-in lists {ours}, and Podman before 6 reads none");
                    let fix = "list it in storage.conf, unless the root's Podman is 6 or newer";
                    let place = Place::file(path);
                    findings.push(Finding::new(Code::StorageConfDropin, place, why, fix));
                }
                Ok(Said::Replaces(_) | Said::Adds(_)) => {}
            }
        }
    }
    Ok(findings)
}

/// What a drop-in says of the additional image stores.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Replaces(Vec<String>),
    Adds(Vec<String>),
}

/// Reads `storage.options.additionalimagestores`, with Podman 6's `{append = true}` at its end.
fn additional_stores(text: &str) -> Result<Said, (Option<usize>, String)> {
    let document: toml::Table = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        (before.map(|before| before.matches('\n').count() + 1), error.message().to_owned())
    })?;
    // Go's decoder reads keys in any letter case.
    let find = |table: &toml::Table, name: &str| {
        let key = table.keys().find(|key| key.eq_ignore_ascii_case(name))?.clone();
        table.get(&key).cloned()
    };
    let storage = find(&document, "storage").and_then(|value| value.as_table().cloned());
    let options = storage.and_then(|table| find(&table, "options")?.as_table().cloned());
    let Some(list) = options.and_then(|table| find(&table, "additionalimagestores")) else {
        return Ok(Said::Nothing);
    };
    let Some(list) = list.as_array() else {
        return Err((None, "additionalimagestores must be an array of paths".to_owned()));
    };
    let paths = list.iter().filter_map(|value| value.as_str()).flat_map(|text| text.split(','));
    let paths = paths.map(|path| path.trim_end_matches('/').to_owned()).collect();
    let appends = list.iter().filter_map(|value| value.get("append")?.as_bool()).next_back();
    Ok(if appends == Some(true) { Said::Adds(paths) } else { Said::Replaces(paths) })
}

fn invalid(error: &ConfError) -> Finding {
    let place = Place { file: error.file.trim_start_matches('/').to_owned(), line: error.line };
    let column = error.column.map_or_else(String::new, |column| format!("column {column}: "));
    let why = format!("{column}{}: every podman command that reads the file fails", error.why);
    Finding::new(Code::StorageConfInvalid, place, why, "mend the file")
}

fn text(root: &Root, path: &str) -> anyhow::Result<Option<String>> {
    // One byte more than the largest: the parser says what is wrong then.
    let bytes = root
        .read_optional(path, MAX_SIZE as u64 + 1)
        .with_context(|| format!("cannot read {path}"))?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// What to do about a store that is not there; `option` is as for [`check`].
pub(crate) fn remedy_of_missing(option: &str) -> String {
    format!(
        "install bound-images completely (`make install`), which makes an empty store there, or run \
         `bound-images stage{option}`"
    )
}

/// What is wrong with the directory where Podman looks for the store.
fn check_store(root: &Root, listed: bool, option: &str) -> anyhow::Result<Vec<Finding>> {
    let place = || Place::file(STORE_PATH);
    let fix = remedy_of_missing(option);
    let Ok(path) = root.resolve(STORE_PATH) else {
        let why = match listed {
            true => "it does not exist, but storage.conf lists it: every podman command fails",
            false => "it does not exist: a store of the pool cannot be mounted there",
        };
        let mut found = Finding::new(Code::StoreMissing, place(), why, &fix);
        if listed {
            found.severity = Severity::Error;
        }
        return Ok(vec![found]);
    };
    let invalid = |why: String, fix: &str| Finding::new(Code::StoreInvalid, place(), why, fix);
    if root.kind(&path)? != Kind::Dir {
        return Ok(vec![invalid("it is not a directory".to_owned(), "remove it")]);
    }
    for lock in LOCKS {
        match root.kind(&format!("{path}/{lock}")) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(error).with_context(|| format!("cannot look into /{path}"));
            }
            Err(_) => {
                let why =
                    format!("it has no {lock}: where it is read-only, every podman command fails");
                return Ok(vec![invalid(why, &fix)]);
            }
        }
    }
    Ok(match state::look(root.path())?.store {
        StoreState::Absent => Vec::new(),
        StoreState::Foreign(why) => {
            let why = format!("it is not a store of bound-images: {why}");
            vec![invalid(why, "move it elsewhere: nothing can be staged here")]
        }
        StoreState::Ours(held) => {
            let shown = held.damage.iter().take(MAX_DAMAGE);
            let fix = format!("run `bound-images stage{option} --repair`");
            shown.map(|damage| invalid(damage.to_string(), &fix)).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drop_ins_say() {
        let list = |text: &str| {
            additional_stores(&format!("[storage.options]\nadditionalimagestores = {text}\n"))
        };
        let paths = |all: &[&str]| all.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        assert_eq!(additional_stores(""), Ok(Said::Nothing));
        assert_eq!(additional_stores("[storage]\ndriver = 'overlay'"), Ok(Said::Nothing));
        assert_eq!(list("[]"), Ok(Said::Replaces(Vec::new())));
        assert_eq!(list("['/a/', '/b,/c']"), Ok(Said::Replaces(paths(&["/a", "/b", "/c"]))));
        assert_eq!(list("['/a', {append = true}]"), Ok(Said::Adds(paths(&["/a"]))));
        assert_eq!(list("['/a', {append = false}]"), Ok(Said::Replaces(paths(&["/a"]))));
        assert!(list("3").is_err());
        assert_eq!(additional_stores("a = 1\nb = ").unwrap_err().0, Some(2));
        let folded = additional_stores("[Storage.Options]\nAdditionalImageStores = ['/a']");
        assert_eq!(folded, Ok(Said::Replaces(paths(&["/a"]))));
    }
}
