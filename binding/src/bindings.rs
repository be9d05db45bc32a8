//! All bindings of a root: links, Quadlets, references and services put together.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use anyhow::{Context, Result};

use crate::finding::{self, Code, Finding, Place, Severity};
use crate::link::{self, Target};
use crate::pull::PullOptions;
use crate::quadlet::arguments::check_arguments;
use crate::quadlet::image::{Meaning, meaning, parse_image};
use crate::quadlet::keys::{check_keys, is_required};
use crate::quadlet::options::pull_options;
use crate::quadlet::search::{ETC, Files, Search, USR};
use crate::quadlet::service::{check_refused, group_of, services};
use crate::quadlet::unit::Unit;
use crate::record::BINDINGS_PATH;
use crate::reference::Reference;
use crate::root::{Entry, Root};

/// All bindings of a root. One bad entry never hides the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    /// What could be understood, sorted by link name.
    pub bindings: Vec<Binding>,
    /// What is wrong, sorted by place.
    pub findings: Vec<Finding>,
}

impl Bindings {
    /// Whether any finding is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(Finding::is_error)
    }
}

/// One entry of `usr/lib/bootc/bound-images.d`, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Name of the link, such as `nginx.container`.
    pub name: String,
    /// Root-relative path of the Quadlet that it leads to.
    pub quadlet: String,
    /// Where the effective `Image=` stands: the Quadlet, a drop-in, or the `.image` it names.
    pub place: Place,
    /// What is pulled.
    pub reference: Reference,
    /// `ImageTag=` of the `.image`: the name under which services use it, when that differs.
    pub alias: Option<Reference>,
    /// How it is pulled.
    pub pull: PullOptions,
    /// The systemd services it serves, sorted. Empty for a Quadlet that is not in Podman's search
    /// path.
    pub services: Vec<String>,
    /// `[X-BoundImage] Required=`: whether the root may not boot without it.
    pub required: bool,
}

/// Reads all bindings of a root, from its `usr` only: what `etc` changes is a finding.
///
/// A Quadlet outside of Podman's search path is read as if it stood in it: with the drop-ins that
/// the search path has for a file of its name, but without services.
///
/// # Errors
/// When the directory of bindings itself cannot be read. That there is none is no error.
pub fn read(root: &Root) -> Result<Bindings> {
    read_files(&Files::new(root))
}

/// As [`read()`], with files that were read already, and may be used again.
///
/// # Errors
/// As [`read()`].
pub fn read_files(files: &Files<'_>) -> Result<Bindings> {
    let root = files.root;
    let mut entries = match root.list(BINDINGS_PATH) {
        Ok(entries) => entries,
        // A dangling link in place of the directory must not pass for "no bindings".
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && root.kind(BINDINGS_PATH).is_err() =>
        {
            return Ok(Bindings::default());
        }
        Err(error) => {
            return Err(error).with_context(|| format!("list the bindings in {BINDINGS_PATH}"));
        }
    };
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut findings = Vec::new();
    let mut search = |tops: &[&str]| {
        Search::read(files, tops).unwrap_or_else(|error| {
            let place = Place::file(tops.first().copied().unwrap_or(USR));
            let fix = "make the directories readable";
            findings.push(Finding::new(Code::SearchPath, place, format!("{error:#}"), fix));
            Search::default()
        })
    };
    let usr = search(&[USR]);
    // Without /etc there is nothing to compare.
    let etc = root.kind(ETC).is_ok().then(|| search(&[ETC, USR]));
    let mut reader = Reader {
        files,
        usr,
        etc,
        findings,
        used: BTreeSet::new(),
        users: None,
        checked: BTreeSet::new(),
        unbound: Vec::new(),
    };
    let bindings: Vec<Binding> = entries.iter().filter_map(|entry| reader.binding(entry)).collect();
    reader.check_users();
    reader.check_neighbours();
    let mut findings = reader.findings;
    finding::sort(&mut findings);
    Ok(Bindings { bindings, findings })
}

/// One pass over a root.
struct Reader<'a> {
    files: &'a Files<'a>,
    usr: Search,
    etc: Option<Search>,
    findings: Vec<Finding>,
    /// Quadlets that some binding depends on.
    used: BTreeSet<String>,
    /// File name of a `.image` → the containers that use it; made when first asked for.
    users: Option<BTreeMap<String, Vec<Unit>>>,
    /// Quadlets that were checked.
    checked: BTreeSet<String>,
    /// Containers that use an image which is bound.
    unbound: Vec<Unit>,
}

