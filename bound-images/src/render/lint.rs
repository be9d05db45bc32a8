//! `lint`: findings for people, for programs, and for those who show them beside the source.

use std::io;
use std::path::Path;

use binding::Finding;
use serde::Serialize;

use super::{FindingJson, SCHEMA, Style, count, print, print_json, print_words, printable, sarif};
use crate::cli::Output;

#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    root: String,
    errors: usize,
    warnings: usize,
    findings: Vec<FindingJson<'a>>,
}

/// Writes the findings of the root that was typed as `root`.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn lint(
    root: &Path,
    findings: &[Finding],
    output: Output,
    style: Style,
) -> io::Result<()> {
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    let warnings = findings.len() - errors;
    match output {
        Output::Json => print_json(&Json {
            schema: SCHEMA,
            root: root.display().to_string(),
            errors,
            warnings,
            findings: findings.iter().map(FindingJson::from).collect(),
        }),
        Output::Sarif => print_json(&sarif::log(root, findings)),
        Output::Github => {
            print(&findings.iter().map(|finding| annotation(root, finding)).collect::<String>())
        }
        Output::Table | Output::Prometheus | Output::Refs => {
            let mut out: String =
                findings.iter().map(|finding| line(finding, style.color)).collect();
            out.push_str(&match findings {
                [] => format!("{}: nothing to complain of\n", root.display()),
                _ => format!("{}, {}\n", count(errors, "error"), count(warnings, "warning")),
            });
            print_words(&out, style)
        }
    }
}

fn line(finding: &Finding, color: bool) -> String {
    let text = printable(&finding.to_string());
    let paint = if finding.is_error() { "\x1b[31m" } else { "\x1b[33m" };
    match text.split_once(' ').filter(|_| color) {
        Some((head, rest)) => format!("{paint}{head}\x1b[0m {rest}\n"),
        None => format!("{text}\n"),
    }
}

/// The file of a finding as whoever typed `root` finds it. Below `/`, as in a build, that is the path
/// inside of the root.
pub(super) fn file(root: &Path, finding: &Finding) -> String {
    if root == Path::new("/") {
        return finding.place.file.clone();
    }
    root.join(&finding.place.file).to_string_lossy().into_owned()
}

/// One workflow command of GitHub Actions ("Setting an error message"), with its escapes.
fn annotation(root: &Path, finding: &Finding) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let line = finding.place.line.map_or(String::new(), |line| format!(",line={line}"));
    format!(
        "::{} file={}{line},title={}::{}\n",
        finding.severity,
        property(&file(root, finding)),
        property(finding.code.as_str()),
        printable(&data(&format!("{}; {}", finding.why, finding.fix)))
    )
}

#[cfg(test)]
mod tests {
    use binding::{Code, Place};

    use super::*;

    #[test]
    fn annotations_cannot_be_forged() {
        let place = Place::line("usr/a,b:c\n::error::x", 3);
        let finding = Finding::new(Code::Unpinned, place, "100%\n::error file=y::z", "mend");
        assert_eq!(
            annotation(Path::new("/"), &finding),
            "::warning file=usr/a%2Cb%3Ac%0A%3A%3Aerror%3A%3Ax,line=3,title=unpinned::\
             100%25%0A::error file=y::z; mend\n"
        );
        let whole = Finding::new(Code::NoImage, Place::file("usr/x"), "why", "fix");
        assert_eq!(
            annotation(Path::new("build/root"), &whole),
            "::error file=build/root/usr/x,title=no-image::why; fix\n"
        );
    }
}
