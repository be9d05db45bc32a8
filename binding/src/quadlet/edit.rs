//! Changing the digest of an `Image=` in the text of a Quadlet, and not one byte besides. Pure.
//!
//! A value may be spread over continuation lines with comments between them, stand in quotes, and end
//! in CRLF. So it is not written anew: its bytes are found where they stand, and either overwritten
//! (one digest by another, which is as long) or added to (where there was none).

use std::fmt;

use super::text::{Assignment, Text, parse_text};

/// Why a value was not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// The text is not the one that was read: that value does not stand at that line.
    Changed,
    /// The new value differs from the old one in more than its end.
    NotAnEnd,
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "the file has changed since it was read",
            Self::NotAnEnd => "only the end of a reference can be changed in place",
        })
    }
}

impl std::error::Error for EditError {}

/// The text with the value `old` of the assignment of `key` that begins at `line` (counted from one)
/// replaced by `new`. `new` is `old` with more behind it, or has the same length.
///
/// # Errors
/// [`EditError`]; never a text that reads differently in any other assignment.
pub fn replace_value(
    text: &str,
    line: usize,
    key: &str,
    old: &str,
    new: &str,
) -> Result<String, EditError> {
    let places = bytes_of_value(text, line).ok_or(EditError::Changed)?;
    let value: Vec<u8> = places.iter().map(|(byte, _)| *byte).collect();
    let start = find_value(&value, old).ok_or(EditError::Changed)?;
    let places = places.get(start..start + old.len()).ok_or(EditError::Changed)?;
    let mut bytes = text.as_bytes().to_vec();
    if old.len() == new.len() {
        for ((_, at), byte) in places.iter().zip(new.bytes()) {
            *bytes.get_mut(*at).ok_or(EditError::Changed)? = byte;
        }
    } else {
        let more = new.strip_prefix(old).ok_or(EditError::NotAnEnd)?;
        let (_, last) = places.last().ok_or(EditError::Changed)?;
        bytes.splice(last + 1..last + 1, more.bytes());
    }
    let edited = String::from_utf8(bytes).map_err(|_| EditError::NotAnEnd)?;
    // Whatever the layout was, Podman must read what is meant now, and all else as before.
    let before = parse_text(text).map_err(|_| EditError::Changed)?;
    let after = parse_text(&edited).map_err(|_| EditError::NotAnEnd)?;
    match is_only_change(&before, &after, (line, key), (old, new)) {
        true => Ok(edited),
        false => Err(EditError::Changed),
    }
}

/// Where `old` begins in a value that may have quotes around it and white space behind it.
fn find_value(value: &[u8], old: &str) -> Option<usize> {
    let text = std::str::from_utf8(value).ok()?;
    let quoted = text.trim_end();
    let plain = quoted.trim_start_matches('"');
    (!old.is_empty() && plain.trim_end_matches('"') == old).then(|| quoted.len() - plain.len())
}

fn is_only_change(before: &Text, after: &Text, at: (usize, &str), values: (&str, &str)) -> bool {
    let (line, key) = at;
    let (old, new) = values;
    let is_it = |one: &Assignment| one.line == line && one.key == key;
    before.lost == after.lost
        && before.assignments.len() == after.assignments.len()
        && before.assignments.iter().filter(|one| is_it(one)).count() == 1
        && before.assignments.iter().zip(&after.assignments).all(|(one, other)| {
            if is_it(one) {
                let value = one.value.trim_end().trim_matches('"');
                let wanted = one.value.replacen(old, new, 1);
                return value == old && Assignment { value: wanted, ..one.clone() } == *other;
            }
            one == other
        })
}

/// Each byte of the value of the assignment that begins at `line`, with its place in `text`: what
/// [`parse_text`] joins, before white space is taken from its end.
fn bytes_of_value(text: &str, line: usize) -> Option<Vec<(u8, usize)>> {
    let mut joined: Vec<(u8, usize)> = Vec::new();
    let mut offset = 0;
    for (number, physical) in (1..).zip(text.split_inclusive('\n')) {
        let start = offset;
        offset += physical.len();
        if number < line {
            continue;
        }
        let trimmed = physical.trim();
        let indent = physical.len() - physical.trim_start().len();
        if number > line && (trimmed.is_empty() || trimmed.starts_with(['#', ';'])) {
            continue;
        }
        let head = trimmed.strip_suffix('\\');
        let bytes = head.unwrap_or(trimmed).bytes();
        joined.extend(bytes.zip(start + indent..));
        if head.is_none() {
            break;
        }
    }
    let equals = joined.iter().position(|(byte, _)| *byte == b'=')?;
    let value = joined.get(equals + 1..)?;
    let space = value.iter().take_while(|(byte, _)| matches!(byte, b'\t'..=b'\r' | b' ')).count();
    value.get(space..).map(<[_]>::to_vec)
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
