//! What is wrong with a binding: an expected fault, told with place, reason and remedy.

use std::fmt;

use serde::{Serialize, Serializer};

/// A line of a file of the root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// Root-relative path, without a leading slash.
    pub file: String,
    /// Line, counted from one; none when the finding is about the whole file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl Place {
    /// The whole of `file`.
    pub fn file(file: impl Into<String>) -> Self {
        Self { file: file.into(), line: None }
    }

    /// One line of `file`, counted from one.
    pub fn line(file: impl Into<String>, line: usize) -> Self {
        Self { file: file.into(), line: Some(line) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        match self.line {
            Some(line) => write!(f, ":{line}"),
            None => Ok(()),
        }
    }
}

/// Whether a finding keeps the root from being bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The binding cannot be kept: nothing may be staged from it.
    Error,
    /// The binding works, but not as its author is likely to think.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// Declares [`Code`] with its stable text, severity and reason, so that none can be forgotten.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $severity:ident;)+) => {
        /// What kind of fault a finding tells of. The texts are stable: scripts match on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Code {
            /// All codes, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The stable text, in kebab-case.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// Whether a service with this fault does not start from the image that is bound, although
            /// it may be there: then its root is not complete.
            #[must_use]
            pub fn keeps_image_away(self) -> bool {
                matches!(self, Self::StoreHidden | Self::PullAlways)
            }

            /// What the fault is, in a sentence or two, with Markdown code marks.
            #[must_use]
            pub fn summary(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii_start(),)+ }
            }

            /// How bad this fault is, unless whoever finds it knows better: `unpinned` where pins are
            /// required, for example.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)+ }
            }
        }
    };
}

