//! `bundle`: its events, its plan and its outcome.

use std::io;

use serde_json::{Value, json};

use super::table::{Cell, table};
use super::{
    FindingJson, SCHEMA, Style, bytes, count, finding, note, print, print_json, printable,
};
use crate::bundle::{Action, BundleError, Done, Event, Kind, Outcome, Plan, Pruned, User, Wish};
use crate::cli::Format;

/// Tells of an event while the run goes on: lines for people, or JSON lines.
pub(crate) fn bundle_progress(event: &Event<'_>, style: Style) {
    if style.format == Format::Json {
        // A reader that went away must not stop the run.
        drop(print_json(&event_json(event)));
        return;
    }
    match event {
        Event::Finding { finding: problem, .. } => finding(problem, style),
        Event::Resolved { wish, digest } if !wish.request.reference.is_pinned() => {
            note(&format!("{}: {} is {digest}", wish.name(), wish.request.reference));
        }
        Event::Resolved { .. } => {}
        Event::Unavailable { wish, why } => {
            note(&format!("warning: {} is optional and left out: {why}", wish.name()));
        }
        Event::Damaged { digest, why } => {
            note(&format!("warning: blob {} is replaced: {why}", digest.short()));
        }
        Event::NotCopied { digest, why } => {
            note(&format!("warning: blob {} was fetched: {why}", digest.short()));
        }
        Event::Planned(plan) => note(&summary(plan)),
        Event::Blob { digest, action, size, done, of } => {
            let copied = if *action == Action::Copy { ", copied" } else { "" };
            note(&format!("[{done}/{of}] layer {} ({}{copied})", digest.short(), bytes(*size)));
        }
        Event::Writing => note("all blobs are there; writing the index"),
    }
}

fn event_json(event: &Event<'_>) -> Value {
    match event {
        Event::Finding { root, finding } => {
            json!({"schema": SCHEMA, "event": "finding", "root": root.to_string_lossy(), "finding": FindingJson::from(*finding)})
        }
        Event::Resolved { wish, digest } => {
            json!({"schema": SCHEMA, "event": "resolved", "reference": wish.request.reference.to_string(), "platform": wish.request.platform, "digest": digest, "bindings": users(&wish.users)})
        }
        Event::Unavailable { wish, why } => {
            let Wish { request, users: wanted_by, .. } = wish;
            json!({"schema": SCHEMA, "event": "unavailable", "reference": request.reference.to_string(), "platform": request.platform, "bindings": users(wanted_by), "why": why})
        }
        Event::Damaged { digest, why } => {
            json!({"schema": SCHEMA, "event": "damaged", "digest": digest, "why": why})
        }
        Event::NotCopied { digest, why } => {
            json!({"schema": SCHEMA, "event": "not-copied", "digest": digest, "why": why})
        }
        Event::Planned(plan) => plan_json(plan, "planned"),
        Event::Blob { digest, action, size, done, of } => {
            let fetched = if *action == Action::Fetch { *size } else { 0 };
            json!({"schema": SCHEMA, "event": "blob", "digest": digest, "action": action.word(), "fetched": fetched, "done": done, "of": of})
        }
        Event::Writing => json!({"schema": SCHEMA, "event": "writing"}),
    }
}

fn users(users: &[User]) -> Vec<Value> {
    users
        .iter()
        .map(|user| json!({"root": user.root.to_string_lossy(), "name": user.binding}))
        .collect()
}

fn plan_json(plan: &Plan, event: &str) -> Value {
    let blobs = plan.blobs.iter().map(|blob| {
        let mut value = json!({
            "action": blob.action.word(), "kind": blob.kind.word(), "digest": blob.digest, "size": blob.size,
            "reference": plan.images.get(blob.image).map(|image| &image.reference),
        });
        if let (Some(map), Some(from)) = (value.as_object_mut(), &blob.from) {
            map.insert("from".to_owned(), json!(from.to_string_lossy()));
        }
        value
    });
    json!({
        "schema": SCHEMA, "event": event, "bundle": plan.bundle.to_string_lossy(), "images": images(plan),
        "bytes_to_fetch": plan.bytes(Action::Fetch), "bytes_to_write": plan.bytes_to_write(),
        "blobs": blobs.collect::<Vec<_>>(),
    })
}

