//! `bound-images gate`, which the finalize units ask before the staged root becomes the next boot.

use std::time::SystemTime;

use super::Exit;
use crate::gate::{self, Answer};
use crate::machine::Machine;
use crate::render::{self, Style};
use crate::system::{journal, soft_reboot};

/// Says whether the staged root may become the next boot. Only when the host goes down, which its
/// units say with `remember`, is an update held back by that: who asks before changes nothing.
///
/// # Errors
/// When the staged root cannot be looked at: then it must not.
pub fn run(machine: &Machine, remember: bool, style: Style) -> anyhow::Result<Exit> {
    let answer = gate::ask(machine).unwrap_or_else(|error| {
        Answer::Refused(None, vec![format!("it cannot be looked at: {error:#}")])
    });
    if remember {
        write_down(machine, &answer);
    }
    render::gate(&answer, style)?;
    Ok(if answer.lets_pass() { Exit::Well } else { Exit::Findings })
}

/// For those who ask after the reboot.
fn write_down(machine: &Machine, answer: &Answer) {
    if let Err(error) = gate::remember(&machine.system, answer, SystemTime::now()) {
        // Whether it may boot does not depend on it.
        log::warn!("{error:#}");
    }
    if let Answer::Refused(id, reasons) = answer {
        let id = id.as_ref().map(ToString::to_string).unwrap_or_default();
        journal::held_back(&id, &answer.line(), reasons);
    }
}

/// Takes an incomplete root out of the way of a soft reboot.
///
/// # Errors
/// When it is still in the way afterwards.
pub fn soft_reboot(machine: &Machine, style: Style) -> anyhow::Result<Exit> {
    let exit = run(machine, true, style)?;
    if exit != Exit::Well {
        soft_reboot::forbid()?;
    }
    Ok(exit)
}
