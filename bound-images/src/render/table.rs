//! Aligned columns.

/// Lays rows out under their headings: columns as wide as their widest cell, two spaces apart,
/// nothing after the last one. `right` says which columns hold numbers.
pub(super) fn table(headings: &[&str], right: &[bool], rows: &[Vec<String>]) -> String {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        cells.chain(headings.get(at).map(|text| text.chars().count())).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: &[String]| {
        let mut out = String::new();
        for (at, cell) in cells.iter().enumerate() {
            let width = widths.get(at).copied().unwrap_or_default();
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            if right.get(at).copied().unwrap_or_default() {
                out.push_str(&format!("{padding}{cell}  "));
            } else {
                out.push_str(&format!("{cell}{padding}  "));
            }
        }
        format!("{}\n", out.trim_end())
    };
    let headings: Vec<String> = headings.iter().map(|text| (*text).to_owned()).collect();
    rows.iter().fold(line(&headings), |out, row| out + &line(row))
}
