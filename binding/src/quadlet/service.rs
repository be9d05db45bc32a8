//! The systemd services that Podman makes of a Quadlet, and the values for which it refuses to.

use crate::finding::{Code, Finding};
use crate::quadlet::unit::Unit;

/// The group that a Quadlet is named by: `Container` or `Image`.
#[must_use]
pub fn group_of(name: &str) -> &'static str {
    if name.ends_with(".image") { "Image" } else { "Container" }
}

/// The services of a Quadlet, sorted, and what is wrong with their names.
///
/// A template `foo@.container` gives `foo@.service`, and with `[Install] DefaultInstance=x` also
/// `foo@x.service`. Of a template `foo@.image`, Podman 5.4 makes `foo@-image.service` and Podman 6
/// `foo-image@.service`: both are given, with a warning.
#[must_use]
pub fn services(unit: &Unit) -> (Vec<String>, Vec<Finding>) {
    let group = group_of(&unit.name);
    let mut findings = Vec::new();
    let mut names = Vec::new();
    let base = match unit.name.rfind('.') {
        Some(dot) if dot > 0 => unit.name.get(..dot).unwrap_or(&unit.name),
        _ => &unit.name,
    };
    if let Some(value) = unit.last(group, "ServiceName") {
        findings.extend(value.ambiguity("ServiceName"));
        if is_service_name(&value.text) {
            names.push(value.text);
        } else {
            findings.push(Finding::new(
                Code::ServiceName,
                value.place,
                format!("ServiceName={:?} is not the name of a service", value.text),
                "write a name of letters, digits, and : - _ . @ without .service, or remove the line",
            ));
        }
    } else if !is_service_name(base) {
        let why = format!("{base:?} is not the name of a service: systemd does not load it");
        let fix = "rename the Quadlet with letters, digits, and : - _ . @, or set ServiceName=";
        findings.push(Finding::new(Code::ServiceName, unit.place(), why, fix).about(&unit.name));
    } else if group == "Container" {
        names.push(base.to_owned());
    } else if let Some(template) = base.strip_suffix('@') {
        names.push(format!("{base}-image"));
        names.push(format!("{template}-image@"));
        findings.push(
            Finding::new(
                Code::TemplateName,
                unit.place(),
                format!(
                    "Podman 5.4 makes {base}-image.service of it, Podman 6 {template}-image@.service"
                ),
                "set ServiceName= in [Image]",
            )
            .about(&unit.name),
        );
    } else {
        names.push(format!("{base}-image"));
    }
    let instances: Vec<String> = match unit.last("Install", "DefaultInstance") {
        Some(instance) if !instance.text.is_empty() => names
            .iter()
            .filter(|name| name.ends_with('@'))
            .map(|name| format!("{name}{}", instance.text))
            .filter(|name| is_service_name(name))
            .collect(),
        _ => Vec::new(),
    };
    names.extend(instances);
    names.sort();
    names.dedup();
    (names.into_iter().map(|name| format!("{name}.service")).collect(), findings)
}

/// Whether `name.service` is a valid unit name (systemd.unit(5): at most 255 bytes of ASCII letters,
/// digits, `:`, `-`, `_`, `.`, `\` and `@`).
fn is_service_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('@')
        && name.len() + ".service".len() < 256
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b))
}

/// Values for which Podman's generator refuses a container.
#[must_use]
pub fn check_refused(unit: &Unit, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut refuse = |place, why: String, fix: &str| {
        findings.push(Finding::new(Code::Refused, place, why, fix).about(&unit.name));
    };
    if let Some(value) = unit.last("Service", "KillMode")
        && !matches!(value.text.as_str(), "mixed" | "control-group")
    {
        let why = format!("Podman refuses the Quadlet for KillMode={}", value.text);
        refuse(value.place, why, "write mixed or control-group, or remove the line");
    }
    if let Some(value) = unit.last("Service", "Type")
        && !matches!(value.text.as_str(), "notify" | "oneshot")
    {
        let why = format!("Podman refuses the Quadlet for Type={}", value.text);
        refuse(value.place, why, "write notify or oneshot, or remove the line");
    }
    if let Some(value) = unit.filled("Container", "Pod")
        && (!value.text.ends_with(".pod") || !exists(&value.text))
    {
        let why = format!("Podman refuses the Quadlet: there is no pod {}", value.text);
        refuse(value.place, why, "name a .pod Quadlet of the search path");
    }
    for (text, place) in unit.all("Container", "Network") {
        let name = text.split(':').next().unwrap_or_default();
        if (name.ends_with(".network") || name.ends_with(".container")) && !exists(name) {
            let why = format!("Podman refuses the Quadlet: there is no network {name}");
            refuse(place, why, "name a Quadlet of the search path");
        }
    }
    for (text, place) in unit.all("Container", "Volume") {
        if let Some((source, _)) = text.split_once(':') {
            let is_unit = source.ends_with(".volume") && !source.starts_with(['.', '/']);
            if is_unit && !exists(source) {
                let why = format!("Podman refuses the Quadlet: there is no volume {source}");
                refuse(place, why, "name a .volume Quadlet of the search path");
            }
        }
    }
    findings
}
