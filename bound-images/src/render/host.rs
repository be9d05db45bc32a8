//! `status`, `gate`, `gc` and `release`.

use std::io;

use host::{Role, RootId};
use serde_json::json;

use super::table::{Cell, table};
use super::{SCHEMA, Style, bytes, count, print, print_json, print_words, printable, shorten};
use crate::cli::Format;
use crate::command::status::{RootStatus, Standing, Status};
use crate::gate::Answer;
use crate::pool::gc;

/// Writes how it stands with all roots.
///
/// # Errors
/// When standard output cannot be written.
pub fn status(status: &Status, style: Style) -> io::Result<()> {
    if style.format == Format::Json {
        let mut value = serde_json::to_value(status)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("schema".to_owned(), SCHEMA.into());
        }
        return print_json(&value);
    }
    print_words(&status_text(status, style), style)
}

fn status_text(status: &Status, style: Style) -> String {
    let mut out = if status.roots.is_empty() {
        "This host has no roots that are deployments; `list --root DIR` looks into a directory.\n"
            .to_owned()
    } else {
        roots_text(&status.roots, style)
    };
    for root in &status.roots {
        if let Some(reason) = &root.released {
            out.push_str(&format!("\n{} was released: {}\n", root.short, printable(reason)));
        }
        for shadow in &root.shadowed {
            out.push_str(&format!("\n{}\n", shorten(&printable(&shadow.to_string()))));
        }
        for problem in &root.problems {
            out.push_str(&format!("\n{}: {}", root.short, shorten(&printable(problem))));
        }
        if !root.problems.is_empty() {
            out.push('\n');
        }
    }
    for root in &status.roots {
        let down = root.service_states.iter().filter(|unit| !unit.is_up());
        let down: Vec<String> =
            down.map(|unit| format!("{} ({})", printable(&unit.name), unit.word())).collect();
        if !down.is_empty() {
            out.push_str(&format!(
                "\nServices of {} that do not run: {}\n",
                root.short,
                down.join(", ")
            ));
        }
    }
    if let Some(why) = &status.services_fault {
        out.push_str(&format!("\nIt cannot be told which services run: {}\n", printable(why)));
    }
    if let Some(held) = &status.held_back {
        let root = held.root.as_deref().and_then(RootId::parse);
        let root = root.map_or_else(|| "The staged root".to_owned(), |root| root.short());
        out.push_str(&format!("\nThe update was held back: {root} did not become the next boot"));
        // What stands above already need not be said again, nor what is true no more.
        let told = status.roots.iter().find(|root| held.root.as_ref() == Some(&root.id));
        let is_told = told.is_some_and(|root| root.problems == held.why);
        let reasons = status.held_reasons();
        let (end, why) = match (status.is_mended(), is_told, reasons.is_empty()) {
            (true, ..) => (". It is complete now, and will", Vec::new()),
            (false, true, _) => (", for what is said above", Vec::new()),
            (false, false, false) => (":", reasons),
            (false, false, true) => ("", Vec::new()),
        };
        out.push_str(&format!("{end}\n"));
        for why in why {
            out.push_str(&format!("  {}\n", shorten(&printable(&why))));
        }
    }
    if let Some(last) = status.last_stage.as_ref().filter(|last| !last.succeeded()) {
        let how = match last.exit_code {
            130 => "was interrupted".to_owned(),
            code => format!("failed with exit code {code}"),
        };
        out.push_str(&format!(
            "\nThe last stage {how}; `journalctl -u bound-images-stage.service` has more\n"
        ));
    }
    out.push_str(&wanted_text(status));
    for fault in &status.gate_faults {
        out.push_str(&format!("\nThe gate is not in place: {}\n", printable(fault)));
    }
    if let Some(why) = &status.staged_fault {
        out.push_str(&format!(
            "\nIt cannot be told whether a root is staged: {}\n",
            printable(why)
        ));
    }
    out
}

/// What is fetched for roots that are not there now, and what has come.
fn wanted_text(status: &Status) -> String {
    let (here, awaited): (Vec<&String>, Vec<&String>) =
        status.wanted.iter().partition(|id| status.fetched.contains(id) && !status.has(id));
    let names = |ids: &[&String]| -> Vec<String> {
        ids.iter().filter_map(|id| RootId::parse(id)).map(|id| id.short()).collect()
    };
    let mut out: String =
        names(&here).iter().map(|root| format!("\n{}\n", all_here(root))).collect();
    if !awaited.is_empty() {
        // With a root that is staged, `stage` would be for that one.
        let staged = status.roots.iter().any(|root| root.role == Role::Staged);
        let now = if staged { "" } else { "; at once: `bound-images stage`" };
        let roots = names(&awaited).join(", ");
        out.push_str(&format!(
            "\nFetched in the background until it is staged again: {roots}{now}\n"
        ));
    }
    out
}

/// What to do when all images of a root that is not there have come.
fn all_here(root: &str) -> String {
    format!(
        "All images of {root} are here; stage the update again (`bootc upgrade`, `rpm-ostree upgrade`, \
         `ostree admin upgrade`)"
    )
}

