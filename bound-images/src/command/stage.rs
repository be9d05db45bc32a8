//! `bound-images stage`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use host::{Deployment, Role};

use super::beside::Beside;
use super::{Exit, Outside, damage};
use crate::machine::{Machine, Target};
use crate::pool::wanted;
use crate::render::{self, Style};
use crate::settings::StageSettings;
use crate::source::several::Several;
use crate::source::{Kind, Source, SourceError, bundle, registry};
use crate::stage::{self, Outcome, Site, StageError, Wish};
use crate::state::{self, State, StoreState};
use crate::system::journal;

/// How often staging starts over because another root was staged meanwhile.
const MAX_ROUNDS: usize = 10;

/// What a repair of the root that runs does not do at once.
const MOUNTED: &str = "note: the store that is mounted stays as it is until the next boot; \
     the mended one counts from then on";

/// What one stage works with.
pub(crate) struct Run<'a> {
    /// The machine.
    pub(crate) machine: &'a Machine,
    /// What was typed and configured.
    pub(crate) settings: StageSettings,
    /// Whom to ask and to tell.
    pub(crate) outside: Outside,
    /// How to write.
    pub(crate) style: Style,
    /// How long another stage is waited for.
    pub(crate) wait: Duration,
    /// For how long a unit is let live when nothing moves, if that is asked for.
    pub(crate) patience: Option<Duration>,
}

impl Run<'_> {
    /// Stages the root that was typed.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub(crate) async fn root(&self, typed: &Path) -> anyhow::Result<Exit> {
        match self.machine.target(Some(typed), Role::Staged)? {
            Target::Plain(path) => self.plain(&path).await,
            Target::Deployment(deployment) => self.deployment(&deployment).await,
        }
    }

    async fn plain(&self, path: &Path) -> anyhow::Result<Exit> {
        if path.is_dir() && !path.join("usr").is_dir() {
            let why = format!("{} is not a root: it has no usr directory", path.display());
            render::failed(&why, self.style);
            return Ok(Exit::Usage);
        }
        let state = state::look(path)?;
        self.stage(state, Site::Inside { wait: self.wait }).await
    }

    async fn deployment(&self, deployment: &Deployment) -> anyhow::Result<Exit> {
        let state = state::look_at(self.machine, deployment)?;
        let staged = deployment.role == Role::Staged;
        let wish = if staged { Wish::Supersede } else { Wish::None };
        let site = Site::Pool { machine: self.machine, wait: self.wait, wish };
        self.stage(state, site).await
    }

    /// Stages the root that is staged, and again when another one is staged meanwhile. When none is,
    /// fetches what the last one that was held back wants.
    ///
    /// # Errors
    /// When roots cannot be looked at.
    pub(crate) async fn staged(&self) -> anyhow::Result<Exit> {
        for _ in 0..MAX_ROUNDS {
            let host = self.machine.roots()?;
            if let Some(why) = host.staged_fault {
                render::failed(&why, self.style);
                return Ok(Exit::CouldNotLook);
            }
            let Some(staged) = host.staged.clone() else { return self.wanted().await };
            let result = match host.with(Role::Staged) {
                Some(deployment) => self.deployment(deployment).await,
                None => {
                    let short = staged.id.short();
                    Err(anyhow::anyhow!("{short} is staged, but its files are not there"))
                }
            };
            // A root that was staged again took the files of this one away.
            if self.machine.roots()?.staged == Some(staged) {
                return result;
            }
            render::note("another root was staged meanwhile; starting over");
        }
        render::failed("roots are staged faster than they can be looked at", self.style);
        Ok(Exit::CouldNotLook)
    }

    async fn wanted(&self) -> anyhow::Result<Exit> {
        let all = wanted::read_all(&self.machine.pool_directory())?;
        let newest = all.into_iter().find_map(|found| Some((found.root, found.wanted?)));
        let Some((root, wanted)) = newest else {
            render::nothing_staged(self.style)?;
            return Ok(Exit::Well);
        };
        if self.machine.roots()?.with(Role::Booted).is_some_and(|booted| booted.id == root) {
            return self.late().await;
        }
        render::note(&format!(
            "{} is not staged now; its images are fetched for the next time",
            root.short()
        ));
        let state = State {
            root: self.machine.pool_directory().join("wanted").join(root.as_str()),
            id: Some(root.clone()),
            bindings: binding::Bindings { bindings: wanted.bindings(), findings: Vec::new() },
            host: binding::Platform::host(),
            store: StoreState::Absent,
            shadows: Vec::new(),
        };
        let source = match self.open() {
            Ok(source) => Arc::new(source),
            Err(error) => return Ok(self.source_failed(&error)),
        };
        let site = Site::Pool { machine: self.machine, wait: self.wait, wish: Wish::None };
        let beside = self.beside(true);
        let observer = beside.observer(self.style);
        // What cannot be had now must not stop the rest.
        let settings = StageSettings { late: true, ..self.settings.clone() };
        match stage::prefetch(&settings, &state, site, source, &observer).await {
            Ok(whole) => {
                render::prefetched(&root, whole, self.style)?;
                Ok(if whole { Exit::Well } else { Exit::CouldNotLook })
            }
            Err(error) => {
                render::stage_failed(&error, self.style);
                Ok(exit(&error))
            }
        }
    }

    pub(super) async fn stage(&self, mut state: State, site: Site<'_>) -> anyhow::Result<Exit> {
        let beside = self.beside(matches!(site, Site::Pool { .. }));
        let observer = beside.observer(self.style);
        if self.settings.repair
            && let StoreState::Ours(held) = &mut state.store
        {
            stage::read_all(held, &observer)?;
            // The same files, by hard links, must not come back from another root's store.
            if !self.settings.dry_run {
                damage::remember(self.machine, &state).await;
            }
        }
        let source = match self.open() {
            Ok(source) => Arc::new(source),
            Err(error) => return Ok(self.source_failed(&error)),
        };
        match stage::stage(&self.settings, &state, site, source, &observer).await {
            Ok(outcome) => {
                render::stage(&outcome, self.style).context("cannot write the result")?;
                if self.settings.repair && is_new(&outcome) && self.has_mounted(&state) {
                    render::note(MOUNTED);
                }
                Ok(outcome_exit(&outcome, &state))
            }
            Err(error) => {
                if let Some(id) = &state.id {
                    journal::stage_failed(id.as_str(), &error.first_cause());
                }
                render::stage_failed(&error, self.style);
                Ok(exit(&error))
            }
        }
    }

    /// Whether it is the root that runs, with a store that stays mounted.
    fn has_mounted(&self, state: &State) -> bool {
        // Late binding mounts what it made.
        if self.settings.late {
            return false;
        }
        let (Some(id), StoreState::Ours(_)) = (&state.id, &state.store) else { return false };
        let roots = self.machine.roots();
        roots.is_ok_and(|roots| roots.with(Role::Booted).is_some_and(|root| root.id == *id))
    }

    /// For a root of this host, and not any directory, the host is kept awake.
    fn beside(&self, is_of_host: bool) -> Beside {
        let bus = self.outside.bus.clone().filter(|_| is_of_host && !self.settings.dry_run);
        Beside::start(self.outside.notifier.clone(), self.patience, bus)
    }

    fn source_failed(&self, error: &SourceError) -> Exit {
        render::failed(&error.why, self.style);
        exit_of(std::slice::from_ref(error))
    }

    fn open(&self) -> Result<Source, SourceError> {
        match &self.settings.bundle {
            Some(directory) => bundle::Bundle::open(directory).map(Source::Bundle),
            None => {
                let StageSettings { jobs, parts, stall_timeout, retries, .. } = self.settings;
                let environment = &self.outside.environment;
                let registry = registries(jobs, parts, stall_timeout, retries, environment);
                let bundles = usable(&self.settings.bundles);
                Ok(if bundles.is_empty() {
                    Source::Registry(registry)
                } else {
                    Source::Several(Several::new(bundles, registry))
                })
            }
        }
    }
}

