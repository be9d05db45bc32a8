//! The text of what is written. Pure.

use binding::STORE_PATH;

use crate::plan::Service;

/// The drop-in of a service that is bound by `binding`.
pub(crate) fn drop_in(service: &Service, binding: &str) -> String {
    let mut text = format!(
        "# Written by bound-images-generator for the binding {binding}.\n\
         [Unit]\n\
         RequiresMountsFor=/{STORE_PATH}\n"
    );
    let mut lines = Vec::new();
    if let Some(path) = &service.storage_conf {
        lines.push(environment("CONTAINERS_STORAGE_CONF", path));
    }
    if let Some(path) = &service.containers_conf {
        lines.push(environment("CONTAINERS_CONF_OVERRIDE", path));
    }
    if let Some(name) = &service.image {
        lines.push("# A pull would ask the registry although the image is here.\n".to_owned());
        // The empty line takes back the pull; a reference has no character that systemd expands.
        lines.push(format!("ExecStart=\nExecStart=/usr/bin/podman image exists {name}\n"));
    }
    if !lines.is_empty() {
        text.push_str("\n[Service]\n");
        text.push_str(&lines.concat());
    }
    text
}

/// The containers.conf that comes on top of all others for a container's service.
///
/// `pull_policy` is the default of `podman run --pull`; the annotations reach the container and
/// start the hook. `{append=true}` keeps those of other files (containers.conf(5), from Podman
/// 4.8 on).
pub(crate) fn containers_conf(service: &str, reference: &str) -> String {
    // Literal strings: neither a service's name nor a reference can hold an apostrophe.
    format!(
        "# Written by bound-images-generator for {service}.\n\
         [engine]\n\
         pull_policy = \"never\"\n\
         \n\
         [containers]\n\
         annotations = [\n\
         \x20 'bound-images.service={service}',\n\
         \x20 'bound-images.reference={reference}',\n\
         \x20 {{append=true}},\n\
         ]\n"
    )
}

/// An `Environment=` line. systemd undoes C escapes there, and a unit's name may have a backslash
/// (systemd.syntax(7)).
fn environment(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    format!("Environment=\"{name}={value}\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backslashes_survive_systemd() {
        let line = environment("A", "/run/a\\x2db.service.conf");
        assert_eq!(line, "Environment=\"A=/run/a\\\\x2db.service.conf\"\n");
    }
}
