//! `stage`: its events, its plan and its outcome.

use std::io;

use serde::Serialize;
use serde_json::json;

use super::bars;
use super::table::{Cell, table};
use super::{
    FindingJson, SCHEMA, Style, bytes, count, finding, note, print, print_json, print_words,
    printable, shorten,
};
use crate::cli::Format;
use crate::stage::{Action, Event, LayerPlan, Outcome, Plan, Published, StageError};

#[derive(Serialize)]
struct LayerJson<'a> {
    action: &'a str,
    binding: &'a str,
    diff_id: oci_digest::Digest,
    blob: oci_digest::Digest,
    size: u64,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a std::path::Path>,
}

/// Tells of an event while the stage runs: lines for people, or JSON lines.
pub fn progress(event: &Event<'_>, style: Style) {
    if style.format == Format::Json {
        if let Some(value) = event_json(event) {
            // A reader that went away must not stop the stage.
            drop(print_json(&value));
        }
        return;
    }
    if style.live && bars::show(event) {
        return;
    }
    match event {
        Event::Reading { layers, bytes: all, .. } => {
            note(&format!("reading every file of {} ({})", count(*layers, "layer"), bytes(*all)));
        }
        Event::Read { id, size, done, of } => {
            let id: String = id.chars().take(12).collect();
            note(&format!("[{done}/{of}] read layer {id} ({})", bytes(*size)));
        }
        Event::Finding(problem) => finding(problem, style),
        Event::Resolved { binding, reference, digest } if !reference.contains('@') => {
            // On a terminal as everywhere else there; all of it is in JSON and in a log.
            let digest = if style.live { digest.short() } else { digest.to_string() };
            note(&format!("{binding}: {reference} is {digest}"));
        }
        Event::Resolved { .. } => {}
        Event::Unavailable { binding, optional, why } => {
            let what = if *optional { "is optional and left out" } else { "is left out" };
            note(&format!("warning: {binding} {what}: {why}"));
        }
        Event::Planned(plan) => note(&summary(plan)),
        Event::Fetching(_) | Event::Begun { .. } | Event::Broken { .. } => {}
        Event::Layer { diff_id, action, size, done, of } => {
            let copied = if *action == Action::Copy { ", copied" } else { "" };
            note(&format!("[{done}/{of}] layer {} ({}{copied})", diff_id.short(), bytes(*size)));
        }
        Event::Publishing => note("verified; publishing"),
    }
}

fn event_json(event: &Event<'_>) -> Option<serde_json::Value> {
    Some(match event {
        Event::Reading { layers, bytes, .. } => {
            json!({"schema": SCHEMA, "event": "reading", "layers": layers, "bytes": bytes})
        }
        Event::Read { id, size, done, of } => {
            json!({"schema": SCHEMA, "event": "read", "id": id, "size": size, "done": done, "of": of})
        }
        Event::Finding(problem) => {
            json!({"schema": SCHEMA, "event": "finding", "finding": FindingJson::from(*problem)})
        }
        Event::Resolved { binding, reference, digest } => {
            json!({"schema": SCHEMA, "event": "resolved", "binding": binding, "reference": reference, "digest": digest})
        }
        Event::Unavailable { binding, why, .. } => {
            json!({"schema": SCHEMA, "event": "unavailable", "binding": binding, "why": why})
        }
        Event::Planned(plan) => plan_json(plan, "planned"),
        Event::Layer { diff_id, action, size, done, of } => {
            let fetched = if *action == Action::Fetch { *size } else { 0 };
            json!({"schema": SCHEMA, "event": "layer", "diff_id": diff_id, "action": action.word(), "fetched": fetched, "done": done, "of": of})
        }
        // Of what moves only the service manager is told.
        Event::Fetching(_) | Event::Begun { .. } | Event::Broken { .. } => return None,
        Event::Publishing => json!({"schema": SCHEMA, "event": "publishing"}),
    })
}

fn plan_json(plan: &Plan, event: &str) -> serde_json::Value {
    let layers: Vec<LayerJson<'_>> = plan.layers.iter().map(layer_json).collect();
    json!({
        "schema": SCHEMA, "event": event, "store": plan.store.to_string_lossy(), "images": plan.image_count(),
        "bytes_to_fetch": plan.bytes_to_fetch(), "layers": layers,
    })
}

fn layer_json(layer: &LayerPlan) -> LayerJson<'_> {
    LayerJson {
        action: layer.action.word(),
        binding: &layer.binding,
        diff_id: layer.diff_id,
        blob: layer.blob,
        size: layer.size,
        id: &layer.id,
        from: (layer.action == Action::Copy)
            .then(|| layer.copies.first().map(overlay_store::ForeignLayer::store))
            .flatten(),
    }
}

/// The plan in one line.
fn summary(plan: &Plan) -> String {
    let (fetch, copy) = (plan.to_fetch().count(), plan.to_copy().count());
    let copies = if copy > 0 { format!("{copy} to copy, ") } else { String::new() };
    format!(
        "{} in {}: {fetch} to fetch ({}), {copies}{} there already",
        count(plan.image_count(), "image"),
        count(plan.layers.len(), "layer"),
        bytes(plan.bytes_to_fetch()),
        plan.layers.len() - fetch - copy
    )
}

