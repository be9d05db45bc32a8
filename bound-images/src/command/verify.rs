//! `bound-images verify`: quick, without reading the files in layers, or deep.

use std::fmt;
use std::path::PathBuf;

use binding::{Bindings, Finding, Mismatch, Root};
use host::{Role, RootId};
use overlay_store::Watch;
use serde::Serialize;

use super::{Exit, Outside, damage, policy};
use crate::cli;
use crate::finalize;
use crate::hook;
use crate::machine::{Machine, Target};
use crate::pool::released::Release;
use crate::render::{self, Style};
use crate::shadow::Shadow;
use crate::stage;
use crate::state::{self, State, StoreState};
use crate::system::bus::Bus;
use crate::system::{journal, journal_read, systemd};

/// What is wrong with the store of a root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The bindings that suffer; none where all of them do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The file at fault, below the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What is wrong.
    pub why: String,
    /// Whether only an optional binding suffers.
    pub optional: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.subject, &self.path].into_iter().flatten() {
            write!(f, "{part}: ")?;
        }
        f.write_str(&self.why)
    }
}

/// What `verify` says of a root.
#[derive(Debug)]
pub struct Verdict {
    /// The root as it was given.
    pub root: PathBuf,
    /// Its id, when it is one of this host's.
    pub id: Option<RootId>,
    /// Whether every file was read.
    pub deep: bool,
    /// Id of its store, if it has one of ours.
    pub store_id: Option<String>,
    /// How many bindings it has.
    pub bindings: usize,
    /// Whether the store itself is damaged.
    pub damaged: bool,
    /// Whether the store came inside of a root of this host, and cannot be mended there.
    pub embedded: bool,
    /// What is wrong with the store.
    pub problems: Vec<Problem>,
    /// What is wrong with the bindings.
    pub findings: Vec<Finding>,
    /// Names that mean another image to Podman now: the store is whole all the same.
    pub shadowed: Vec<Shadow>,
}

impl Verdict {
    /// The root for people: its id, or its directory.
    #[must_use]
    pub fn name(&self) -> String {
        self.id.as_ref().map_or_else(|| self.root.display().to_string(), RootId::short)
    }

    /// What keeps the root from being complete, one sentence each.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let errors = self.findings.iter().filter(|finding| finding.is_error());
        let problems = self.problems.iter().filter(|problem| !problem.optional);
        let mut reasons: Vec<String> =
            errors.map(ToString::to_string).chain(problems.map(ToString::to_string)).collect();
        if let Some(last) = reasons.last_mut().filter(|_| self.damaged && !self.embedded) {
            last.push_str(&format!(
                "; mend the store with `bound-images stage --root {} --repair`",
                self.name()
            ));
        }
        reasons
    }

    /// Whether every required image is there and whole, and no binding is wrong.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.problems.iter().all(|problem| problem.optional)
            && !self.findings.iter().any(Finding::is_error)
    }
}

