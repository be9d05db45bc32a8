//! The keys that Podman knows in `[Image]` and `[Container]`: with any other it refuses the whole
//! Quadlet (`supportedImageKeys`, `supportedContainerKeys` in `pkg/systemd/quadlet/quadlet.go`).

use crate::finding::{Code, Finding};
use crate::quadlet::unit::Unit;

const IMAGE: &str = "AllTags Arch AuthFile CertDir ContainersConfModule Creds DecryptionKey \
    GlobalArgs Image ImageTag OS PodmanArgs ServiceName TLSVerify Variant";
/// Known to Podman 6.1, not to 5.4.
const IMAGE_NEWER: &str = "Policy Retry RetryDelay";
const CONTAINER: &str = "AddCapability AddDevice AddHost Annotation AutoUpdate CgroupsMode \
    ContainerName ContainersConfModule DNS DNSOption DNSSearch DropCapability Entrypoint \
    Environment EnvironmentFile EnvironmentHost Exec ExposeHostPort GIDMap GlobalArgs Group \
    GroupAdd HealthCmd HealthInterval HealthLogDestination HealthMaxLogCount HealthMaxLogSize \
    HealthOnFailure HealthRetries HealthStartPeriod HealthStartupCmd HealthStartupInterval \
    HealthStartupRetries HealthStartupSuccess HealthStartupTimeout HealthTimeout HostName IP IP6 \
    Image Label LogDriver LogOpt Mask Mount Network NetworkAlias NoNewPrivileges Notify PidsLimit \
    Pod PodmanArgs PublishPort Pull ReadOnly ReadOnlyTmpfs RemapGid RemapUid RemapUidSize \
    RemapUsers Rootfs RunInit SeccompProfile Secret SecurityLabelDisable SecurityLabelFileType \
    SecurityLabelLevel SecurityLabelNested SecurityLabelType ServiceName ShmSize StartWithPod \
    StopSignal StopTimeout SubGIDMap SubUIDMap Sysctl Timezone Tmpfs UIDMap Ulimit Unmask User \
    UserNS VolatileTmp Volume WorkingDir";
/// Known to Podman 6.1, not to 5.4.
const CONTAINER_NEWER: &str =
    "AppArmor HttpProxy ImageVolume Memory ReloadCmd ReloadSignal Retry RetryDelay";

/// A warning for each key that not every Podman from 5.4 to 6.1 knows.
#[must_use]
pub fn check_keys(unit: &Unit, group: &str) -> Vec<Finding> {
    let (known, newer) = match group {
        "Image" => (IMAGE, IMAGE_NEWER),
        "Container" => (CONTAINER, CONTAINER_NEWER),
        _ => return Vec::new(),
    };
    let has = |list: &str, key: &str| list.split_whitespace().any(|known| known == key);
    let mut findings = Vec::new();
    for (key, place) in unit.keys(group).into_iter().filter(|(key, _)| !has(known, key)) {
        let (who, fix) = match has(newer, &key) {
            true => ("Podman 5.4", "remove it unless the root's Podman is newer".to_owned()),
            false => ("Podman up to 6.1", correct(&key, known.split_whitespace())),
        };
        let why = format!("{who} does not know {key}= in [{group}] and refuses the whole Quadlet");
        findings.push(Finding::new(Code::UnknownKey, place, why, fix).about(&unit.name));
    }
    for (key, place) in unit.keys("Quadlet") {
        if key != "DefaultDependencies" {
            let why = format!("Podman does not know {key}= in [Quadlet] and refuses the Quadlet");
            let fix = "correct or remove it";
            findings.push(Finding::new(Code::UnknownKey, place, why, fix).about(&unit.name));
        }
    }
    findings
}

/// Whether the root may not boot without the image: `[X-BoundImage]` of the Quadlet that is linked, and what
/// is wrong there. Anything unclear means required.
#[must_use]
pub fn is_required(unit: &Unit) -> (bool, Vec<Finding>) {
    const GROUP: &str = "X-BoundImage";
    let mut findings = Vec::new();
    for (key, place) in unit.keys(GROUP).into_iter().filter(|(key, _)| key != "Required") {
        let why = format!("{key}= is not known in [{GROUP}]");
        let fix = match correct(&key, ["Required"]) {
            fix if fix.contains("mean") => fix,
            fix => format!("{fix}; Required= is the only key"),
        };
        findings.push(Finding::new(Code::UnknownBindingKey, place, why, fix).about(&unit.name));
    }
    let Some(value) = unit.filled(GROUP, "Required") else { return (true, findings) };
    let required = value.boolean().unwrap_or_else(|| {
        let why = format!("Required={:?} is not a boolean", value.text);
        let finding = Finding::new(Code::BadBoolean, value.place, why, "write yes or no");
        findings.push(finding.about(&unit.name));
        true
    });
    (required, findings)
}

/// The remedy for a key that is not one of `known`, with the one that was meant, if one is near.
fn correct<'k>(key: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let near = known.into_iter().map(|known| (distance(key, known), known)).min();
    match near.filter(|(far, known)| *far <= 2 && *far < known.len().min(key.len())) {
        Some((_, known)) => format!("correct or remove it; did you mean {known}=?"),
        None => "correct or remove it".to_owned(),
    }
}

/// How many letters have to be added, taken away or changed, whatever their case; long texts are far.
fn distance(one: &str, other: &str) -> usize {
    if one.len() > 64 {
        return usize::MAX;
    }
    let lower = |text: &str| text.to_ascii_lowercase().chars().collect::<Vec<_>>();
    let (one, other) = (lower(one), lower(other));
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.iter().enumerate() {
        let mut next = vec![index + 1];
        let mut left = index + 1;
        for ((other, above_left), above) in other.iter().zip(&row).zip(row.iter().skip(1)) {
            left = (above_left + usize::from(letter != other)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_was_meant() {
        for (key, wanted) in [
            ("Requierd", "did you mean Required=?"),
            ("required", "did you mean Required=?"),
            ("Require", "did you mean Required=?"),
            ("Optional", "correct or remove it"),
            ("", "correct or remove it"),
            (&"x".repeat(100_000), "correct or remove it"),
        ] {
            assert!(correct(key, ["Required"]).ends_with(wanted), "{key}");
        }
        assert!(correct("Imgae", CONTAINER.split_whitespace()).ends_with("did you mean Image=?"));
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