fn images(plan: &Plan) -> Vec<Value> {
    let one = |image: &crate::bundle::ImagePlan| json!({"reference": image.reference, "platform": image.platform, "digest": image.digest, "manifest": image.manifest});
    plan.images.iter().map(one).collect()
}

/// The plan in one line.
fn summary(plan: &Plan) -> String {
    let layers = || plan.blobs.iter().filter(|blob| blob.kind == Kind::Layer);
    let number = |action| layers().filter(|blob| blob.action == action).count();
    let copies = match number(Action::Copy) {
        0 => String::new(),
        copies => format!("{copies} to copy ({}), ", bytes(plan.bytes(Action::Copy))),
    };
    format!(
        "{} in {}: {} to fetch ({}), {copies}{} there already",
        count(plan.image_count(), "image"),
        count(layers().count(), "layer"),
        number(Action::Fetch),
        bytes(plan.bytes(Action::Fetch)),
        number(Action::Keep),
    )
}

/// Writes the outcome.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn bundle(outcome: &Outcome, style: Style) -> io::Result<()> {
    if style.format == Format::Json {
        return print_json(&outcome_json(outcome));
    }
    match outcome {
        Outcome::NoBindings => {
            print("Nothing to do: there are no links in usr/lib/bootc/bound-images.d.\n")
        }
        Outcome::AlreadyThere(done) => {
            let size =
                done.plan.blobs.iter().fold(0_u64, |sum, blob| sum.saturating_add(blob.size));
            print(&format!(
                "Nothing to do: {} has {}, and all of it was read ({}).\n{}",
                done.plan.bundle.display(),
                count(done.plan.image_count(), "image"),
                bytes(size),
                missing_text(done)
            ))
        }
        Outcome::Planned(done) => print(&plan_text(done, style)),
        Outcome::Written(done) => print(&written_text(done)),
    }
}

fn outcome_json(outcome: &Outcome) -> Value {
    let (result, done) = match outcome {
        Outcome::NoBindings => {
            return json!({"schema": SCHEMA, "event": "done", "result": "no-bindings"});
        }
        Outcome::Planned(done) => {
            let mut value = plan_json(&done.plan, "plan");
            if let Some(map) = value.as_object_mut() {
                map.insert("missing".to_owned(), missing_json(done));
                map.insert("pruned".to_owned(), pruned_json(&done.pruned));
            }
            return value;
        }
        Outcome::AlreadyThere(done) => ("already-there", done),
        Outcome::Written(done) => ("written", done),
    };
    json!({
        "schema": SCHEMA, "event": "done", "result": result, "bundle": done.plan.bundle.to_string_lossy(), "images": images(&done.plan),
        "blobs": done.plan.blobs.len(), "fetched": done.plan.bytes(Action::Fetch),
        "written": done.plan.bytes_to_write(), "missing": missing_json(done), "pruned": pruned_json(&done.pruned),
    })
}

fn missing_json(done: &Done) -> Value {
    let one = |one: &crate::bundle::Missing| json!({"reference": one.reference, "platform": one.platform, "bindings": users(&one.users), "why": one.why});
    done.missing.iter().map(one).collect()
}

fn pruned_json(pruned: &Pruned) -> Value {
    json!({"images": pruned.images, "blobs": pruned.blobs, "bytes": pruned.bytes, "kept": pruned.kept})
}

