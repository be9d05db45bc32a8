//! What is not wrong with a binding, but should not leave an image build as it is: references without
//! a digest, Quadlets that bootc reads otherwise, `.image` units that nobody uses.

use std::collections::{BTreeMap, BTreeSet};

use oci_digest::Digest;

use crate::bindings::{Binding, Bindings};
use crate::bootc;
use crate::finding::{Code, Finding, Place, Severity};
use crate::quadlet::image::meaning;
use crate::quadlet::search::{ETC, Files, MAX_FILE, Search, USR};
use crate::quadlet::unit::Unit;
use crate::record::BINDINGS_PATH;
use crate::reference::Reference;

/// bootc itself, in a root that it manages.
const BOOTC: &str = "usr/bin/bootc";

/// All of it, for the bindings of a root; `require_pins` makes an error of a missing digest, `fix` is what
/// to do about one. Not sorted.
#[must_use]
pub fn lint(files: &Files<'_>, bindings: &Bindings, require_pins: bool, fix: &str) -> Vec<Finding> {
    let mut findings = check_pins(&bindings.bindings, require_pins, fix);
    findings.extend(check_bootc(files, &bindings.bindings));
    findings.extend(check_unused(files, &bindings.bindings));
    findings
}

/// References without a digest, and tags with two. Pure.
#[must_use]
pub fn check_pins(bindings: &[Binding], require_pins: bool, fix: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut told = BTreeSet::new();
    let mut pins: BTreeMap<String, (&Binding, Digest)> = BTreeMap::new();
    for binding in bindings {
        let reference = &binding.reference;
        let Some(digest) = reference.digest() else {
            // A .image may be bound itself and through containers.
            if !told.insert(&binding.place) {
                continue;
            }
            let why = match require_pins {
                true => format!(
                    "{reference} has no digest, and the configuration has pin = \"require\""
                ),
                false => format!(
                    "{reference} has no digest: what it means is decided when the root is staged, \
                     and a pull of the same name hides it from Podman"
                ),
            };
            let mut found = Finding::new(Code::Unpinned, binding.place.clone(), why, fix);
            if require_pins {
                found.severity = Severity::Error;
            }
            findings.push(found.about(&binding.name));
            continue;
        };
        let Some(tag) = reference.tag() else { continue };
        let name = format!("{}:{tag}", reference.repository());
        let (first, other) = *pins.entry(name.clone()).or_insert((binding, digest));
        if other != digest {
            let why =
                format!("{name} is pinned to {digest} here, but to {other} in {}", first.place);
            let fix = format!("{fix}, or give one of them the tag that it has");
            let found = Finding::new(Code::TwoDigests, binding.place.clone(), why, fix);
            findings.push(found.about(&binding.name));
        }
    }
    findings
}

/// Quadlets that bootc refuses or reads otherwise.
fn check_bootc(files: &Files<'_>, bindings: &[Binding]) -> Vec<Finding> {
    let severity = match files.root.kind(BOOTC) {
        Ok(_) => Severity::Error,
        Err(_) => Severity::Warning,
    };
    let check = |binding: &Binding| {
        let text = files.root.read(&format!("{BINDINGS_PATH}/{}", binding.name), MAX_FILE).ok()?;
        // Not UTF-8 is a finding of its own.
        let text = String::from_utf8(text).ok()?;
        let at = |line: Option<usize>| Place { file: binding.quadlet.clone(), line };
        let refuses = |line, why: String, fix: &str| {
            let mut found = Finding::new(Code::BootcRefuses, at(line), why, fix);
            found.severity = severity;
            found
        };
        let found = match bootc::image(&binding.name, &text) {
            Err((line, why)) => {
                let why = format!("bootc refuses it ({why}), and then every upgrade fails");
                refuses(line, why, fix_of_refused(&text, line))
            }
            Ok(image) => match Reference::parse(&image) {
                Ok(theirs) if theirs == binding.reference => return None,
                Ok(theirs) => {
                    let why =
                        format!("bootc pulls {theirs}, but Podman runs {}", binding.reference);
                    let fix = format!(
                        "set the image in the Quadlet itself, not in {}",
                        if binding.place.file == binding.quadlet {
                            "a continuation"
                        } else {
                            "another file"
                        }
                    );
                    Finding::new(Code::BootcDiffers, at(binding_line(binding)), why, fix)
                }
                Err(error) => {
                    let why =
                        format!("bootc cannot pull it, and then every upgrade fails: {error}");
                    let fix = if image.ends_with(".image") {
                        "bind the .image instead of the container"
                    } else if binding.place.file == binding.quadlet {
                        "write the reference in one line, without quotes"
                    } else {
                        "write the reference into the Quadlet itself: bootc reads no drop-ins"
                    };
                    refuses(binding_line(binding), why, fix)
                }
            },
        };
        Some(found.about(&binding.name))
    };
    bindings.iter().filter_map(check).collect()
}

