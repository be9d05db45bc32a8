//! The parts of `bound-images` that its commands are made of.
//!
//! This crate is the only one of the project that is asynchronous and that talks to registries and
//! terminals. What a root binds is read by `binding`, stores are written by `overlay_store`; here
//! the two are put together: [`state`] looks at a root, [`mod@stage`] makes its store complete from
//! a [`source`], [`render`] tells people and programs.

pub mod bundle;
mod cli;
pub mod command;
pub mod finalize;
pub mod gate;
pub mod hook;
pub mod last_stage;
pub mod lint;
pub mod machine;
mod pages;
pub mod pin;
pub mod podman_conf;
pub mod pool;
pub mod render;
pub mod requirement;
pub mod settings;
pub mod shadow;
pub mod source;
pub mod stage;
pub mod state;
pub mod system;

pub use cli::{Cli, Color, Format};

use std::ffi::OsString;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use command::Exit;
use render::Style;
use system::bus::Bus;
use system::notify::Notifier;
use tokio::signal::unix::{SignalKind, signal};

/// How long an interrupted command may take to end by itself.
const MOMENT: Duration = Duration::from_millis(250);

/// What can be typed, with the examples and exit codes that help and man pages show.
#[must_use]
pub fn command_line() -> clap::Command {
    pages::complete(<Cli as clap::CommandFactory>::command())
}

/// What was typed. Ends the program with help, the version, or what is wrong with it.
#[must_use]
pub fn typed() -> Cli {
    let mut matches = command_line().get_matches();
    let parsed = <Cli as clap::FromArgMatches>::from_arg_matches_mut(&mut matches);
    parsed.unwrap_or_else(|error| error.format(&mut command_line()).exit())
}

/// What the program was started with, besides its arguments.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Environment variables, for skopeo.
    pub environment: Vec<(OsString, OsString)>,
    /// Whether `NO_COLOR` is set.
    pub no_color: bool,
    /// `TERM`: what the terminal can do.
    pub term: Option<String>,
    /// Whether a unit runs us, and not a person.
    pub unattended: bool,
    /// Where systemd listens for what a unit tells it (`$NOTIFY_SOCKET`, sd_notify(3)).
    pub notify_socket: Option<OsString>,
    /// Where the system bus is, if not at its usual place (`$DBUS_SYSTEM_BUS_ADDRESS`).
    pub system_bus: Option<OsString>,
}

/// Makes the pool writable for the commands that write it. Call it while there is one thread: a
/// mount namespace belongs to a thread.
pub fn prepare(cli: &Cli) {
    if let Err(error) = command::prepare(cli) {
        // Whoever needs it says what it could not do.
        render::note(&format!("warning: {error:#}"));
    }
}

/// Runs a command and says how it ended; all output was written then.
pub async fn run(cli: Cli, surroundings: Surroundings) -> Exit {
    system::logger::install(cli.global.verbose);
    let style = Style::new(
        cli.global.format.format(),
        cli.global.color,
        surroundings.no_color,
        surroundings.term.as_deref(),
    );
    let bus = surroundings.system_bus.as_deref().and_then(|address| address.to_str());
    let outside = command::Outside {
        podman: settings::podman_environment(&surroundings.environment),
        environment: system::skopeo::passed_environment(surroundings.environment),
        unattended: surroundings.unattended,
        notifier: Notifier::open(surroundings.notify_socket.as_ref()).map(Arc::new),
        bus: Bus::of(&cli.tests.host, bus),
    };
    let kept = cli.command.kept();
    let done = command::run(cli, outside, style);
    match interruptible(done).await {
        None => {
            interrupted(kept);
            Exit::Interrupted
        }
        Some(Ok(exit)) => exit,
        Some(Err(error)) => {
            let denied = error
                .chain()
                .any(|cause| kind_of(cause) == Some(std::io::ErrorKind::PermissionDenied));
            let fix = if denied { "; run it as root" } else { "" };
            render::failed(&format!("{error:#}{fix}"), style);
            Exit::CouldNotLook
        }
    }
}

fn interrupted(kept: &str) {
    render::settled();
    render::note(&format!("interrupted: {kept}"));
}

/// None when a signal asked us to end first. The work has a thread of its own, since what reads or
/// writes files does not look up meanwhile: it is given a moment, and then left where it is, which a
/// crash could do at any time as well.
async fn interruptible<T: Send + 'static>(
    work: impl Future<Output = anyhow::Result<T>> + Send + 'static,
) -> Option<anyhow::Result<T>> {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers a signal ends us at once, which is safe as well.
        return Some(work.await);
    };
    let mut work = tokio::spawn(work);
    tokio::select! {
        done = &mut work => {
            return Some(done.unwrap_or_else(|error| Err(anyhow::Error::from(error))));
        }
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    work.abort();
    // When it has ended, so have the programs that it started.
    if tokio::time::timeout(MOMENT, work).await.is_err() {
        log::debug!("it is busy with files, and left there");
    }
    None
}

fn kind_of(cause: &(dyn std::error::Error + 'static)) -> Option<std::io::ErrorKind> {
    let plain = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    plain.or_else(|| {
        cause.downcast_ref::<overlay_store::Error>().and_then(overlay_store::Error::io_kind)
    })
}
