//! Which image a Quadlet means: `Image=`, followed through a `.image`.

use crate::finding::{Code, Finding, Place};
use crate::quadlet::search::{Files, Search};
use crate::quadlet::service::group_of;
use crate::quadlet::unit::{Unit, Value};
use crate::reference::Reference;

/// What a Quadlet says about its image, before the text is taken for a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// `Image=` of the Quadlet, or of the `.image` that it names.
    pub image: Value,
    /// `ImageTag=` of the `.image`.
    pub tag: Option<Value>,
    /// The `.image`, when the Quadlet is a `.container` that names one.
    pub via: Option<Unit>,
}

impl Meaning {
    /// Whether both come to the same image and name.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        let tag = |meaning: &Self| meaning.tag.as_ref().map(|tag| tag.text.clone());
        self.image.text == other.image.text && tag(self) == tag(other)
    }

    /// Where the image or else its tag is set by a file that `other` does not use.
    #[must_use]
    pub fn place_of_change(&self, other: &Self) -> Place {
        match (&self.tag, self.image.text == other.image.text) {
            (Some(tag), true) => tag.place.clone(),
            _ => self.image.place.clone(),
        }
    }
}

/// Finds out which image `unit` means.
///
/// # Errors
/// The finding that says why it means none; findings of drop-ins of a `.image` go to `findings`.
pub fn meaning(
    unit: &Unit,
    search: &Search,
    files: &Files<'_>,
    findings: &mut Vec<Finding>,
) -> Result<Meaning, Finding> {
    if group_of(&unit.name) == "Image" {
        return image_meaning(unit, None);
    }
    let image = unit.last("Container", "Image");
    let rootfs = unit.filled("Container", "Rootfs");
    let image = match (image.filter(|image| !image.text.is_empty()), rootfs) {
        (Some(image), None) => image,
        (None, None) => return Err(no_image(unit)),
        (Some(_), Some(rootfs)) => {
            let why = "Podman refuses a container with both Image= and Rootfs=";
            return Err(Finding::new(Code::Refused, rootfs.place, why, "remove Rootfs="));
        }
        (None, Some(rootfs)) => {
            let why = "the container runs from Rootfs=, so there is no image to bind";
            let fix = "name an image with Image=, or remove the link";
            return Err(Finding::new(Code::Rootfs, rootfs.place, why, fix));
        }
    };
    if image.text.ends_with(".build") {
        return Err(build_image(&image));
    }
    if !image.text.ends_with(".image") {
        return Ok(Meaning { image, tag: None, via: None });
    }
    let Some(path) = search.find(files, &image.text) else {
        if image.text.replace("%%", "").contains('%') {
            return Err(parse_specifiers(&image, "Image")
                .err()
                .unwrap_or_else(|| not_found(&image)));
        }
        return Err(not_found(&image));
    };
    let (via, more) = search.unit(files, path)?;
    findings.extend(more);
    findings.extend(image.ambiguity("Image"));
    image_meaning(&via.clone(), Some(via))
}

fn image_meaning(unit: &Unit, via: Option<Unit>) -> Result<Meaning, Finding> {
    let image = unit.filled("Image", "Image").ok_or_else(|| no_image(unit))?;
    if !image.text.contains('/') {
        if image.text.ends_with(".build") {
            return Err(build_image(&image));
        }
        if image.text.ends_with(".image") {
            let why = format!("Podman does not follow Image={} from a .image", image.text);
            let fix = "write the reference itself";
            return Err(Finding::new(Code::ImageChain, image.place, why, fix));
        }
    }
    Ok(Meaning { image, tag: unit.filled("Image", "ImageTag"), via })
}

fn no_image(unit: &Unit) -> Finding {
    let group = group_of(&unit.name);
    let place = unit.last(group, "Image").map_or_else(|| unit.place(), |value| value.place);
    let why = match place.line {
        Some(_) => format!("the last Image= of [{group}] is empty"),
        None => format!("there is no Image= in [{group}]"),
    };
    Finding::new(Code::NoImage, place, why, "set Image= to a reference").about(&unit.name)
}

fn build_image(image: &Value) -> Finding {
    let why = format!("Image={} is built on the host, so it cannot be fetched", image.text);
    let fix = "build it into a registry and name it there, or remove the link";
    Finding::new(Code::BuildImage, image.place.clone(), why, fix)
}

fn not_found(image: &Value) -> Finding {
    let why = format!(
        "Podman takes Image={} for a Quadlet, and there is none of that name in its search path",
        image.text
    );
    let fix = match image.text.contains('/') {
        true => "add a tag, so that it does not end in .image",
        false => "install it in usr/share/containers/systemd, or write the reference itself",
    };
    Finding::new(Code::QuadletNotFound, image.place.clone(), why, fix)
}

/// The reference in `value`, which is that of `key`.
///
/// # Errors
/// The finding that says why it is none.
pub fn parse_image(value: &Value, key: &str) -> Result<Reference, Finding> {
    let text = parse_specifiers(value, key)?;
    Reference::parse(&text).map_err(|error| {
        Finding::new(error.code(), value.place.clone(), format!("{key}= {error}"), error.fix())
            .about(text)
    })
}

/// systemd expands specifiers in the command line that Podman makes of the Quadlet
/// (systemd.unit(5)): `%%` is a percent sign, all others depend on host or unit.
fn parse_specifiers(value: &Value, key: &str) -> Result<String, Finding> {
    let mut text = String::new();
    let mut chars = value.text.chars();
    while let Some(char) = chars.next() {
        if char != '%' {
            text.push(char);
            continue;
        }
        match chars.next() {
            Some('%') => text.push('%'),
            other => {
                let specifier = other.map_or_else(|| "%".to_owned(), |char| format!("%{char}"));
                let why =
                    format!("{key}= has the specifier {specifier}: it is not known before boot");
                let fix = "write the text that it stands for";
                return Err(
                    Finding::new(Code::Specifier, value.place.clone(), why, fix).about(&value.text)
                );
            }
        }
    }
    Ok(text)
}
