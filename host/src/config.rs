//! Configuration: `*.toml` in `/usr/lib/bound-images/config.d`, `/etc/…` and `/run/…`.
//!
//! As with systemd's drop-ins, files are sorted by name whatever their directory, a file in a later
//! directory replaces the one of the same name in an earlier one (an empty file takes it away), and
//! of one key the last value counts. It works with no file at all.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use binding::Root;
use serde::Deserialize;

/// Where fragments are looked for, in this order.
pub const DIRECTORIES: [&str; 3] =
    ["/usr/lib/bound-images/config.d", "/etc/bound-images/config.d", "/run/bound-images/config.d"];

/// The largest fragment that is read, in bytes.
const MAX_FRAGMENT: u64 = 64 << 10;
/// The most fragments in one directory.
const MAX_FRAGMENTS: usize = 1000;
/// The most foreign stores: each may have to be waited for.
const MAX_STORES: usize = 16;
/// The most bundles, for the same reason.
const MAX_BUNDLES: usize = 16;

/// Whether an unpinned binding may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pin {
    /// It is a warning.
    Warn,
    /// It is an error at lint and when a new root is staged.
    Require,
}

/// What the fragments say, merged; none where they say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// What was not understood, one sentence each: an error for a person at a terminal, a warning
    /// for a unit, since an older program must not refuse for ever what a newer one's key says.
    pub unknown: Vec<String>,
    /// Whether an unpinned binding may stand.
    pub pin: Option<Pin>,
    /// Whether a root that was never staged fetches its images when it has booted.
    pub late_binding: Option<bool>,
    /// How long the last call at shutdown may take.
    pub last_call_timeout: Option<Duration>,
    /// For how long an update that was held back is still fetched and kept.
    pub keep_wanted: Option<Duration>,
    /// Where the pool is: an absolute path.
    pub pool: Option<String>,
    /// Layers fetched at the same time: 1 to 16.
    pub jobs: Option<usize>,
    /// Most connections for one large layer: 1 to 6.
    pub parts: Option<usize>,
    /// Credentials for registries, an absolute path.
    pub authfile: Option<PathBuf>,
    /// How long a transfer may give nothing.
    pub stall_timeout: Option<Duration>,
    /// How often a request that may get better is tried again: at most 100.
    pub retries: Option<u32>,
    /// Stores of others from which layers may be copied, absolute paths.
    pub foreign_stores: Option<Vec<PathBuf>>,
    /// OCI layouts that are looked into before registries are asked, absolute paths.
    pub bundles: Option<Vec<PathBuf>>,
}

/// One fragment as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Fragment {
    pin: Option<Pin>,
    late_binding: Option<bool>,
    /// Seconds. Numbers are taken as TOML has them, so that one of any size is told its range.
    last_call_timeout: Option<i64>,
    /// Days.
    keep_wanted: Option<i64>,
    pool: Option<String>,
    jobs: Option<i64>,
    parts: Option<i64>,
    authfile: Option<PathBuf>,
    /// Seconds.
    stall_timeout: Option<i64>,
    retries: Option<i64>,
    foreign_stores: Option<Vec<PathBuf>>,
    bundles: Option<Vec<PathBuf>>,
}

/// The keys that a fragment may have.
pub const KEYS: [&str; 12] = [
    "authfile",
    "bundles",
    "foreign-stores",
    "jobs",
    "keep-wanted",
    "last-call-timeout",
    "late-binding",
    "parts",
    "pin",
    "pool",
    "retries",
    "stall-timeout",
];
/// Seconds of a day.
const DAY: u64 = 86_400;
/// The longest last call, in seconds: `reboot.target` gives up after 30 minutes.
const MAX_LAST_CALL: u32 = 1500;
/// The longest that a wanted update is kept, in days.
const MAX_DAYS: u32 = 65_535;

/// Reads and merges the fragments in directories of roots (the latter are not trusted): links are
/// followed inside of their root, and nothing is waited for.
///
/// # Errors
/// As [`read`].
pub fn read_inside(directories: &[(&Root, &str)]) -> anyhow::Result<Config> {
    let mut files: BTreeMap<String, (PathBuf, String)> = BTreeMap::new();
    for (root, directory) in directories {
        let directory = directory.trim_start_matches('/');
        let shown = root.path().join(directory);
        let entries = match root.list_optional(directory) {
            Ok(entries) => entries.unwrap_or_default(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot list {}", shown.display()));
            }
        };
        let names = entries.iter().filter_map(|entry| entry.name.to_str());
        for name in names.filter(|name| name.ends_with(".toml")) {
            let (path, inside) = (shown.join(name), format!("{directory}/{name}"));
            let bytes = match root.read(&inside, MAX_FRAGMENT) {
                // What is masked so may have no /dev where it is looked at.
                Err(_) if root.read_link(&inside).is_ok_and(|target| target == "/dev/null") => {
                    Vec::new()
                }
                bytes => bytes.with_context(|| format!("cannot read {}", path.display()))?,
            };
            let text = String::from_utf8(bytes)
                .with_context(|| format!("cannot read {}", path.display()))?;
            files.insert(name.to_owned(), (path, text));
        }
    }
    let mut config = Config::default();
    for (path, text) in files.values() {
        merge(&mut config, path, text)
            .with_context(|| format!("{} is not valid", path.display()))?;
    }
    Ok(config)
}

