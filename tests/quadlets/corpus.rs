//! Trees of Quadlets, with what they come to. Podman is asked about each of them.

/// One tree.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Path, below the directory of Quadlets unless it begins with a slash, and text; `path -> target`
    /// is a link. `{LONG}` stands for 70,000 letters.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// `service=image`, then `!code` of all findings. `quay.io/` is left out.
    pub(crate) reads: &'static str,
}

pub(crate) const fn case(
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
    reads: &'static str,
) -> Case {
    Case { name, files, reads }
}

/// All of them. Each is bound with a link for every `.container` and `.image`.
pub(crate) fn cases() -> impl Iterator<Item = &'static Case> {
    super::texts::CASES.iter().chain(super::trees::CASES)
}
