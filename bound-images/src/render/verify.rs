//! `verify`.

use std::io;

use serde::Serialize;

use super::{FindingJson, SCHEMA, Style, print_json, print_words, printable, shorten};
use crate::cli::Format;
use crate::command::verify::Verdict;

#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    root: String,
    complete: bool,
    deep: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    store_id: Option<&'a str>,
    bindings: usize,
    problems: &'a [crate::command::verify::Problem],
    findings: Vec<FindingJson<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    shadowed: &'a [crate::shadow::Shadow],
}

/// Writes what `verify` found.
///
/// # Errors
/// When standard output cannot be written.
pub fn verify(verdict: &Verdict, style: Style) -> io::Result<()> {
    match style.format {
        Format::Json => print_json(&Json {
            schema: SCHEMA,
            root: verdict.root.display().to_string(),
            complete: verdict.is_complete(),
            deep: verdict.deep,
            store_id: verdict.store_id.as_deref(),
            bindings: verdict.bindings,
            problems: &verdict.problems,
            findings: verdict.findings.iter().map(FindingJson::from).collect(),
            shadowed: &verdict.shadowed,
        }),
        Format::Table => print_words(&text(verdict, style.color), style),
    }
}

fn text(verdict: &Verdict, color: bool) -> String {
    let mut out = String::new();
    for problem in &verdict.problems {
        out.push_str(&format!("{}\n", shorten(&printable(&problem.to_string()))));
    }
    for shadow in &verdict.shadowed {
        out.push_str(&format!("{}\n", shorten(&printable(&shadow.to_string()))));
    }
    let root = verdict.name();
    let (word, paint) = match (verdict.is_complete(), verdict.bindings) {
        (true, 0) => (format!("{root} binds no images"), "\x1b[32m"),
        (true, count) => (complete(verdict, count), "\x1b[32m"),
        (false, _) => {
            let count = verdict.problems.iter().filter(|problem| !problem.optional).count();
            let errors = verdict.findings.iter().filter(|finding| finding.is_error()).count();
            let problems = super::count(count + errors, "problem");
            let fix = match (verdict.damaged, verdict.embedded) {
                (false, _) => String::new(),
                (true, false) => {
                    format!("; mend the store with `bound-images stage --root {root} --repair`")
                }
                (true, true) => "; the store came inside of the root and cannot be mended here: \
                                 deploy an image with a sound one, or with none"
                    .to_owned(),
            };
            (format!("{root} is not complete: {problems}{fix}"), "\x1b[31m")
        }
    };
    let line = if color { format!("{paint}{word}\x1b[0m\n") } else { format!("{word}\n") };
    out + &line
}

fn complete(verdict: &Verdict, count: usize) -> String {
    let (root, bindings) = (verdict.name(), super::count(count, "binding"));
    let missing = verdict.problems.len();
    let images = match missing {
        0 => "all images there".to_owned(),
        missing => format!("{missing} missing, all of them optional"),
    };
    let how = if verdict.deep {
        "every file is as its layer has it"
    } else {
        "layers not read again (--deep does)"
    };
    format!("{root} is complete: {bindings}, {images}, {how}")
}
