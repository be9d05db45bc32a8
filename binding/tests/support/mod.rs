//! Small trees, and bindings as a few lines of text.
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, reason = "a tree that cannot be made fails the test")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use binding::{Bindings, Root};
use tempfile::TempDir;

pub(crate) const IMAGE: &str = "[Image]\nImage=quay.io/a/b:1\n";
pub(crate) const CONTAINER: &str = "[Container]\nImage=quay.io/a/b:1\n";
pub(crate) const USR: &str = "usr/share/containers/systemd";
pub(crate) const ETC: &str = "etc/containers/systemd";
pub(crate) const BOUND: &str = "usr/lib/bootc/bound-images.d";

pub(crate) struct Tree(TempDir);

impl Tree {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    fn prepare(&self, path: &str) -> std::path::PathBuf {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.prepare(path), content).unwrap();
        self
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        fs::create_dir_all(self.prepare(path)).unwrap();
        self
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        symlink(target, self.prepare(path)).unwrap();
        self
    }

    /// A Quadlet of the root.
    pub(crate) fn quadlet(self, name: &str, content: &str) -> Self {
        self.file(&format!("{USR}/{name}"), content)
    }

    /// A Quadlet of the root, and a binding of it.
    pub(crate) fn bound(self, name: &str, content: &str) -> Self {
        self.quadlet(name, content).link(&format!("{BOUND}/{name}"), &format!("/{USR}/{name}"))
    }

    pub(crate) fn root(&self) -> Root {
        Root::open(self.path()).unwrap()
    }

    pub(crate) fn read(&self) -> Bindings {
        binding::read(&self.root()).unwrap()
    }

    /// Bindings as `name reference [tag alias] services…`, then findings as `code place`.
    pub(crate) fn show(&self) -> String {
        let read = self.read();
        let mut lines: Vec<String> = Vec::new();
        for binding in &read.bindings {
            let alias = binding.alias.as_ref().map_or(String::new(), |tag| format!(" as {tag}"));
            let required = if binding.required { "" } else { " optional" };
            let services = binding.services.join(" ");
            lines.push(format!(
                "{} {}{alias}{required} [{services}]",
                binding.name, binding.reference
            ));
        }
        for finding in &read.findings {
            let place = finding.place.to_string();
            lines.push(format!(
                "{} {}",
                finding.code,
                place.replace(USR, "USR").replace(ETC, "ETC").replace(BOUND, "BOUND")
            ));
        }
        lines.join("\n")
    }
}
