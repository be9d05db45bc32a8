//! `bound-images bundle`.

use std::ffi::OsString;

use anyhow::Context as _;
use host::Role;
use host::config::{Config, Pin};

use super::Exit;
use super::stage::{exit_of, registries};
use crate::bundle::{self, BundleError, BundleSettings, Event};
use crate::cli;
use crate::machine::{Machine, Target};
use crate::render::{self, Style};
use crate::settings;
use crate::source::bundle::Bundle;
use crate::state;

/// Writes the images of roots into an OCI layout.
///
/// # Errors
/// When a root cannot be looked at.
pub(crate) async fn run(
    machine: &Machine,
    typed: cli::Bundle,
    config: Config,
    environment: Vec<(OsString, OsString)>,
    style: Style,
) -> anyhow::Result<Exit> {
    let authfile = typed.authfile.or(config.authfile);
    if let Some(path) = authfile.as_deref().filter(|path| !path.is_file()) {
        render::failed(&format!("the auth file {} is not there", path.display()), style);
        return Ok(Exit::Usage);
    }
    let mut roots = Vec::new();
    for root in &typed.roots {
        let target = machine.target(Some(root), Role::Booted)?;
        if let Target::Plain(path) = &target
            && path.is_dir()
            && !path.join("usr").is_dir()
        {
            let why = format!("{} is not a root: it has no usr directory", path.display());
            render::failed(&why, style);
            return Ok(Exit::Usage);
        }
        roots.push(state::look_target(machine, &target)?);
    }
    let mut others = Vec::new();
    for directory in &typed.from {
        match Bundle::open(directory) {
            Ok(other) => others.push(other),
            Err(error) => {
                render::failed(&error.why, style);
                return Ok(exit_of(std::slice::from_ref(&error)));
            }
        }
    }
    let jobs = typed.jobs.map(usize::from).or(config.jobs).unwrap_or(settings::DEFAULT_JOBS);
    let stall_timeout = config.stall_timeout.unwrap_or(settings::DEFAULT_STALL_TIMEOUT);
    let retries = config.retries.unwrap_or(settings::DEFAULT_RETRIES);
    let parts = config.parts.unwrap_or(settings::DEFAULT_PARTS);
    let registry = registries(jobs, parts, stall_timeout, retries, &environment);
    let settings = BundleSettings {
        out: typed.out,
        platforms: typed.platforms,
        dry_run: typed.dry_run,
        refresh: typed.refresh,
        prune: typed.prune,
        require_pins: config.pin == Some(Pin::Require),
        authfile,
        jobs,
    };
    let observer = move |event: Event<'_>| render::bundle_progress(&event, style);
    match bundle::write(&settings, &roots, others, registry, &observer).await {
        Ok(outcome) => {
            render::bundle(&outcome, style).context("cannot write the result")?;
            Ok(Exit::Well)
        }
        Err(error) => {
            render::bundle_failed(&error, style);
            Ok(exit(&error))
        }
    }
}

fn exit(error: &BundleError) -> Exit {
    match error {
        BundleError::Bindings(_) | BundleError::Refused(_) => Exit::Findings,
        BundleError::Sources(list) => {
            exit_of(&list.iter().map(|(_, error)| error.clone()).collect::<Vec<_>>())
        }
        BundleError::NoSpace(_) | BundleError::Other(_) => Exit::CouldNotLook,
    }
}