fn roots_text(roots: &[RootStatus], style: Style) -> String {
    let rows: Vec<Vec<Cell>> = roots.iter().map(row).collect();
    let headings = ["ROOT", "ROLE", "STATE", "IMAGES", "SIZE", "ONLY HERE", "STORE"];
    table(&headings, &[false, false, false, true, true, true, false], &rows, style)
}

fn row(root: &RootStatus) -> Vec<Cell> {
    let size = |count: u64| if root.store.is_some() { bytes(count) } else { "-".to_owned() };
    vec![
        root.short.clone().into(),
        root.role.word().into(),
        Cell::painted(word(root.state), paint(root.state)),
        format!("{}/{}", root.present, root.bindings).into(),
        size(root.bytes).into(),
        size(root.own_bytes).into(),
        root.store.as_deref().map_or_else(|| "-".to_owned(), shorten).into(),
    ]
}

fn word(state: Standing) -> &'static str {
    match state {
        Standing::NoBindings => "binds nothing",
        Standing::Complete => "complete",
        Standing::Incomplete => "incomplete",
        Standing::Released => "released",
        Standing::Unknown => "unknown",
    }
}

fn paint(state: Standing) -> &'static str {
    match state {
        Standing::NoBindings | Standing::Complete => "\x1b[32m",
        Standing::Released => "\x1b[33m",
        Standing::Incomplete | Standing::Unknown => "\x1b[31m",
    }
}

/// Writes what the gate says.
///
/// # Errors
/// When standard output cannot be written.
pub fn gate(answer: &Answer, style: Style) -> io::Result<()> {
    if style.format == Format::Table {
        return print_words(&format!("{}\n", shorten(&printable(&answer.line()))), style);
    }
    let (root, why): (Option<&RootId>, &[String]) = match answer {
        Answer::NothingStaged => (None, &[]),
        Answer::NoBindings(id) | Answer::Complete(id) => (Some(id), &[]),
        Answer::Released(id, _, why) => (Some(id), why),
        Answer::Refused(id, why) => (id.as_ref(), why),
    };
    print_json(&json!({"schema": SCHEMA, "root": root, "pass": answer.lets_pass(), "why": why}))
}

/// Writes what was, or would be, removed.
///
/// # Errors
/// When standard output cannot be written.
pub fn gc(plan: &gc::Plan, dry_run: bool, style: Style) -> io::Result<()> {
    if style.format == Format::Json {
        let mut value = serde_json::to_value(plan)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("schema".to_owned(), SCHEMA.into());
            object.insert("dry_run".to_owned(), dry_run.into());
        }
        return print_json(&value);
    }
    let mut out = String::new();
    let mut line = |what: &str, name: &str| out.push_str(&format!("{what} {}\n", shorten(name)));
    plan.links.iter().for_each(|root| line("link of the gone root", root.as_str()));
    plan.stores.iter().for_each(|name| line("store", &name.to_string()));
    plan.wanted.iter().for_each(|root| line("wish of", root.as_str()));
    plan.partial.iter().for_each(|root| line("half-made store of", root.as_str()));
    plan.released.iter().for_each(|root| line("release of the gone root", root.as_str()));
    plan.leftovers.iter().for_each(|name| line("leftover", name));
    for (name, user) in &plan.kept {
        out.push_str(&format!("kept: store {}: {}\n", shorten(name), printable(user)));
    }
    out.push_str(match (plan.is_empty(), dry_run) {
        (true, _) => "Nothing to remove.\n",
        (false, true) => "Nothing was removed: this was a dry run.\n",
        (false, false) => "",
    });
    if !plan.is_empty() && !dry_run {
        out.push_str(&format!("{} removed.\n", count(plan.stores.len(), "store")));
    }
    print(&out)
}

/// Says that a root was released.
///
/// # Errors
/// When standard output cannot be written.
pub fn released(root: &RootId, reason: &str, style: Style) -> io::Result<()> {
    if style.format == Format::Json {
        return print_json(&json!({"schema": SCHEMA, "root": root, "released": reason}));
    }
    print(&format!(
        "{} may boot although images are missing: {}\n",
        root.short(),
        printable(reason)
    ))
}

/// Says that there is nothing to stage.
///
/// # Errors
/// When standard output cannot be written.
pub fn nothing_staged(style: Style) -> io::Result<()> {
    if style.format == Format::Json {
        return print_json(&json!({"schema": SCHEMA, "event": "done", "result": "nothing-staged"}));
    }
    print("Nothing to do: no root is staged.\n")
}

/// Says how far the images of a root that is not staged now have come.
///
/// # Errors
/// When standard output cannot be written.
pub fn prefetched(root: &RootId, whole: bool, style: Style) -> io::Result<()> {
    if style.format == Format::Json {
        let value = json!({"schema": SCHEMA, "event": "done", "result": "prefetched", "root": root, "complete": whole});
        return print_json(&value);
    }
    let root = root.short();
    print(&match whole {
        true => format!("{}.\n", all_here(&root)),
        false => format!("Not all images of {root} are here yet.\n"),
    })
}
