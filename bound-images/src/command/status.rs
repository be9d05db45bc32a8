//! `bound-images status`: every root of the host side by side.

use std::collections::BTreeMap;

use host::{Deployment, Role, RootId};
use serde::Serialize;

use super::{Exit, verify};
use crate::finalize;
use crate::gate::{self, HeldBack};
use crate::last_stage::{self, LastStage};
use crate::machine::Machine;
use crate::pool::released::Release;
use crate::pool::wanted::{self, Found};
use crate::render::{self, Style};
use crate::shadow::Shadow;
use crate::state::{self, ImageState, State, StoreState};
use crate::system::bus::Bus;
use crate::system::systemd::{self, UnitState};

/// How it stands with a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It binds no images.
    NoBindings,
    /// All required images are there.
    Complete,
    /// Something required is missing or wrong.
    Incomplete,
    /// The same, and the operator lets it boot.
    Released,
    /// It cannot be looked at.
    Unknown,
}

/// One root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RootStatus {
    /// Its id.
    pub id: String,
    /// Its id for people.
    #[serde(skip)]
    pub short: String,
    /// What it is.
    pub role: Role,
    /// ostree's `osname`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stateroot: Option<String>,
    /// How it stands.
    pub state: Standing,
    /// How many images it binds.
    pub bindings: usize,
    /// How many of them are there and whole.
    pub present: usize,
    /// Its store in the pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// Bytes of its layers, unpacked.
    pub bytes: u64,
    /// Bytes of those that no other root has.
    pub own_bytes: u64,
    /// Why it was released.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released: Option<String>,
    /// The services that use its images.
    #[serde(skip)]
    pub services: Vec<String>,
    /// How it stands with them, in the root that is booted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_states: Vec<UnitState>,
    /// Names that mean another image to Podman now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shadowed: Vec<Shadow>,
    /// What keeps it from being complete.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// The host.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Its roots.
    pub roots: Vec<RootStatus>,
    /// Why the last update was held back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_back: Option<HeldBack>,
    /// How the last stage ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_stage: Option<LastStage>,
    /// Roots whose images are being fetched although they are not staged now.
    pub wanted: Vec<String>,
    /// Those of them whose images have all come.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fetched: Vec<String>,
    /// Why it cannot be told what is staged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staged_fault: Option<String>,
    /// What is wrong with the gate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gate_faults: Vec<String>,
    /// Why it cannot be told which services run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services_fault: Option<String>,
    /// Where the pool is.
    pub pool: String,
}

impl Status {
    /// Whether the root that was held back is staged still, and complete by now.
    #[must_use]
    pub fn is_mended(&self) -> bool {
        let held = self.held_back.as_ref().and_then(|held| held.root.as_deref());
        self.roots.iter().any(|root| {
            let is_it = root.role == Role::Staged && held == Some(root.id.as_str());
            is_it && matches!(root.state, Standing::Complete | Standing::NoBindings)
        })
    }

    /// Whether a root of this host has this id.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.roots.iter().any(|root| root.id == id)
    }

    /// Why the last update was held back, as far as it is so still. The remedies were for a root that was
    /// there: when it is gone, no command can name it.
    #[must_use]
    pub fn held_reasons(&self) -> Vec<String> {
        let Some(held) = &self.held_back else { return Vec::new() };
        let gone = held.root.as_ref().filter(|id| !self.has(id));
        let Some(root) = gone.and_then(|id| RootId::parse(id)) else { return held.why.clone() };
        let fetched = self.fetched.iter().any(|id| id == root.as_str());
        let named = format!("`bound-images stage --root {}", root.short());
        let without = |why: &String| {
            let parts: Vec<&str> = why.split("; ").filter(|part| !part.contains(&named)).collect();
            let why_alone = parts.join("; ");
            (!fetched || why_alone == *why).then_some(why_alone)
        };
        held.why.iter().filter_map(without).collect()
    }
}

/// Shows all roots.
///
/// # Errors
/// When they cannot be found.
pub async fn run(machine: &Machine, bus: Option<&Bus>, style: Style) -> anyhow::Result<Exit> {
    let mut status = gather(machine)?;
    if let Some(bus) = bus {
        ask(&mut status, bus).await;
    }
    render::status(&status, style)?;
    Ok(exit(&status))
}

/// Whether somebody has to look.
pub(super) fn exit(status: &Status) -> Exit {
    let fine = (status.held_back.is_none() || status.is_mended())
        && status.staged_fault.is_none()
        && status.gate_faults.is_empty()
        && status.roots.iter().all(|root| {
            let counts = matches!(root.role, Role::Booted | Role::Staged);
            let well = matches!(root.state, Standing::Complete | Standing::NoBindings);
            !counts || (well && root.shadowed.is_empty())
        });
    if fine { Exit::Well } else { Exit::Findings }
}

