//! What was typed, validated and with its defaults: what a run means.

mod stores;

pub use host::config::{Config, DIRECTORIES, Pin, read as read_config};

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Values that a stage works with.
#[derive(Clone, Debug)]
pub struct StageSettings {
    /// Take images from this OCI layout, not from registries.
    pub bundle: Option<PathBuf>,
    /// OCI layouts that are looked into before registries are asked, best first.
    pub bundles: Vec<PathBuf>,
    /// Only plan.
    pub dry_run: bool,
    /// Read every file of the store that is there, and replace what is damaged.
    pub repair: bool,
    /// Resolve tags again.
    pub refresh: bool,
    /// The root runs already: publish what can be had.
    pub late: bool,
    /// Refuse references without a digest in a root that was never staged.
    pub require_pins: bool,
    /// An auth file named by the operator.
    pub authfile: Option<PathBuf>,
    /// Layers fetched at the same time.
    pub jobs: usize,
    /// Most connections for one large layer.
    pub parts: usize,
    /// How long a transfer may give nothing before it is ended and tried again.
    pub stall_timeout: Duration,
    /// How often a request that may get better is tried again.
    pub retries: u32,
    /// Stores of others on this host from which layers may be copied, best first.
    pub foreign_stores: Vec<PathBuf>,
}

/// Layers fetched at the same time unless told otherwise: enough to keep two cores and a network
/// busy while another layer is synced, and few enough for 40 MB of skopeo each.
pub const DEFAULT_JOBS: usize = 3;
/// See [`StageSettings::parts`].
pub const DEFAULT_PARTS: usize = 4;
/// See [`StageSettings::stall_timeout`].
pub const DEFAULT_STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// See [`StageSettings::retries`].
pub const DEFAULT_RETRIES: u32 = 3;

impl StageSettings {
    /// What was typed wins over the configuration, which wins over the defaults.
    pub(crate) fn new(typed: crate::cli::Stage, config: Config) -> Self {
        let foreign_stores = match typed.foreign_stores {
            stores if stores.is_empty() => config.foreign_stores.unwrap_or_else(stores::of_host),
            stores => stores,
        };
        Self {
            foreign_stores,
            bundle: typed.bundle,
            bundles: config.bundles.unwrap_or_default(),
            dry_run: typed.dry_run,
            repair: typed.repair,
            refresh: typed.refresh,
            late: typed.late_binding,
            require_pins: config.pin == Some(Pin::Require),
            authfile: typed.authfile.or(config.authfile),
            jobs: typed.jobs.map(usize::from).or(config.jobs).unwrap_or(DEFAULT_JOBS),
            parts: config.parts.unwrap_or(DEFAULT_PARTS),
            stall_timeout: config.stall_timeout.unwrap_or(DEFAULT_STALL_TIMEOUT),
            retries: config.retries.unwrap_or(DEFAULT_RETRIES),
        }
    }
}

/// What Podman would look at in these variables.
#[must_use]
pub fn podman_environment(variables: &[(OsString, OsString)]) -> storage_conf::Environment {
    let get = |name: &str| {
        let (_, value) = variables.iter().find(|(known, _)| known == name)?;
        Some(value.to_string_lossy().into_owned())
    };
    storage_conf::Environment {
        conf: get("CONTAINERS_STORAGE_CONF"),
        conf_override: get("CONTAINERS_STORAGE_CONF_OVERRIDE"),
        opts: get("STORAGE_OPTS"),
        driver: get("STORAGE_DRIVER"),
        config_home: get("XDG_CONFIG_HOME"),
        home: get("HOME"),
    }
}
