//! The gate: may the staged root become the next boot?
//!
//! It reads the staged root and its store again and trusts nobody's word that they are complete.
//! It writes one thing only, and only when the host goes down: why it refused, for those who ask after
//! the reboot.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context as _;
use binding::Root;
use host::{Role, RootId};
use serde::{Deserialize, Serialize};

use crate::command::verify;
use crate::last_stage::seconds;
use crate::machine::Machine;
use crate::pool::released::Release;
use crate::state;
use crate::system::file::{read_optional, sync_directory, write_json_with_mode};

/// Where it is written why an update was held back, on the running system.
const HELD_BACK: &str = "var/lib/bound-images/held-back.json";
/// The largest such file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// The most reasons that are written down.
const MAX_REASONS: usize = 100;

/// What the gate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No root is staged.
    NothingStaged,
    /// It binds nothing.
    NoBindings(RootId),
    /// All required images are there.
    Complete(RootId),
    /// The operator lets it boot as it is: the reason, and what is missing.
    Released(RootId, String, Vec<String>),
    /// It must not boot: why, one sentence each, at least one.
    Refused(Option<RootId>, Vec<String>),
}

/// Why the last update was held back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    schema: u32,
    /// The root that did not become the next boot; none when it could not be told which it is.
    pub root: Option<String>,
    /// Why, one sentence each.
    pub why: Vec<String>,
    /// When an update was held back for the first time since one passed: seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
}

/// Asks for the staged root.
///
/// # Errors
/// When it cannot be looked at, which is a refusal as well.
pub fn ask(machine: &Machine) -> anyhow::Result<Answer> {
    let host = machine.roots()?;
    if let Some(why) = host.staged_fault {
        return Ok(Answer::Refused(None, vec![why]));
    }
    let Some(id) = host.staged.as_ref().map(|staged| staged.id.clone()) else {
        return Ok(Answer::NothingStaged);
    };
    let Some(deployment) = host.with(Role::Staged) else {
        let why = "it is staged, but its files are not there".to_owned();
        return Ok(Answer::Refused(Some(id), vec![why]));
    };
    let looked = state::look_at(machine, deployment)?;
    if looked.bindings.bindings.is_empty() && !looked.bindings.has_errors() {
        return Ok(Answer::NoBindings(id));
    }
    let reasons = verify::reasons(&looked);
    if reasons.is_empty() {
        return Ok(Answer::Complete(id));
    }
    match Release::read(&machine.system, &machine.pool, &id) {
        Ok(Some(release)) => Ok(Answer::Released(id, release.reason, reasons)),
        Ok(None) => Ok(Answer::Refused(Some(id), reasons)),
        Err(error) => {
            log::warn!("{error:#}");
            Ok(Answer::Refused(Some(id), reasons))
        }
    }
}

impl Answer {
    /// Whether the staged root may become the next boot.
    #[must_use]
    pub fn lets_pass(&self) -> bool {
        !matches!(self, Self::Refused(..))
    }

    /// The answer in one line.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::NothingStaged => "no root is staged".to_owned(),
            Self::NoBindings(id) => format!("{} binds no images", id.short()),
            Self::Complete(id) => format!("{} is complete", id.short()),
            Self::Released(id, reason, missing) => format!(
                "{} was released ({reason}) and may boot with {}",
                id.short(),
                crate::render::count(missing.len(), "problem")
            ),
            Self::Refused(id, reasons) => {
                let id = id.as_ref().map_or_else(|| "the staged root".to_owned(), RootId::short);
                let first = reasons.first().map(String::as_str).unwrap_or("it is not complete");
                let more = match reasons.len().saturating_sub(1) {
                    0 => String::new(),
                    more => format!(" (and {more} more)"),
                };
                format!("{id} must not boot yet, the update is held back: {first}{more}")
            }
        }
    }
}

fn path(system: &Root) -> PathBuf {
    system.path().join(HELD_BACK)
}

/// Why the last update was held back; none when none was.
///
/// # Errors
/// When it cannot be read.
pub fn held_back(system: &Root) -> anyhow::Result<Option<HeldBack>> {
    let path = path(system);
    let Some(bytes) = read_optional(&path, MAX_FILE)? else { return Ok(None) };
    let held = serde_json::from_slice(&bytes);
    held.map(Some).with_context(|| format!("{} is not valid", path.display()))
}

/// Writes down what `status` says after the next boot. An answer that lets a root pass takes back
/// what an earlier one said.
///
/// # Errors
/// When it cannot be written.
pub fn remember(system: &Root, answer: &Answer, now: SystemTime) -> anyhow::Result<()> {
    match answer {
        Answer::Refused(id, reasons) => {
            // One that cannot be read is replaced.
            let since = held_back(system).ok().flatten().and_then(|held| held.since);
            let held = HeldBack {
                schema: 1,
                root: id.as_ref().map(ToString::to_string),
                why: reasons.iter().take(MAX_REASONS).cloned().collect(),
                since: since.or(Some(seconds(now))),
            };
            let path = path(system);
            let directory = path.parent().unwrap_or(&path);
            std::fs::create_dir_all(directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
            write_json_with_mode(&path, &held, 0o644)
        }
        Answer::NothingStaged => Ok(()),
        Answer::NoBindings(_) | Answer::Complete(_) | Answer::Released(..) => forget(system),
    }
}

/// Forgets that an update was held back.
///
/// # Errors
/// When it cannot be removed.
pub fn forget(system: &Root) -> anyhow::Result<()> {
    let path = path(system);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
        Ok(()) => path
            .parent()
            .map_or(Ok(()), sync_directory)
            .with_context(|| format!("cannot sync the directory of {}", path.display())),
    }
}
