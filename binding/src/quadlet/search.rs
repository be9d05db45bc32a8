//! Where Podman looks for Quadlets and drop-ins, and which it takes
//! (podman `cmd/quadlet/main.go`: `getUnitDirs`, `loadUnitsFromDir`, `loadUnitDropins`).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

use anyhow::{Context, Result, bail};

use crate::finding::{Code, Finding, Place};
use crate::quadlet::text::{Text, parse_text};
use crate::quadlet::unit::Unit;
use crate::root::{Entry, Kind, Names, Root};

/// The Quadlets that come with a root.
pub const USR: &str = "usr/share/containers/systemd";
/// The administrator's Quadlets, which Podman reads first.
pub const ETC: &str = "etc/containers/systemd";
/// Largest Quadlet or drop-in, in bytes.
pub const MAX_FILE: u64 = 1 << 20;
/// Most directories that stay open.
const MAX_OPEN: usize = 16;
/// Most lists of directories that are kept.
const MAX_LISTS: usize = 64;
/// Most directories in a search path.
const MAX_DIRS: usize = 1_000;
/// How deep directories may lie in one another.
const MAX_DEPTH: usize = 64;
/// Extensions that Podman 5.4 makes services of.
const EXTENSIONS: [&str; 7] =
    [".build", ".container", ".image", ".kube", ".network", ".pod", ".volume"];

/// Whether Podman makes a service of a file of this name.
#[must_use]
pub fn is_quadlet(name: &str) -> bool {
    name.rfind('.').and_then(|dot| name.get(dot..)).is_some_and(|end| EXTENSIONS.contains(&end))
}

/// Files of a root that were read and parsed, so that each is read once.
pub struct Files<'a> {
    /// The root they are in.
    pub root: &'a Root,
    read: RefCell<BTreeMap<String, Result<Rc<Text>, Finding>>>,
    resolved: RefCell<BTreeMap<String, String>>,
    open: RefCell<BTreeMap<String, Names>>,
    lists: RefCell<BTreeMap<String, Rc<[Entry]>>>,
}

impl<'a> Files<'a> {
    /// Nothing read yet.
    #[must_use]
    pub fn new(root: &'a Root) -> Self {
        let (read, resolved, open, lists) = Default::default();
        Self { root, read, resolved, open, lists }
    }

    /// [`Root::resolve`] for directories, which many files are in.
    pub(crate) fn resolve_dir(&self, path: &str) -> io::Result<String> {
        if let Some(known) = self.resolved.borrow().get(path) {
            return Ok(known.clone());
        }
        let resolved = self.root.resolve(path)?;
        self.resolved.borrow_mut().insert(path.to_owned(), resolved.clone());
        Ok(resolved)
    }

    /// [`Root::list`], for directories that several searches look at.
    fn list(&self, path: &str) -> io::Result<Rc<[Entry]>> {
        if let Some(known) = self.lists.borrow().get(path) {
            return Ok(Rc::clone(known));
        }
        let list: Rc<[Entry]> = self.root.list(path)?.into();
        let mut lists = self.lists.borrow_mut();
        if lists.len() < MAX_LISTS {
            lists.insert(path.to_owned(), Rc::clone(&list));
        }
        Ok(list)
    }

    /// Looks something up in `dir`, which has no links in it. Directories stay open.
    pub(crate) fn look<T>(&self, dir: &str, up: impl Fn(&Names) -> io::Result<T>) -> io::Result<T> {
        let mut open = self.open.borrow_mut();
        if let Some(names) = open.get(dir) {
            return up(names);
        }
        if open.len() >= MAX_OPEN {
            open.clear();
        }
        let names = self.root.names(dir)?;
        let found = up(&names);
        open.insert(dir.to_owned(), names);
        found
    }

    /// The parsed content of a Quadlet or drop-in.
    ///
    /// # Errors
    /// The finding that says why Podman cannot use it.
    pub fn text(&self, path: &str) -> Result<Rc<Text>, Finding> {
        if let Some(known) = self.read.borrow().get(path) {
            return known.clone();
        }
        let text = self.read_text(path);
        self.read.borrow_mut().insert(path.to_owned(), text.clone());
        text
    }

