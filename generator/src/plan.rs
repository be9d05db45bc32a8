//! What is wired. Pure.

use std::collections::{BTreeMap, BTreeSet};

use binding::{Reference, STORE_PATH};
use storage_conf::{StorageConf, merge};

use crate::{RUN, emit};

/// What was read from a root.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// Bindings whose image the store has.
    pub(crate) bound: Vec<Bound>,
    /// Service → the Quadlet it is made of.
    pub(crate) live: BTreeMap<String, LiveUnit>,
    /// Path and text of the storage.conf that counts.
    pub(crate) conf: Option<(String, String)>,
    /// Path → text of each storage.conf that a service names itself, or why it cannot be read.
    pub(crate) own_conf: BTreeMap<String, Result<String, String>>,
    /// What was wrong so far.
    pub(crate) warnings: Vec<String>,
}

/// A binding whose image the store has.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) name: String,
    pub(crate) reference: Reference,
    pub(crate) alias: Option<Reference>,
    pub(crate) services: Vec<String>,
}

/// A Quadlet with all drop-ins of the running system.
#[derive(Clone, Debug)]
pub(crate) struct LiveUnit {
    pub(crate) path: String,
    pub(crate) is_image: bool,
    /// What its image is now, if it can be told.
    pub(crate) reference: Option<Reference>,
    pub(crate) alias: Option<Reference>,
    /// `CONTAINERS_STORAGE_CONF` of its service.
    pub(crate) storage_conf: Option<String>,
    /// Whether its service sets `CONTAINERS_CONF_OVERRIDE`.
    pub(crate) has_override: bool,
}

/// Below which directory a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Base {
    /// The first directory that systemd gives a generator (systemd.generator(7)).
    Normal,
    /// [`RUN`].
    Run,
}

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutputFile {
    /// Where `path` starts.
    pub base: Base,
    /// Relative path: plain names only, no `..`.
    pub path: String,
    /// The content.
    pub text: String,
}

/// What the generator has to do.
#[derive(Debug, Default)]
pub struct Generated {
    /// To be written, sorted.
    pub files: Vec<OutputFile>,
    /// What is not wired and why, one line each.
    pub warnings: Vec<String>,
}

/// How one service is wired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// `nginx.service`.
    pub name: String,
    /// The storage.conf to name, if the one that counts does not list the store.
    pub storage_conf: Option<String>,
    /// The containers.conf to name.
    pub containers_conf: Option<String>,
    /// For the service of a `.image`: the name that must be in the store.
    pub image: Option<String>,
}

/// Decides by `inputs` what to write.
pub(crate) fn plan(inputs: &Inputs) -> Generated {
    let mut warnings = inputs.warnings.clone();
    let store = format!("/{STORE_PATH}");
    let common = match common_conf(inputs, &store) {
        Ok(common) => common,
        Err(why) => {
            warnings.push(format!("nothing is wired: {why}"));
            return Generated { files: Vec::new(), warnings };
        }
    };
    let mut files = BTreeSet::new();
    let mut wired = BTreeSet::new();
    let mut refused = BTreeMap::new();
    let mut run = |path: &str, text: String| {
        files.insert(OutputFile { base: Base::Run, path: path.to_owned(), text });
        Some(format!("{RUN}/{path}"))
    };
    let mut drop_ins = Vec::new();
    for bound in &inputs.bound {
        for name in &bound.services {
            if wired.contains(name) {
                continue;
            }
            let unit = match live_unit(inputs, bound, name) {
                Ok(unit) => unit,
                Err(why) => {
                    refused.insert(name.clone(), why);
                    continue;
                }
            };
            let storage_conf = match &unit.storage_conf {
                None => common.as_ref().and_then(|text| run("storage.conf", text.clone())),
                Some(own) => match own_conf(inputs, own, &store) {
                    Ok(None) => None,
                    Ok(Some(text)) => run(&format!("storage.conf.d/{name}.conf"), text),
                    Err(why) => {
                        refused.insert(name.clone(), why);
                        continue;
                    }
                },
            };
            let containers_conf = match (unit.is_image, unit.has_override) {
                (true, _) => None,
                (false, true) => {
                    warnings.push(format!(
                        "{name} has a CONTAINERS_CONF_OVERRIDE of its own, in or beside /{}: it \
                         may pull other images, and its containers are not checked",
                        unit.path
                    ));
                    None
                }
                (false, false) => {
                    let text = emit::containers_conf(name, &bound.reference.to_string());
                    run(&format!("containers.conf.d/{name}.conf"), text)
                }
            };
            let image =
                unit.is_image.then(|| bound.alias.as_ref().unwrap_or(&bound.reference).to_string());
            let service = Service { name: name.clone(), storage_conf, containers_conf, image };
            drop_ins.push(OutputFile {
                base: Base::Normal,
                path: format!("{name}.d/50-bound-images.conf"),
                text: emit::drop_in(&service, &bound.name),
            });
            wired.insert(name.clone());
        }
    }
    // A service of two bindings is wired by the one whose image it has.
    refused.retain(|name, _| !wired.contains(name));
    warnings.extend(refused.iter().map(|(name, why)| format!("{name} is not wired: {why}")));
    files.extend(drop_ins);
    Generated { files: files.into_iter().collect(), warnings }
}