/// What to do about a line that bootc refuses.
fn fix_of_refused(text: &str, line: Option<usize>) -> &'static str {
    let line = line.and_then(|line| text.lines().nth(line.checked_sub(1)?)).unwrap_or_default();
    if line.trim_start().starts_with("AuthFile") {
        "remove it, and put the credentials where bootc and skopeo look: etc/ostree/auth.json"
    } else if line.contains('=') || line.trim_start().starts_with('[') {
        "write it so that both bootc and Podman read it"
    } else {
        "write the value in one line"
    }
}

/// The line of `Image=`, if it stands in the Quadlet itself.
fn binding_line(binding: &Binding) -> Option<usize> {
    binding.place.line.filter(|_| binding.place.file == binding.quadlet)
}

/// `.image` units of the root that no Quadlet names.
#[must_use]
pub fn check_unused(files: &Files<'_>, bindings: &[Binding]) -> Vec<Finding> {
    // A search path that cannot be read is a finding already.
    let Ok(search) = Search::read(files, &[USR]) else { return Vec::new() };
    let live = Search::read(files, &[ETC, USR]).unwrap_or_default();
    let mut used = BTreeSet::new();
    for name in [".container", ".volume"].into_iter().flat_map(|end| live.names(end)) {
        let unit = live.find(files, name).and_then(|path| live.unit(files, path).ok());
        if let Some((unit, _)) = unit {
            used.extend(named_images(&unit));
        }
    }
    let bound = |path: &str| bindings.iter().find(|binding| binding.quadlet == path);
    let unused = search.names(".image").filter(|name| !used.contains(*name));
    unused
        .filter_map(|name| {
            let path = search.find(files, name)?;
            let (why, fix) = match bound(path) {
                Some(_) => (
                    "it is bound, but no Quadlet uses it: its image is fetched and takes space",
                    "remove its link, unless something else runs the image",
                ),
                None => ("it is neither bound nor used by any Quadlet", "bind it or remove it"),
            };
            Some(Finding::new(Code::UnusedImage, Place::file(path), why, fix).about(name))
        })
        .collect()
}

/// How many Quadlets of the root name an image that could be bound, where nothing is bound at all: then links
/// may have been forgotten, or stand in another directory than the one that is read.
#[must_use]
pub fn count_unbound(files: &Files<'_>, bound: &Bindings) -> usize {
    if !bound.bindings.is_empty() || bound.has_errors() {
        return 0;
    }
    let Ok(search) = Search::read(files, &[USR]) else { return 0 };
    let names_image = |name: &&str| {
        let unit = search.find(files, name).and_then(|path| search.unit(files, path).ok());
        unit.is_some_and(|(unit, _)| meaning(&unit, &search, files, &mut Vec::new()).is_ok())
    };
    let names = [".container", ".image"].into_iter().flat_map(|end| search.names(end));
    names.filter(names_image).count()
}

/// The `.image` units that a container or volume names: as its image, or as what it mounts.
fn named_images(unit: &Unit) -> Vec<String> {
    let images =
        ["Container", "Volume"].into_iter().filter_map(|group| unit.filled(group, "Image"));
    let mounts = unit.all("Container", "Mount").into_iter().flat_map(|(mount, _)| {
        let sources = mount.split(',').filter_map(|option| match option.trim().split_once('=') {
            Some(("source" | "src", source)) => Some(source.to_owned()),
            _ => None,
        });
        sources.collect::<Vec<_>>()
    });
    images.map(|value| value.text).chain(mounts).filter(|name| name.ends_with(".image")).collect()
}
