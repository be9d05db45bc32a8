//! Unit text, split into groups and assignments as Podman's parser does.
//!
//! The format is that of systemd, but the reader is Podman's own (`pkg/systemd/parser/unitfile.go`),
//! and where the two differ the latter decides, since it is the one that makes the service:
//! continuation lines are joined without a space, blank and comment lines inside a continuation
//! are skipped, and one bad line condemns the file.

use std::fmt;

/// One unit file, in the order of its lines. Repeated groups are kept apart here; looking up
/// merges them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// All assignments.
    pub assignments: Vec<Assignment>,
    /// First lines, counted from one, of assignments that Podman loses: a continuation that is
    /// followed by nothing but comments.
    pub lost: Vec<usize>,
}

/// One `key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Name of the group, without brackets.
    pub group: String,
    /// The key.
    pub key: String,
    /// The value with continuations joined; leading white space is gone, quotes are not.
    pub value: String,
    /// Line where it begins, counted from one.
    pub line: usize,
}

/// Why Podman refuses a unit file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Line where the fault begins, counted from one.
    pub line: usize,
    /// What is wrong there.
    pub why: String,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for SyntaxError {}

/// Reads the text of a Quadlet or drop-in.
///
/// # Errors
/// At the first line that Podman refuses; it then ignores the whole file.
pub fn parse_text(data: &str) -> Result<Text, SyntaxError> {
    let mut text = Text::default();
    let mut group: Option<String> = None;
    let mut pending = String::new();
    let mut first = 0;
    let data = data.strip_suffix('\n').unwrap_or(data);
    let mut lines = (1..).zip(data.split('\n')).peekable();
    while let Some((number, line)) = lines.next() {
        let mut line = line.trim();
        if pending.is_empty() {
            first = number;
        }
        if is_comment(line) {
            if !pending.is_empty() {
                continue;
            }
        } else if let Some(head) = line.strip_suffix('\\') {
            line = head;
            if lines.peek().is_some() {
                pending.push_str(line);
                continue;
            }
        }
        let joined = std::mem::take(&mut pending) + line;
        parse_line(&joined, first, &mut group, &mut text)?;
    }
    if !pending.is_empty() {
        text.lost.push(first);
    }
    Ok(text)
}

fn is_comment(line: &str) -> bool {
    line.is_empty() || line.starts_with(['#', ';'])
}

fn parse_line(
    line: &str,
    number: usize,
    group: &mut Option<String>,
    text: &mut Text,
) -> Result<(), SyntaxError> {
    let refuse = |why: String| Err(SyntaxError { line: number, why });
    if is_comment(line) {
        return Ok(());
    }
    if let Some(name) = group_name(line) {
        if name.is_empty() || name.contains(|char: char| char == '[' || char.is_control()) {
            return refuse(format!("[{}] is not a valid group name", shorten(name)));
        }
        *group = Some(name.to_owned());
        return Ok(());
    }
    let Some((key, value)) = line.split_once('=').filter(|(key, _)| !key.is_empty()) else {
        let bom =
            if line.starts_with('\u{feff}') { " (it begins with a byte order mark)" } else { "" };
        return refuse(format!(
            "{:?}{bom} is not a group, a key=value or a comment",
            shorten(line)
        ));
    };
    let Some(group) = group else {
        return refuse(format!("{:?} stands before the first group", shorten(line)));
    };
    // Podman trims bytes, not characters, here: only ASCII white space makes a difference.
    let is_space = |char: char| matches!(char, '\t'..='\r' | ' ');
    let key = key.trim_end_matches(is_space);
    if key.is_empty() || key.starts_with(' ') {
        return refuse(format!("{:?} is not a valid key", shorten(key)));
    }
    text.assignments.push(Assignment {
        group: group.clone(),
        key: key.to_owned(),
        value: value.trim_start_matches(is_space).to_owned(),
        line: number,
    });
    Ok(())
}

/// The name in `[name]`; spaces and tabs may follow the bracket.
fn group_name(line: &str) -> Option<&str> {
    let (name, rest) = line.strip_prefix('[')?.split_once(']')?;
    rest.chars().all(|char| matches!(char, ' ' | '\t')).then_some(name)
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Prints the assignments without comments, a group line before each change of group.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut group = None;
        for assignment in &self.assignments {
            if group != Some(&assignment.group) {
                writeln!(f, "[{}]", assignment.group)?;
                group = Some(&assignment.group);
            }
            writeln!(f, "{}={}", assignment.key, assignment.value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