fn plan_text(done: &Done, style: Style) -> String {
    let plan = &done.plan;
    let rows: Vec<Vec<Cell>> = plan
        .blobs
        .iter()
        .map(|blob| {
            let image = plan.images.get(blob.image).map(|image| image.reference.as_str());
            vec![
                blob.action.word().into(),
                bytes(blob.size).into(),
                blob.kind.word().into(),
                blob.digest.short().into(),
                super::shorten(&printable(image.unwrap_or_default())).into(),
            ]
        })
        .collect();
    let right = [false, true, false, false, false];
    let blobs = table(&["ACTION", "SIZE", "KIND", "BLOB", "IMAGE"], &right, &rows, style);
    format!(
        "{blobs}\n{}; {} to write. Nothing was changed.\n{}{}",
        summary(plan),
        bytes(plan.bytes_to_write()),
        pruned_text(&done.pruned, "would be removed"),
        missing_text(done)
    )
}

fn written_text(done: &Done) -> String {
    let plan = &done.plan;
    let copied = match plan.bytes(Action::Copy) {
        0 => String::new(),
        size => format!(", {} copied", bytes(size)),
    };
    let mut out = format!(
        "Bundled {} ({}, {} fetched{copied}) in {}.\n",
        count(plan.image_count(), "image"),
        count(plan.blobs.len(), "blob"),
        bytes(plan.bytes(Action::Fetch)),
        plan.bundle.display()
    );
    for entry in &plan.entries {
        let reference = entry.reference.to_string();
        if entry.reference.is_pinned() {
            out.push_str(&format!("  {}\n", printable(&reference)));
        } else {
            out.push_str(&format!("  {} is {}\n", printable(&reference), entry.digest));
        }
    }
    out + &pruned_text(&done.pruned, "removed") + &missing_text(done)
}

fn pruned_text(pruned: &Pruned, verb: &str) -> String {
    if pruned.images == 0 {
        return String::new();
    }
    let (images, blobs) =
        (count(pruned.images, "entry").replace("entrys", "entries"), &pruned.blobs);
    let kept = match &pruned.kept {
        Some(why) => {
            format!("; no blob goes, since it cannot be told what others need: {}", printable(why))
        }
        None => format!(" and {} ({})", count(blobs.len(), "blob"), bytes(pruned.bytes)),
    };
    format!("{images} that no root wants{kept} {verb}.\n")
}

fn missing_text(done: &Done) -> String {
    done.missing.iter().fold(String::new(), |out, one| {
        format!("{out}{} is missing (optional).\n", printable(&one.reference))
    })
}

/// Says why a bundle was not written: each cause on a line of its own, then the sum.
pub(crate) fn bundle_failed(error: &BundleError, style: Style) {
    let json = style.format == Format::Json;
    let mut causes = Vec::new();
    match error {
        BundleError::Bindings(roots) => {
            if json {
                let findings = roots.iter().flat_map(|(root, findings)| {
                    findings
                        .iter()
                        .map(move |one| json!({"root": root.to_string_lossy(), "finding": FindingJson::from(one)}))
                });
                let findings: Vec<Value> = findings.collect();
                drop(print_json(&json!({"schema": SCHEMA, "event": "failed", "roots": findings})));
            }
            for (root, findings) in roots.iter().filter(|(_, findings)| !findings.is_empty()) {
                if roots.len() > 1 {
                    note(&format!("in {}:", root.display()));
                }
                for problem in findings {
                    finding(problem, style);
                }
            }
        }
        BundleError::Sources(list) => {
            causes = list.iter().map(|(name, error)| format!("{name}: {error}")).collect();
        }
        BundleError::Refused(_) | BundleError::NoSpace(_) | BundleError::Other(_) => {}
    }
    for cause in &causes {
        note(&format!("error: {cause}"));
    }
    if json && !matches!(error, BundleError::Bindings(_)) {
        drop(print_json(
            &json!({"schema": SCHEMA, "event": "failed", "why": error.to_string(), "causes": causes}),
        ));
    }
    note(&format!("error: {error}"));
}