    fn read_text(&self, path: &str) -> Result<Rc<Text>, Finding> {
        let refuse =
            |code, why: String, fix: &str| Err(Finding::new(code, Place::file(path), why, fix));
        let bytes = match self.root.read(path, MAX_FILE) {
            Ok(bytes) => bytes,
            // A link to /dev/null masks the file; a root that is not booted may have no /dev.
            Err(_) if self.root.read_link(path).is_ok_and(|target| target == "/dev/null") => {
                Vec::new()
            }
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                let why = "the file is larger than 1 MiB".to_owned();
                return refuse(Code::TooLarge, why, "make it smaller or remove it");
            }
            Err(error) => {
                let why = format!("the file cannot be read: {error}");
                return refuse(
                    Code::Unreadable,
                    why,
                    "make it a readable regular file or remove it",
                );
            }
        };
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let valid = error.as_bytes().get(..error.utf8_error().valid_up_to());
                let line = valid.map_or(0, |b| b.iter().filter(|b| **b == b'\n').count()) + 1;
                return Err(Finding::new(
                    Code::NotUtf8,
                    Place::line(path, line),
                    "the file is not UTF-8 text",
                    "save it as UTF-8",
                ));
            }
        };
        parse_text(&text).map(Rc::new).map_err(|error| {
            Finding::new(
                Code::Syntax,
                Place::line(path, error.line),
                format!("Podman refuses the file: {}", error.why),
                "mend the line",
            )
        })
    }
}

/// A list of directories as Podman searches them, with what is in them.
#[derive(Debug, Default)]
pub struct Search {
    dirs: Vec<String>,
    quadlets: BTreeMap<String, Vec<String>>,
    dropins: BTreeSet<String>,
}

impl Search {
    /// Lists `tops` in order, each with all directories below it, links followed, but for
    /// drop-in directories. Per-user directories in `/etc` are left out.
    ///
    /// # Errors
    /// When a directory cannot be listed or there are too many.
    pub fn read(files: &Files<'_>, tops: &[&str]) -> Result<Self> {
        let mut search = Self::default();
        let users = format!("{ETC}/users");
        let users = files.root.resolve(&users).unwrap_or(users);
        for top in tops {
            match files.resolve_dir(top) {
                Ok(top) => search.add(files, &top, &users, 0)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("look for Quadlets in {top}"));
                }
            }
        }
        Ok(search)
    }

    fn add(&mut self, files: &Files<'_>, dir: &str, users: &str, depth: usize) -> Result<()> {
        if dir.ends_with(".d") || dir.starts_with(users) || self.contains(dir) {
            return Ok(());
        }
        if depth > MAX_DEPTH || self.dirs.len() == MAX_DIRS {
            bail!(
                "look for Quadlets in {dir}: more than {MAX_DIRS} directories or {MAX_DEPTH} deep"
            );
        }
        if files.root.kind(dir).with_context(|| format!("look at {dir}"))? != Kind::Dir {
            return Ok(());
        }
        self.dirs.push(dir.to_owned());
        let entries = files.list(dir).with_context(|| format!("list Quadlets in {dir}"))?;
        let mut below = Vec::new();
        for entry in entries.iter() {
            // Podman could not put a name that is not UTF-8 into a unit either.
            let Some(name) = entry.name.to_str() else { continue };
            let path = if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
            if is_quadlet(name) {
                self.quadlets.entry(name.to_owned()).or_default().push(path.clone());
            }
            if matches!(entry.kind, Kind::Dir | Kind::Symlink) {
                if name.ends_with(".d") {
                    self.dropins.insert(path.clone());
                }
                below.push((path, entry.kind));
            }
        }
        for (path, kind) in below {
            let target = match kind {
                Kind::Symlink => match files.root.resolve(&path) {
                    Ok(target) => target,
                    // A link that leads nowhere holds no Quadlets.
                    Err(_) => continue,
                },
                _ => path,
            };
            self.add(files, &target, users, depth + 1)?;
        }
        Ok(())
    }

    /// Whether Podman reads Quadlets from the directory `dir` (a path without links).
    #[must_use]
    pub fn contains(&self, dir: &str) -> bool {
        self.dirs.iter().any(|known| known == dir)
    }

    /// The file that Podman takes for a Quadlet name: the first that it can parse.
    #[must_use]
    pub fn find(&self, files: &Files<'_>, name: &str) -> Option<&str> {
        let paths = self.quadlets.get(name)?;
        paths.iter().map(String::as_str).find(|path| files.text(path).is_ok())
    }

    /// All file names with the given extension that Podman reads, sorted.
    pub fn names(&self, extension: &str) -> impl Iterator<Item = &str> {
        self.quadlets.keys().map(String::as_str).filter(move |name| name.ends_with(extension))
    }

    /// All paths of Quadlets, sorted by file name, then in the order of the search.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.quadlets.values().flatten().map(String::as_str)
    }

    /// The Quadlet at `path` with the drop-ins that this search path has for it, and what is
    /// wrong with those.
    ///
    /// # Errors
    /// The finding that says why the Quadlet itself cannot be used.
    pub fn unit(&self, files: &Files<'_>, path: &str) -> Result<(Unit, Vec<Finding>), Finding> {
        let mut unit = Unit::new(path, files.text(path)?);
        let mut findings = Vec::new();
        let names = dropin_dirs(&unit.name);
        let dirs = self.dirs.iter().flat_map(|dir| names.iter().map(move |name| (dir, name)));
        let picked = self.pick(files, dirs, &mut findings);
        for (_, path) in picked {
            match files.text(&path) {
                Ok(text) => unit.merge(&path, text),
                Err(finding) => findings.push(finding),
            }
        }
        Ok((unit, findings))
    }

    /// The same Quadlet as Podman 6 reads it: there a more specific drop-in directory comes
    /// before a directory that is searched earlier. None when that makes no difference.
    #[must_use]
    pub fn newer_unit(&self, files: &Files<'_>, unit: &Unit) -> Option<Unit> {
        let names = dropin_dirs(&unit.name);
        let older = self.dirs.iter().flat_map(|dir| names.iter().map(move |name| (dir, name)));
        let newer = names.iter().flat_map(|name| self.dirs.iter().map(move |dir| (dir, name)));
        let picked = self.pick(files, newer, &mut Vec::new());
        if picked == self.pick(files, older, &mut Vec::new()) {
            return None;
        }
        let mut other = Unit::new(&unit.path, files.text(&unit.path).ok()?);
        for path in picked.into_values() {
            if let Ok(text) = files.text(&path) {
                other.merge(&path, text);
            }
        }
        Some(other)
    }

    /// Drop-in file name → path: the first of each name, to be merged in the order of names.
    fn pick<'b>(
        &self,
        files: &Files<'_>,
        dirs: impl Iterator<Item = (&'b String, &'b String)>,
        findings: &mut Vec<Finding>,
    ) -> BTreeMap<String, String> {
        let mut picked = BTreeMap::new();
        for (dir, name) in dirs {
            let dir = if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
            if !self.dropins.contains(&dir) {
                continue;
            }
            let entries = match files.root.list_optional(&dir) {
                Ok(entries) => entries.unwrap_or_default(),
                Err(error) => {
                    findings.push(Finding::new(
                        Code::Unreadable,
                        Place::file(&dir),
                        format!("the drop-ins cannot be listed: {error}"),
                        "make it a readable directory or remove it",
                    ));
                    continue;
                }
            };
            for entry in entries {
                if let Some(name) = entry.name.to_str().filter(|name| name.ends_with(".conf")) {
                    picked.entry(name.to_owned()).or_insert_with(|| format!("{dir}/{name}"));
                }
            }
        }
        picked
    }
}

