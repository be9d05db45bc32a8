//! The texts of registries.conf that skopeo reads, and what else decides how it reaches a registry.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::skopeo::Environment;

/// Where registries.conf and its directory of drop-ins are, in the order of `containers-registries.conf(5)` for the
/// system; newer versions know the second.
const PLACES: [&str; 2] =
    ["/etc/containers/registries.conf", "/usr/share/containers/registries.conf"];
/// Where a registry may have certificates of its own, in a directory with its name (`containers-certs.d(5)`).
const CERTIFICATES: [&str; 3] =
    ["/etc/containers/certs.d", "/usr/share/containers/certs.d", "/etc/docker/certs.d"];
/// The largest file, in bytes, and the most drop-ins that are read.
const LARGEST: u64 = 1 << 20;
const MOST: usize = 1000;

/// All texts: of `named` (or the file that the environment names, or that of the system), and of drop-ins, those that
/// another file replaces too. `None` when one cannot be read.
pub(crate) fn texts(named: Option<&Path>, environment: &Environment) -> Option<Vec<String>> {
    let named = named
        .map(Path::to_owned)
        .or_else(|| environment.get("CONTAINERS_REGISTRIES_CONF").map(PathBuf::from));
    let mut files = match named {
        Some(path) => vec![path],
        None => PLACES.iter().map(PathBuf::from).collect(),
    };
    for place in PLACES {
        let entries = match fs::read_dir(format!("{place}.d")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(_) => return None,
        };
        for entry in entries {
            let path = entry.ok()?.path();
            if path.extension().is_some_and(|extension| extension == "conf") {
                files.push(path);
            }
        }
        if files.len() > MOST {
            return None;
        }
    }
    let mut texts = Vec::new();
    for path in files {
        match fs::File::open(&path) {
            Ok(file) => {
                let mut text = String::new();
                let count = file.take(LARGEST + 1).read_to_string(&mut text).ok()?;
                if count as u64 > LARGEST {
                    return None;
                }
                texts.push(text);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(_) => return None,
        }
    }
    Some(texts)
}

/// Whether a registry has certificates of its own.
pub(crate) fn has_certificates(registry: &str) -> bool {
    CERTIFICATES.iter().any(|place| Path::new(place).join(registry).exists())
}