/// Writes the outcome.
///
/// # Errors
/// When standard output cannot be written.
pub fn stage(outcome: &Outcome, style: Style) -> io::Result<()> {
    if style.format == Format::Json {
        return print_json(&outcome_json(outcome));
    }
    match outcome {
        Outcome::NoBindings => {
            print("Nothing to do: the root has no links in usr/lib/bootc/bound-images.d.\n")
        }
        Outcome::AlreadyThere(id) => {
            print(&format!("Nothing to do: the store is complete ({}).\n", short(id)))
        }
        Outcome::Planned(plan) => print_words(&plan_text(plan, style), style),
        Outcome::Published(published) => print_words(&published_text(published), style),
        Outcome::Linked(published) => print_words(&linked_text(published), style),
    }
}

fn outcome_json(outcome: &Outcome) -> serde_json::Value {
    match outcome {
        Outcome::NoBindings => json!({"schema": SCHEMA, "event": "done", "result": "no-bindings"}),
        Outcome::AlreadyThere(id) => {
            json!({"schema": SCHEMA, "event": "done", "result": "already-there", "store_id": id})
        }
        Outcome::Planned(plan) => plan_json(plan, "plan"),
        Outcome::Published(published) | Outcome::Linked(published) => {
            let linked = matches!(outcome, Outcome::Linked(_));
            let missing: Vec<_> = published
                .missing
                .iter()
                .map(|(binding, why)| json!({"binding": binding, "why": why}))
                .collect();
            json!({
                "schema": SCHEMA, "event": "done", "result": if linked { "linked" } else { "published" }, "store_id": published.store_id,
                "store": published.plan.store.to_string_lossy(), "images": published.plan.image_count(),
                "layers": published.plan.layers.len(), "fetched": published.plan.bytes_to_fetch(), "missing": missing,
            })
        }
    }
}

fn plan_text(plan: &Plan, style: Style) -> String {
    let rows: Vec<Vec<Cell>> = plan
        .layers
        .iter()
        .map(|layer| {
            let (action, diff) = (layer.action.word().to_owned(), layer.diff_id.short());
            [action, bytes(layer.size), diff, printable(&layer.binding)].map(Cell::from).to_vec()
        })
        .collect();
    let layers =
        table(&["ACTION", "SIZE", "LAYER", "BINDING"], &[false, true, false, false], &rows, style);
    format!("{layers}\n{}. Nothing was changed.\n", summary(plan))
}

fn published_text(published: &Published) -> String {
    let plan = &published.plan;
    let copied = match plan.to_copy().count() {
        0 => String::new(),
        copies => format!(", {copies} copied"),
    };
    let mut out = format!(
        "Staged {} ({}{copied}, {} fetched) in {}, store {}.\n",
        count(plan.image_count(), "image"),
        count(plan.layers.len(), "layer"),
        bytes(plan.bytes_to_fetch()),
        shorten(&plan.store.display().to_string()),
        short(&published.store_id)
    );
    for (binding, _) in &published.missing {
        out.push_str(&format!("{} is missing.\n", printable(binding)));
    }
    out
}

fn linked_text(published: &Published) -> String {
    let images = count(published.plan.image_count(), "image");
    let id = short(&published.store_id);
    format!("Linked to the store {id}, which has exactly these {images}; nothing was fetched.\n")
}

/// The start of an id.
fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

/// Says why a stage failed: each cause on a line of its own, then the sum.
pub fn stage_failed(error: &StageError, style: Style) {
    let causes: Vec<String> = match error {
        StageError::Bindings(findings) => {
            if style.format == Format::Json {
                let findings: Vec<FindingJson<'_>> =
                    findings.iter().map(FindingJson::from).collect();
                drop(print_json(
                    &json!({"schema": SCHEMA, "event": "failed", "findings": findings}),
                ));
            }
            for problem in findings {
                finding(problem, style);
            }
            Vec::new()
        }
        StageError::Damaged(damage, _) => {
            damage.iter().map(|damage| super::shorten(&damage.to_string())).collect()
        }
        StageError::Sources(list) => {
            list.iter().map(|(name, error)| format!("{name}: {error}")).collect()
        }
        StageError::Layers(list) => {
            list.iter().map(|(name, error)| format!("{name}: {error}")).collect()
        }
        StageError::Refused(_)
        | StageError::NoSpace(_)
        | StageError::NotRoot
        | StageError::Other(_) => Vec::new(),
    };
    for cause in &causes {
        note(&format!("error: {cause}"));
    }
    if style.format == Format::Json && !matches!(error, StageError::Bindings(_)) {
        drop(print_json(
            &json!({"schema": SCHEMA, "event": "failed", "why": error.to_string(), "causes": causes}),
        ));
    }
    note(&format!("error: {error}"));
}
