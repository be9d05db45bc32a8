//! `bound-images gc`.

use std::time::{Duration, SystemTime};

use super::Exit;
use crate::gate;
use crate::machine::Machine;
use crate::pool::{Unavailable, Writer, gc};
use crate::render::{self, Style};
use crate::system::journal;

/// Removes from the pool what nothing needs any more; only says so if `dry_run`.
///
/// # Errors
/// When the pool cannot be read.
pub fn run(
    machine: &Machine,
    keep_wanted: Duration,
    dry_run: bool,
    style: Style,
) -> anyhow::Result<Exit> {
    let directory = machine.pool_directory();
    if !directory.is_dir() {
        render::gc(&gc::Plan::default(), dry_run, style)?;
        return Ok(Exit::Well);
    }
    let writer = match dry_run {
        true => None,
        false => match Writer::open(&directory) {
            Ok(writer) => Some(writer),
            Err(Unavailable::Busy(lock)) => {
                render::failed(
                    &format!("a stage is running ({} is locked)", lock.display()),
                    style,
                );
                return Ok(Exit::CouldNotLook);
            }
            Err(Unavailable::Other(error)) => return Err(error),
        },
    };
    // Read after the lock was taken: a root that is staged from now on waits for it.
    let host = machine.roots()?;
    let facts = gc::gather(&machine.system, &machine.pool, &host, SystemTime::now())?;
    let plan = gc::plan(&facts, keep_wanted);
    render::gc(&plan, dry_run, style)?;
    let Some(writer) = writer else { return Ok(Exit::Well) };
    forget_what_booted(machine, &host);
    let applied = gc::apply(&plan, &writer);
    if !plan.stores.is_empty() {
        journal::collected(&plan.stores.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    match applied {
        Ok(()) => Ok(Exit::Well),
        Err(errors) => {
            for error in errors {
                render::failed(&format!("{error:#}"), style);
            }
            Ok(Exit::CouldNotLook)
        }
    }
}

/// An update that runs by now is not held back any more.
fn forget_what_booted(machine: &Machine, host: &host::Host) {
    let held = gate::held_back(&machine.system).ok().flatten();
    let content = |text: &str| text.split_once('.').map_or(text, |(hex, _)| hex).to_owned();
    let held = held.and_then(|held| held.root).map(|root| content(&root));
    let booted = host.with(host::Role::Booted).map(|root| root.id.content().to_owned());
    if held.is_some()
        && held == booted
        && let Err(error) = gate::forget(&machine.system)
    {
        log::warn!("{error:#}");
    }
}
