//! The running machine: its roots, its pool, and which of its roots a command speaks of.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use binding::Root;
use host::config::Config;
use host::{DEFAULT_POOL, Deployment, Files, Host, Pool, Role, RootId};

/// The fewest hex digits that name a root.
const MIN_PREFIX: usize = 8;

/// The running machine.
#[derive(Debug)]
pub struct Machine {
    /// Its `/`.
    pub system: Root,
    /// Where the stores of its roots are.
    pub pool: Pool,
}

/// What a command speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A directory with an operating system in it: its store is inside.
    Plain(PathBuf),
    /// A root of this machine: its store is in the pool.
    Deployment(Deployment),
}

/// What was typed after `--root`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Typed {
    Role(Role),
    Prefix(String),
    Directory(PathBuf),
}

impl Machine {
    /// The machine whose `/` is at `top`.
    ///
    /// # Errors
    /// When that is not a directory.
    pub fn open(top: &Path, config: &Config) -> anyhow::Result<Self> {
        let system = Root::open(top).with_context(|| format!("cannot open {}", top.display()))?;
        Ok(Self { system, pool: Pool::at(config.pool.as_deref().unwrap_or(DEFAULT_POOL)) })
    }

    /// Its roots.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn roots(&self) -> anyhow::Result<Host> {
        host::roots(&self.system).context("cannot find the roots of this host")
    }

    /// Whether it has deployments at all.
    #[must_use]
    pub fn has_roots(&self) -> bool {
        self.roots().is_ok_and(|host| !host.roots.is_empty())
    }

    /// Whether its `/` is this directory.
    #[must_use]
    pub fn is_at(&self, path: &Path) -> bool {
        let id = |path: &Path| std::fs::metadata(path).map(|stat| (stat.dev(), stat.ino()));
        matches!((id(path), id(self.system.path())), (Ok(path), Ok(system)) if path == system)
    }

    /// Where its pool is on disk.
    #[must_use]
    pub fn pool_directory(&self) -> PathBuf {
        crate::pool::directory(&self.system, &self.pool)
    }

    /// The directory with the files of a root.
    ///
    /// # Errors
    /// When they are not in a directory.
    pub fn files(&self, deployment: &Deployment) -> anyhow::Result<PathBuf> {
        match &deployment.files {
            Files::Directory(path) => Ok(self.system.path().join(path)),
            Files::Image { image, objects } => {
                let (image, objects) =
                    (self.system.path().join(image), self.system.path().join(objects));
                crate::system::composefs::mounted(&image, &objects)
            }
        }
    }

    /// The root that `typed` names, or the one with the role `otherwise` when nothing was typed.
    /// A machine without deployments is a plain root itself.
    ///
    /// # Errors
    /// When there is no such root, or more than one.
    pub fn target(&self, typed: Option<&Path>, otherwise: Role) -> anyhow::Result<Target> {
        let typed = match typed.map(parse) {
            Some(Typed::Directory(path)) => return Ok(Target::Plain(path)),
            Some(typed) => typed,
            None => Typed::Role(otherwise),
        };
        let host = self.roots()?;
        let found: Vec<&Deployment> = host
            .roots
            .iter()
            .filter(|root| match &typed {
                Typed::Role(role) => root.role == *role,
                Typed::Prefix(prefix) => root.id.as_str().starts_with(prefix.as_str()),
                Typed::Directory(_) => false,
            })
            .collect();
        match (found.as_slice(), typed) {
            ([one], _) => Ok(Target::Deployment((*one).clone())),
            ([], Typed::Role(Role::Booted)) if host.roots.is_empty() => {
                Ok(Target::Plain(self.system.path().to_owned()))
            }
            ([], Typed::Role(Role::Booted)) => bail!(
                "it cannot be told which root of this host is booted; name one with --root \
                 (`bound-images status` shows them)"
            ),
            ([], Typed::Role(role)) => bail!("this host has no {} root", role.word()),
            ([], Typed::Prefix(prefix)) => {
                bail!("this host has no root {prefix} (`bound-images status` shows them)")
            }
            (several, _) => {
                let names: Vec<String> = several.iter().map(|root| full_name(root)).collect();
                bail!("more than one root is meant: {}", names.join(", "))
            }
        }
    }
}

/// All that tells a root from others, for people: stateroots may have one of the same id.
fn full_name(root: &Deployment) -> String {
    match &root.stateroot {
        Some(stateroot) => format!("{} ({}, in {stateroot})", root.id, root.role.word()),
        None => format!("{} ({})", root.id, root.role.word()),
    }
}

/// A role or the start of an id, else a directory: `./staged` is one.
fn parse(typed: &Path) -> Typed {
    let directory = || Typed::Directory(typed.to_owned());
    let Some(text) = typed.to_str() else { return directory() };
    let roles = [Role::Booted, Role::Staged, Role::Pending, Role::Rollback];
    if let Some(role) = roles.into_iter().find(|role| role.word() == text) {
        return Typed::Role(role);
    }
    let hex = text.split_once('.').map_or(text, |(hex, _)| hex);
    let is_prefix = hex.len() >= MIN_PREFIX
        && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        && (hex.len() == text.len() || RootId::parse(text).is_some());
    if is_prefix { Typed::Prefix(text.to_owned()) } else { directory() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed() {
        let hex = "a1".repeat(32);
        let serial = format!("{hex}.0");
        for (text, wanted) in [
            ("staged", Typed::Role(Role::Staged)),
            ("./staged", Typed::Directory("./staged".into())),
            ("/", Typed::Directory("/".into())),
            ("root", Typed::Directory("root".into())),
            ("a1a1a1a1", Typed::Prefix("a1a1a1a1".to_owned())),
            ("a1a1a1", Typed::Directory("a1a1a1".into())),
            ("a1a1a1a1/x", Typed::Directory("a1a1a1a1/x".into())),
            (&hex, Typed::Prefix(hex.clone())),
            (&serial, Typed::Prefix(serial.clone())),
        ] {
            assert_eq!(parse(Path::new(text)), wanted, "{text}");
        }
    }
}