/// Reads and merges the fragments in `directories`.
///
/// # Errors
/// When a fragment cannot be read, or is wrong: with file, line and column.
pub fn read(directories: &[&Path]) -> anyhow::Result<Config> {
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    for directory in directories {
        for name in names(directory)? {
            files.insert(name.clone(), directory.join(name));
        }
    }
    let mut config = Config::default();
    for path in files.values() {
        let text = text(path).with_context(|| format!("cannot read {}", path.display()))?;
        merge(&mut config, path, &text)
            .with_context(|| format!("{} is not valid", path.display()))?;
    }
    Ok(config)
}

fn names(directory: &Path) -> anyhow::Result<Vec<String>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot list {}", directory.display()));
        }
    };
    let mut out = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", directory.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if Path::new(&name).extension().is_some_and(|extension| extension == "toml") {
            out.push(name);
        }
        if out.len() > MAX_FRAGMENTS {
            bail!("more than {MAX_FRAGMENTS} files in {}", directory.display());
        }
    }
    Ok(out)
}

fn text(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() && path != Path::new("/dev/null") {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut out = String::new();
    file.take(MAX_FRAGMENT + 1).read_to_string(&mut out)?;
    if out.len() as u64 > MAX_FRAGMENT {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {MAX_FRAGMENT} bytes"),
        ));
    }
    Ok(out)
}

/// Lays one fragment over what is known so far.
fn merge(config: &mut Config, path: &Path, text: &str) -> anyhow::Result<()> {
    let at = |error: toml::de::Error| {
        let line = line_of(text, error.span().map_or(0, |span| span.start));
        anyhow::anyhow!("line {line}: {}", error.message())
    };
    let keys: BTreeMap<toml::Spanned<String>, toml::Value> = toml::from_str(text).map_err(at)?;
    for key in keys.keys().filter(|key| !KEYS.contains(&key.get_ref().as_str())) {
        let (line, key) = (line_of(text, key.span().start), key.get_ref());
        config.unknown.push(format!(
            "{}:{line}: unknown field `{key}`, expected one of {}",
            path.display(),
            KEYS.join(", ")
        ));
    }
    let fragment: Fragment = toml::from_str(text).map_err(at)?;
    config.pin = fragment.pin.or(config.pin);
    config.late_binding = fragment.late_binding.or(config.late_binding);
    if let Some(seconds) = fragment.last_call_timeout {
        let seconds = within("last-call-timeout", seconds, 0..=MAX_LAST_CALL, " (seconds)")?;
        config.last_call_timeout = Some(Duration::from_secs(u64::from(seconds)));
    }
    if let Some(days) = fragment.keep_wanted {
        let days = within("keep-wanted", days, 0..=MAX_DAYS, " (days)")?;
        config.keep_wanted = Some(Duration::from_secs(u64::from(days) * DAY));
    }
    if let Some(path) = fragment.pool {
        let plain = path.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
        if !path.starts_with('/') || path.len() < 2 || !plain || path.contains(char::is_control) {
            bail!("pool = {path:?}: must be an absolute path without `.` and `..`");
        }
        config.pool = Some(path);
    }
    if let Some(jobs) = fragment.jobs {
        config.jobs = Some(usize::try_from(within("jobs", jobs, 1..=16, "")?)?);
    }
    if let Some(parts) = fragment.parts {
        config.parts = Some(usize::try_from(within("parts", parts, 1..=6, "")?)?);
    }
    if let Some(path) = fragment.authfile {
        if !path.is_absolute() {
            bail!("authfile = {path:?}: must be an absolute path");
        }
        config.authfile = Some(path);
    }
    if let Some(seconds) = fragment.stall_timeout {
        let seconds = within("stall-timeout", seconds, 1..=u32::MAX, " (seconds)")?;
        config.stall_timeout = Some(Duration::from_secs(u64::from(seconds)));
    }
    if let Some(retries) = fragment.retries {
        config.retries = Some(within("retries", retries, 0..=100, "")?);
    }
    if let Some(stores) = fragment.foreign_stores {
        if stores.len() > MAX_STORES {
            bail!("foreign-stores: {} paths, at most {MAX_STORES} are looked at", stores.len());
        }
        if let Some(path) = stores.iter().find(|path| !path.is_absolute()) {
            bail!("foreign-stores: {path:?}: must be an absolute path");
        }
        config.foreign_stores = Some(stores);
    }
    if let Some(bundles) = fragment.bundles {
        if bundles.len() > MAX_BUNDLES {
            bail!("bundles: {} paths, at most {MAX_BUNDLES} are looked at", bundles.len());
        }
        if let Some(path) = bundles.iter().find(|path| !path.is_absolute()) {
            bail!("bundles: {path:?}: must be an absolute path");
        }
        config.bundles = Some(bundles);
    }
    Ok(())
}

