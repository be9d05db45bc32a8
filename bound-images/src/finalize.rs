//! Whether the gate is in place: the drop-ins of the units that finalize a staged root reset the
//! vendor's `ExecStop=`, put the gate first and repeat the vendor's line. When the vendor changes
//! that line, or somebody takes the drop-in away, this is the only place that notices.

use std::io;

use anyhow::Context as _;
use binding::Root;

/// The units, of ostree and of bootc's composefs backend.
const UNITS: [&str; 2] = ["ostree-finalize-staged.service", "bootc-finalize-staged.service"];
/// Where units are, the one that counts first (systemd.unit(5)).
const DIRECTORIES: [&str; 4] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
];
/// Our drop-in.
const DROP_IN: &str = "50-bound-images.conf";
/// What it runs first.
const GATE: &str = "/bound-images gate";
/// What it says that the host goes down with; a drop-in without it is a gate all the same.
const REMEMBER: &str = " --remember";
/// The largest unit file that is read, in bytes.
const MAX_UNIT: u64 = 1 << 20;

/// What is wrong with the gate at one of the units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no drop-in of ours.
    Missing {
        /// The unit.
        unit: &'static str,
        /// Its file, below the root.
        path: String,
    },
    /// The drop-in does not do what it is for.
    Differs {
        /// The unit.
        unit: &'static str,
        /// Its file, below the root.
        path: String,
        /// The drop-in, below the root.
        drop_in: String,
        /// What it does, as a predicate.
        why: String,
    },
}

/// What is wrong with the gate of the running system, one sentence each. A host that has neither
/// unit needs no gate.
///
/// # Errors
/// When a unit cannot be read.
pub fn check(system: &Root) -> anyhow::Result<Vec<String>> {
    let sentence = |fault| match fault {
        Fault::Missing { unit, .. } => format!(
            "{unit} has no {DROP_IN}: an incomplete root may become the next boot; install \
             bound-images completely"
        ),
        Fault::Differs { path, drop_in, why, .. } => format!("/{drop_in} {why} (/{path})"),
    };
    Ok(faults(system)?.into_iter().map(sentence).collect())
}

/// What is wrong with the gate of a root.
///
/// # Errors
/// When a unit cannot be read.
pub fn faults(system: &Root) -> anyhow::Result<Vec<Fault>> {
    let mut found = Vec::new();
    for unit in UNITS {
        let Some((path, vendor)) = first(system, unit)? else { continue };
        match first(system, &format!("{unit}.d/{DROP_IN}"))? {
            None => found.push(Fault::Missing { unit, path }),
            Some((drop_in, text)) => {
                let differs = |why| Fault::Differs { unit, path, drop_in, why };
                found.extend(judge(&vendor, &text).map(differs));
            }
        }
    }
    Ok(found)
}

/// The first file of that name: its path and its text.
fn first(system: &Root, name: &str) -> anyhow::Result<Option<(String, String)>> {
    for directory in DIRECTORIES {
        let path = format!("{directory}/{name}");
        match system.read(&path, MAX_UNIT) {
            Ok(text) => return Ok(Some((path, String::from_utf8_lossy(&text).into_owned()))),
            // A link to /dev/null masks it.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Ok(Some((path, String::new())));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read /{path}")),
        }
    }
    Ok(None)
}

/// What is wrong with the drop-in of a unit. Pure.
fn judge(vendor: &str, drop_in: &str) -> Option<String> {
    let vendor = commands(vendor);
    let ours = commands(drop_in);
    let [gate, rest @ ..] = ours.as_slice() else {
        return Some("is empty: the gate is switched off".to_owned());
    };
    if !gate.strip_suffix(REMEMBER).unwrap_or(gate).ends_with(GATE) {
        return Some(format!("runs `{gate}` first, not the gate"));
    }
    (rest != vendor).then(|| {
        format!(
            "hides what the vendor runs now: `{}`, not `{}`",
            vendor.join("; "),
            rest.join("; ")
        )
    })
}

/// The commands of `ExecStop=`; an empty one takes back those before it.
fn commands(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        if key.trim() != "ExecStop" {
            continue;
        }
        match value.trim() {
            "" => commands.clear(),
            value => commands.push(value.to_owned()),
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    const OSTREE: &str =
        "[Service]\nType=oneshot\nExecStop=/usr/bin/ostree admin finalize-staged\n";

    #[test]
    fn the_vendor_has_the_last_word() {
        let shipped =
            include_str!("../../units/ostree-finalize-staged.service.d/50-bound-images.conf");
        assert_eq!(judge(OSTREE, shipped), None);
        let other = "[Service]\nExecStop=/usr/bin/ostree admin finalize-staged --new\n";
        assert!(judge(other, shipped).unwrap().contains("--new"));
        assert_eq!(judge(OSTREE, &shipped.replace(" --remember", "")), None);
        assert!(judge(OSTREE, "").unwrap().contains("switched off"));
        let late = "[Service]\nExecStop=\nExecStop=/usr/bin/ostree admin finalize-staged\n";
        assert!(judge(OSTREE, late).unwrap().contains("not the gate"));
    }

    #[test]
    fn files_are_found_as_systemd_does() {
        let top = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = top.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let system = Root::open(top.path()).unwrap();
        assert!(check(&system).unwrap().is_empty(), "no ostree, no gate");
        write("usr/lib/systemd/system/ostree-finalize-staged.service", OSTREE);
        assert!(check(&system).unwrap()[0].contains("no 50-bound-images.conf"));
        let drop_in = "systemd/system/ostree-finalize-staged.service.d/50-bound-images.conf";
        let shipped =
            include_str!("../../units/ostree-finalize-staged.service.d/50-bound-images.conf");
        write(&format!("usr/lib/{drop_in}"), shipped);
        assert!(check(&system).unwrap().is_empty());
        write(&format!("etc/{drop_in}"), "");
        assert!(check(&system).unwrap()[0].contains("switched off"));
    }
}
