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
    /// The start of an id, and the serial number when that was typed, too.
    Start(String, Option<String>),
    /// A directory, or too few digits of an id.
    Few(PathBuf),
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
            Some(Typed::Few(path)) if !path.exists() => bail!(
                "{0} is no directory, and too little of an id: at least {MIN_PREFIX} digits say which \
                 root of this host is meant (`bound-images status` shows them)",
                path.display()
            ),
            Some(Typed::Directory(path) | Typed::Few(path)) => return Ok(Target::Plain(path)),
            Some(typed) => typed,
            None => Typed::Role(otherwise),
        };
        let host = self.roots()?;
        let found: Vec<&Deployment> = host
            .roots
            .iter()
            .filter(|root| match &typed {
                Typed::Role(role) => root.role == *role,
                Typed::Start(hex, serial) => begins(&root.id, hex, serial.as_deref()),
                Typed::Few(_) | Typed::Directory(_) => false,
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
            ([], Typed::Start(hex, serial)) => {
                let typed = serial.map_or_else(|| hex.clone(), |serial| format!("{hex}.{serial}"));
                bail!(
                    "no root of this host has an id that begins with {typed} (`bound-images status` \
                     shows them)"
                )
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
    let (hex, serial) = match text.split_once('.') {
        Some((hex, serial)) => (hex, Some(serial)),
        None => (text, None),
    };
    let is_digit = |byte: u8| byte.is_ascii_digit();
    let is_hex = |byte: u8| is_digit(byte) || (b'a'..=b'f').contains(&byte);
    let is_id = !hex.is_empty()
        && hex.bytes().all(is_hex)
        && serial.is_none_or(|serial| !serial.is_empty() && serial.bytes().all(is_digit));
    if !is_id {
        return directory();
    }
    match hex.len() >= MIN_PREFIX {
        true => Typed::Start(hex.to_owned(), serial.map(str::to_owned)),
        false => Typed::Few(typed.to_owned()),
    }
}

/// Whether an id begins with these digits, and has this serial number when one was typed: so the short
/// form that all commands show names a root.
fn begins(id: &RootId, hex: &str, serial: Option<&str>) -> bool {
    let own = id.as_str().split_once('.').map(|(_, serial)| serial);
    id.content().starts_with(hex) && (serial.is_none() || serial == own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed() {
        let hex = "a1".repeat(32);
        let serial = format!("{hex}.0");
        let start = |hex: &str, serial: Option<&str>| {
            Typed::Start(hex.to_owned(), serial.map(str::to_owned))
        };
        for (text, wanted) in [
            ("staged", Typed::Role(Role::Staged)),
            ("./staged", Typed::Directory("./staged".into())),
            ("/", Typed::Directory("/".into())),
            ("root", Typed::Directory("root".into())),
            ("a1a1a1a1", start("a1a1a1a1", None)),
            ("a1a1a1a1a1a1.0", start("a1a1a1a1a1a1", Some("0"))),
            ("a1a1a1", Typed::Few("a1a1a1".into())),
            ("a1a1a1.1", Typed::Few("a1a1a1.1".into())),
            ("a1a1a1a1.", Typed::Directory("a1a1a1a1.".into())),
            ("a1a1a1a1.x", Typed::Directory("a1a1a1a1.x".into())),
            (".0", Typed::Directory(".0".into())),
            ("a1a1a1a1/x", Typed::Directory("a1a1a1a1/x".into())),
            (&hex, start(&hex, None)),
            (&serial, start(&hex, Some("0"))),
        ] {
            assert_eq!(parse(Path::new(text)), wanted, "{text}");
        }
    }

    #[test]
    fn what_an_id_begins_with() {
        let id = RootId::parse(&format!("{}.10", "a1".repeat(32))).unwrap();
        for (hex, serial, wanted) in [
            ("a1a1a1a1", None, true),
            ("a1a1a1a1a1a1", Some("10"), true),
            ("a1a1a1a1a1a1", Some("1"), false),
            ("a1a1a1a2", None, false),
        ] {
            assert_eq!(begins(&id, hex, serial), wanted, "{hex} {serial:?}");
        }
    }
}