codes! {
    // links
    /// The name of a link, or what it leads to, does not end in `.image` or `.container`.
    UnknownExtension = "unknown-extension", Error;
    /// An entry of the bindings directory is a directory or a file, not a symlink.
    NotALink = "not-a-link", Error;
    /// A link, or one that it leads through, ends at nothing.
    DanglingLink = "dangling-link", Error;
    /// Following a link never ends.
    LinkLoop = "link-loop", Error;
    /// A link climbs above the top of the root with `..`.
    LinkEscapes = "link-escapes", Error;
    /// A link ends at a directory, device, socket or fifo.
    NotAFile = "not-a-file", Error;
    /// The name of an entry, or a link's target, is not UTF-8.
    NameNotUtf8 = "name-not-utf8", Error;
    /// The name of an entry begins with a dot.
    HiddenName = "hidden-name", Error;
    /// Podman's search path cannot be listed.
    SearchPath = "search-path", Error;

    // Quadlet files
    /// A Quadlet or drop-in cannot be read.
    Unreadable = "unreadable", Error;
    /// A Quadlet or drop-in is larger than one MiB.
    TooLarge = "too-large", Error;
    /// A Quadlet or drop-in is not UTF-8.
    NotUtf8 = "not-utf8", Error;
    /// Podman's parser refuses a Quadlet or drop-in.
    Syntax = "syntax", Error;
    /// A file beside the bound Quadlet is refused by Podman, which then may drop the whole
    /// directory (5.4 does).
    BrokenNeighbour = "broken-neighbour", Error;
    /// An assignment that Podman silently loses: a continuation that ends in a comment at the end
    /// of the file.
    LostLine = "lost-line", Warning;
    /// A key stands twice in one file with two values; the last one counts.
    RepeatedKey = "repeated-key", Warning;
    /// Podman versions strip the quotes of a value differently.
    AmbiguousQuotes = "ambiguous-quotes", Warning;
    /// A key that Podman, or an older Podman, does not know: it then refuses the whole Quadlet.
    UnknownKey = "unknown-key", Warning;
    /// Podman's generator refuses the Quadlet for a value in it.
    Refused = "refused", Error;
    /// Podman versions read the drop-ins of a Quadlet in a different order, with different results.
    DropinOrder = "dropin-order", Warning;

    // which image
    /// There is no `Image=`, or the last one is empty.
    NoImage = "no-image", Error;
    /// The container runs from `Rootfs=`, not from an image.
    Rootfs = "rootfs", Error;
    /// `Image=x.image` or `Image=x.build` names a Quadlet that is not in the search path.
    QuadletNotFound = "quadlet-not-found", Error;
    /// The image is made by a `.build` Quadlet, so it cannot be fetched.
    BuildImage = "build-image", Error;
    /// An `.image` names another `.image`: Podman does not follow that.
    ImageChain = "image-chain", Error;
    /// A systemd specifier other than `%%` in `Image=` or `ImageTag=`.
    Specifier = "specifier", Error;
    /// A reference without a registry.
    ShortName = "short-name", Error;
    /// A reference to something that is not in a registry, such as `oci:/path`.
    Transport = "transport", Error;
    /// An image id where a reference must stand.
    ImageId = "image-id", Error;
    /// A digest whose algorithm is not sha256.
    DigestAlgorithm = "digest-algorithm", Error;
    /// Anything else that is not a reference.
    BadReference = "bad-reference", Error;

    // how it is pulled
    /// `AllTags=true`: one binding is one image.
    AllTags = "all-tags", Error;
    /// A pull option whose value cannot be understood.
    BadPullOption = "bad-pull-option", Error;
    /// A text where a boolean should stand.
    BadBoolean = "bad-boolean", Error;
    /// `Pull=`, `Policy=` or `--pull` that fetches another image than the one bound.
    PullPolicy = "pull-policy", Warning;
    /// A container asks the registry at every start (`Pull=always`), so that it cannot start without
    /// one: its root is not complete.
    PullAlways = "pull-always", Warning;
    /// `AutoUpdate=registry`: the container would leave its root behind.
    AutoUpdate = "auto-update", Warning;
    /// Arguments in `PodmanArgs=` that change what is pulled; only keys are read.
    PullArguments = "pull-arguments", Warning;
    /// Arguments that keep a service from seeing the store of its root.
    StoreHidden = "store-hidden", Warning;

    // [X-BoundImage]
    /// A key of `[X-BoundImage]` that is not known.
    UnknownBindingKey = "unknown-binding-key", Warning;

    // services and search path
    /// `ServiceName=`, or the file name where there is none, is not a name of a systemd service.
    ServiceName = "service-name", Error;
    /// Podman versions name the service of this template differently.
    TemplateName = "template-name", Warning;
    /// The Quadlet is not in Podman's search path: no service is made of it.
    OutsideSearchPath = "outside-search-path", Warning;
    /// Podman reads another file of the same name first.
    ShadowedQuadlet = "shadowed-quadlet", Error;
    /// The root's `/etc` changes which image the service runs.
    Overridden = "overridden", Warning;

    // between bindings
    /// The same reference is bound for two platforms.
    TwoPlatforms = "two-platforms", Error;
    /// The same name would stand for two images in one store.
    NameConflict = "name-conflict", Error;
    /// A pinned name carries a digest that its image does not have.
    DigestMismatch = "digest-mismatch", Error;
    /// One tag is pinned to two digests.
    TwoDigests = "two-digests", Warning;

    // what only lint looks at
    /// A reference carries no digest: which image it means is decided when its root is staged. An
    /// error where the configuration says `pin = "require"`.
    Unpinned = "unpinned", Warning;
    /// A `.image` that no Quadlet uses.
    UnusedImage = "unused-image", Warning;
    /// bootc cannot read the Quadlet, or cannot pull what it reads there: then every upgrade fails. An
    /// error where the root has bootc.
    BootcRefuses = "bootc-refuses", Warning;
    /// bootc reads another image from the Quadlet than Podman runs, and pulls it.
    BootcDiffers = "bootc-differs", Warning;
    /// The root has no directory where its store belongs. An error where its storage.conf lists the
    /// store: then every podman command fails.
    StoreMissing = "store-missing", Warning;
    /// What stands where the store belongs is not a store that Podman can read.
    StoreInvalid = "store-invalid", Error;
    /// storage.conf does not list the store: bound services see it all the same, other podman
    /// commands do not.
    StoreNotListed = "store-not-listed", Warning;
    /// storage.conf, or a drop-in of it, cannot be read: every podman command fails.
    StorageConfInvalid = "storage-conf-invalid", Error;
    /// storage.conf names a driver that cannot read the store.
    StorageConfDriver = "storage-conf-driver", Error;
    /// The storage.conf of `/etc` takes the place of one that lists the store.
    StorageConfHides = "storage-conf-hides", Warning;
    /// A drop-in of storage.conf replaces the list that has the store (Podman 6), or is the only one that
    /// has it (older versions read no drop-ins).
    StorageConfDropin = "storage-conf-dropin", Warning;
    /// A unit that finalizes a staged root lacks the drop-in with the gate.
    GateMissing = "gate-missing", Warning;
    /// The drop-in with the gate hides what the vendor's unit runs, or does not run the gate first.
    GateDiffers = "gate-differs", Error;
    /// A file of the configuration of bound-images is not valid, or has a key that is not known.
    BadConfig = "bad-config", Error;

    // what only verify looks at
    /// The OCI hook that keeps a bound container to its image is not there, or cannot be run.
    HookMissing = "hook-missing", Warning;
    /// `hooks_dir` of containers.conf leaves out the directory of the hook, so that Podman does not start
    /// it.
    HookOverridden = "hook-overridden", Warning;
    /// A bound service runs, and the hook did not judge its container.
    StartUnrecorded = "start-unrecorded", Warning;

    // what only the registry knows
    /// The registry does not have the image.
    ImageNotFound = "image-not-found", Error;
    /// The image is not made for the platform that is bound.
    NoSuchPlatform = "no-such-platform", Error;
    /// The registry has the image, but it cannot be bound: damaged, of an unknown format, or refused by
    /// the signature policy.
    ImageUnusable = "image-unusable", Error;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One fault of a binding. Displays as one line: `error[code] file:line: why; fix`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of fault.
    pub code: Code,
    /// Whether it keeps the root from being bound.
    pub severity: Severity,
    /// Where to mend it.
    pub place: Place,
    /// The image, reference, service or link that suffers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What is wrong, and what follows from it.
    pub why: String,
    /// What to do about it.
    pub fix: String,
}

