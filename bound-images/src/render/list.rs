//! `list`.

use std::collections::BTreeSet;
use std::io;

use serde::Serialize;

use super::table::{Cell, table};
use super::{FindingJson, SCHEMA, Style, bytes, print_json, print_words, printable, shorten};
use crate::cli::Format;
use crate::state::{ImageState, State, StoreState};
use crate::system::systemd::{self, UnitState};

#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    root: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    store_id: Option<String>,
    bindings: Vec<BindingJson<'a>>,
    findings: Vec<FindingJson<'a>>,
}

#[derive(Serialize)]
struct BindingJson<'a> {
    name: &'a str,
    quadlet: &'a str,
    reference: String,
    pinned: bool,
    platform: binding::Platform,
    required: bool,
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    list: Option<oci_digest::Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<oci_digest::Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    services: &'a [String],
    /// Only for the root that runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    service_states: Vec<&'a UnitState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<&'a crate::shadow::Shadow>,
}

/// Writes the bindings of a root, and how it stands with its services, as far as that is known.
///
/// # Errors
/// When standard output cannot be written.
pub fn list(state: &State, services: &[UnitState], style: Style) -> io::Result<()> {
    match style.format {
        Format::Json => print_json(&json(state, services)),
        Format::Table => print_words(&text(state, services, style), style),
    }
}

/// Writes each image once, sorted: `repository@digest` where the digest is known, else `repository:tag`.
/// Never both: skopeo refuses that.
///
/// # Errors
/// When standard output cannot be written.
pub fn refs(state: &State) -> io::Result<()> {
    let lines: BTreeSet<String> = state
        .bindings
        .bindings
        .iter()
        .map(|binding| {
            let recorded = state.recorded(binding).filter(|record| record.present);
            let recorded = recorded.and_then(|record| record.list.or(record.manifest));
            match binding.reference.digest().or(recorded) {
                Some(digest) => binding.reference.with_digest(digest),
                None => binding.reference.stored_name(),
            }
        })
        .collect();
    super::print(&lines.iter().fold(String::new(), |text, line| text + line + "\n"))
}

fn json<'a>(state: &'a State, services: &'a [UnitState]) -> Json<'a> {
    let bindings = state.bindings.bindings.iter().map(|binding| {
        let record = state.recorded(binding).filter(|record| record.present);
        BindingJson {
            name: &binding.name,
            quadlet: &binding.quadlet,
            reference: binding.reference.to_string(),
            pinned: binding.reference.is_pinned(),
            platform: binding.pull.platform(&state.host),
            required: binding.required,
            state: state.image_state(binding).word(),
            list: record.and_then(|record| record.list),
            manifest: record.and_then(|record| record.manifest),
            image: record.and_then(|record| record.image.as_deref()),
            size: record.map(size_of),
            services: &binding.services,
            service_states: systemd::of_units(&binding.services, services),
            shadow: state.shadow(binding),
        }
    });
    Json {
        schema: SCHEMA,
        root: state.root.display().to_string(),
        store_id: match &state.store {
            StoreState::Ours(held) => Some(held.record.store_id()),
            StoreState::Absent | StoreState::Foreign(_) => None,
        },
        bindings: bindings.collect(),
        findings: state.bindings.findings.iter().map(FindingJson::from).collect(),
    }
}

fn text(state: &State, services: &[UnitState], style: Style) -> String {
    if state.bindings.bindings.is_empty() {
        let root = state.root.display();
        // Links are there, and what is wrong with them is told after this.
        return match state.bindings.has_errors() {
            true => format!("No binding of {root} can be understood.\n"),
            false => format!("{root} binds no images.\n"),
        };
    }
    let mut rows = Vec::new();
    for binding in &state.bindings.bindings {
        let record = state.recorded(binding).filter(|record| record.present);
        let image_state = state.image_state(binding);
        let digest = record
            .and_then(|record| record.list.or(record.manifest))
            .or_else(|| binding.reference.digest());
        let size = record.map(size_of);
        let mut word = image_state.word().to_owned();
        if !binding.required {
            word.push_str(" (optional)");
        }
        rows.push(vec![
            Cell::from(printable(&binding.name)),
            Cell::painted(word, paint(image_state)),
            if binding.reference.is_pinned() { "yes" } else { "no" }.into(),
            digest.map_or_else(|| "-".to_owned(), |digest| digest.short()).into(),
            size.map_or_else(|| "-".to_owned(), bytes).into(),
            short(&binding.reference).into(),
        ]);
    }
    let headings = ["BINDING", "STATE", "PINNED", "DIGEST", "SIZE", "IMAGE"];
    let mut out = table(&headings, &[false, false, false, false, true, false], &rows, style);
    for binding in &state.bindings.bindings {
        if !binding.services.is_empty() {
            out.push_str(&format!(
                "\n{} serves {}",
                printable(&binding.name),
                serving(&binding.services, services)
            ));
        }
    }
    for shadow in &state.shadows {
        out.push_str(&format!("\n{}", shorten(&printable(&shadow.to_string()))));
    }
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// The services, with their states: a template as its instances, if it has any.
fn serving(services: &[String], states: &[UnitState]) -> String {
    let words = services.iter().flat_map(|service| {
        let known = systemd::of_units(std::slice::from_ref(service), states);
        if known.is_empty() {
            return vec![service.clone()];
        }
        known.iter().map(|unit| format!("{} ({})", printable(&unit.name), unit.word())).collect()
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The reference without its digest, which has a column of its own.
fn short(reference: &binding::Reference) -> String {
    match reference.tag() {
        Some(tag) => format!("{}:{tag}", reference.repository()),
        None => reference.repository().to_owned(),
    }
}

fn paint(state: ImageState) -> &'static str {
    match state {
        ImageState::Present => "\x1b[32m",
        ImageState::Shadowed => "\x1b[33m",
        ImageState::Missing | ImageState::Damaged => "\x1b[31m",
    }
}

/// Bytes of an image's unpacked layers.
fn size_of(record: &binding::RecordBinding) -> u64 {
    record.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size))
}
