//! What a container is made of: its state, its bundle, its layer.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use binding::Root;
use host::Mount;
use serde::Deserialize;

/// Largest `config.json` that is read, in bytes.
const MAX_CONFIG: u64 = 16 << 20;
/// Largest `lower` that is read, in bytes: 500 layers, the most there are, have 15,000.
const MAX_LOWER: u64 = 1 << 20;
/// Largest list of a host's containers that is read, in bytes.
const MAX_CONTAINERS: u64 = 64 << 20;
/// Largest list of mounts that is read, in bytes: 100,000 of them.
const MAX_MOUNTS: u64 = 32 << 20;
/// The directory of a store that lists its containers.
const CONTAINERS: &str = "overlay-containers";

/// What the hook takes from the state on stdin (OCI runtime specification, `runtime.md`, State).
#[derive(Debug, Deserialize)]
pub(crate) struct State {
    /// The container's id.
    pub(crate) id: String,
    /// Absolute path of the bundle.
    pub(crate) bundle: PathBuf,
}

impl State {
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let state: Self = serde_json::from_slice(text)
            .map_err(|error| format!("the container's state on stdin is not valid: {error}"))?;
        if !state.bundle.is_absolute() {
            let bundle = &state.bundle;
            return Err(format!("the bundle's path {bundle:?} is not absolute"));
        }
        Ok(state)
    }
}

/// What the hook takes from a bundle's `config.json` (`config.md`).
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    /// Where the container's root is.
    root: ConfigRoot,
    /// The container's annotations.
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct ConfigRoot {
    path: PathBuf,
}

impl Config {
    /// Reads the `config.json` of the bundle at `bundle`.
    pub(crate) fn read(bundle: &Path) -> Result<Self, String> {
        let file = bundle.join("config.json");
        let fail = |why: String| format!("cannot read the bundle's {}: {why}", file.display());
        let text = Root::open(bundle)
            .and_then(|root| root.read("config.json", MAX_CONFIG))
            .map_err(|error| fail(error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| fail(error.to_string()))
    }

    /// The container's layer: its root is `GRAPHROOT/overlay/LAYER/merged`, or another mount of
    /// that. Podman makes such a one (`/var/tmp/intermediate-mountpoint-N`) where the user that a
    /// user namespace maps to root cannot get there. `mounts` is only called for such.
    pub(crate) fn layer(
        &self,
        bundle: &Path,
        mounts: impl FnOnce() -> Result<Vec<Mount>, String>,
    ) -> Result<Layer, String> {
        let top = bundle.join(&self.root.path);
        if let Some(layer) = Layer::mounted_at(&top, bundle) {
            return Ok(layer);
        }
        mounted_twice(&top, &mounts()?, bundle).ok_or_else(|| {
            format!(
                "the container's root {} is not the mount of an overlay layer \
                 (…/overlay/LAYER/merged): containers of another storage driver or of --rootfs \
                 cannot be told to run a bound image",
                top.display()
            )
        })
    }
}

/// The layer whose file system is mounted at `top` as well as in its own directory.
fn mounted_twice(top: &Path, mounts: &[Mount], bundle: &Path) -> Option<Layer> {
    let seen = mounts.iter().rev().find(|mount| Path::new(&mount.point) == top)?;
    let is_same = |mount: &&Mount| mount.device == seen.device && mount.root == seen.root;
    mounts
        .iter()
        .filter(is_same)
        .find_map(|mount| Layer::mounted_at(Path::new(&mount.point), bundle))
}

/// What is mounted where this program runs: the mount namespace of the runtime.
pub(crate) fn mounts() -> Result<Vec<Mount>, String> {
    let fail = |error: std::io::Error| format!("cannot read /proc/self/mountinfo: {error}");
    let proc = Root::open(Path::new("/proc/self")).map_err(fail)?;
    let text = proc.read("mountinfo", MAX_MOUNTS).map_err(fail)?;
    Ok(host::parse_mountinfo(&String::from_utf8_lossy(&text)))
}

/// A container's own layer in the primary store.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    /// Its id.
    pub(crate) id: String,
    /// The store that it is in.
    pub(crate) graphroot: PathBuf,
    /// Directories in which its container may be listed.
    lists: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Container {
    layer: String,
    #[serde(default)]
    image: String,
}

impl Layer {
    /// The layer that is mounted at `merged`, if that is the place for one.
    fn mounted_at(merged: &Path, bundle: &Path) -> Option<Self> {
        let dir = merged.parent().filter(|_| merged.ends_with("merged"))?;
        let graphroot = dir.parent().filter(|dir| dir.ends_with("overlay"))?.parent()?;
        let id = dir.file_name()?.to_str()?.to_owned();
        let mut lists = vec![graphroot.join(CONTAINERS)];
        // With a transient store (storage.conf(5)) containers are listed below the run root, and
        // their bundles are there too: LIST/CONTAINER/userdata.
        let other = bundle.parent().and_then(Path::parent).filter(|dir| dir.ends_with(CONTAINERS));
        lists.extend(
            other.filter(|dir| !lists.iter().any(|known| known == dir)).map(Path::to_owned),
        );
        Some(Self { id, graphroot: graphroot.to_owned(), lists })
    }

