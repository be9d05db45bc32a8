//! `bound-images-hook [--store DIR] [--journal SOCKET]`: an OCI hook (`createRuntime`) for the
//! containers of bound services. It refuses a container that does not run the image which the
//! record of the mounted store names.
//!
//! It reads the container's state (JSON) on stdin, the bundle's `config.json`, the container's
//! layer and the record; it compares **which** image is run, by layer id or image id. It does not
//! hash the image's bytes: `bound-images verify --deep` does. It never writes to a store, runs a
//! program or uses the network.
//!
//! Exit status: 0, the container may run; 1, it may not. Either way there is one line in the
//! journal, on stderr where there is no journal; a refusal stands in both.
//!
//! Limits: only containers of the overlay driver; the record says nothing about containers made
//! with `--rootfs` (refused). The infra container of a pod that is made by `podman run --pod new:…`
//! has the annotations of the container and is judged like it; that of a `.pod` has not.
//! The journal record names the store, whose id tells the root, but not the root.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

mod annotations;
mod check;
mod container;
mod input;
mod journal;
mod verdict;

use verdict::{Outcome, Report};

/// All that the hook may take; it needs some milliseconds. crun waits for it with the container's start, and a bound
/// service must not fail because the host was slow at boot. Below the `timeout` of the hook's JSON file.
const DEADLINE: Duration = Duration::from_secs(8);

fn main() -> ExitCode {
    let deadline = Instant::now() + DEADLINE;
    let (report, socket) = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(arguments) => {
            let report = match input::read(&io::stdin(), deadline) {
                Ok(state) => in_time(deadline, move || check::check(&state, &arguments.store)),
                Err(why) => Report::refused(why),
            };
            (report, arguments.journal)
        }
        Err(why) => (Report::refused(why), PathBuf::from(journal::SOCKET)),
    };
    journal::tell(&report, &socket);
    match report.outcome {
        Outcome::Accepted | Outcome::Warned => ExitCode::SUCCESS,
        Outcome::Refused => ExitCode::FAILURE,
    }
}

/// Judges in another thread, which is left behind when it takes too long: a file system may not
/// answer, and a list of containers may be as large as somebody made it.
fn in_time(deadline: Instant, judge: impl FnOnce() -> Report + Send + 'static) -> Report {
    let (tell, told) = mpsc::channel();
    // Nobody listens any more after the deadline.
    let spawned = thread::Builder::new().spawn(move || tell.send(judge()).ok());
    if let Err(error) = spawned {
        return Report::refused(format!("cannot start a thread to judge it: {error}"));
    }
    told.recv_timeout(deadline.saturating_duration_since(Instant::now())).unwrap_or_else(|_| {
        Report::refused(format!(
            "it could not be judged within {} s: a file system does not answer, or the host is \
             overloaded; try again",
            DEADLINE.as_secs()
        ))
    })
}

/// What was typed.
struct Arguments {
    store: PathBuf,
    journal: PathBuf,
}

impl Arguments {
    fn parse(mut given: impl Iterator<Item = std::ffi::OsString>) -> Result<Self, String> {
        let mut arguments = Self {
            store: PathBuf::from("/").join(binding::STORE_PATH),
            journal: PathBuf::from(journal::SOCKET),
        };
        while let Some(option) = given.next() {
            let place = match option.to_str() {
                Some("--store") => &mut arguments.store,
                Some("--journal") => &mut arguments.journal,
                _ => {
                    return Err(format!(
                        "unknown argument {option:?} in the hook's JSON file; \
                         --store DIR and --journal SOCKET are known"
                    ));
                }
            };
            *place = given.next().ok_or_else(|| format!("{option:?} needs a value"))?.into();
        }
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_end_is_refused_and_not_waited_for() {
        let (never, waits) = mpsc::channel::<Report>();
        let late = in_time(Instant::now(), move || {
            waits.recv().unwrap_or_else(|_| Report::refused("nobody waits"))
        });
        assert_eq!(late.outcome, Outcome::Refused);
        assert!(late.message.contains("could not be judged within 8 s"), "{}", late.message);
        drop(never);
        let soon = Instant::now() + Duration::from_secs(60);
        let judged = in_time(soon, || Report { outcome: Outcome::Accepted, ..Report::refused("") });
        assert_eq!(judged.outcome, Outcome::Accepted);
    }
}
