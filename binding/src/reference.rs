//! Image references, normalised as containers/image does (`docker/reference`).

use std::fmt;
use std::str::FromStr;

use oci_digest::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::finding::Code;

/// Longest `registry/path`, in bytes (`NameTotalLengthMax`).
const MAX_NAME: usize = 255;
/// Longest tag, in bytes (OCI distribution specification, "Pulling manifests").
const MAX_TAG: usize = 128;
/// Transports of containers/image other than `docker`: these images are in no registry.
const TRANSPORTS: [&str; 10] = [
    "atomic",
    "containers-storage",
    "dir",
    "docker-archive",
    "docker-daemon",
    "oci",
    "oci-archive",
    "ostree",
    "sif",
    "tarball",
];

/// A fully qualified image reference: `registry/path`, a tag, a digest, or both.
///
/// Displays as normalised: `docker.io/nginx` is `docker.io/library/nginx:latest`. A tag beside a
/// digest is kept for people; the digest alone decides.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    repository: String,
    registry: usize,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not a reference that can be bound. Holds the text, shortened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferenceError {
    /// No registry in front.
    ShortName(String),
    /// Not in a registry: `oci:`, `dir:`, ….
    Transport(String),
    /// An image id.
    ImageId(String),
    /// A digest that is not sha256.
    Algorithm(String),
    /// A capital letter in the repository.
    Capital(String),
    /// Anything else; with the reason.
    Malformed(String, &'static str),
}

impl ReferenceError {
    /// The code under which it is reported.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::ShortName(_) => Code::ShortName,
            Self::Transport(_) => Code::Transport,
            Self::ImageId(_) => Code::ImageId,
            Self::Algorithm(_) => Code::DigestAlgorithm,
            Self::Capital(_) | Self::Malformed(..) => Code::BadReference,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::ShortName(text) => {
                // Only said when it would be right: the text must be a reference with it.
                let path = if text.contains('/') { "" } else { "library/" };
                let full = format!("docker.io/{path}{text}");
                match Reference::parse(&full) {
                    Ok(_) => format!("write the registry too, for example {full}"),
                    Err(_) => "write registry/path:tag".to_owned(),
                }
            }
            Self::Transport(_) => "push the image to a registry and name it there".to_owned(),
            Self::ImageId(_) => "write registry/path@sha256:… with a manifest digest".to_owned(),
            Self::Algorithm(_) => "use the sha256 digest of the manifest".to_owned(),
            Self::Capital(_) => "write the repository in lower case".to_owned(),
            Self::Malformed(..) => "write registry/path:tag or registry/path@sha256:…".to_owned(),
        }
    }
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShortName(text) => {
                write!(f, "{text:?} is a short name: which registry it means depends on the host")
            }
            Self::Transport(text) => write!(f, "{text:?} is not an image in a registry"),
            Self::ImageId(text) => write!(f, "{text:?} is an image id, which cannot be fetched"),
            Self::Algorithm(text) => {
                write!(f, "{text:?} has a digest that is not sha256: only sha256 is supported")
            }
            Self::Capital(text) => write!(f, "{text:?} has a capital letter in its repository"),
            Self::Malformed(text, why) => write!(f, "{text:?} is not an image reference: {why}"),
        }
    }
}

impl std::error::Error for ReferenceError {}

impl Reference {
    /// Reads a fully qualified reference; a `docker://` in front is dropped.
    ///
    /// # Errors
    /// When it is a short name, an image id, of another transport, or malformed.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let shown = || text.chars().take(300).collect::<String>();
        let malformed = |why| ReferenceError::Malformed(shown(), why);
        let body = text.strip_prefix("docker://").unwrap_or(text);
        let is_hex = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if body.starts_with("sha256:") || is_hex(body) {
            return Err(ReferenceError::ImageId(shown()));
        }
        if body.split_once(':').is_some_and(|(name, _)| TRANSPORTS.contains(&name)) {
            return Err(ReferenceError::Transport(shown()));
        }
        if body.is_empty() {
            return Err(malformed("it is empty"));
        }
        if body.contains('$') {
            return Err(malformed("variables are not known before the service starts"));
        }
        if body.contains("://") {
            return Err(ReferenceError::Transport(shown()));
        }
        let (name, digest) = match body.split_once('@') {
            None => (body, None),
            Some((name, digest)) => (name, Some(digest)),
        };
        // A colon after the last slash begins a tag; one before it begins a port.
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (name, None),
        };
        let Some((registry, path)) = name
            .split_once('/')
            .filter(|(first, _)| first.contains(['.', ':']) || *first == "localhost")
        else {
            return Err(ReferenceError::ShortName(shown()));
        };
        if !is_registry(registry) {
            return Err(malformed("its registry is not a host name with an optional port"));
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ReferenceError::Capital(shown()));
        }
        if !path.split('/').all(is_component) {
            return Err(malformed(
                "its path may have lower-case letters, digits and . _ - between",
            ));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(malformed("its tag is not one"));
        }
        let digest = match digest {
            None => None,
            Some(digest) => Some(digest.parse().map_err(|error| match error {
                oci_digest::ParseError::Algorithm(_) if is_digest(digest) => {
                    ReferenceError::Algorithm(shown())
                }
                _ => malformed("its digest is not sha256: and 64 lower-case hex digits"),
            })?),
        };
        let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
        let library = if registry == "docker.io" && !path.contains('/') { "library/" } else { "" };
        let repository = format!("{registry}/{library}{path}");
        if repository.len() > MAX_NAME {
            return Err(malformed("its repository is longer than 255 bytes"));
        }
        let tag = tag.or(digest.is_none().then_some("latest")).map(str::to_owned);
        Ok(Self { repository, registry: registry.len(), tag, digest })
    }

    /// The registry, `host` or `host:port`.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.repository.get(..self.registry).unwrap_or(&self.repository)
    }

    /// The repository with its registry, without tag and digest.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; none when only a digest was given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Whether it carries a digest.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.digest.is_some()
    }

    /// `repository@digest`.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> String {
        format!("{}@{digest}", self.repository)
    }

    /// The name that an image of this reference has in a store: `repository@digest` when pinned
    /// (Podman drops the tag of `repository:tag@digest`), else `repository:tag`.
    #[must_use]
    pub fn stored_name(&self) -> String {
        match (self.digest, &self.tag) {
            (Some(digest), _) => self.with_digest(digest),
            (None, Some(tag)) => format!("{}:{tag}", self.repository),
            (None, None) => self.repository.clone(),
        }
    }
}

/// A host name, IPv4 address or IPv6 address in brackets, and a port.
fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => {
                let valid = !address.is_empty()
                    && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
                return valid && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
            }
            None => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// `[a-z0-9]+` joined by `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|end| end.is_some_and(|byte| is_word(*byte)))
        && text.split(|char: char| char.is_ascii_lowercase() || char.is_ascii_digit()).all(
            |joint| {
                matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|byte| byte == b'-')
            },
        )
}

fn is_tag(text: &str) -> bool {
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Whether it looks like a digest of any algorithm (OCI image specification, "Digests").
fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, encoded)| {
        algorithm.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            && !algorithm.is_empty()
            && encoded.len() >= 32
            && encoded.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
