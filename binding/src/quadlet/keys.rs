//! The keys that Podman knows in `[Image]` and `[Container]`: with any other it refuses the whole
//! Quadlet (`supportedImageKeys`, `supportedContainerKeys` in `pkg/systemd/quadlet/quadlet.go`).

use crate::finding::{Code, Finding};
use crate::quadlet::unit::Unit;

const IMAGE: &str = "AllTags Arch AuthFile CertDir ContainersConfModule Creds DecryptionKey \
    GlobalArgs Image ImageTag OS PodmanArgs ServiceName TLSVerify Variant";
/// Known to Podman 6.0, not to 5.4.
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
/// Known to Podman 6.0, not to 5.4.
const CONTAINER_NEWER: &str = "AppArmor HttpProxy Memory ReloadCmd ReloadSignal Retry RetryDelay";

/// A warning for each key that not every Podman from 5.4 to 6.0 knows.
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
            true => ("Podman 5.4", "remove it unless the root's Podman is newer"),
            false => ("Podman up to 6.0", "correct or remove it"),
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