    /// The link id of the layer right below the container's own: the first of its `lower`.
    pub(crate) fn parent_link(&self) -> Result<String, String> {
        let dir = self.graphroot.join("overlay").join(&self.id);
        let lower = Root::open(&dir).and_then(|root| root.read("lower", MAX_LOWER));
        let lower = lower.map_err(|error| {
            format!(
                "cannot read {}, which names the container's image: {error}",
                dir.join("lower").display()
            )
        })?;
        parse_lower(&lower).ok_or_else(|| format!("{} names no layer", dir.join("lower").display()))
    }

    /// The id of the image that the store says this layer's container was made from. Read from
    /// the lists that Podman keeps; `None` when it is in none of them.
    pub(crate) fn image(&self) -> Result<Option<String>, String> {
        for dir in &self.lists {
            if let Some(image) = self.image_in(dir)? {
                return Ok(Some(image));
            }
        }
        Ok(None)
    }

    fn image_in(&self, dir: &Path) -> Result<Option<String>, String> {
        let fail = |error: String| {
            format!("cannot read the list of containers in {}: {error}", dir.display())
        };
        let root = match Root::open(dir) {
            Ok(root) => root,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error.to_string())),
        };
        for name in ["containers.json", "volatile-containers.json"] {
            let text = root.read_optional(name, MAX_CONTAINERS);
            let Some(text) = text.map_err(|error| fail(error.to_string()))? else { continue };
            // Podman writes no bytes for an empty list.
            if text.is_empty() {
                continue;
            }
            let list: Vec<Container> =
                serde_json::from_slice(&text).map_err(|error| fail(error.to_string()))?;
            if let Some(found) = list.into_iter().find(|container| container.layer == self.id) {
                return Ok(Some(found.image));
            }
        }
        Ok(None)
    }
}

/// The first link id of a `lower`: `l/AAAA:l/BBBB`, nearest layer first.
fn parse_lower(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let link = text.trim_end().split(':').next()?.strip_prefix("l/")?;
    let fine = !link.is_empty()
        && link.len() <= 64
        && link.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    fine.then(|| link.to_owned())
}

