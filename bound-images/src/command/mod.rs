//! One file per command: gather, decide, act, report.

mod beside;
pub mod bundle;
mod damage;
pub mod gate;
pub mod gc;
mod late;
pub mod lint;
pub mod list;
pub mod metrics;
mod pages;
pub mod pin;
mod policy;
pub mod release;
mod sources;
pub mod stage;
pub mod status;
pub mod storage_conf;
pub mod verify;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use host::config::Config;
use sources::Sources;

use crate::cli::{self, Cli};
use crate::last_stage::Attempt;
use crate::machine::Machine;
use crate::pool;
use crate::render::{self, Style};
use crate::settings::{self, StageSettings};
use crate::system::bus::Bus;
use crate::system::namespace;
use crate::system::notify::Notifier;
use crate::system::systemd::{self, Descent};

/// How long the last call may take unless told otherwise: well below the 30 minutes after which
/// `reboot.target` gives up.
const LAST_CALL: Duration = Duration::from_secs(300);
/// How long it may take at a power-off: enough for what is nearly complete, and for nobody to pull
/// the plug.
const LAST_CALL_OFF: Duration = Duration::from_secs(15);
/// What the unit of the last call gives beyond its limit.
const GRACE: Duration = Duration::from_secs(30);

/// What there is outside of this program.
#[derive(Debug)]
pub(crate) struct Outside {
    /// Environment variables, for skopeo.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Whether a unit runs us, and not a person.
    pub(crate) unattended: bool,
    /// Where systemd is told how a unit of ours does.
    pub(crate) notifier: Option<Arc<Notifier>>,
    /// Where systemd and logind are asked.
    pub(crate) bus: Option<Bus>,
    /// What Podman's libraries would be told by the environment.
    pub(crate) podman: ::storage_conf::Environment,
}

/// Makes the pool writable for a command that writes it, and the files of roots visible that are in
/// an image.
pub(crate) fn prepare(cli: &Cli) -> anyhow::Result<()> {
    if cli.command.is_about_us() || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let machine = Machine::open(&cli.tests.host, &config(cli).unwrap_or_default())?;
    if machine.system.path().join("sysroot/composefs/images").is_dir() {
        namespace::enter()?;
    }
    let has_roots = || machine.system.path().join("sysroot").is_dir();
    if cli.command.writes() && cli.command.names_no_directory() && has_roots() {
        namespace::make_writable(&machine.pool_directory())?;
    }
    Ok(())
}

fn config(cli: &Cli) -> anyhow::Result<Config> {
    let top = &cli.tests.host;
    let directories = settings::DIRECTORIES.map(|path| top.join(path.trim_start_matches('/')));
    settings::read_config(&directories.each_ref().map(|path| path.as_path()))
}

/// Runs a command.
///
/// # Errors
/// When something cannot be looked at.
pub(crate) async fn run(cli: Cli, outside: Outside, style: Style) -> anyhow::Result<Exit> {
    let output = cli.global.format;
    // Where it stands before the command, clap does not know whose it is.
    if !cli::Output::of(cli.command.name()).contains(&output) {
        let name = cli.command.name();
        render::failed(&format!("{name} does not write this --format; see its --help"), style);
        return Ok(Exit::Usage);
    }
    match &cli.command {
        cli::Command::Man(typed) => return pages::man(typed.out.as_deref()),
        cli::Command::Completions(typed) => return pages::completions(typed.shell),
        _ => {}
    }
    let config = match config(&cli) {
        Ok(config) => config,
        // The gate must not refuse for ever because of a file that only it cannot read.
        Err(error) if matches!(cli.command, cli::Command::Gate(_)) => {
            log::warn!("{error:#}");
            Config::default()
        }
        // It is a finding of the root's, if it is the root's.
        Err(_) if matches!(cli.command, cli::Command::Lint(_)) => Config::default(),
        Err(error) => {
            render::failed(&format!("{error:#}"), style);
            return Ok(Exit::Usage);
        }
    };
    let by_hand = !outside.unattended
        && matches!(
            cli.command,
            cli::Command::Stage(_) | cli::Command::Pin(_) | cli::Command::Bundle(_)
        );
    for unknown in &config.unknown {
        if by_hand {
            render::failed(unknown, style);
            return Ok(Exit::Usage);
        }
        log::warn!("{unknown}");
    }
    let machine = Machine::open(&cli.tests.host, &config)?;
    match cli.command {
        cli::Command::List(rooted) if output == cli::Output::Refs => {
            list::refs(&machine, rooted.root.as_deref(), style)
        }
        cli::Command::List(rooted) => {
            list::run(&machine, rooted.root.as_deref(), outside.bus.as_ref(), style).await
        }
        cli::Command::Verify(typed) => verify::run(&machine, &typed, outside, style).await,
        cli::Command::Status(typed) => match (output, &typed.out) {
            (cli::Output::Prometheus, out) => metrics::run(&machine, out.as_deref()),
            (_, Some(_)) => {
                render::failed("--out is for --format prometheus", style);
                Ok(Exit::Usage)
            }
            (_, None) => status::run(&machine, outside.bus.as_ref(), style).await,
        },
        // They were done above: they need neither configuration nor machine.
        cli::Command::Man(_) | cli::Command::Completions(_) => Ok(Exit::Well),
        cli::Command::Gate(gate) if gate.soft_reboot => gate::soft_reboot(&machine, style),
        cli::Command::Gate(gate) => gate::run(&machine, gate.remember, style),
        cli::Command::Release(typed) => {
            release::run(&machine, &typed.root, &typed.reason, style).await
        }
        cli::Command::Gc(typed) => {
            let keep = config.keep_wanted.unwrap_or(pool::gc::DEFAULT_KEEP_WANTED);
            gc::run(&machine, keep, typed.dry_run, style)
        }
        cli::Command::StorageConf(typed) => {
            storage_conf::run(&machine, &typed, &outside.podman, style)
        }
        cli::Command::Lint(typed) => {
            let sources = Sources {
                environment: outside.environment,
                authfile: typed.authfile.clone(),
                config,
            };
            lint::run(&machine, &typed, &sources, (output, style)).await
        }
        cli::Command::Pin(typed) => {
            let sources = Sources {
                environment: outside.environment,
                authfile: typed.authfile.clone(),
                config,
            };
            pin::run(&machine, &typed, &sources, style).await
        }
        cli::Command::Bundle(typed) => {
            bundle::run(&machine, typed, config, outside.environment, style).await
        }
        cli::Command::Stage(typed) => stage_command(&machine, typed, config, outside, style).await,
    }
}