/// Asks how it stands with the services of the booted root.
async fn ask(status: &mut Status, bus: &Bus) {
    let booted = status.roots.iter_mut().find(|root| root.role == Role::Booted);
    let Some(root) = booted.filter(|root| !root.services.is_empty()) else { return };
    match systemd::states(bus, &root.services).await {
        Ok(states) => root.service_states = states,
        Err(why) => status.services_fault = Some(why),
    }
}

/// Looks at all roots.
///
/// # Errors
/// When they cannot be found. One that cannot be looked at is part of the answer.
pub fn gather(machine: &Machine) -> anyhow::Result<Status> {
    let host = machine.roots()?;
    let states: Vec<anyhow::Result<State>> =
        host.roots.iter().map(|root| state::look_at(machine, root)).collect();
    let mut owners: BTreeMap<&str, usize> = BTreeMap::new();
    for state in states.iter().flatten() {
        for (layer, _) in layers(state) {
            *owners.entry(layer).or_default() += 1;
        }
    }
    let roots = host
        .roots
        .iter()
        .zip(&states)
        .map(|(root, state)| root_status(machine, root, state.as_ref(), &owners))
        .collect();
    let held_back = gate::held_back(&machine.system).unwrap_or_else(|error| {
        log::warn!("{error:#}");
        None
    });
    let last_stage = last_stage::read(&machine.system).unwrap_or_else(|error| {
        log::warn!("{error:#}");
        None
    });
    let directory = machine.pool_directory();
    let wanted = wanted::read_all(&directory).unwrap_or_else(|error| {
        log::warn!("{error:#}");
        Vec::new()
    });
    let ids = |fits: &dyn Fn(&Found) -> bool| -> Vec<String> {
        wanted.iter().filter(|found| fits(found)).map(|found| found.root.to_string()).collect()
    };
    Ok(Status {
        roots,
        held_back,
        last_stage,
        wanted: ids(&|_| true),
        fetched: ids(&|found| found.is_fetched(&directory)),
        staged_fault: host.staged_fault.clone(),
        gate_faults: match host.roots.is_empty() {
            true => Vec::new(),
            false => finalize::check(&machine.system)?,
        },
        services_fault: None,
        pool: format!("/{}", machine.pool.path()),
    })
}

/// The layers of a root's store, each once, with their sizes.
fn layers(state: &State) -> BTreeMap<&str, u64> {
    let held = match &state.store {
        StoreState::Ours(held) => Some(held),
        StoreState::Absent | StoreState::Foreign(_) => None,
    };
    let layers = held.into_iter().flat_map(|held| &held.store.layers);
    layers.map(|layer| (layer.id.as_str(), layer.size.unwrap_or_default())).collect()
}

fn root_status(
    machine: &Machine,
    root: &Deployment,
    state: Result<&State, &anyhow::Error>,
    owners: &BTreeMap<&str, usize>,
) -> RootStatus {
    let mut out = RootStatus {
        id: root.id.to_string(),
        short: root.id.short(),
        role: root.role,
        stateroot: root.stateroot.clone(),
        state: Standing::Unknown,
        bindings: 0,
        present: 0,
        store: None,
        bytes: 0,
        own_bytes: 0,
        released: None,
        services: Vec::new(),
        service_states: Vec::new(),
        shadowed: Vec::new(),
        problems: Vec::new(),
    };
    let state = match state {
        Ok(state) => state,
        Err(error) => {
            out.problems.push(format!("{error:#}"));
            return out;
        }
    };
    let present = |binding: &&binding::Binding| {
        matches!(state.image_state(binding), ImageState::Present | ImageState::Shadowed)
    };
    out.bindings = state.bindings.bindings.len();
    out.present = state.bindings.bindings.iter().filter(present).count();
    let services = state.bindings.bindings.iter().flat_map(|binding| binding.services.clone());
    out.services = services.collect();
    if let StoreState::Ours(held) = &state.store {
        out.store = held.name.as_ref().map(ToString::to_string);
    }
    for (layer, size) in layers(state) {
        out.bytes = out.bytes.saturating_add(size);
        if owners.get(layer) == Some(&1) {
            out.own_bytes = out.own_bytes.saturating_add(size);
        }
    }
    out.shadowed = state.shadows.clone();
    out.problems = verify::reasons(state);
    out.released = match Release::read(&machine.system, &machine.pool, &root.id) {
        Ok(release) => release.map(|release| release.reason),
        Err(error) => {
            log::warn!("{error:#}");
            None
        }
    };
    out.state = match (out.problems.is_empty(), out.bindings, &out.released) {
        (true, 0, _) => Standing::NoBindings,
        (true, ..) => Standing::Complete,
        (false, _, Some(_)) => Standing::Released,
        (false, _, None) => Standing::Incomplete,
    };
    out
}