/// The host's storage.conf with our store; `None` when the host's lists it already.
fn common_conf(inputs: &Inputs, store: &str) -> Result<Option<String>, String> {
    let host = inputs.conf.as_ref().map(|(path, text)| (path.as_str(), text.as_str()));
    if let Some((path, text)) = host {
        let conf = StorageConf::parse(path, text).map_err(|error| error.to_string())?;
        if conf.lists_store(store) {
            return Ok(None);
        }
    }
    merge(host, store).map(Some).map_err(|error| error.to_string())
}

/// The storage.conf that a service names itself, with our store; `None` when it lists it already.
fn own_conf(inputs: &Inputs, path: &str, store: &str) -> Result<Option<String>, String> {
    let text = match inputs.own_conf.get(path) {
        Some(Ok(text)) => text,
        Some(Err(why)) => return Err(format!("it names its own storage.conf: {why}")),
        None => return Err(format!("it names its own storage.conf {path}, which was not read")),
    };
    let conf = StorageConf::parse(path, text).map_err(|error| error.to_string())?;
    if conf.lists_store(store) {
        return Ok(None);
    }
    merge(Some((path, text)), store).map(Some).map_err(|error| error.to_string())
}

/// The Quadlet of the service `name`, if it still means what `bound` does.
fn live_unit<'a>(inputs: &'a Inputs, bound: &Bound, name: &str) -> Result<&'a LiveUnit, String> {
    if !is_service_name(name) {
        return Err("that is not the name of a service".to_owned());
    }
    let Some(unit) = inputs.live.get(name) else {
        return Err(format!("no Quadlet makes this service now, {} is overridden", bound.name));
    };
    let same = unit.reference.as_ref() == Some(&bound.reference) && unit.alias == bound.alias;
    if same {
        return Ok(unit);
    }
    let now = unit.reference.as_ref().map_or("no image".to_owned(), ToString::to_string);
    let path = &unit.path;
    let name = &bound.name;
    let was = &bound.reference;
    Err(format!("{name} is overridden: /{path}, with its drop-ins, has {now} in place of {was}"))
}

/// Whether `name` may become part of a path and of a unit (systemd.unit(5)).
fn is_service_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    name.ends_with(".service")
        && name.len() < 256
        && !name.starts_with(['.', '@'])
        && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::is_service_name;

    #[test]
    fn names_that_could_leave_their_directory_are_refused() {
        for good in
            ["a.service", "a@.service", "a@b.service", "a\\x2db.service", "a:b_c-d.e.service"]
        {
            assert!(is_service_name(good), "{good}");
        }
        let long = format!("{}.service", "a".repeat(250));
        for bad in [
            "",
            "a",
            ".service",
            "../a.service",
            "a/b.service",
            "a b.service",
            "a%i.service",
            "é.service",
            "a\n.service",
            &long,
        ] {
            assert!(!is_service_name(bad), "{bad}");
        }
    }
}