async fn stage_command(
    machine: &Machine,
    typed: cli::Stage,
    config: Config,
    outside: Outside,
    style: Style,
) -> anyhow::Result<Exit> {
    let (late, last_call) = (typed.late_binding, typed.last_call);
    // Of a directory, and of what is only planned, nothing is written down.
    let of_host = !typed.dry_run && !typed.root.as_ref().is_some_and(|root| root.is_dir());
    let is_noted = of_host && machine.has_roots();
    let limit = config.last_call_timeout.unwrap_or(LAST_CALL);
    if late && config.late_binding == Some(false) {
        render::note("late binding is off in the configuration");
        return Ok(Exit::Well);
    }
    let (root, wait) = (typed.root.clone(), Duration::from_secs(u64::from(typed.wait)));
    if let Some(why) = typed.foreign_stores.iter().find_map(|path| no_store(path)) {
        render::failed(&why, style);
        return Ok(Exit::Usage);
    }
    let settings = StageSettings::new(typed, config);
    if let Some(path) = settings.authfile.as_deref().filter(|path| !path.is_file()) {
        render::failed(&format!("the auth file {} is not there", path.display()), style);
        return Ok(Exit::Usage);
    }
    let limit = match last_call {
        true => match last_call_limit(outside.bus.as_ref(), limit).await {
            Some(limit) => limit,
            None => {
                render::note("the host is not going down: there is no last call");
                return Ok(Exit::Well);
            }
        },
        false => limit,
    };
    let (wait, patience) = if last_call { (limit, None) } else { (wait, Some(beside::PATIENCE)) };
    if let (true, Some(notifier)) = (last_call, &outside.notifier) {
        notifier.extend(limit.saturating_add(GRACE));
    }
    let attempt = is_noted.then(|| Attempt::begin(&machine.system));
    let run = stage::Run { machine, settings, outside, style, wait, patience };
    let exit = match root {
        Some(root) => run.root(Path::new(&root)).await,
        None if late => run.late().await,
        None if last_call => match tokio::time::timeout(limit, run.staged()).await {
            Ok(done) => done,
            Err(_) => {
                let seconds = limit.as_secs();
                render::failed(&format!("the last call took longer than {seconds} s"), style);
                Ok(Exit::CouldNotLook)
            }
        },
        None => run.staged().await,
    };
    if let Some(attempt) = attempt {
        attempt.end(exit.as_ref().copied().unwrap_or(Exit::CouldNotLook));
    }
    exit
}

/// Why a store that was typed is none. One that may not be looked at is passed over later, with a warning.
fn no_store(path: &Path) -> Option<String> {
    let why = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return None,
        Ok(_) => "is no directory",
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            "is not there"
        }
        Err(_) => return None,
    };
    let path = path.display();
    Some(format!("the foreign store {path} {why}; correct the path, or leave --foreign-store out"))
}

/// How long the last call may take; none when the host does not go down, and the unit was stopped
/// by somebody.
async fn last_call_limit(bus: Option<&Bus>, limit: Duration) -> Option<Duration> {
    let descent = match bus {
        Some(bus) => systemd::descent(bus).await,
        None => Err("there is no system bus".to_owned()),
    };
    match descent {
        Ok(Descent::None) => None,
        Ok(Descent::Off) => Some(limit.min(LAST_CALL_OFF)),
        Ok(Descent::Reboot) => Some(limit),
        Err(why) => {
            log::info!("it cannot be told how the host goes down: {why}");
            Some(limit)
        }
    }
}

/// How a run ended; the number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Well = 0,
    /// Something is missing or wrong.
    Findings = 1,
    /// The command line, the configuration or the installation is wrong.
    Usage = 2,
    /// It could not be looked at, or asked for.
    CouldNotLook = 3,
    /// Somebody pressed Ctrl-C.
    Interrupted = 130,
}