/// The layer id behind the link id `link` in the store `root`: the text of `overlay/l/LINK` is
/// `../LAYER/diff`.
pub(crate) fn linked_layer(root: &Root, link: &str) -> Option<String> {
    let target = root.read_link(&format!("overlay/l/{link}")).ok()?;
    Some(target.to_str()?.strip_prefix("../")?.strip_suffix("/diff")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_lower_is_the_parent() {
        let cases: &[(&[u8], Option<&str>)] = &[
            (b"l/ABC234", Some("ABC234")),
            (b"l/ABC:l/DEF\n", Some("ABC")),
            (b"", None),
            (b"l/", None),
            (b"l/../../x", None),
            (b"/abs:l/A", None),
            (b"l/\xff", None),
        ];
        for (text, want) in cases {
            assert_eq!(parse_lower(text).as_deref(), *want, "{text:?}");
        }
    }

    #[test]
    fn only_the_root_of_an_overlay_layer_will_do() {
        let layer = |path: &str| {
            let config =
                Config { root: ConfigRoot { path: path.into() }, annotations: BTreeMap::new() };
            let none = || Ok(Vec::new());
            config.layer(Path::new("/run/b"), none).ok().map(|layer| (layer.id, layer.graphroot))
        };
        let found = Some(("c1".to_owned(), PathBuf::from("/var/lib/s")));
        assert_eq!(layer("/var/lib/s/overlay/c1/merged"), found);
        let relative = Some(("c1".to_owned(), PathBuf::from("/run/b/..")));
        assert_eq!(layer("../overlay/c1/merged"), relative);
        for other in
            ["/var/lib/s/vfs/dir/c1", "/srv/rootfs", "merged", "/merged", "/overlay/merged", ""]
        {
            assert_eq!(layer(other), None, "{other}");
        }
    }

    /// As Podman 5.4.2 has it for `--userns=auto`.
    #[test]
    fn a_root_that_is_mounted_elsewhere_is_that_of_its_layer() {
        let mounts = host::parse_mountinfo(
            "1 0 8:1 / / rw - ext4 /dev/sda rw\n\
             2 1 0:44 / /s/overlay/c1/merged rw - overlay overlay rw,upperdir=c1/diff\n\
             3 1 0:45 / /s/overlay/c2/merged rw - overlay overlay rw\n\
             4 1 0:45 / /var/tmp/x rw - overlay overlay rw\n\
             5 1 0:44 / /var/tmp/x rw - overlay overlay rw,upperdir=c1/diff\n\
             6 1 8:1 /srv /srv/rootfs rw - ext4 /dev/sda rw\n",
        );
        let layer = |path: &str| {
            let config =
                Config { root: ConfigRoot { path: path.into() }, annotations: BTreeMap::new() };
            config.layer(Path::new("/b"), || Ok(mounts.clone())).map(|layer| layer.id)
        };
        assert_eq!(layer("/var/tmp/x").as_deref(), Ok("c1"), "what was mounted last is seen");
        for other in ["/srv/rootfs", "/var/tmp/y", "/"] {
            assert!(layer(other).unwrap_err().contains("not the mount"), "{other}");
        }
    }

    #[test]
    fn a_transient_store_lists_containers_beside_the_bundle() {
        let lists = |bundle: &str| {
            Layer::mounted_at(Path::new("/s/overlay/c/merged"), Path::new(bundle)).unwrap().lists
        };
        let own = PathBuf::from("/s/overlay-containers");
        assert_eq!(lists("/s/overlay-containers/c/userdata"), std::slice::from_ref(&own));
        assert_eq!(
            lists("/run/s/overlay-containers/c/userdata"),
            [own.clone(), "/run/s/overlay-containers".into()]
        );
        assert_eq!(lists("/b"), [own]);
    }

    #[test]
    fn a_state_is_read_for_what_is_needed() {
        let state =
            State::parse(br#"{"id":"c","bundle":"/b","pid":1,"root":"/r","x":[]}"#).unwrap();
        assert_eq!((state.id.as_str(), state.bundle.as_path()), ("c", Path::new("/b")));
        for bad in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"id":"c"}"#,
            r#"{"id":"c","bundle":"b"}"#,
            r#"{"id":1,"bundle":"/b"}"#,
        ] {
            assert!(State::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(State::parse("[".repeat(100_000).as_bytes()).is_err(), "too deep");
    }
}
