//! `pin`.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use binding::Finding;
use oci_digest::Digest;
use serde::Serialize;

use super::table::{Cell, table};
use super::{FindingJson, SCHEMA, Style, count, print_json, print_words, printable};
use crate::cli::Format;
use crate::pin::{Row, State};

#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    root: String,
    check: bool,
    bindings: Vec<RowJson<'a>>,
    findings: Vec<FindingJson<'a>>,
}

#[derive(Serialize)]
struct RowJson<'a> {
    name: &'a str,
    reference: String,
    state: &'a str,
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    written: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
}

/// Writes what was found and done.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn pin(
    root: &Path,
    check: bool,
    rows: &[Row],
    errors: &[Finding],
    style: Style,
) -> io::Result<()> {
    if style.format == Format::Json {
        return print_json(&Json {
            schema: SCHEMA,
            root: root.display().to_string(),
            check,
            bindings: rows.iter().map(json).collect(),
            findings: errors.iter().map(FindingJson::from).collect(),
        });
    }
    for finding in errors {
        super::finding(finding, style);
    }
    // One tag that cannot be asked for may be that of several bindings.
    let problems: BTreeSet<&str> = rows.iter().filter_map(|row| row.problem.as_deref()).collect();
    for problem in problems {
        super::note(&format!("error: {problem}"));
    }
    print_words(&text(root, check, rows, style), style)
}

fn json(row: &Row) -> RowJson<'_> {
    RowJson {
        name: &row.binding.name,
        reference: row.binding.reference.to_string(),
        state: row.state.word(),
        file: &row.binding.place.file,
        line: row.binding.place.line,
        digest: row.digest,
        written: row.written,
        problem: row.problem.as_deref(),
    }
}

fn text(root: &Path, check: bool, rows: &[Row], style: Style) -> String {
    if rows.is_empty() {
        return format!("{}: no bindings to pin\n", root.display());
    }
    let cells: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| {
            let now = if row.written { ", now pinned" } else { "" };
            vec![
                printable(&row.binding.name).into(),
                format!("{}{now}", row.state.word()).into(),
                row.digest.map_or_else(|| "-".to_owned(), |digest| digest.short()).into(),
                printable(&row.binding.place.to_string()).into(),
            ]
        })
        .collect();
    let plain = table(&["BINDING", "STATE", "DIGEST", "PLACE"], &[false; 4], &cells, style);
    let written = rows.iter().filter(|row| row.written).count();
    let stale = rows.iter().filter(|row| row.state.is_stale()).count() - written;
    let unknown = rows.iter().filter(|row| row.state == State::Unknown).count();
    let mut verdict = match (check, written, stale) {
        (true, _, 0) => "Nothing to change.".to_owned(),
        (true, _, stale) => {
            format!("{} to be pinned; nothing was changed.", count(stale, "binding"))
        }
        (false, 0, 0) => "Nothing to do.".to_owned(),
        (false, written, 0) => format!("Pinned {}.", count(written, "binding")),
        (false, written, stale) => format!("Pinned {written}, could not pin {stale}."),
    };
    if unknown > 0 {
        let absent = rows.iter().filter(|row| row.absent).count();
        let mut parts = Vec::new();
        if absent > 0 {
            parts.push(format!("The tag of {} is not there.", count(absent, "binding")));
        }
        if unknown > absent {
            let rest = count(unknown - absent, "binding");
            parts.push(format!("Could not ask for the tag of {rest}."));
        }
        // That there is nothing to do is not so.
        if written > 0 || stale > 0 {
            parts.push(verdict);
        }
        verdict = parts.join(" ");
    }
    format!("{plain}\n{verdict}\n")
}
