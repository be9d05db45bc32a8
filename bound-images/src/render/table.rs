//! Aligned columns.

use super::Style;

/// How far the last column is indented where it stands on a line of its own.
const INDENT: &str = "    ";

/// One cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    /// What switches its colour on; nothing: none.
    paint: &'static str,
}

impl Cell {
    /// One in colour, where there is colour.
    pub(super) fn painted(text: impl Into<String>, paint: &'static str) -> Self {
        Self { text: text.into(), paint }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), paint: "" }
    }
}

/// Lays rows out under their headings: columns as wide as their widest cell, two spaces apart,
/// nothing after the last one. `right` says which columns hold numbers.
///
/// On a terminal that is too narrow the last column has a line of its own below each row: nothing is
/// cut off, and what is copied from there is whole.
pub(super) fn table(headings: &[&str], right: &[bool], rows: &[Vec<Cell>], style: Style) -> String {
    let headings: Vec<Cell> = headings.iter().map(|text| Cell::painted(*text, "\x1b[1m")).collect();
    let width = |at: usize| {
        let cells = rows.iter().chain([&headings]).filter_map(|row| row.get(at));
        cells.map(|cell| cell.text.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let wide = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
    let folds = style.width.is_some_and(|width| wide > width) && widths.len() > 1;
    let beside = if folds { widths.len() - 1 } else { widths.len() };
    let line = |cells: &[Cell]| {
        let mut out = String::new();
        let mut gap = 0;
        for (at, cell) in cells.iter().take(beside).enumerate() {
            let width = widths.get(at).copied().unwrap_or_default();
            let padding = width.saturating_sub(cell.text.chars().count());
            let (before, after) = if right.get(at).copied().unwrap_or_default() {
                (padding, 0)
            } else {
                (0, padding)
            };
            out.push_str(&" ".repeat(gap + before));
            out.push_str(&shown(cell, style.color));
            gap = after + 2;
        }
        if let Some(last) = cells.get(beside) {
            out.push_str(&format!("\n{INDENT}{}", shown(last, style.color)));
        }
        let end = out.trim_end().len();
        out.truncate(end);
        out + "\n"
    };
    rows.iter().fold(line(&headings), |out, row| out + &line(row))
}

fn shown(cell: &Cell, color: bool) -> String {
    match (color, cell.paint) {
        (true, paint) if !paint.is_empty() => format!("{paint}{}\x1b[0m", cell.text),
        _ => cell.text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Format;

    fn laid(width: Option<usize>, color: bool) -> String {
        let style = Style { format: Format::Table, color, error_color: false, width, live: false };
        let rows = [
            vec![
                "a".into(),
                Cell::painted("missing", "\x1b[31m"),
                "7".into(),
                "quay.io/a:1".into(),
            ],
            vec!["missing".into(), "present".into(), "1000".into(), "-".into()],
        ];
        table(&["NAME", "STATE", "SIZE", "IMAGE"], &[false, false, true, false], &rows, style)
    }

    #[test]
    fn columns_are_aligned_and_fold_where_there_is_no_room() {
        let wide = "NAME     STATE    SIZE  IMAGE\na        missing     7  quay.io/a:1\n\
                    missing  present  1000  -\n";
        assert_eq!(laid(None, false), wide);
        assert_eq!(laid(Some(36), false), wide);
        let narrow = "NAME     STATE    SIZE\n    IMAGE\na        missing     7\n    quay.io/a:1\n\
                      missing  present  1000\n    -\n";
        assert_eq!(laid(Some(34), false), narrow);
    }

    #[test]
    fn colour_changes_no_text_and_paints_the_cell_that_is_meant() {
        let painted = laid(None, true);
        assert!(painted.contains("a        \x1b[31mmissing\x1b[0m     7"), "{painted}");
        assert!(painted.contains("\nmissing  present"), "{painted}");
        let plain = ["\x1b[31m", "\x1b[1m", "\x1b[0m"]
            .iter()
            .fold(painted, |text, code| text.replace(code, ""));
        assert_eq!(plain, laid(None, false));
    }
}
