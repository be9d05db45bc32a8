//! Deployments of ostree, from its files: nothing is run, since `ostree admin status` cannot be
//! read by programs before 2025.3, and not at all in a generator.

use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, Result};
use binding::{Kind, Root};
use gvariant::aligned_bytes::copy_to_align;
use gvariant::{Marker as _, Structure as _, gv};

use crate::RootId;

/// What ostree writes when a root is staged (`ostree-sysroot-deploy.c`,
/// `ostree_sysroot_stage_tree_with_options`).
pub(crate) const STAGED: &str = "run/ostree/staged-deployment";
/// What says that the host was booted by ostree (`otcore-prepare-root.h`).
pub(crate) const BOOTED: &str = "run/ostree-booted";
/// Where the stateroots are.
pub(crate) const DEPLOY: &str = "sysroot/ostree/deploy";
/// The largest of these files that is read, in bytes. They have some hundred.
const MAX_FILE: u64 = 1 << 20;

/// Device and inode of the booted deployment's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BackingRoot {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// A deployment's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) id: RootId,
    pub(crate) stateroot: String,
    /// Root-relative.
    pub(crate) path: String,
}

/// All deployments that have a directory, also those that no boot entry names yet or any more.
pub(crate) fn directories(system: &Root) -> Result<Vec<Directory>> {
    let mut found = Vec::new();
    for stateroot in directory_names(system, DEPLOY)? {
        let below = format!("{DEPLOY}/{stateroot}/deploy");
        for name in directory_names(system, &below)? {
            if let Some(id) = RootId::of_ostree(&name) {
                let stateroot = stateroot.clone();
                found.push(Directory { id, stateroot, path: format!("{below}/{name}") });
            }
        }
    }
    Ok(found)
}

fn directory_names(system: &Root, path: &str) -> Result<Vec<String>> {
    let listed = system.list_optional(path).with_context(|| format!("cannot list /{path}"))?;
    let entries = listed.unwrap_or_default().into_iter().filter(|entry| entry.kind == Kind::Dir);
    Ok(entries.filter_map(|entry| entry.name.into_string().ok()).collect())
}

/// A deployment as ostree names it: two stateroots may have one of the same id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// Its id.
    pub id: RootId,
    /// Its stateroot, ostree's `osname`; none where it is not said.
    pub stateroot: Option<String>,
}

impl Named {
    /// The deployment of that id in no stateroot that is known.
    pub(crate) fn anywhere(id: RootId) -> Self {
        Self { id, stateroot: None }
    }

    /// The deployment whose directory is `…/ostree/deploy/OS/deploy/ID`.
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        let (above, name) = path.rsplit_once('/')?;
        let (above, stateroot) = above.strip_suffix("/deploy")?.rsplit_once('/')?;
        above.ends_with("/ostree/deploy").then_some(())?;
        Some(Self { id: RootId::of_ostree(name)?, stateroot: Some(stateroot.to_owned()) })
    }

    /// Whether it is the deployment of that id in that stateroot, as far as it is said.
    pub(crate) fn is(&self, id: &RootId, stateroot: Option<&str>) -> bool {
        self.id == *id
            && match (self.stateroot.as_deref(), stateroot) {
                (Some(ours), Some(theirs)) => ours == theirs,
                _ => true,
            }
    }
}

/// The staged deployment; none when nothing is staged.
///
/// # Errors
/// When the file cannot be read, or does not say what is staged.
pub(crate) fn staged(system: &Root) -> Result<Option<Named>> {
    let bytes =
        system.read_optional(STAGED, MAX_FILE).with_context(|| format!("cannot read /{STAGED}"))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let named = parse_staged(&bytes);
    named.map(Some).with_context(|| format!("/{STAGED} does not name a deployment"))
}

/// The deployment that ostree's staged-deployment file names: a GVariant dictionary whose `target`
/// is a dictionary with the deployment's `name` and `osname` (`serialize_deployment_to_variant`).
#[must_use]
pub fn parse_staged(bytes: &[u8]) -> Option<Named> {
    let data = copy_to_align(bytes);
    for entry in gv!("a{sv}").cast(data.as_ref()) {
        let (key, value) = entry.to_tuple();
        if key.to_str() != "target" {
            continue;
        }
        let (mut id, mut stateroot) = (None, None);
        for entry in value.get(gv!("a{sv}"))? {
            let (key, value) = entry.to_tuple();
            let text = value.get(gv!("s")).map(|text| text.to_str());
            match key.to_str() {
                "name" => id = id.or(RootId::of_ostree(text?)),
                "osname" => stateroot = stateroot.or(text.filter(|text| !text.is_empty())),
                _ => {}
            }
        }
        return Some(Named { id: id?, stateroot: stateroot.map(str::to_owned) });
    }
    None
}