/// The registries, for those that fetch layers.
pub(super) fn registries(
    jobs: usize,
    parts: usize,
    stall_timeout: Duration,
    retries: u32,
    environment: &[(OsString, OsString)],
) -> registry::Registry {
    registry::Registry::new(registry::RegistryOptions {
        jobs,
        parts,
        stall_timeout,
        retries,
        // Podman heeds this variable, skopeo only an option.
        registries_conf: variable(environment, "CONTAINERS_REGISTRIES_CONF").map(Into::into),
        ..registry::RegistryOptions::new(environment.to_vec())
    })
}

/// The configured bundles that are there: a stick that is not plugged in is no fault.
fn usable(directories: &[PathBuf]) -> Vec<bundle::Bundle> {
    let mut found = Vec::new();
    for directory in directories {
        if !directory.is_dir() {
            log::info!("the bundle {} is not there", directory.display());
            continue;
        }
        match bundle::Bundle::open(directory) {
            Ok(bundle) => found.push(bundle),
            Err(error) => render::note(&format!("warning: {}; it is passed over", error.why)),
        }
    }
    found
}

/// Whether a store took the place of another.
const fn is_new(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Published(_) | Outcome::Linked(_))
}

/// A required image may be missing only from a root that runs already.
fn outcome_exit(outcome: &Outcome, state: &State) -> Exit {
    let missing = match outcome {
        Outcome::Published(published) | Outcome::Linked(published) => published.missing.as_slice(),
        Outcome::NoBindings | Outcome::AlreadyThere(_) | Outcome::Planned(_) => &[],
    };
    let is_required = |name: &str| {
        state.bindings.bindings.iter().any(|binding| binding.name == name && binding.required)
    };
    let lacks = missing.iter().any(|(name, _)| is_required(name));
    if lacks { Exit::Findings } else { Exit::Well }
}

/// A variable of the environment.
pub(super) fn variable<'a>(
    environment: &'a [(OsString, OsString)],
    name: &str,
) -> Option<&'a OsString> {
    environment.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

fn exit(error: &StageError) -> Exit {
    match error {
        StageError::Bindings(_) | StageError::Damaged(..) | StageError::Refused(_) => {
            Exit::Findings
        }
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
pub(super) fn exit_of(errors: &[SourceError]) -> Exit {
    let any = |kinds: &[Kind]| errors.iter().any(|error| kinds.contains(&error.kind));
    if any(&[Kind::SkopeoMissing, Kind::SkopeoTooOld]) {
        Exit::Usage
    } else if any(&[
        Kind::Network,
        Kind::Tls,
        Kind::PlainHttp,
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
