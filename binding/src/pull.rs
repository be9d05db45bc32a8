//! How an image is pulled: the options of a `.image` Quadlet, and platforms.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A password or key. Its `Debug` shows `***`; it cannot be serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself: never put it into an argument, a log, an error or a record.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Operating system and processor, in the words of the OCI image index (`amd64`, `arm64`, …).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`, as in Go's `GOOS`.
    pub os: String,
    /// `amd64`, as in Go's `GOARCH`.
    pub architecture: String,
    /// `v7` and the like; none where the architecture has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// The platform that this program was built for.
    #[must_use]
    pub fn host() -> Self {
        let (architecture, variant) = normal_architecture(std::env::consts::ARCH, None);
        Self { os: std::env::consts::OS.to_owned(), architecture, variant }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// The OCI name of an architecture that may be written as `uname -m` does. The same table as
/// containerd's `platforms.normalizeArch`, which Podman uses for `--arch`, plus the names that
/// Rust has for targets of Go.
fn normal_architecture(architecture: &str, variant: Option<&str>) -> (String, Option<String>) {
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant.map(str::to_ascii_lowercase).filter(|variant| !variant.is_empty());
    let (name, variant) = match (architecture.as_str(), variant.as_deref()) {
        ("i386" | "i486" | "i586" | "i686" | "x86" | "386", _) => ("386", None),
        ("x86_64" | "x86-64" | "amd64", Some("v1")) => ("amd64", None),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64", None),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", Some("v7")),
        ("armel", _) => ("arm", Some("v6")),
        ("arm", None | Some("7")) => ("arm", Some("v7")),
        ("arm", Some("5")) => ("arm", Some("v5")),
        ("arm", Some("6")) => ("arm", Some("v6")),
        ("arm", Some("8")) => ("arm", Some("v8")),
        ("powerpc64", variant) if cfg!(target_endian = "little") => ("ppc64le", variant),
        ("loongarch64", variant) => ("loong64", variant),
        (other, variant) => (other, variant),
    };
    (name.to_owned(), variant.map(str::to_owned))
}

/// The options of a `.image` Quadlet that decide how and what is pulled
/// (podman-systemd.unit(5), "Image units"). All empty for a plain `.container`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullOptions {
    /// `AuthFile=`: path of an auth.json, as written.
    pub auth_file: Option<String>,
    /// `CertDir=`: directory of registry certificates, as written.
    pub cert_dir: Option<String>,
    /// `Creds=`: `user:password`.
    pub creds: Option<Secret>,
    /// `DecryptionKey=`: `file[:passphrase]`; at most one, as Podman reads only the last.
    pub decryption_keys: Vec<Secret>,
    /// `TLSVerify=`.
    pub tls_verify: Option<bool>,
    /// `OS=`, as written.
    pub os: Option<String>,
    /// `Arch=`, as written.
    pub arch: Option<String>,
    /// `Variant=`, as written.
    pub variant: Option<String>,
    /// `Retry=`: how often a failed pull is tried again.
    pub retry: Option<u32>,
    /// `RetryDelay=`: the pause between two tries.
    pub retry_delay: Option<Duration>,
}

impl PullOptions {
    /// The platform to pull: what the options say, else `host`'s. An architecture without a
    /// variant does not take the host's variant.
    #[must_use]
    pub fn platform(&self, host: &Platform) -> Platform {
        let os = self.os.as_deref().unwrap_or(&host.os).to_ascii_lowercase();
        let (architecture, variant) = match (&self.arch, &self.variant) {
            (None, None) => (host.architecture.clone(), host.variant.clone()),
            (None, Some(variant)) => normal_architecture(&host.architecture, Some(variant)),
            (Some(arch), variant) => normal_architecture(arch, variant.as_deref()),
        };
        Platform { os, architecture, variant }
    }
}

/// Reads a Go duration (`1h2m3.5s`, `300ms`) or plain seconds, for `RetryDelay=`. None when it
/// is neither, is negative or is longer than a day.
#[must_use]
pub fn parse_delay(text: &str) -> Option<Duration> {
    const DAY: f64 = 86_400.0;
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let digits = |text: &str| {
        text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len())
    };
    let mut seconds = 0.0;
    if rest.is_empty() || text.len() > 64 {
        return None;
    }
    if digits(rest) == rest.len() {
        seconds = rest.parse::<f64>().ok()?;
        rest = "";
    }
    while !rest.is_empty() {
        let (number, tail) = rest.split_at_checked(digits(rest))?;
        let number: f64 = number.parse().ok()?;
        let units = [
            ("ns", 1e-9),
            ("us", 1e-6),
            ("µs", 1e-6),
            ("μs", 1e-6),
            ("ms", 1e-3),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
        ];
        let (tail, factor) =
            units.iter().find_map(|(unit, factor)| Some((tail.strip_prefix(unit)?, factor)))?;
        seconds += number * factor;
        rest = tail;
    }
    if seconds > DAY {
        return None;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        Platform {
            os: parts.next().unwrap(),
            architecture: parts.next().unwrap(),
            variant: parts.next(),
        }
    }

    #[test]
    fn platforms_follow_the_options() {
        let table: &[(&str, &[&str; 3], &str)] = &[
            ("linux/amd64", &["", "", ""], "linux/amd64"),
            ("linux/arm/v7", &["", "", ""], "linux/arm/v7"),
            ("linux/arm/v7", &["", "", "v6"], "linux/arm/v6"),
            ("linux/arm/v7", &["", "arm64", ""], "linux/arm64"),
            ("linux/amd64", &["", "x86_64", ""], "linux/amd64"),
            ("linux/amd64", &["", "aarch64", "v8"], "linux/arm64"),
            ("linux/amd64", &["", "arm", ""], "linux/arm/v7"),
            ("linux/amd64", &["", "armel", ""], "linux/arm/v6"),
            ("linux/amd64", &["windows", "", ""], "windows/amd64"),
            ("linux/amd64", &["", "s390x", ""], "linux/s390x"),
            ("linux/amd64", &["", "amd64", "v3"], "linux/amd64/v3"),
        ];
        for (host, [os, arch, variant], want) in table {
            let option = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let options = PullOptions {
                os: option(os),
                arch: option(arch),
                variant: option(variant),
                ..PullOptions::default()
            };
            assert_eq!(options.platform(&platform(host)).to_string(), *want, "{host} {arch}");
        }
    }

    #[test]
    fn delays() {
        let table = [
            ("5", Some(5_000)),
            ("5s", Some(5_000)),
            ("1.5s", Some(1_500)),
            ("300ms", Some(300)),
            ("1m30s", Some(90_000)),
            ("1h", Some(3_600_000)),
            ("0", Some(0)),
            ("", None),
            ("s", None),
            ("-5s", None),
            ("5x", None),
            ("1..5s", None),
            ("25h", None),
            ("99999999999999999999h", None),
            ("5s5", None),
            ("+5s", Some(5_000)),
        ];
        for (text, want) in table {
            assert_eq!(parse_delay(text), want.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn secrets_do_not_show() {
        let options =
            PullOptions { creds: Some(Secret::new("user:hunter2")), ..PullOptions::default() };
        assert!(!format!("{options:?}").contains("hunter2"));
        assert_eq!(options.creds.unwrap().expose(), "user:hunter2");
    }
}
