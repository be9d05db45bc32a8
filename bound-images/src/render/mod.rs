//! From reports to text: the only writer of standard output.

mod bars;
mod bundle;
mod host;
mod lint;
mod list;
mod metrics;
mod pin;
mod sarif;
mod stage;
mod storage_conf;
mod table;
mod verify;
mod wrap;

pub(crate) use bars::settled;
pub(crate) use bundle::{bundle, bundle_failed, bundle_progress};
pub use host::{gate, gc, nothing_staged, prefetched, released, status};
pub(crate) use lint::lint;
pub use list::{list, refs};
pub(crate) use metrics::metrics;
pub(crate) use pin::pin;
pub use stage::{progress, stage, stage_failed};
pub use storage_conf::{changed, storage_conf};
pub use verify::verify;

use std::io::{self, IsTerminal as _, Write as _};

use binding::Finding;
use serde::Serialize;

use crate::cli::{Color, Format};

/// The number of the JSON form; it grows only when a field is taken away or changes its meaning.
pub(crate) const SCHEMA: u32 = 1;

/// How to write.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Table or JSON.
    pub format: Format,
    /// Whether standard output takes colour.
    pub color: bool,
    /// Whether standard error does.
    pub error_color: bool,
    /// Columns of the terminal that standard output is; none where it is none.
    pub width: Option<usize>,
    /// Whether standard error may show what moves: a terminal, and a person before it.
    pub live: bool,
}

impl Style {
    /// Decides on colour: `no_color` is whether `NO_COLOR` is set to something; `term` is `TERM`.
    #[must_use]
    pub fn new(format: Format, color: Color, no_color: bool, term: Option<&str>) -> Self {
        let on = |terminal: bool| match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !no_color,
        };
        Self {
            format,
            color: on(io::stdout().is_terminal()),
            error_color: on(io::stderr().is_terminal()),
            width: rustix::termios::tcgetwinsize(io::stdout())
                .ok()
                .map(|size| usize::from(size.ws_col))
                // One that does not know says 0.
                .filter(|width| *width > 0),
            live: format == Format::Table && bars::can(term),
        }
    }
}

/// Human form of a number of bytes: three digits and a decimal unit.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let (mut value, mut unit) = (count, "");
    let mut rest = 0;
    for next in UNITS {
        if value < 1000 {
            break;
        }
        (rest, value, unit) = (value % 1000, value / 1000, next);
    }
    if value < 10 { format!("{value}.{} {unit}", rest / 100) } else { format!("{value} {unit}") }
}

/// `1 image`, `2 images`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Shortens ids and digests for people: the first twelve of 64 hex digits tell them apart.
pub(crate) fn shorten(text: &str) -> String {
    let mut out = String::new();
    let mut run = String::new();
    for letter in text.chars().chain(std::iter::once('\0')) {
        if letter.is_ascii_hexdigit() {
            run.push(letter);
            continue;
        }
        let end = if run.len() == 64 { 12 } else { run.len() };
        out.push_str(run.get(..end).unwrap_or_default());
        run.clear();
        out.push(letter);
    }
    out.pop();
    out
}

/// Writes lines to standard output. A reader that went away is no error of ours.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let written = bars::above(|| {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    });
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// The same, for people: at a terminal, words that do not fit go to the next line.
pub(crate) fn print_words(text: &str, style: Style) -> io::Result<()> {
    match style.width {
        Some(width) => print(&wrap::wrapped(text, width)),
        None => print(text),
    }
}

pub(crate) fn print_json(value: &impl Serialize) -> io::Result<()> {
    print(&format!("{}\n", serde_json::to_string(value)?))
}

/// A line for people, on standard error.
pub fn note(text: &str) {
    // Nobody is left to be told when standard error is closed.
    drop(bars::above(|| writeln!(io::stderr().lock(), "{}", printable(text))));
}

/// Says why a command could not do its work: to people, and to programs that read JSON.
pub fn failed(why: &str, style: Style) {
    if style.format == Format::Json {
        let failed = serde_json::json!({"schema": SCHEMA, "event": "failed", "why": why});
        // A reader that went away has the exit code.
        drop(print_json(&failed));
    }
    note(&format!("error: {why}"));
}

/// Control characters of foreign text would play with the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// One problem, on standard error.
pub fn finding(finding: &Finding, style: Style) {
    let text = printable(&finding.to_string());
    let paint = if finding.is_error() { "\x1b[31m" } else { "\x1b[33m" };
    let line = match text.split_once(' ').filter(|_| style.error_color) {
        Some((head, rest)) => format!("{paint}{head}\x1b[0m {rest}"),
        None => text,
    };
    let line = match style.width.filter(|_| style.live) {
        Some(width) => wrap::wrapped(&line, width),
        None => line,
    };
    // Nobody is left to be told when standard error is closed.
    drop(bars::above(|| writeln!(io::stderr().lock(), "{line}")));
}

/// A problem in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct FindingJson<'a> {
    code: &'a str,
    severity: &'a str,
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    why: &'a str,
    fix: &'a str,
}

impl<'a> From<&'a Finding> for FindingJson<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            code: finding.code.as_str(),
            severity: if finding.is_error() { "error" } else { "warning" },
            file: &finding.place.file,
            line: finding.place.line,
            subject: finding.subject.as_deref(),
            why: &finding.why,
            fix: &finding.fix,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_for_people() {
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(
            shorten(&format!("overlay/{id}/diff: {id}")),
            "overlay/0123456789ab/diff: 0123456789ab"
        );
        assert_eq!(shorten("cafe and 12"), "cafe and 12");
        assert_eq!(
            (count(1, "image"), count(0, "image")),
            ("1 image".to_owned(), "0 images".to_owned())
        );
    }

    #[test]
    fn bytes_for_people() {
        let table = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_950, "9.9 kB"),
            (10_000, "10 kB"),
            (999_999, "999 kB"),
            (41_200_000, "41 MB"),
            (1_500_000_000, "1.5 GB"),
            (u64::MAX, "18 EB"),
        ];
        for (count, text) in table {
            assert_eq!(bytes(count), text);
        }
    }
}