/// What `/run/ostree-booted` says of the booted deployment's directory, in ostree 2024.7 and newer.
pub(crate) fn backing_root(system: &Root) -> Result<Option<BackingRoot>> {
    let bytes =
        system.read_optional(BOOTED, MAX_FILE).with_context(|| format!("cannot read /{BOOTED}"))?;
    Ok(bytes.and_then(|bytes| parse_booted(&bytes)))
}

fn parse_booted(bytes: &[u8]) -> Option<BackingRoot> {
    let data = copy_to_align(bytes);
    for entry in gv!("a{sv}").cast(data.as_ref()) {
        let (key, value) = entry.to_tuple();
        if key.to_str() == "backing-root-device-inode" {
            let (device, inode) = value.get(gv!("(tt)"))?.to_tuple();
            return Some(BackingRoot { device: *device, inode: *inode });
        }
    }
    None
}

/// The deployment whose directory that is.
pub(crate) fn of_inode(system: &Root, backing: BackingRoot) -> Result<Option<Named>> {
    for directory in directories(system)? {
        let handle = system
            .dir(&directory.path)
            .with_context(|| format!("cannot open /{}", directory.path))?;
        let metadata = std::fs::File::from(handle)
            .metadata()
            .with_context(|| format!("cannot look at /{}", directory.path))?;
        if backing.is(metadata.dev(), metadata.ino()) {
            let stateroot = Some(directory.stateroot);
            return Ok(Some(Named { id: directory.id, stateroot }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `{"target": <{"name": <"ID">, "osname": <"lab">}>}`, as GLib writes it.
    fn staged_file(id: &str) -> Vec<u8> {
        fn variant(value: &[u8], kind: &str) -> Vec<u8> {
            [value, b"\0", kind.as_bytes()].concat()
        }
        /// A dictionary of strings to variants, whose parts are shorter than 64 kB in all.
        fn dictionary(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
            let size = |len: usize| if len < 256 { 1 } else { 2 };
            let (mut out, mut ends) = (Vec::new(), Vec::new());
            for (key, value) in entries {
                out.resize(out.len().next_multiple_of(8), 0);
                let mut entry = [key.as_bytes(), b"\0"].concat();
                let end = entry.len();
                entry.resize(end.next_multiple_of(8), 0);
                entry.extend(value);
                let width = size(entry.len() + 1);
                entry.extend(&(end as u64).to_le_bytes()[..width]);
                out.extend(entry);
                ends.push(out.len());
            }
            let width = size(out.len() + ends.len());
            for end in ends {
                out.extend(&(end as u64).to_le_bytes()[..width]);
            }
            out
        }
        let text = |text: &str| variant(&[text.as_bytes(), b"\0"].concat(), "s");
        let target = dictionary(&[("name", text(id)), ("osname", text("lab"))]);
        dictionary(&[("kargs", variant(b"", "as")), ("target", variant(&target, "a{sv}"))])
    }

    #[test]
    fn the_staged_deployment_is_read() {
        let id = format!("{}.0", "a1".repeat(32));
        let file = staged_file(&id);
        let named = parse_staged(&file).unwrap();
        assert_eq!((named.id.as_str(), named.stateroot.as_deref()), (id.as_str(), Some("lab")));
        assert_eq!(parse_staged(b""), None);
        assert_eq!(parse_staged(&staged_file("../../etc.0")), None);
        for end in 0..file.len() {
            // What was cut off may still have the name in it, but never another one.
            let found = parse_staged(&file[..end]);
            assert!(found.is_none_or(|found| found.id.as_str() == id));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_bad(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(parse_staged(&bytes));
            parse_booted(&bytes);
        }

        #[test]
        fn nor_are_nearly_right_ones(at in 0usize..200, byte in any::<u8>()) {
            let mut file = staged_file(&format!("{}.0", "a1".repeat(32)));
            if let Some(place) = file.get_mut(at) {
                *place = byte;
            }
            drop(parse_staged(&file));
            parse_booted(&file);
        }
    }
}
