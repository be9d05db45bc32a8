//! Registries, for commands that only ask them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use binding::{Binding, Platform, Reference};
use host::config::Config;

use super::stage::variable;
use crate::settings;
use crate::source::registry::{Registry, RegistryOptions};
use crate::source::{Request, credentials};

/// Somebody waits for the answer, and can ask again: fewer attempts than when a host stages by itself.
const RETRIES: u32 = 1;
/// The longest that one question may take: a few kilobytes, with a token asked for before.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What commands that only ask registries work with.
pub(crate) struct Sources {
    /// Environment variables, for skopeo.
    pub(super) environment: Vec<(OsString, OsString)>,
    /// An auth file that was typed.
    pub(super) authfile: Option<PathBuf>,
    /// The host's configuration.
    pub(super) config: Config,
}

impl Sources {
    /// The registries, as they are configured.
    pub(super) fn registry(&self) -> Registry {
        Registry::new(RegistryOptions {
            jobs: self.jobs(),
            stall_timeout: self.config.stall_timeout.unwrap_or(settings::DEFAULT_STALL_TIMEOUT),
            retries: self.config.retries.unwrap_or(RETRIES),
            request_timeout: REQUEST_TIMEOUT,
            // Podman heeds this variable, skopeo only an option.
            registries_conf: variable(&self.environment, "CONTAINERS_REGISTRIES_CONF")
                .map(Into::into),
            ..RegistryOptions::new(self.environment.clone())
        })
    }

    /// How many requests run at the same time.
    pub(super) fn jobs(&self) -> usize {
        self.config.jobs.unwrap_or(settings::DEFAULT_JOBS)
    }

    /// What asks for `reference`, as the Quadlet of `binding` in `root` would be pulled.
    pub(super) fn request(&self, binding: &Binding, reference: Reference, root: &Path) -> Request {
        let configured = self.authfile.as_deref().or(self.config.authfile.as_deref());
        Request {
            reference,
            pin: None,
            platform: binding.pull.platform(&Platform::host()),
            pull: binding.pull.clone(),
            auth_files: credentials::candidates(
                binding.pull.auth_file.as_deref(),
                configured,
                root,
            ),
        }
    }

    /// What is wrong with the auth file that was typed.
    pub(super) fn fault(&self) -> Option<String> {
        let path = self.authfile.as_deref().filter(|path| !path.is_file())?;
        Some(format!("the auth file {} is not there", path.display()))
    }
}