/// Checks the root that was typed, or the booted one.
///
/// # Errors
/// When the root cannot be looked at.
pub(crate) async fn run(
    machine: &Machine,
    typed: &cli::Verify,
    outside: Outside,
    style: Style,
) -> anyhow::Result<Exit> {
    let Outside { environment, bus, .. } = outside;
    let target = machine.target(typed.rooted.root.as_deref(), Role::Booted)?;
    let mut state = state::look_target(machine, &target)?;
    if typed.deep
        && let StoreState::Ours(held) = &mut state.store
    {
        // Where nobody watches, nothing is said until the end.
        match style.live {
            true => stage::read_all(held, &move |event| render::progress(&event, style))?,
            false => held.look_deep(&Watch::default())?,
        }
        render::settled();
        damage::remember(machine, &state).await;
    }
    let mut verdict = judge(&state, typed.deep);
    let runs = match &target {
        Target::Deployment(root) => root.role == Role::Booted,
        Target::Plain(path) => machine.is_at(path),
    };
    if runs && !typed.health {
        verdict.findings.extend(look_at_hook(machine, &state, bus.as_ref()).await);
    }
    if style.format == cli::Format::Table {
        for finding in &verdict.findings {
            render::finding(finding, style);
        }
        if !typed.health
            && let Ok(root) = files_of(machine, &target).and_then(|path| Ok(Root::open(&path)?))
            && let Some(warning) =
                policy::warning(environment, &root, &state.bindings.bindings).await
        {
            render::note(&format!("warning: {warning}"));
        }
    }
    if matches!(&target, Target::Deployment(root) if root.role == Role::Booted) {
        for fault in finalize::check(&machine.system)? {
            render::note(&format!("warning: {fault}"));
        }
    }
    render::verify(&verdict, style)?;
    if verdict.damaged
        && let Some(id) = &verdict.id
    {
        let first = verdict.problems.first().map(ToString::to_string).unwrap_or_default();
        journal::damaged(id.as_str(), verdict.store_id.as_deref().unwrap_or_default(), &first);
    }
    if typed.health {
        return health(machine, &verdict);
    }
    let well = verdict.is_complete() && verdict.shadowed.is_empty();
    Ok(if well { Exit::Well } else { Exit::Findings })
}

/// Where the files of a root are.
fn files_of(machine: &Machine, target: &Target) -> anyhow::Result<PathBuf> {
    match target {
        Target::Plain(path) => Ok(path.clone()),
        Target::Deployment(deployment) => machine.files(deployment),
    }
}

/// Whether the hook judges the containers of the running system, and has judged those that run.
async fn look_at_hook(machine: &Machine, state: &State, bus: Option<&Bus>) -> Vec<Finding> {
    let bindings = &state.bindings;
    if bindings.bindings.is_empty() {
        return Vec::new();
    }
    let services: Vec<String> =
        bindings.bindings.iter().flat_map(|binding| binding.services.clone()).collect();
    let mut findings = hook::check(&machine.system, &services);
    // Without a bus nothing of this machine is known to run: an image build, a container, CI.
    let Some(bus) = bus else { return findings };
    match look_at_starts(bindings, &services, bus).await {
        Ok(found) => findings.extend(found),
        Err(why) => render::note(&format!(
            "note: it cannot be told whether the hook judged the containers that run: {why}"
        )),
    }
    findings
}

async fn look_at_starts(
    bindings: &Bindings,
    services: &[String],
    bus: &Bus,
) -> Result<Vec<Finding>, String> {
    let states = systemd::states(bus, services).await?;
    if states.iter().all(|state| state.active != "active") {
        return Ok(Vec::new());
    }
    let fields = ["BOUND_IMAGES_SERVICE", "BOUND_IMAGES_REFERENCE", "BOUND_IMAGES_RESULT"];
    let text = journal_read::of_this_boot("bound-images-hook", &fields).await?;
    Ok(hook::unrecorded(bindings, &states, &hook::parse_starts(&text)))
}

/// What a boot is judged by: a root that the operator released is not failed for what he knew.
fn health(machine: &Machine, verdict: &Verdict) -> anyhow::Result<Exit> {
    let reasons = verdict.reasons();
    let Some(id) = verdict.id.as_ref().filter(|_| !reasons.is_empty()) else {
        return Ok(if reasons.is_empty() { Exit::Well } else { Exit::Findings });
    };
    journal::missing_at_boot(id.as_str(), &reasons);
    if let Some(release) = Release::read(&machine.system, &machine.pool, id)? {
        render::note(&format!("{} was released: {}", id.short(), release.reason));
        return Ok(Exit::Well);
    }
    Ok(Exit::Findings)
}

/// What keeps a root from being complete, one sentence each. Pure.
#[must_use]
pub fn reasons(state: &State) -> Vec<String> {
    judge(state, false).reasons()
}

