//! Which bindings carry the digest that their tag has now, and the reference that would. Pure.

use binding::quadlet::edit::{EditError, replace_value};
use binding::quadlet::text::parse_text;
use binding::{Binding, Reference};
use oci_digest::Digest;

/// From which likeness (0 to 1) on a name may have been meant by another one.
const LIKE: f64 = 0.8;

/// How a reference stands to the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It carries the digest that its tag has.
    Pinned,
    /// It carries a digest and no tag: there is nothing to follow.
    NoTag,
    /// It carries no digest.
    Unpinned,
    /// It carries another digest than its tag has now.
    Moved,
    /// The registry did not say.
    Unknown,
}

impl State {
    /// The word for it in tables and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::NoTag => "no-tag",
            Self::Unpinned => "unpinned",
            Self::Moved => "moved",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a digest has to be written.
    #[must_use]
    pub fn is_stale(self) -> bool {
        matches!(self, Self::Unpinned | Self::Moved)
    }
}

/// What was found for one binding, and what was done.
#[derive(Clone, Debug)]
pub struct Row {
    /// The binding.
    pub binding: Binding,
    /// How it stood.
    pub state: State,
    /// The digest that its tag has now, else its own.
    pub digest: Option<Digest>,
    /// Whether that was written into its Quadlet.
    pub written: bool,
    /// What went wrong.
    pub problem: Option<String>,
    /// Whether the registry was asked, and has no such tag.
    pub absent: bool,
}

/// The tag to ask for: the reference without its digest. None where only a digest was given.
#[must_use]
pub fn tag_of(reference: &Reference) -> Option<Reference> {
    let tag = reference.tag()?;
    Reference::parse(&format!("{}:{tag}", reference.repository())).ok()
}

/// How a reference stands whose tag has the digest `now`.
#[must_use]
pub fn judge(reference: &Reference, now: Digest) -> State {
    match reference.digest() {
        None => State::Unpinned,
        Some(digest) if digest == now => State::Pinned,
        Some(_) => State::Moved,
    }
}

/// Whether a value may be changed that was read from `file` (a Quadlet or a drop-in of one), which is
/// the file `real` when all links are followed; `quadlets` is where the root's Quadlets really are. A
/// drop-in that is linked in from elsewhere belongs to somebody else, who would change it back.
#[must_use]
pub fn is_of_root(file: &str, real: &str, quadlets: &str) -> bool {
    let is_drop_in = file.rsplit('/').nth(1).is_some_and(|directory| directory.ends_with(".d"));
    !is_drop_in || real.strip_prefix(quadlets).is_some_and(|rest| rest.starts_with('/'))
}

/// The text of a file with the digest `now` at the `Image=` of `line`, and what that was and is.
///
/// # Errors
/// [`EditError`], also when there is no such `Image=` or it means another reference than `reference`.
pub fn edit(
    text: &str,
    line: usize,
    reference: &Reference,
    now: Digest,
) -> Result<String, EditError> {
    let parsed = parse_text(text).map_err(|_| EditError::Changed)?;
    let mut values = parsed.assignments.iter().filter(|one| one.line == line && one.key == "Image");
    let value = values.next().ok_or(EditError::Changed)?.value.trim_end().trim_matches('"');
    if Reference::parse(value).as_ref() != Ok(reference) {
        return Err(EditError::Changed);
    }
    replace_value(text, line, "Image", value, &pinned(value, reference, now))
}

/// The reference as its author wrote it, with a digest. A tag that was left out is written too: the
/// digest alone would not say what to follow.
#[must_use]
pub fn pinned(value: &str, reference: &Reference, now: Digest) -> String {
    if let Some((name, _)) = value.split_once('@') {
        return format!("{name}@{now}");
    }
    let has_tag = value.rsplit('/').next().is_some_and(|last| last.contains(':'));
    match reference.tag().filter(|_| !has_tag) {
        Some(tag) => format!("{value}:{tag}@{now}"),
        None => format!("{value}@{now}"),
    }
}

/// The name that was probably meant, if there is one.
#[must_use]
pub fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::jaro_winkler(typed, name), name))
        .filter(|(likeness, _)| *likeness > LIKE)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_keep_what_their_author_wrote() {
        let (old, now) = (Digest::of(b"old"), Digest::of(b"now"));
        for (value, wanted) in [
            ("quay.io/a/b:1", format!("quay.io/a/b:1@{now}")),
            ("quay.io/a/b", format!("quay.io/a/b:latest@{now}")),
            ("docker.io/nginx", format!("docker.io/nginx:latest@{now}")),
            ("localhost:5000/b", format!("localhost:5000/b:latest@{now}")),
            ("docker://quay.io/a:1", format!("docker://quay.io/a:1@{now}")),
            (&format!("quay.io/a:1@{old}"), format!("quay.io/a:1@{now}")),
        ] {
            let reference = Reference::parse(value).unwrap();
            let got = pinned(value, &reference, now);
            assert_eq!(got, wanted);
            let got = Reference::parse(&got).unwrap();
            assert_eq!(got.digest(), Some(now));
            assert_eq!(tag_of(&got), tag_of(&reference), "the same tag is followed");
            assert_eq!(judge(&got, now), State::Pinned);
            assert_eq!(judge(&got, old), State::Moved);
        }
        let only = Reference::parse(&format!("quay.io/a@{old}")).unwrap();
        assert_eq!(tag_of(&only), None);
    }

    #[test]
    fn a_name_is_guessed_only_where_one_is_near() {
        let known = ["node-exporter.container", "logger.image", "web.pod"];
        for (typed, wanted) in [
            ("node-exporter", Some("node-exporter.container")),
            ("node-exporter.image", Some("node-exporter.container")),
            ("loger.image", Some("logger.image")),
            ("zzz", None),
        ] {
            assert_eq!(nearest(typed, known.into_iter()), wanted, "{typed}");
        }
    }

    #[test]
    fn only_the_very_reference_is_changed() {
        let now = Digest::of(b"now");
        let text = "[Container]\nImage=quay.io/a:1\n";
        let reference = |text: &str| Reference::parse(text).unwrap();
        let wanted = format!("[Container]\nImage=quay.io/a:1@{now}\n");
        assert_eq!(edit(text, 2, &reference("quay.io/a:1"), now), Ok(wanted));
        assert_eq!(edit(text, 2, &reference("quay.io/a:2"), now), Err(EditError::Changed));
        assert_eq!(edit(text, 1, &reference("quay.io/a:1"), now), Err(EditError::Changed));
        assert_eq!(edit("what", 1, &reference("quay.io/a:1"), now), Err(EditError::Changed));
    }

    #[test]
    fn whose_files_are_changed() {
        const USR: &str = "usr/share/containers/systemd";
        for (file, real, wanted) in [
            ("x.container", "opt/vendor/x.container", true),
            ("y.image", "opt/vendor/y.image", true),
            ("x.container.d/10.conf", "usr/share/containers/systemd/x.container.d/10.conf", true),
            ("x.container.d/10.conf", "usr/share/containers/systemd-other/10.conf", false),
            ("x.container.d/10.conf", "opt/vendor/10.conf", false),
            ("container.d/10.conf", "etc/containers/systemd/container.d/10.conf", false),
        ] {
            assert_eq!(is_of_root(&format!("{USR}/{file}"), real, USR), wanted, "{file} {real}");
        }
    }
}
