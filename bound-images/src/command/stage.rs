//! `bound-images stage`.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use super::Exit;
use crate::render::{self, Style};
use crate::settings::{self, StageSettings};
use crate::source::{Kind, Source, SourceError, bundle, registry};
use crate::stage::{self, Event, StageError};
use crate::state::{self, StoreState};

/// Stages a root.
///
/// # Errors
/// When the root cannot be looked at.
pub(crate) async fn run(
    typed: crate::cli::Stage,
    environment: Vec<(OsString, OsString)>,
    style: Style,
) -> anyhow::Result<Exit> {
    let directories = settings::DIRECTORIES.map(Path::new);
    let settings = match settings::read_config(&directories) {
        Ok(config) => StageSettings::new(typed, config),
        Err(error) => {
            render::failed(&format!("{error:#}"), style);
            return Ok(Exit::Usage);
        }
    };
    if let Some(path) = settings.authfile.as_deref().filter(|path| !path.is_file()) {
        render::failed(&format!("the auth file {} is not there", path.display()), style);
        return Ok(Exit::Usage);
    }
    let mut state = state::look(&settings.root)?;
    if state.bindings.bindings.is_empty() && !settings.root.join("usr").is_dir() {
        render::failed(
            &format!("{} is not a root: it has no usr directory", settings.root.display()),
            style,
        );
        return Ok(Exit::Usage);
    }
    if settings.repair
        && let StoreState::Ours(held) = &mut state.store
    {
        held.look_deep()?;
    }
    let source = match open(&settings, environment) {
        Ok(source) => Arc::new(source),
        Err(error) => {
            render::failed(&error.why, style);
            return Ok(exit_of(&[error]));
        }
    };
    let observer = move |event: Event<'_>| render::progress(&event, style);
    match stage::stage(&settings, &state, source, &observer).await {
        Ok(outcome) => {
            render::stage(&outcome, style).context("cannot write the result")?;
            Ok(Exit::Well)
        }
        Err(error) => {
            render::stage_failed(&error, style);
            Ok(exit(&error))
        }
    }
}

fn open(
    settings: &StageSettings,
    environment: Vec<(OsString, OsString)>,
) -> Result<Source, SourceError> {
    match &settings.bundle {
        Some(directory) => bundle::Bundle::open(directory).map(Source::Bundle),
        None => Ok(Source::Registry(registry::Registry::new(registry::RegistryOptions {
            jobs: settings.jobs,
            stall_timeout: settings.stall_timeout,
            retries: settings.retries,
            // Podman heeds this variable, skopeo only an option.
            registries_conf: variable(&environment, "CONTAINERS_REGISTRIES_CONF").map(Into::into),
            ..registry::RegistryOptions::new(environment)
        }))),
    }
}

fn variable<'a>(environment: &'a [(OsString, OsString)], name: &str) -> Option<&'a OsString> {
    environment.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

fn exit(error: &StageError) -> Exit {
    match error {
        StageError::Bindings(_) | StageError::Damaged(_) | StageError::Refused(_) => Exit::Findings,
        StageError::NotRoot => Exit::Usage,
        StageError::Sources(list) => {
            exit_of(&list.iter().map(|(_, error)| error.clone()).collect::<Vec<_>>())
        }
        StageError::Layers(list) if list.iter().all(|(_, error)| error.is_source_fault()) => {
            Exit::Findings
        }
        StageError::Layers(_) | StageError::NoSpace(_) | StageError::Other(_) => Exit::CouldNotLook,
    }
}

/// The worst of several failures: an installation that cannot work, then a source that could not
/// be asked, then images that are not what they should be.
fn exit_of(errors: &[SourceError]) -> Exit {
    let any = |kinds: &[Kind]| errors.iter().any(|error| kinds.contains(&error.kind));
    if any(&[Kind::SkopeoMissing, Kind::SkopeoTooOld]) {
        Exit::Usage
    } else if any(&[
        Kind::Network,
        Kind::Server,
        Kind::RateLimited,
        Kind::Stalled,
        Kind::Unauthorized,
        Kind::Io,
        Kind::Cancelled,
    ]) {
        Exit::CouldNotLook
    } else {
        Exit::Findings
    }
}
