//! The text of what is written. Pure.

use binding::{RECORD_FILE, STORE_PATH};

use crate::model::{Pooled, Service};

/// The unit that fetches what the booted root lacks. The package has it.
pub(crate) const STAGE_BOOTED: &str = "bound-images-stage-booted.service";
/// Where systemd finds this program.
const PROGRAM: &str = "/usr/lib/systemd/system-generators/bound-images-generator";

/// The unit that mounts the store of a root in the pool: `usr-lib-containers-storage.mount`.
///
/// systemd adds that it needs the file system of the pool. A store that was complete when the
/// generator ran is a local file system like any other; one that is not may come with the network,
/// long after `local-fs.target`, and is mounted when a bound service asks for it.
///
/// If the store then is not there, the mount is skipped rather than failed, and each service fails
/// by itself for want of its own image, which names the cause and lets `Restart=` try again.
/// Without the condition, systemd would make an empty directory where it can (it creates the source of
/// a bind mount) and mount that, which breaks every podman command that lists the store.
pub(crate) fn mount(store: &Pooled) -> String {
    let (root, what) = (&store.root, specifiers(&store.what));
    let mut text = format!(
        "# Written by bound-images-generator.\n\
         [Unit]\n\
         Description=Bound images of root {root}\n"
    );
    if store.is_complete {
        text.push_str("Before=local-fs.target\n");
    } else {
        text.push_str(
            "DefaultDependencies=no\n\
             Conflicts=umount.target\n\
             Before=umount.target\n",
        );
        text.push_str(&waiting(store.waits()));
    }
    text.push_str(&format!(
        "ConditionPathExists={what}/{RECORD_FILE}\n\
         \n\
         [Mount]\n\
         What={what}\n\
         Where=/{STORE_PATH}\n\
         Type=none\n\
         Options=bind,ro\n"
    ));
    text
}

fn waiting(waits: bool) -> String {
    match waits {
        true => format!("Wants={STAGE_BOOTED}\nAfter={STAGE_BOOTED}\n"),
        false => String::new(),
    }
}

/// The drop-in of a service that is bound by `binding`.
pub(crate) fn drop_in(service: &Service, binding: &str) -> String {
    let mut text = format!(
        "# Written by bound-images-generator for the binding {binding}.\n\
         [Unit]\n\
         RequiresMountsFor=/{STORE_PATH}\n"
    );
    text.push_str(&waiting(service.waits));
    let mut lines = Vec::new();
    match &service.environment_file {
        // A later file wins over an earlier one, and any file over Environment=.
        Some(path) => lines.push(format!("EnvironmentFile={}\n", specifiers(path))),
        None => {
            for (name, value) in variables(service) {
                lines.push(environment(name, value));
            }
        }
    }
    if let Some(file) = &service.storage_conf {
        lines.push("# Nothing to do unless the file it was made of has changed.\n".to_owned());
        let mut command = format!("ExecStartPre=-{PROGRAM} --refresh {}", quoted(&file.path));
        if let Some(source) = &file.source {
            command.push_str(&format!(" {}", quoted(source)));
        }
        lines.push(format!("{command}\n"));
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

/// The drop-in that takes the place of a template's, for an instance with another image.
pub(crate) fn not_bound(template: &str) -> String {
    format!(
        "# Written by bound-images-generator: this instance has another image than {template},\n\
         # whose drop-in of the same name is not used.\n"
    )
}

/// The file for `EnvironmentFile=` with what a drop-in has in `Environment=` otherwise.
pub(crate) fn environment_file(service: &Service) -> String {
    let mut text = format!("# Written by bound-images-generator for {}.\n", service.name);
    for (name, value) in variables(service) {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        text.push_str(&format!("{name}=\"{value}\"\n"));
    }
    text
}

fn variables(service: &Service) -> Vec<(&'static str, &str)> {
    let storage = service.storage_conf.as_ref().map(|file| file.path.as_str());
    let containers = service.containers_conf.as_deref();
    let storage = storage.map(|path| ("CONTAINERS_STORAGE_CONF", path));
    let over = service.storage_override.as_deref();
    let over = over.map(|path| ("CONTAINERS_STORAGE_CONF_OVERRIDE", path));
    storage
        .into_iter()
        .chain(over)
        .chain(containers.map(|path| ("CONTAINERS_CONF_OVERRIDE", path)))
        .collect()
}

/// An `Environment=` line. systemd undoes C escapes there, and a unit's name may have a backslash
/// (systemd.syntax(7)).
fn environment(name: &str, value: &str) -> String {
    let value = specifiers(&value.replace('\\', "\\\\").replace('"', "\\\""));
    format!("Environment=\"{name}={value}\"\n")
}

/// One argument of a command line (systemd.service(5)).
fn quoted(argument: &str) -> String {
    let argument = argument.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "$$");
    format!("\"{}\"", specifiers(&argument))
}

/// systemd expands `%` (systemd.unit(5), "Specifiers").
fn specifiers(text: &str) -> String {
    text.replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_survive_systemd() {
        let line = environment("A", "/run/a\\x2db.service.conf");
        assert_eq!(line, "Environment=\"A=/run/a\\\\x2db.service.conf\"\n");
        assert_eq!(quoted("/a\"b\\c$d%e f"), "\"/a\\\"b\\\\c$$d%%e f\"");
    }
}
