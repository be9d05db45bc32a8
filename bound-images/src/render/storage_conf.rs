//! `storage-conf`.

use std::io;

use serde_json::{Value, json};
use storage_conf::{Effective, Generation, Valued};

use super::table::{Cell, table};
use super::{SCHEMA, Style, print_json, print_words, printable};
use crate::cli::Format;
use crate::command::storage_conf::{Change, Shown, consequence};
use crate::podman_conf::Reading;

/// Writes what Podman reads.
///
/// # Errors
/// When standard output cannot be written.
pub fn storage_conf(shown: &Shown, style: Style) -> io::Result<()> {
    if style.format == Format::Json {
        let podmans: Vec<Value> = shown
            .podmans
            .iter()
            .map(|(generations, reading)| podman(generations, reading))
            .collect();
        let root = shown.root.display().to_string();
        return print_json(&json!({
            "schema": SCHEMA, "root": root, "store": Shown::store(), "podman": podmans,
        }));
    }
    let texts =
        shown.podmans.iter().map(|(generations, reading)| text(generations, reading, style));
    print_words(&texts.collect::<Vec<_>>().join("\n"), style)
}

/// Writes what was done to a file.
///
/// # Errors
/// When standard output cannot be written.
pub fn changed(change: &Change, style: Style) -> io::Result<()> {
    if style.format == Format::Json {
        let file = change.file.display().to_string();
        return print_json(&json!({"schema": SCHEMA, "file": file, "result": change.result}));
    }
    print_words(&format!("{}\n", printable(&change.text)), style)
}

fn podman(generations: &[Generation], reading: &Reading) -> Value {
    let versions: Vec<&str> = generations.iter().map(|one| one.versions()).collect();
    let ignored: Vec<Value> =
        reading.ignored.iter().map(|(file, why)| json!({"file": file, "why": why})).collect();
    let mut out = json!({"versions": versions, "read": reading.read, "ignored": ignored});
    let Some(object) = out.as_object_mut() else { return out };
    match &reading.result {
        Err(error) => {
            object.insert(
                "fault".to_owned(),
                json!({"file": error.file, "line": error.line, "column": error.column,
                       "why": error.why, "consequence": consequence()}),
            );
        }
        Ok(counts) => {
            let optional = |given: &Option<Valued>| given.as_ref().map(valued);
            object.insert("driver".to_owned(), optional(&counts.driver).into());
            object.insert("runroot".to_owned(), valued(&counts.runroot));
            object.insert("graphroot".to_owned(), valued(&counts.graphroot));
            object.insert("imagestore".to_owned(), optional(&counts.imagestore).into());
            let stores: Vec<Value> = counts.stores.iter().map(valued).collect();
            object.insert("stores".to_owned(), stores.into());
            let overridden: Vec<Value> = counts
                .overridden
                .iter()
                .map(|one| {
                    json!({"key": one.key, "value": one.value, "from": one.from.to_string(),
                           "by": one.by.to_string()})
                })
                .collect();
            object.insert("overridden".to_owned(), overridden.into());
            let listed = counts.lists(&Shown::store()).is_some();
            object.insert("listed".to_owned(), listed.into());
        }
    }
    out
}

fn valued(given: &Valued) -> Value {
    json!({"value": given.value, "source": given.from.source, "line": given.from.line})
}

fn text(generations: &[Generation], reading: &Reading, style: Style) -> String {
    let versions: Vec<&str> = generations.iter().map(|one| one.versions()).collect();
    let read = match reading.read.as_slice() {
        [] => "no file".to_owned(),
        files => files.join(", "),
    };
    let mut out = format!("Podman {} reads {}\n", versions.join(", "), printable(&read));
    match &reading.result {
        Err(error) => {
            out.push_str(&format!("  {}\n  {}\n", printable(&error.to_string()), consequence()));
        }
        Ok(counts) => out.push_str(&counted(counts, style)),
    }
    for (file, why) in &reading.ignored {
        out.push_str(&format!("  not read: {} ({})\n", printable(file), printable(why)));
    }
    out
}

fn counted(counts: &Effective, style: Style) -> String {
    let row = |name: &str, given: &Valued| {
        let cells =
            [format!("  {name}"), printable(&given.value), printable(&given.from.to_string())];
        cells.map(Cell::from).to_vec()
    };
    let mut rows = Vec::new();
    rows.extend(counts.driver.as_ref().map(|driver| row("driver", driver)));
    rows.push(row("runroot", &counts.runroot));
    rows.push(row("graphroot", &counts.graphroot));
    rows.extend(counts.imagestore.as_ref().map(|store| row("imagestore", store)));
    rows.extend(counts.stores.iter().map(|store| row("additional store", store)));
    let mut out = table(&["  SETTING", "VALUE", "FROM"], &[false, false, false], &rows, style);
    for one in &counts.overridden {
        out.push_str(&printable(&format!(
            "  overridden: {} {} ({}), by {}",
            one.key, one.value, one.from, one.by
        )));
        out.push('\n');
    }
    let store = Shown::store();
    let hidden = counts.overridden.iter().find(|one| one.value == store);
    out.push_str(&match counts.lists(&store) {
        None if hidden.is_some() && counts.reads_overlay() => {
            let by = hidden.map(|one| one.by.to_string()).unwrap_or_default();
            format!("  bound images: {store} is listed, and {by} overrides that\n")
        }
        Some(listed) => format!("  bound images: {store} is listed in {}\n", listed.from),
        None if counts.reads_overlay() => format!(
            "  bound images: {store} is not listed; services that are bound find it through \
             bound-images-generator, others do with `bound-images storage-conf enable`\n"
        ),
        None => "  bound images: this driver cannot read them\n".to_owned(),
    });
    out
}
