//! Breaking what is too long for a terminal at words. A command between backticks stays on one line,
//! so that it can be copied.

/// How far what goes on is indented.
const INDENT: &str = "    ";

/// Each line of a text, broken where it is wider than that.
pub(super) fn wrapped(text: &str, width: usize) -> String {
    text.split_inclusive('\n')
        .map(
            |line| {
                if shown(line.trim_end()) > width { broken(line, width) } else { line.to_owned() }
            },
        )
        .collect()
}

fn broken(line: &str, width: usize) -> String {
    let start = line.len() - line.trim_start_matches(' ').len();
    let (lead, rest) = line.split_at(start);
    let mut out = String::new();
    let mut at = 0;
    for word in words(rest.trim_end()) {
        let size = shown(word);
        if at == 0 {
            out.push_str(lead);
            at = shown(lead);
        } else if at + 1 + size > width {
            let indent = format!("{lead}{INDENT}");
            out.push_str(&format!("\n{indent}"));
            at = indent.len();
        } else {
            out.push(' ');
            at += 1;
        }
        out.push_str(word);
        at += size;
    }
    if line.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// What stands between spaces, and what stands between backticks, with what touches that.
fn words(text: &str) -> Vec<&str> {
    let (mut found, mut start, mut quoted) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            '`' => quoted = !quoted,
            ' ' if !quoted => {
                found.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(text.get(start..).unwrap_or_default());
    found
}

/// How many columns it takes: codes for colour take none.
fn shown(text: &str) -> usize {
    let mut count = 0;
    let mut code = false;
    for letter in text.chars() {
        match letter {
            '\u{1b}' => code = true,
            'm' if code => code = false,
            _ if code => {}
            _ => count += 1,
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_to_the_next_line_and_commands_stay_whole() {
        let text = "short\nthe root is missing; run `a b c` now\n  and an indented one here\n";
        assert_eq!(
            wrapped(text, 20),
            "short\nthe root is missing;\n    run `a b c` now\n  and an indented\n      one here\n"
        );
        assert_eq!(wrapped("x `a very long command` y", 10), "x\n    `a very long command`\n    y");
        assert_eq!(wrapped("", 10), "");
    }

    #[test]
    fn colour_takes_no_room() {
        let text = "\u{1b}[31mred words\u{1b}[0m stay";
        assert_eq!(wrapped(text, 14), text);
        assert!(wrapped(text, 13).contains('\n'));
    }
}