/// A number that is in `range`, whose unit is `unit`.
fn within(key: &str, number: i64, range: RangeInclusive<u32>, unit: &str) -> anyhow::Result<u32> {
    let fits = u32::try_from(number).ok().filter(|number| range.contains(number));
    fits.with_context(|| {
        format!("{key} = {number}: must be {} to {}{unit}", range.start(), range.end())
    })
}

fn line_of(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or(text).matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_are_merged_by_name() {
        let top = tempfile::tempdir().unwrap();
        let directories = ["usr", "etc", "run", "none"].map(|name| top.path().join(name));
        for directory in &directories[..3] {
            std::fs::create_dir(directory).unwrap();
        }
        let write = |at: usize, name: &str, text: &str| {
            std::fs::write(directories[at].join(name), text).unwrap()
        };
        write(0, "10-a.toml", "jobs = 2\nretries = 7\n");
        write(0, "50-b.toml", "jobs = 4\n");
        write(1, "50-b.toml", "stall-timeout = 5\n");
        write(2, "20-c.toml", "authfile = \"/run/auth.json\"\nforeign-stores = []\n");
        write(2, "ignored.conf", "nonsense");
        let paths: Vec<&Path> = directories.iter().map(PathBuf::as_path).collect();
        let config = read(&paths).unwrap();
        assert_eq!(config.jobs, Some(2), "50-b.toml of etc replaces that of usr");
        assert_eq!(config.retries, Some(7));
        assert_eq!(config.stall_timeout, Some(Duration::from_secs(5)));
        assert_eq!(config.authfile.as_deref(), Some(Path::new("/run/auth.json")));
        assert_eq!(config.foreign_stores, Some(Vec::new()), "said, and none of them");
        assert_eq!(read(&[&top.path().join("none")]).unwrap(), Config::default());
    }

    #[test]
    fn unknown_keys_are_told_and_do_no_harm() {
        let top = tempfile::tempdir().unwrap();
        std::fs::write(top.path().join("x.toml"), "jobs = 4\n\nfuture = { a = 1 }\n").unwrap();
        let config = read(&[top.path()]).unwrap();
        assert_eq!(config.jobs, Some(4));
        assert_eq!(config.unknown.len(), 1, "{:?}", config.unknown);
        assert!(
            config.unknown[0].contains("x.toml:3: unknown field `future`"),
            "{:?}",
            config.unknown
        );
    }

    #[test]
    fn wrong_fragments_are_named() {
        for (text, wanted) in [
            ("jobs = 0", "jobs = 0: must be 1 to 16"),
            ("jobs = 17", "must be 1 to 16"),
            ("jobs = 300", "jobs = 300: must be 1 to 16"),
            ("jobs = -1", "must be 1 to 16"),
            ("parts = 7", "must be 1 to 6"),
            ("parts = 256", "must be 1 to 6"),
            ("keep-wanted = 70000", "must be 0 to 65535 (days)"),
            ("jobs = \"many\"", "line 1"),
            ("late-binding = 1", "line 1"),
            ("pin = \"maybe\"", "line 1"),
            ("last-call-timeout = 3600", "must be 0 to 1500 (seconds)"),
            ("pool = \"sysroot\"", "absolute path"),
            ("pool = \"/a/../b\"", "absolute path"),
            ("authfile = \"auth.json\"", "absolute"),
            ("last-call-timeout = 5000000000", "must be 0 to 1500 (seconds)"),
            ("stall-timeout = 0", "must be 1 to 4294967295 (seconds)"),
            ("stall-timeout = 5000000000", "must be 1 to 4294967295 (seconds)"),
            ("foreign-stores = [\"/a\", \"b\"]", "absolute"),
            ("bundles = [\"stick\"]", "absolute"),
            ("bundles = \"/stick\"", "line 1"),
            ("retries = 1000", "must be 0 to 100"),
            ("retries = -1", "must be 0 to 100"),
            ("jobs = ", "line 1"),
        ] {
            let top = tempfile::tempdir().unwrap();
            std::fs::write(top.path().join("x.toml"), text).unwrap();
            let error = format!("{:#}", read(&[top.path()]).unwrap_err());
            assert!(error.contains("x.toml") && error.contains(wanted), "{text}: {error}");
        }
    }
}