impl Finding {
    /// A finding with the severity of its code.
    pub fn new(code: Code, place: Place, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            place,
            subject: None,
            why: why.into(),
            fix: fix.into(),
        }
    }

    /// The same finding, said of `subject`.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Whether this finding is an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line =
            format!("{}[{}] {}: {}; {}", self.severity, self.code, self.place, self.why, self.fix);
        // Names and values come from files: a line break or an escape sequence in one of them must
        // not forge a second line or drive a terminal.
        for char in line.chars() {
            match char.is_control() {
                true => write!(f, "{}", char.escape_default())?,
                false => write!(f, "{char}")?,
            }
        }
        Ok(())
    }
}

/// Sorts by place, then severity, code and text, and drops exact repeats.
pub fn sort(findings: &mut Vec<Finding>) {
    findings.sort_by(|a, b| {
        (&a.place, a.severity, a.code, &a.subject, &a.why)
            .cmp(&(&b.place, b.severity, b.code, &b.subject, &b.why))
    });
    findings.dedup();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_kebab_case() {
        let texts: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        for text in texts {
            assert!(
                text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
        }
    }

    #[test]
    fn a_finding_is_one_line_whatever_is_in_it() {
        let finding =
            Finding::new(Code::Syntax, Place::line("a\nb", 3), "what \u{1b}[31m", "mend it")
                .about("x");
        assert_eq!(finding.to_string(), "error[syntax] a\\nb:3: what \\u{1b}[31m; mend it");
        assert_eq!(
            serde_json::to_string(&finding).unwrap(),
            r#"{"code":"syntax","severity":"error","place":{"file":"a\nb","line":3},"subject":"x","why":"what \u001b[31m","fix":"mend it"}"#
        );
    }
}
