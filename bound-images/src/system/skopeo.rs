//! The program skopeo: its version, its environment, and `inspect --raw`.
//!
//! skopeo runs with an environment of its own: `HOME` does not exist and the variables that name
//! auth files are gone, so that only the system's policy.json, registries.conf and certs.d count,
//! and never the credentials of whoever happens to run the command. A unit and a person get the
//! same answer.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::skopeo_message::{parse_stderr, refuse};
use crate::source::error::{Kind, Refusal};

/// Variables that skopeo may see, besides those that are set for it.
const PASSED_ON: [&str; 14] = [
    "PATH",
    "LANG",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "CONTAINERS_REGISTRIES_CONF",
];
/// Most bytes of stderr that are kept.
const MAX_STDERR: usize = 64 << 10;

/// A version of skopeo: major, minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// 1.6 has protocol 0.2.3 of the image proxy, the oldest that is understood.
    pub const OLDEST: Self = Self(1, 6);

    /// Whether its image proxy judges images by policy.json (from 1.13 on).
    #[must_use]
    pub fn enforces_policy(self) -> bool {
        self >= Self(1, 13)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The version in the output of `skopeo --version` (`skopeo version 1.9.3`).
#[must_use]
pub fn parse_version(text: &str) -> Option<Version> {
    let word = text.strip_prefix("skopeo version ")?.split_whitespace().next()?;
    let mut numbers = word.split(['.', '-']).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some(Version(major, minor)),
        _ => None,
    }
}

/// Variables for skopeo. Debug shows only their names: a proxy's address may hold a password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// The value of a variable, where it is set to something.
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        Some(value.as_os_str()).filter(|value| !value.is_empty())
    }

    /// Whether requests may have to go through an HTTP proxy.
    pub(crate) fn has_proxy(&self) -> bool {
        let proxies = ["http_proxy", "https_proxy", "all_proxy"];
        proxies
            .iter()
            .any(|name| self.get(name).is_some() || self.get(&name.to_ascii_uppercase()).is_some())
    }

    /// The file that a program's name stands for in `PATH`.
    fn find(&self, program: &str) -> Option<PathBuf> {
        let (_, path) = self.0.iter().find(|(name, _)| name == "PATH")?;
        std::env::split_paths(path).map(|directory| directory.join(program)).find(|f| f.is_file())
    }
}

impl From<Vec<(OsString, OsString)>> for Environment {
    fn from(variables: Vec<(OsString, OsString)>) -> Self {
        Self(variables)
    }
}

/// What skopeo may see of the caller's variables: the search path, proxies, certificates.
pub fn passed_environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    let known = |name: &OsStr| PASSED_ON.iter().any(|passed| name == *passed);
    variables.into_iter().filter(|(name, _)| known(name)).collect()
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// How an image's registry is accessed. Holds paths, never secrets: it becomes arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The auth file; without one, anonymous.
    pub authfile: Option<PathBuf>,
    /// A directory of certificates, on the running system.
    pub cert_dir: Option<PathBuf>,
    /// `TLSVerify=`; unset, registries.conf decides.
    pub tls_verify: Option<bool>,
}

/// An installed skopeo.
#[derive(Clone, Debug)]
pub struct Skopeo {
    /// The program: a path, or a name to look for in the `PATH` of `environment`.
    pub program: PathBuf,
    /// What it sees of the environment.
    pub environment: Environment,
    /// Another registries.conf than the system's.
    pub registries_conf: Option<PathBuf>,
    /// Another policy.json than the system's.
    pub policy: Option<PathBuf>,
    /// Longest time for one answer.
    pub deadline: Duration,
}

impl Skopeo {
    /// The arguments before the subcommand.
    fn global_arguments(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        for (flag, path) in
            [("--registries-conf", &self.registries_conf), ("--policy", &self.policy)]
        {
            if let Some(path) = path {
                words.extend([OsString::from(flag), path.clone().into_os_string()]);
            }
        }
        words
    }

    fn clean(&self, command: &mut std::process::Command) {
        command
            .env_clear()
            .envs(self.environment.0.iter().map(|(name, value)| (name, value)))
            .env("HOME", "/nonexistent");
    }

    /// The command that becomes the image proxy. It dies with the thread that starts it, where
    /// `setpriv` (util-linux) is installed.
    #[must_use]
    pub fn proxy_command(&self) -> std::process::Command {
        let mut command = match self.environment.find("setpriv") {
            Some(setpriv) => {
                let mut command = std::process::Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
                command
            }
            None => std::process::Command::new(&self.program),
        };
        self.clean(&mut command);
        command.args(self.global_arguments());
        command
    }

