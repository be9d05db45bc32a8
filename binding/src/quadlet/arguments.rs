//! Values that make a service use another image than the one bound, or not see the store.

use crate::finding::{Code, Finding, Place};
use crate::quadlet::service::group_of;
use crate::quadlet::unit::Unit;
use crate::record::STORE_PATH;

/// Options of `podman` itself that give it another storage, or another machine.
const HIDING: [&str; 8] = [
    "--root",
    "--imagestore",
    "--storage-driver",
    "--module",
    "--remote",
    "--url",
    "--connection",
    "--config",
];
/// The same, in one letter; only before the subcommand.
const HIDING_SHORT: [&str; 2] = ["-r", "-c"];
/// Options of `podman pull` and `podman run` that change which image is pulled, or how.
const PULLING: [&str; 13] = [
    "--all-tags",
    "--arch",
    "--authfile",
    "--cert-dir",
    "--creds",
    "--decryption-key",
    "--os",
    "--platform",
    "--retry",
    "--retry-delay",
    "--signature-policy",
    "--tls-verify",
    "--variant",
];
/// bootc's own store, which its documentation tells authors to name.
const BOOTC_STORE: &str = "/usr/lib/bootc/storage";

/// One option among the words of an argument list.
struct Argument<'a> {
    name: &'a str,
    value: &'a str,
    place: &'a Place,
    key: &'static str,
}

/// What the arguments and keys of a Quadlet change about its image. `service` is said to be the
/// one that suffers.
#[must_use]
pub fn check_arguments(unit: &Unit, service: &str) -> Vec<Finding> {
    let group = group_of(&unit.name);
    let global = unit.words(group, "GlobalArgs");
    let local = unit.words(group, "PodmanArgs");
    let mut options = read_options(&global, "GlobalArgs");
    options.extend(read_options(&local, "PodmanArgs"));
    let mut findings = check_store(unit, &options, service);
    for option in &options {
        let key = option.key;
        let place = option.place.clone();
        if PULLING.contains(&option.name) {
            let why = format!("{} in {key}= is not read: only keys of a .image are", option.name);
            let fix = "set the key of the same name in a .image Quadlet instead";
            findings.push(Finding::new(Code::PullArguments, place, why, fix).about(service));
        } else if option.name == "--rootfs" && key == "PodmanArgs" {
            let why = format!("--rootfs in {key}= runs a directory, not the image that is bound");
            findings
                .push(Finding::new(Code::PullArguments, place, why, "remove it").about(service));
        } else if matches!(option.name, "--pull" | "--policy") {
            findings.extend(check_policy(option.name, option.value, place, service));
        }
    }
    for key in ["Pull", "Policy"] {
        if let Some(value) = unit.filled(group, key) {
            findings.extend(check_policy(&format!("{key}="), &value.text, value.place, service));
        }
    }
    findings.extend(check_update(unit, service));
    findings
}

/// `AutoUpdate=registry`, also as the label that Podman makes of it; `image` is its old name.
fn check_update(unit: &Unit, service: &str) -> Vec<Finding> {
    let key = unit.filled("Container", "AutoUpdate").map(|value| (value.text, value.place));
    let labels = unit.words("Container", "Label").into_iter().filter_map(|(label, place)| {
        Some((label.strip_prefix("io.containers.autoupdate=")?.to_owned(), place))
    });
    key.into_iter()
        .chain(labels)
        .filter(|(policy, _)| matches!(policy.as_str(), "registry" | "image"))
        .map(|(policy, place)| {
            let why = format!("auto-update from {policy} replaces the image that is bound");
            let fix = "remove the line: the image is updated with its root";
            Finding::new(Code::AutoUpdate, place, why, fix).about(service)
        })
        .collect()
}

fn check_policy(what: &str, value: &str, place: Place, service: &str) -> Option<Finding> {
    // `--pull` without a value, and Podman's old booleans, mean `always` and `missing`.
    let value_lower = value.to_ascii_lowercase();
    let always = matches!(value_lower.as_str(), "always" | "true" | "");
    // The unit of a .image does not pull once its root runs; a container's own option does.
    let code = if always && what != "Policy=" { Code::PullAlways } else { Code::PullPolicy };
    (always || value_lower == "newer").then(|| {
        let why = format!(
            "{what}{}{value} asks the registry at every start: the container would leave its root",
            if what.starts_with("--") && !value.is_empty() { "=" } else { "" }
        );
        let fix = "write missing or never";
        Finding::new(code, place, why, fix).about(service)
    })
}

fn check_store(unit: &Unit, options: &[Argument<'_>], service: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let ours = format!("/{STORE_PATH}");
    let hidden = |place: Place, why: String, fix: String| {
        Finding::new(Code::StoreHidden, place, why, fix).about(service)
    };
    // Each `--storage-opt` replaces all options of storage.conf; among themselves they add up.
    let stores = |option: &Argument<'_>| -> Vec<String> {
        let value = option.value.split_once('=').filter(|(name, _)| {
            let name = name.rsplit('.').next().unwrap_or(name);
            name == "additionalimagestore" || name == "imagestore"
        });
        value.map_or_else(Vec::new, |(_, list)| {
            list.split(',').map(|path| path.trim_end_matches('/').to_owned()).collect()
        })
    };
    let is_storage_opt = |option: &&Argument<'_>| option.name == "--storage-opt";
    let named = options.iter().filter(is_storage_opt).flat_map(stores).any(|path| path == ours);
    for option in options.iter().filter(is_storage_opt).filter(|_| !named) {
        let why = format!(
            "--storage-opt={} in {}= replaces all storage options, so {service} does not see {ours}",
            option.value, option.key
        );
        let fix = match stores(option).iter().any(|path| path == BOOTC_STORE) {
            true => format!("write {ours} in place of {BOOTC_STORE}, or remove the line"),
            false => format!("remove it, or add --storage-opt=additionalimagestore={ours}"),
        };
        findings.push(hidden(option.place.clone(), why, fix));
    }
    for option in options {
        let short = option.key == "GlobalArgs" && HIDING_SHORT.contains(&option.name);
        if HIDING.contains(&option.name) || short {
            let why = format!(
                "{} in {}= may give {service} another storage, where {ours} is not seen",
                option.name, option.key
            );
            let fix = "remove it, or make sure that this storage has the store too".to_owned();
            findings.push(hidden(option.place.clone(), why, fix));
        }
    }
    for (module, place) in unit.all(group_of(&unit.name), "ContainersConfModule") {
        let why = format!(
            "ContainersConfModule={module} may give {service} another storage, where {ours} is not seen"
        );
        let fix = "make sure that the module leaves storage alone, or remove the line".to_owned();
        findings.push(hidden(place, why, fix));
    }
    findings
}

/// The options among words: `--name=value` and `--name value`.
fn read_options<'a>(words: &'a [(String, Place)], key: &'static str) -> Vec<Argument<'a>> {
    let mut options = Vec::new();
    for (index, (word, place)) in words.iter().enumerate() {
        if !word.starts_with('-') {
            continue;
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, value),
            None => {
                let next = words.get(index + 1).map_or("", |(next, _)| next.as_str());
                // `--pull` takes its value after `=` only where it is a flag of its own.
                (word.as_str(), if next.starts_with('-') { "" } else { next })
            }
        };
        options.push(Argument { name, value, place, key });
    }
    options
}