/// Decides what is wrong. Pure.
#[must_use]
pub fn judge(state: &State, deep: bool) -> Verdict {
    let mut problems = Vec::new();
    let problem =
        |subject: Option<&str>, path: Option<&str>, why: String, optional: bool| Problem {
            subject: subject.map(str::to_owned),
            path: path.map(str::to_owned),
            why,
            optional,
        };
    let mut store_id = None;
    let fix = format!("run `{}`", state.stage_command());
    match &state.store {
        StoreState::Absent if state.bindings.bindings.is_empty() => {}
        StoreState::Absent => {
            for binding in &state.bindings.bindings {
                let why = format!("{} is missing: the root has no store; {fix}", binding.reference);
                problems.push(problem(Some(&binding.name), None, why, !binding.required));
            }
        }
        StoreState::Foreign(why) => {
            let why = format!("not a store of bound-images: {why}");
            problems.push(problem(None, Some(binding::STORE_PATH), why, false));
        }
        StoreState::Ours(held) => {
            store_id = Some(held.record.store_id());
            for damage in &held.damage {
                let suffer = held.bindings_of(&damage.subject);
                // A list that is wrong, or a layer that nobody is known to have, may be anybody's.
                let optional =
                    !suffer.is_empty() && suffer.iter().all(|name| !requires(state, name));
                let subject = suffer.join(", ");
                let subject = Some(subject.as_str()).filter(|subject| !subject.is_empty());
                problems.push(problem(subject, Some(&damage.path), damage.why.clone(), optional));
            }
            // Of a damaged store the last line says what to do: one next step, and not two.
            let fix = if held.damage.is_empty() { format!("; {fix}") } else { String::new() };
            for mismatch in held.mismatches.iter().filter(|_| !held.has_no_record()) {
                let optional = is_optional(state, mismatch);
                problems.push(problem(None, None, format!("{mismatch}{fix}"), optional));
            }
            for binding in &state.bindings.bindings {
                let absent =
                    held.recorded(binding, &state.host).is_some_and(|record| !record.present);
                if absent {
                    let why = format!("{} is missing{fix}", binding.reference);
                    problems.push(problem(Some(&binding.name), None, why, !binding.required));
                }
            }
        }
    }
    for finding in &state.bindings.findings {
        let Some(service) = finding.subject.as_deref().filter(|_| finding.code.keeps_image_away())
        else {
            continue;
        };
        let serves = |binding: &&binding::Binding| {
            binding.services.iter().any(|known| known == service) || binding.name == service
        };
        let mut suffering = state.bindings.bindings.iter().filter(serves);
        let optional = suffering.clone().all(|binding| !binding.required);
        if let Some(binding) = suffering.next() {
            let why = format!("{service} does not start from it: {}", finding.why);
            let place = finding.place.to_string();
            problems.push(problem(Some(&binding.name), Some(&place), why, optional));
        }
    }
    problems.dedup();
    let damaged = matches!(&state.store, StoreState::Ours(held) if !held.damage.is_empty());
    let embedded =
        state.id.is_some() && matches!(&state.store, StoreState::Ours(held) if held.name.is_none());
    Verdict {
        root: state.root.clone(),
        id: state.id.clone(),
        deep,
        store_id,
        bindings: state.bindings.bindings.len(),
        damaged,
        embedded,
        problems,
        findings: state.bindings.findings.clone(),
        shadowed: state.shadows.clone(),
    }
}

/// Whether the root may not boot without the image of a binding; also where it is not known here.
fn requires(state: &State, name: &str) -> bool {
    !state.bindings.bindings.iter().any(|known| known.name == name && !known.required)
}

/// Whether only an optional binding differs from the record.
fn is_optional(state: &State, mismatch: &Mismatch) -> bool {
    let (Mismatch::Added { binding }
    | Mismatch::Removed { binding }
    | Mismatch::Changed { binding, .. }) = mismatch;
    !requires(state, binding)
}
