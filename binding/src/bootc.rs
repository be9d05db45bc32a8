//! What bootc reads from a bound Quadlet.
//!
//! bootc pulls bound images too (bootc 1.16, `crates/lib/src/boundimage.rs`), but with an INI reader
//! instead of Podman's parser: no continuation lines, no drop-ins, comments anywhere in a line. One
//! Quadlet that it cannot read, or one image that it cannot pull, fails the whole upgrade.

/// The text of the image that bootc takes from a Quadlet whose link is called `name`.
///
/// # Errors
/// The line, where there is one, and what bootc does not accept there.
pub fn image(name: &str, text: &str) -> Result<String, (Option<usize>, String)> {
    let group = match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("image") => "Image",
        Some("container") => "Container",
        _ => return Err((None, "the link does not end in .image or .container".to_owned())),
    };
    let (mut section, mut image, mut auth_file) = (String::new(), None, None);
    for (number, line) in (1..).zip(text.lines()) {
        match parse_line(line).map_err(|why| (Some(number), why.to_owned()))? {
            Line::Empty => {}
            Line::Section(name) => section = name.to_owned(),
            Line::Value(key, value) if section == group => match key {
                "Image" => image = Some((number, value)),
                "AuthFile" => auth_file = Some(number),
                _ => {}
            },
            Line::Value(..) => {}
        }
    }
    let (number, image) = image.ok_or_else(|| (None, format!("no Image= in [{group}]")))?;
    if group == "Image"
        && let Some(number) = auth_file
    {
        return Err((Some(number), "AuthFile= is not supported".to_owned()));
    }
    unescape(image).map_err(|why| (Some(number), why.to_owned()))
}

#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Empty,
    Section(&'a str),
    Value(&'a str, &'a str),
}

/// One line as tini 1.3 reads it (`parser.rs`).
fn parse_line(line: &str) -> Result<Line<'_>, &'static str> {
    let line = line.split([';', '#']).next().unwrap_or_default().trim();
    if line.is_empty() {
        return Ok(Line::Empty);
    }
    if line.starts_with('[') {
        return match line.ends_with(']') {
            true => Ok(Line::Section(line.trim_matches(['[', ']']))),
            false => Err("a line that begins with [ and does not end in ]"),
        };
    }
    match line.split_once('=') {
        Some((key, _)) if key.trim().is_empty() => Err("a value without a key"),
        Some((key, value)) => Ok(Line::Value(key.trim(), value.trim())),
        None => Err("a line that is neither a [group] nor key=value (it knows no continuation)"),
    }
}

/// `%%` is a percent sign, any other specifier is refused (`parse_spec_value`).
fn unescape(value: &str) -> Result<String, &'static str> {
    let mut text = String::new();
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        if letter == '%' && letters.next() != Some('%') {
            return Err("a systemd specifier in Image=");
        }
        text.push(letter);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The image, or the line that is refused.
    type Read = Result<&'static str, Option<usize>>;

    #[test]
    fn what_bootc_makes_of_quadlets() {
        let table: &[(&str, &str, Read)] = &[
            ("x.image", "[Image]\nImage=quay.io/a:1\n", Ok("quay.io/a:1")),
            ("x.container", "[Container]\nImage=quay.io/a:1\n", Ok("quay.io/a:1")),
            ("x.container", "[Container]\r\nImage=quay.io/a:1\r\n", Ok("quay.io/a:1")),
            ("x.container", "[Container]\nImage=quay.io/a:1 # old\n", Ok("quay.io/a:1")),
            ("x.container", "[Container]\nImage=\"quay.io/a:1\"\n", Ok("\"quay.io/a:1\"")),
            ("x.container", "[Container]\nImage=a%%b\n", Ok("a%b")),
            ("x.container", "[Container]\nImage=a%i\n", Err(Some(2))),
            ("x.container", "[Container]\nImage=a%\n", Err(Some(2))),
            ("x.container", "[Container]\nImage=a\nExec=x \\\n  --flag\n", Err(Some(4))),
            ("x.container", "[Container]\nImage=a\nExec=x \\\nImage=b\n", Ok("b")),
            ("x.image", "[Image]\nAuthFile=/a\nImage=a\n", Err(Some(2))),
            ("x.container", "[Container]\nAuthFile=/a\nImage=a\n", Ok("a")),
            ("x.container", "[Image]\nImage=a\n", Err(None)),
            ("x.kube", "[Kube]\n", Err(None)),
        ];
        for (name, text, want) in table {
            let got = image(name, text);
            let got = got.as_deref().map_err(|(line, _)| *line);
            assert_eq!(got, *want, "{text:?}");
        }
    }

    proptest! {
        /// tini itself is the judge: the same error or the same values.
        #[test]
        fn lines_are_read_as_bootcs_parser_does(
            text in r"(\[Image\]\n)?((Image|AuthFile|\[Image\]|\[|\]|=|#|;| |\\|a|\r|\n|%){0,24})"
        ) {
            let theirs = tini::Ini::from_string(text.clone());
            let broken = text.lines().any(|line| parse_line(line).is_err());
            prop_assert_eq!(theirs.is_err(), broken, "{:?}", text);
            if let Ok(theirs) = theirs {
                let value: Option<String> = theirs.get("Image", "Image");
                let refused = theirs.get::<String>("Image", "AuthFile").is_some();
                let wanted = value.filter(|_| !refused).and_then(|value| unescape(&value).ok());
                prop_assert_eq!(image("x.image", &text).ok(), wanted, "{:?}", text);
            }
        }
    }
}
