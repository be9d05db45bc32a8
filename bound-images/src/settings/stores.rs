//! Where this host has stores from which layers may be copied.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use storage_conf::{DEFAULT_GRAPHROOT, MAX_SIZE, SEARCH, StorageConf, main_file};

/// Where bootc keeps the images that it binds; on ostree hosts a link below `/sysroot`.
const BOOTC: &str = "/usr/lib/bootc/storage";

/// bootc's store, then Podman's.
pub(super) fn of_host() -> Vec<PathBuf> {
    vec![PathBuf::from(BOOTC), graphroot(Path::new("/"))]
}

/// Podman's own store, as the storage.conf of `root` says. One that cannot be read is Podman's to
/// complain of: then the default is looked at.
fn graphroot(root: &Path) -> PathBuf {
    let files: Vec<(String, String)> = SEARCH
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), text(&root.join(name)).ok()?)))
        .collect();
    let said = main_file(&files).and_then(|(name, text)| match StorageConf::parse(name, text) {
        Ok(conf) => conf.graphroot().map(PathBuf::from),
        Err(error) => {
            log::info!("{error}");
            None
        }
    });
    said.filter(|path| path.is_absolute()).unwrap_or_else(|| PathBuf::from(DEFAULT_GRAPHROOT))
}

fn text(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = String::new();
    file.take(MAX_SIZE as u64).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_conf_says_where_podmans_store_is() {
        let top = tempfile::tempdir().unwrap();
        let default = Path::new(DEFAULT_GRAPHROOT);
        assert_eq!(graphroot(top.path()), default);
        let write = |name: &str, text: &str| {
            let path = top.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("usr/share/containers/storage.conf", "[storage]\ngraphroot = \"/srv/images\"\n");
        assert_eq!(graphroot(top.path()), Path::new("/srv/images"));
        write("etc/containers/storage.conf", "[storage]\ndriver = \"overlay\"\n");
        assert_eq!(graphroot(top.path()), default, "one file counts");
        write("etc/containers/storage.conf", "[storage");
        assert_eq!(graphroot(top.path()), default);
    }
}