/// The names of the drop-in directories of a Quadlet, the most specific first
/// (`GetUnitDropinPaths`).
#[must_use]
pub fn dropin_dirs(name: &str) -> Vec<String> {
    let dot = name.rfind('.').unwrap_or(name.len());
    let (base, extension) = name.split_at_checked(dot).unwrap_or((name, ""));
    let (unit, instance) = match base.split_once('@') {
        Some((unit, instance)) => (unit, Some(instance)),
        None => (base, None),
    };
    let mut dirs = vec![format!("{}.d", extension.trim_start_matches('.'))];
    for (dash, _) in unit.match_indices('-') {
        let Some(head) = unit.get(..=dash) else { continue };
        dirs.push(format!("{head}{extension}.d"));
        if instance.is_some() {
            dirs.push(format!("{head}@{extension}.d"));
        }
    }
    if instance.is_some_and(|instance| !instance.is_empty()) {
        dirs.push(format!("{unit}@{extension}.d"));
    }
    dirs.push(format!("{name}.d"));
    dirs.reverse();
    dirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_in_directories_from_specific_to_broad() {
        let table: &[(&str, &[&str])] = &[
            ("foo.container", &["foo.container.d", "container.d"]),
            ("foo.image", &["foo.image.d", "image.d"]),
            (
                "a-b-c.container",
                &["a-b-c.container.d", "a-b-.container.d", "a-.container.d", "container.d"],
            ),
            ("foo@.container", &["foo@.container.d", "container.d"]),
            ("foo@x.container", &["foo@x.container.d", "foo@.container.d", "container.d"]),
            (
                "a-b@x-y.container",
                &[
                    "a-b@x-y.container.d",
                    "a-b@.container.d",
                    "a-@.container.d",
                    "a-.container.d",
                    "container.d",
                ],
            ),
        ];
        for (name, want) in table {
            assert_eq!(dropin_dirs(name), *want, "{name}");
        }
    }

    #[test]
    fn extensions() {
        for (name, want) in [
            ("a.container", true),
            ("a.b.image", true),
            ("a.pod", true),
            ("a.container.d", false),
            ("a", false),
            ("container", false),
            ("a.conf", false),
            (".image", true),
        ] {
            assert_eq!(is_quadlet(name), want, "{name}");
        }
    }
}
