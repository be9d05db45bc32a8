//! Why an image could not be had, in kinds that the caller decides on.

use std::fmt;

/// The kinds of failure. Which of them are worth another try says [`Kind::is_retryable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The source does not have the image, or a part of it.
    NotFound,
    /// 401 or 403: the credentials tried (if any) do not open the image.
    Unauthorized,
    /// The registry cannot be reached, or the connection broke.
    Network,
    /// The registry's certificate cannot be relied on.
    Tls,
    /// The registry answers without TLS, and nobody allowed that.
    PlainHttp,
    /// 429: the registry wants fewer requests.
    RateLimited,
    /// 5xx: the registry failed.
    Server,
    /// The bytes are not those that their digest and size promise.
    Corrupt,
    /// The signature policy of the host refuses the image, or cannot be enforced.
    Policy,
    /// The image is not for the platform that was asked for.
    Platform,
    /// A format or option that cannot be served.
    Unsupported,
    /// skopeo is not installed.
    SkopeoMissing,
    /// skopeo is too old to be an image proxy.
    SkopeoTooOld,
    /// Nothing came for the stall timeout.
    Stalled,
    /// The receiver of the bytes went away.
    Cancelled,
    /// The local machine failed (files, processes).
    Io,
}

impl Kind {
    /// Whether the same request may succeed a moment later.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Network | Self::RateLimited | Self::Server | Self::Stalled)
    }

    /// Whether no image at all can be had on this machine as it is.
    #[must_use]
    pub fn is_installation(self) -> bool {
        matches!(self, Self::SkopeoMissing | Self::SkopeoTooOld)
    }

    /// What a person can do about it.
    fn fix(self) -> &'static str {
        match self {
            Self::NotFound => "check the name, the tag or digest, and that it was pushed",
            Self::Unauthorized => "put valid credentials for this registry into an auth file",
            Self::Network => "check the network, DNS, proxy and TLS settings, then try again",
            Self::Tls => "put the registry's CA into certs.d or CertDir=, or see TLSVerify=",
            Self::PlainHttp => "allow plain HTTP with `insecure = true` for it in registries.conf",
            Self::RateLimited => "wait, log in, or use a mirror",
            Self::Server => "try again later, or tell the operator of the registry",
            Self::Corrupt => "the source is damaged or tampered with: push or copy the image again",
            Self::Policy => "sign the image as policy.json demands, or change policy.json",
            Self::Platform => "bind an image for this platform, or set Arch=, OS= or Variant=",
            Self::Unsupported => "bind another image, or rebuild this one",
            Self::SkopeoMissing => "install the package `skopeo`",
            Self::SkopeoTooOld => "install skopeo 1.6 or newer",
            Self::Stalled => "check the network, or raise stall-timeout",
            Self::Cancelled => "see the error of the reader",
            Self::Io => "see the cause; then try again",
        }
    }
}

/// Who could not serve an image: it decides what a person can do about that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// A registry.
    #[default]
    Registry,
    /// A bundle, and nobody else.
    Bundle,
    /// Bundles, and then a registry.
    Both,
}

/// What is said of a bundle that lacks something, or has it wrong.
const WRITE_AGAIN: &str = "write the bundle again with `bound-images bundle`";

/// A failure without the name of the image: what the pure parts report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of failure.
    pub kind: Kind,
    /// What is wrong, without a full stop.
    pub why: String,
}

impl Refusal {
    /// A refusal of `kind` because of `why`.
    pub fn new(kind: Kind, why: impl Into<String>) -> Self {
        Self { kind, why: why.into() }
    }

    /// Names the image that is refused.
    #[must_use]
    pub fn of(self, image: impl fmt::Display) -> SourceError {
        SourceError {
            kind: self.kind,
            image: image.to_string(),
            why: self.why,
            asked: Asked::Registry,
        }
    }
}

/// Why an image, or a blob of it, could not be had. Displays as one line: which image, why, and
/// what to do. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError {
    /// What the caller decides on.
    pub kind: Kind,
    /// The image reference as it is bound.
    pub image: String,
    /// What went wrong.
    pub why: String,
    /// Who was asked.
    pub asked: Asked,
}

impl SourceError {
    /// The same, of another source.
    #[must_use]
    pub fn asked(self, asked: Asked) -> Self {
        Self { asked, ..self }
    }

    /// Whether the same request may succeed a moment later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind.is_retryable()
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot fetch {}: {}; ", self.image, self.why)?;
        let is_ours = matches!(self.kind, Kind::NotFound | Kind::Corrupt);
        match self.asked {
            Asked::Bundle if is_ours => f.write_str(WRITE_AGAIN),
            Asked::Both => write!(f, "{}, or {WRITE_AGAIN}", self.kind.fix()),
            _ => f.write_str(self.kind.fix()),
        }
    }
}

impl std::error::Error for SourceError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_is_for_whoever_was_asked() {
        let error = |kind, asked| Refusal::new(kind, "why").of("r/x:1").asked(asked).to_string();
        for (kind, asked, wanted, not) in [
            (Kind::NotFound, Asked::Registry, "pushed", "bundle"),
            (Kind::NotFound, Asked::Bundle, "`bound-images bundle`", "pushed"),
            (Kind::Corrupt, Asked::Bundle, "`bound-images bundle`", "push"),
            (Kind::Platform, Asked::Bundle, "Arch=", "again"),
            (Kind::Network, Asked::Both, "the network, DNS", "pushed"),
            (Kind::Network, Asked::Both, "or write the bundle again", "pushed"),
            (Kind::PlainHttp, Asked::Registry, "`insecure = true`", "CA"),
            (Kind::Tls, Asked::Registry, "CA", "insecure"),
        ] {
            let text = error(kind, asked);
            assert!(text.contains(wanted) && !text.contains(not), "{text}");
        }
    }
}
