//! The Quadlets as Podman reads them on the running system: `/run` and `/etc` before `/usr`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use binding::Reference;
use binding::quadlet::image::{meaning, parse_image};
use binding::quadlet::search::{ETC, Files, Search, USR};
use binding::quadlet::service::services;
use binding::quadlet::unit::Unit;

use crate::drop_ins::DropIns;
use crate::environment::Environment;

/// Quadlets that someone put there since boot. Podman reads them before all others.
const RUN: &str = "run/containers/systemd";

/// What Podman makes of all Quadlets.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// Service → the `.container` or `.image` it is made of.
    pub(crate) services: BTreeMap<String, LiveUnit>,
    /// File name of a `.pod` → what it is.
    pub(crate) pods: BTreeMap<String, Pod>,
}

/// A Quadlet with all drop-ins of the running system.
#[derive(Clone, Debug)]
pub(crate) struct LiveUnit {
    pub(crate) path: String,
    pub(crate) is_image: bool,
    /// What its image is now, if it can be told.
    pub(crate) reference: Option<Reference>,
    pub(crate) alias: Option<Reference>,
    /// The `.pod` that it is in.
    pub(crate) pod: Option<String>,
    pub(crate) environment: Environment,
}

/// A `.pod`.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) service: String,
    pub(crate) unit: LiveUnit,
}

/// Reads them, and says which cannot be read.
pub(crate) fn read(files: &Files<'_>) -> Result<(Live, Vec<String>)> {
    let root = files.root;
    let search = Search::read(files, &[RUN, ETC, USR])?;
    let drop_ins = DropIns::read(root);
    let mut live = Live::default();
    let mut warnings = Vec::new();
    let mut broken = BTreeSet::new();
    for extension in [".container", ".image", ".pod"] {
        for name in search.names(extension) {
            let Some(path) = search.find(files, name) else { continue };
            match search.unit(files, path) {
                Ok((unit, _)) if extension == ".pod" => {
                    let service = pod_service(&unit);
                    let environment = drop_ins.environment(&service, &unit, files);
                    let unit = pod_unit(&unit, environment);
                    live.pods.insert(name.to_owned(), Pod { service, unit });
                }
                Ok((unit, _)) => {
                    let found = live_unit(&unit, &search, files);
                    for service in services(&unit).0 {
                        let environment = drop_ins.environment(&service, &unit, files);
                        live.services.insert(service, LiveUnit { environment, ..found.clone() });
                    }
                }
                Err(finding) => warnings.push(finding.to_string()),
            }
        }
    }
    // Podman 5.4 drops all Quadlets of a directory in which one cannot be parsed.
    for path in search.paths().filter(|path| files.text(path).is_err()) {
        broken.insert((path.rsplit_once('/').map_or("", |(dir, _)| dir), path));
    }
    for (dir, path) in broken {
        warnings.push(format!(
            "/{path} cannot be parsed: Podman 5.4 then makes no service of any Quadlet in /{dir}"
        ));
    }
    Ok((live, warnings))
}

/// All but the environment, which differs by service.
fn live_unit(unit: &Unit, search: &Search, files: &Files<'_>) -> LiveUnit {
    let found = meaning(unit, search, files, &mut Vec::new());
    let parse = |value, key| parse_image(value, key).ok();
    let (reference, alias) = match &found {
        Ok(found) => {
            let alias = found.tag.as_ref().and_then(|tag| parse(tag, "ImageTag"));
            (parse(&found.image, "Image"), alias)
        }
        Err(_) => (None, None),
    };
    let alias = alias.filter(|alias: &Reference| Some(alias) != reference.as_ref());
    LiveUnit {
        path: unit.path.clone(),
        is_image: unit.name.ends_with(".image"),
        reference,
        alias,
        pod: unit.filled("Container", "Pod").map(|value| value.text),
        environment: Environment::default(),
    }
}

fn pod_unit(unit: &Unit, environment: Environment) -> LiveUnit {
    LiveUnit {
        path: unit.path.clone(),
        is_image: false,
        reference: None,
        alias: None,
        pod: None,
        environment,
    }
}

/// `foo.pod` → `foo-pod.service`, unless `ServiceName=` says otherwise.
fn pod_service(unit: &Unit) -> String {
    let base = unit.name.strip_suffix(".pod").unwrap_or(&unit.name);
    match unit.filled("Pod", "ServiceName") {
        Some(name) => format!("{}.service", name.text),
        None => format!("{base}-pod.service"),
    }
}