impl Reader<'_> {
    fn binding(&mut self, entry: &Entry) -> Option<Binding> {
        match self.try_binding(entry) {
            Ok(binding) => binding,
            Err(finding) => {
                self.findings.push(finding);
                None
            }
        }
    }

    fn try_binding(&mut self, entry: &Entry) -> Result<Option<Binding>, Finding> {
        let Target { path, searched } = link::follow(self.files, &self.usr, entry)?;
        let name = entry.name.to_string_lossy().into_owned();
        self.used.insert(path.clone());
        let (unit, more) = self.usr.unit(self.files, &path)?;
        self.findings.extend(more);
        self.check_place(&name, &unit, searched);
        self.check_unit(&unit);
        let meaning = meaning(&unit, &self.usr, self.files, &mut self.findings)?;
        if let Some(via) = &meaning.via {
            self.used.insert(via.path.clone());
            self.check_unit(via);
        }
        self.check_order(&unit, &meaning);
        self.check_overridden(&name, &unit, &meaning);
        let services = if searched { self.services(&name, &unit, &meaning) } else { Vec::new() };
        let pulled = meaning.via.as_ref().unwrap_or(&unit);
        let (pull, more) = match group_of(&pulled.name) {
            "Image" => pull_options(pulled),
            _ => Default::default(),
        };
        self.findings.extend(more);
        let (required, more) = is_required(&unit);
        self.findings.extend(more);
        let reference = self.reference(&meaning.image, "Image");
        let alias = meaning.tag.as_ref().map(|tag| self.reference(tag, "ImageTag"));
        // Both are looked at before either makes the binding void, so that both are reported.
        let (Some(reference), Some(alias)) =
            (reference, alias.map_or(Some(None), |tag| tag.map(Some)))
        else {
            return Ok(None);
        };
        let alias = alias.filter(|alias| *alias != reference);
        let place = meaning.image.place;
        Ok(Some(Binding { name, quadlet: path, place, reference, alias, pull, services, required }))
    }

    fn reference(&mut self, value: &crate::quadlet::unit::Value, key: &str) -> Option<Reference> {
        self.findings.extend(value.ambiguity(key));
        parse_image(value, key).map_err(|finding| self.findings.push(finding)).ok()
    }

    /// Whether Podman makes its service of this very file.
    fn check_place(&mut self, name: &str, unit: &Unit, searched: bool) {
        let place = Place::file(format!("{BINDINGS_PATH}/{name}"));
        if !searched {
            let why = format!("it leads to {}, where Podman does not look for Quadlets", unit.path);
            let fix = format!("move the Quadlet to {USR}");
            let finding = Finding::new(Code::OutsideSearchPath, place, why, fix);
            self.findings.push(finding.about(name));
        } else if let Some(first) = self.usr.find(self.files, &unit.name)
            && first != unit.path
        {
            let why = format!("Podman reads {first} in place of {}", unit.path);
            let finding = Finding::new(Code::ShadowedQuadlet, place, why, "rename one of the two");
            self.findings.push(finding.about(name));
        }
    }

    /// What is wrong with a Quadlet, whichever image it names.
    fn check_unit(&mut self, unit: &Unit) {
        let group = group_of(&unit.name);
        self.checked.insert(unit.path.clone());
        self.findings.extend(check_keys(unit, group));
        if group == "Container" {
            let (usr, files) = (&self.usr, self.files);
            // What the administrator adds in /etc may well be what this Quadlet asks for.
            let exists = |name: &str| {
                let search = self.etc.as_ref().unwrap_or(usr);
                search.find(files, name).is_some()
            };
            let refused = check_refused(unit, exists);
            self.findings.extend(refused);
        }
        for place in unit.lost() {
            let why = "Podman loses this line: its continuation is followed by comments only";
            let fix = "remove the backslash at its end";
            self.findings.push(Finding::new(Code::LostLine, place, why, fix).about(&unit.name));
        }
        for key in ["Image", "ImageTag"] {
            if let Some(place) = unit.repeated(group, key) {
                let why = format!("{key}= is set again in the same file: only the last one counts");
                let finding = Finding::new(Code::RepeatedKey, place, why, "keep one of them");
                self.findings.push(finding.about(&unit.name));
            }
        }
    }

    /// Whether newer versions of Podman come to another image by merging drop-ins differently.
    fn check_order(&mut self, unit: &Unit, here: &Meaning) {
        let quadlets = [Some(unit), here.via.as_ref()];
        for older in quadlets.into_iter().flatten() {
            let Some(newer) = self.usr.newer_unit(self.files, older) else { continue };
            let mut ignored = Vec::new();
            let there = meaning(&newer, &self.usr, self.files, &mut ignored);
            let same = match &there {
                Ok(there) => there.image.text == here.image.text,
                Err(_) => false,
            };
            if !same && group_of(&older.name) == group_of(&newer.name) {
                let why = "Podman 5 and 6 take different drop-ins of the same name, with different images";
                let fix = "give drop-ins in different directories different names";
                let finding = Finding::new(Code::DropinOrder, here.image.place.clone(), why, fix);
                self.findings.push(finding.about(&older.name));
            }
        }
    }

    /// Whether `/etc` of the root changes the image. The administrator wins, but it must show.
    fn check_overridden(&mut self, name: &str, unit: &Unit, here: &Meaning) {
        let Some(etc) = &self.etc else { return };
        let mut by: Option<(Place, String)> = None;
        for quadlet in [Some(unit), here.via.as_ref()].into_iter().flatten() {
            if let Some(path) = etc.find(self.files, &quadlet.name)
                && path != quadlet.path
                && !self.usr.contains(parent(path))
            {
                let why = format!("it takes the place of {}", quadlet.path);
                by = by.or(Some((Place::file(path), why)));
            }
        }
        if by.is_none() {
            let live = etc
                .unit(self.files, &unit.path)
                .and_then(|(unit, _)| meaning(&unit, etc, self.files, &mut Vec::new()));
            by = match live {
                Ok(live) if live.same(here) => None,
                Ok(live) => {
                    let why = format!("it sets the image to {}", live.image.text);
                    Some((live.place_of_change(here), why))
                }
                Err(finding) => Some((finding.place, finding.why)),
            };
        }
        if let Some((place, why)) = by {
            let why = format!("{name} is overridden in /etc: {why}");
            let fix = "remove it, if the image of the root is to run";
            self.findings.push(Finding::new(Code::Overridden, place, why, fix).about(name));
        }
    }

    /// The services that a binding serves, and what keeps them from its image.
    fn services(&mut self, name: &str, unit: &Unit, here: &Meaning) -> Vec<String> {
        let mut units = vec![unit.clone()];
        units.extend(here.via.clone());
        if group_of(&unit.name) == "Image" {
            for user in self.users(&unit.name) {
                if let Ok(used) = meaning(&user, &self.usr, self.files, &mut Vec::new()) {
                    self.check_overridden(name, &user, &used);
                }
                self.unbound.push(user.clone());
                units.push(user);
            }
        }
        for quadlet in units.clone() {
            units.extend(self.instances(&quadlet, here));
        }
        let mut all = BTreeSet::new();
        for unit in units {
            let (services, more) = services(&unit);
            self.findings.extend(more);
            if let Some(service) = services.first() {
                self.findings.extend(check_arguments(&unit, service));
            }
            all.extend(services);
            self.used.insert(unit.path);
        }
        all.into_iter().collect()
    }

    /// The instances `foo@x.container` of a template `foo@.container` that mean the same image.
    fn instances(&self, template: &Unit, here: &Meaning) -> Vec<Unit> {
        let Some((base, extension)) = template.name.split_once("@.") else { return Vec::new() };
        let (prefix, suffix) = (format!("{base}@"), format!(".{extension}"));
        let names = self.usr.names(&suffix);
        names
            .filter(|name| name.starts_with(&prefix) && **name != template.name)
            .filter_map(|name| {
                let path = self.usr.find(self.files, name)?;
                let (unit, _) = self.usr.unit(self.files, path).ok()?;
                let there = meaning(&unit, &self.usr, self.files, &mut Vec::new()).ok()?;
                there.same(here).then_some(unit)
            })
            .collect()
    }

    /// The containers whose `Image=` is this `.image`.
    fn users(&mut self, image: &str) -> Vec<Unit> {
        let users = self.users.get_or_insert_with(|| {
            let mut users: BTreeMap<String, Vec<Unit>> = BTreeMap::new();
            for name in self.usr.names(".container") {
                let Some(path) = self.usr.find(self.files, name) else { continue };
                // A container that cannot be read is reported as a neighbour.
                let Ok((unit, _)) = self.usr.unit(self.files, path) else { continue };
                if let Some(used) = unit.filled("Container", "Image") {
                    users.entry(used.text).or_default().push(unit);
                }
            }
            users
        });
        users.get(image).cloned().unwrap_or_default()
    }

    /// What is wrong with containers that have no link of their own, but use an image that is bound:
    /// the image is fetched for nothing, which is no reason to refuse the root.
    fn check_users(&mut self) {
        for user in std::mem::take(&mut self.unbound) {
            if self.checked.contains(&user.path) {
                continue;
            }
            let before = self.findings.len();
            self.check_unit(&user);
            for finding in self.findings.iter_mut().skip(before) {
                finding.severity = Severity::Warning;
            }
        }
    }

    /// Podman 5.4 drops all Quadlets of a directory in which one cannot be parsed
    /// (`loadUnitsFromDir` and its caller).
    fn check_neighbours(&mut self) {
        let dirs: BTreeSet<&str> = self.used.iter().map(|path| parent(path)).collect();
        let mut broken = Vec::new();
        for path in self.usr.paths().filter(|path| dirs.contains(parent(path))) {
            if self.used.contains(path) {
                continue;
            }
            if let Err(finding) = self.files.text(path) {
                let why = format!(
                    "{}, and Podman 5.4 then ignores every Quadlet of {}",
                    finding.why,
                    parent(path)
                );
                broken.push(Finding::new(Code::BrokenNeighbour, finding.place, why, finding.fix));
            }
        }
        self.findings.extend(broken);
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}
