//! Values that are words: arguments split, unquoted and unescaped as Podman does for `PodmanArgs=`
//! and `GlobalArgs=` (`pkg/systemd/parser/split.go`, in its relaxed mode).

/// Splits a value into words. None where Podman gives up on the value and drops it whole: an
/// escape that it does not know.
///
/// A pair of quotes with nothing inside is no word, and ends the list: so Podman has it.
#[must_use]
pub fn split_words(text: &str) -> Option<Vec<String>> {
    let is_space = |char: char| matches!(char, ' ' | '\t' | '\n' | '\r');
    let mut chars = text.chars().peekable();
    let mut words = Vec::new();
    loop {
        while chars.next_if(|char| is_space(*char)).is_some() {}
        let mut word = String::new();
        let mut quote = None;
        while let Some(char) = chars.next() {
            match (char, quote) {
                // Podman marks the end of the text with a zero byte.
                ('\0', _) => while chars.next().is_some() {},
                ('\\', _) => match unescape(&mut chars) {
                    Escape::Char(char) => word.push(char),
                    Escape::End => {}
                    Escape::Unknown => return None,
                },
                (char, Some(open)) if char == open => quote = None,
                ('"' | '\'', None) => quote = Some(char),
                (char, None) if is_space(char) => break,
                (char, _) => word.push(char),
            }
        }
        if word.is_empty() {
            return Some(words);
        }
        words.push(word);
    }
}

enum Escape {
    Char(char),
    End,
    Unknown,
}

/// Reads what follows a backslash: the escapes of C, `\s` for a space, `\xHH`, `\OOO`, `\uHHHH`
/// and `\UHHHHHHHH`; never a zero.
fn unescape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Escape {
    let Some(char) = chars.next() else { return Escape::End };
    let mut number = |start: u32, radix: u32, count: usize| {
        let mut value = start;
        for _ in 0..count {
            match chars.next().and_then(|char| char.to_digit(radix)) {
                Some(digit) => value = value.wrapping_mul(radix).wrapping_add(digit),
                None => return Escape::Unknown,
            }
        }
        match char::from_u32(value) {
            Some(char) if char != '\0' && (radix != 8 || value <= 255) => Escape::Char(char),
            _ => Escape::Unknown,
        }
    };
    match char {
        'a' => Escape::Char('\u{7}'),
        'b' => Escape::Char('\u{8}'),
        'f' => Escape::Char('\u{c}'),
        'n' => Escape::Char('\n'),
        'r' => Escape::Char('\r'),
        't' => Escape::Char('\t'),
        'v' => Escape::Char('\u{b}'),
        '\\' | '"' | '\'' => Escape::Char(char),
        's' => Escape::Char(' '),
        'x' => number(0, 16, 2),
        'u' => number(0, 16, 4),
        'U' => number(0, 16, 8),
        '0'..='7' => number(char.to_digit(8).unwrap_or(0), 8, 2),
        _ => Escape::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn splits_as_podman_does() {
        let table: &[(&str, Option<&[&str]>)] = &[
            ("", Some(&[])),
            ("  a  b\tc ", Some(&["a", "b", "c"])),
            ("a\"b c\"d 'e f'", Some(&["ab cd", "e f"])),
            ("--x=\"a 'b'\"", Some(&["--x=a 'b'"])),
            ("\"open end", Some(&["open end"])),
            ("a \"\" b", Some(&["a"])),
            ("a\\sb \\x41\\102\\u0043", Some(&["a b", "ABC"])),
            ("a\\", Some(&["a"])),
            ("a\\qb", None),
            ("\\x00", None),
            ("\\777", None),
            ("a\0b c", Some(&["a"])),
        ];
        for (text, want) in table {
            let got = split_words(text);
            let got =
                got.as_ref().map(|words| words.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(got.as_deref(), *want, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "([a-z]|\"|'|\\\\|x|u|0| |\\PC){0,40}") {
            let _words = split_words(&text);
        }
    }
}