    /// Asks for the version.
    ///
    /// # Errors
    /// [`Kind::SkopeoMissing`], [`Kind::SkopeoTooOld`], or what went wrong.
    pub async fn version(&self) -> Result<Version, Refusal> {
        let mut command = std::process::Command::new(&self.program);
        self.clean(&mut command);
        command.arg("--version");
        let bytes = self.run(command, 4096, "").await?;
        let text = String::from_utf8_lossy(&bytes);
        let version = parse_version(&text).ok_or_else(|| {
            let text: String = text.trim().chars().take(80).collect();
            Refusal::new(Kind::Io, format!("`skopeo --version` says {text:?}"))
        })?;
        if version < Version::OLDEST {
            let why = format!("skopeo {version} is installed, {} is needed", Version::OLDEST);
            return Err(Refusal::new(Kind::SkopeoTooOld, why));
        }
        Ok(version)
    }

    /// The bytes of a manifest or list, as the registry has them. `name` is `repository:tag` or
    /// `repository@digest`. Unchecked: the caller compares the digest.
    ///
    /// # Errors
    /// What skopeo says, as a kind; [`Kind::Stalled`] after the deadline; [`Kind::Unsupported`]
    /// beyond `max` bytes.
    pub async fn inspect_raw(
        &self,
        name: &str,
        access: &Access,
        max: u64,
    ) -> Result<Vec<u8>, Refusal> {
        let mut command = std::process::Command::new(&self.program);
        self.clean(&mut command);
        command.args(self.global_arguments());
        // Should this process be killed, skopeo ends by itself.
        command.arg(format!("--command-timeout={}s", self.deadline.as_secs().saturating_add(30)));
        command.args(["inspect", "--raw"]);
        match &access.authfile {
            Some(path) => command.arg("--authfile").arg(path),
            None => command.arg("--no-creds"),
        };
        if let Some(path) = &access.cert_dir {
            command.arg("--cert-dir").arg(path);
        }
        if let Some(verify) = access.tls_verify {
            command.arg(format!("--tls-verify={verify}"));
        }
        command.arg("--").arg(format!("docker://{name}"));
        let repository = name.split(['@']).next().unwrap_or(name);
        self.run(command, max, repository).await
    }

    async fn run(
        &self,
        command: std::process::Command,
        max: u64,
        name: &str,
    ) -> Result<Vec<u8>, Refusal> {
        let mut child = Command::from(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| spawn_refusal(&self.program, &error))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let work =
            async { tokio::try_join!(read_up_to(stdout, max), keep_tail(stderr), child.wait()) };
        let done = tokio::time::timeout(self.deadline, work).await.map_err(|_| {
            Refusal::new(Kind::Stalled, format!("skopeo did not answer in {:?}", self.deadline))
        })?;
        let (bytes, said, status) =
            done.map_err(|error| Refusal::new(Kind::Io, format!("running skopeo: {error}")))?;
        if bytes.len() as u64 > max {
            let why = format!("the registry's answer is larger than {max} bytes");
            return Err(Refusal::new(Kind::Unsupported, why));
        }
        if !status.success() {
            return Err(refuse(&parse_stderr(&String::from_utf8_lossy(&said)), name));
        }
        Ok(bytes)
    }
}

/// Why skopeo could not be started.
#[must_use]
pub fn spawn_refusal(program: &Path, error: &std::io::Error) -> Refusal {
    let program = program.display();
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Refusal::new(Kind::SkopeoMissing, format!("{program} is not installed"))
        }
        _ => Refusal::new(Kind::Io, format!("starting {program}: {error}")),
    }
}

/// Reads at most `max + 1` bytes; then drops the pipe, so that the writer ends.
async fn read_up_to(pipe: Option<impl AsyncRead + Unpin>, max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(max.saturating_add(1)).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// Reads to the end and keeps the last [`MAX_STDERR`] bytes or a little more.
async fn keep_tail(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        while pipe.read_buf(&mut kept).await? > 0 {
            if kept.len() > 2 * MAX_STDERR {
                kept.drain(..kept.len() - MAX_STDERR);
            }
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, expected) in [
            ("skopeo version 1.9.3\n", Some(Version(1, 9))),
            ("skopeo version 1.22.0-dev commit: abc\n", Some(Version(1, 22))),
            ("skopeo version 2.0\n", Some(Version(2, 0))),
            ("skopeo version x\n", None),
            ("", None),
        ] {
            assert_eq!(parse_version(text), expected, "{text}");
        }
        assert!(!Version(1, 9).enforces_policy());
        assert!(Version(1, 13).enforces_policy() && Version(2, 0).enforces_policy());
    }

    #[test]
    fn the_environment_is_small() {
        let given = ["PATH", "HOME", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "https_proxy"];
        let kept =
            Environment::from(passed_environment(given.map(|name| (name.into(), "secret".into()))));
        assert_eq!(format!("{kept:?}"), r#"{"PATH", "https_proxy"}"#);
    }
}
