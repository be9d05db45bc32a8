//! What Podman wants a value to be: a wrong type anywhere fails all its commands, so it counts even for
//! keys that say nothing about stores (`types/options.go`, `pkg/config/config.go`).

use toml_edit::{Item, TableLike, Value};

use crate::layer::{Dialect, is_strings};

/// A type of value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Bool,
    /// A number of 32 bits, without a sign.
    Number,
    Strings,
    /// A table of strings.
    Texts,
    Table,
}

impl Kind {
    pub(crate) fn fits(self, item: &Item, dialect: Dialect) -> bool {
        match self {
            Self::Text => item.is_str(),
            Self::Bool => item.is_bool(),
            Self::Number => item.as_integer().is_some_and(|number| u32::try_from(number).is_ok()),
            Self::Strings => item.as_array().is_some_and(|array| is_strings(array, dialect)),
            Self::Texts => item
                .as_table_like()
                .is_some_and(|table| table.iter().all(|(_, item)| item.is_str())),
            Self::Table => item.is_table_like(),
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Bool => "true or false",
            Self::Number => "a number from 0 to 4294967295",
            Self::Strings => "an array of strings",
            Self::Texts => "a table of strings",
            Self::Table => "a table",
        }
    }
}

pub(crate) const STORAGE: &[(&str, Kind)] = &[
    ("driver_priority", Kind::Strings),
    ("rootless_storage_path", Kind::Text),
    ("transient_store", Kind::Bool),
];

pub(crate) const OPTIONS: &[(&str, Kind)] = &[
    ("imagestore", Kind::Text),
    ("additionallayerstores", Kind::Strings),
    ("size", Kind::Text),
    ("ignore_chown_errors", Kind::Text),
    ("use_composefs", Kind::Text),
    ("force_mask", Kind::Number),
    ("root-auto-userns-user", Kind::Text),
    ("auto-userns-min-size", Kind::Number),
    ("auto-userns-max-size", Kind::Number),
    ("btrfs", Kind::Table),
    ("vfs", Kind::Table),
    ("zfs", Kind::Table),
    ("skip_mount_home", Kind::Text),
    ("mount_program", Kind::Text),
    ("mountopt", Kind::Text),
    ("pull_options", Kind::Texts),
    ("disable-volatile", Kind::Bool),
];

pub(crate) const OVERLAY: &[(&str, Kind)] = &[
    ("ignore_chown_errors", Kind::Text),
    ("mountopt", Kind::Text),
    ("mount_program", Kind::Text),
    ("size", Kind::Text),
    ("inodes", Kind::Text),
    ("skip_mount_home", Kind::Text),
    ("use_composefs", Kind::Text),
    ("force_mask", Kind::Text),
];

/// The first thing that TOML has since 1.1 only, which Podman 4 and 5 do not read: an inline table of
/// several lines or with a comma at its end, `\e` and `\x` in strings. Its offset, and what it is.
pub(crate) fn newer_toml(item: &Item, text: &str) -> Option<(usize, String)> {
    match item {
        Item::None => None,
        Item::Table(table) => table.iter().find_map(|(_, item)| newer_toml(item, text)),
        Item::ArrayOfTables(tables) => tables
            .iter()
            .flat_map(|table| table.iter())
            .find_map(|(_, item)| newer_toml(item, text)),
        Item::Value(value) => newer_value(value, text),
    }
}

fn newer_value(value: &Value, text: &str) -> Option<(usize, String)> {
    match value {
        Value::Array(array) => array.iter().find_map(|value| newer_value(value, text)),
        Value::String(string) => {
            let span = string.span()?;
            let raw = text.get(span.clone())?;
            let basic = raw.starts_with('"');
            newer_escape(raw).filter(|_| basic).map(|at| {
                (span.start + at, "the escapes \\e and \\x are of TOML 1.1 (Podman 6)".to_owned())
            })
        }
        Value::InlineTable(table) => {
            let inner = table.iter().find_map(|(_, value)| newer_value(value, text));
            let span = table.span().unwrap_or_default();
            let own = (table.trailing_comma() || spans_lines(table, text, &span)).then(|| {
                let why = "a table in braces must be on one line, without a comma at its end \
                           (before TOML 1.1, Podman 6)";
                (span.start, why.to_owned())
            });
            own.or(inner)
        }
        _ => None,
    }
}

/// Whether there is a line end in a table in braces that is not inside of one of its values.
fn spans_lines(table: &dyn TableLike, text: &str, span: &std::ops::Range<usize>) -> bool {
    let mut from = span.start;
    let mut ranges: Vec<_> = values(table);
    ranges.sort_by_key(|range| range.start);
    for range in ranges {
        if text.get(from..range.start).is_some_and(|between| between.contains('\n')) {
            return true;
        }
        from = range.end;
    }
    text.get(from..span.end).is_some_and(|rest| rest.contains('\n'))
}

/// Where the values of a table in braces are, those behind dotted keys too.
fn values(table: &dyn TableLike) -> Vec<std::ops::Range<usize>> {
    let of = |item: &Item| match item.as_inline_table() {
        Some(inner) if inner.is_dotted() => values(inner),
        _ => item.span().into_iter().collect(),
    };
    table.iter().flat_map(|(_, item)| of(item)).collect()
}

fn newer_escape(raw: &str) -> Option<usize> {
    let mut letters = raw.char_indices();
    while let Some((at, letter)) = letters.next() {
        if letter == '\\'
            && let Some((_, 'e' | 'x')) = letters.next()
        {
            return Some(at);
        }
    }
    None
}
