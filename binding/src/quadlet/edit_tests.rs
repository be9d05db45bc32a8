use proptest::prelude::*;

use super::*;

const OLD: &str = "quay.io/a/b:1";

/// A text with `@` where the value goes on.
fn check(layout: &str, line: usize) {
    let pin = format!("@sha256:{}", "a".repeat(64));
    let moved = format!("@sha256:{}", "b".repeat(64));
    let text = layout.replace('@', "");
    let pinned = replace_value(&text, line, "Image", OLD, &format!("{OLD}{pin}")).unwrap();
    assert_eq!(pinned, layout.replace('@', &pin), "{layout:?}");
    let again =
        replace_value(&pinned, line, "Image", &format!("{OLD}{pin}"), &format!("{OLD}{moved}"));
    assert_eq!(again.unwrap(), layout.replace('@', &moved), "{layout:?}");
}

#[test]
fn layouts_are_kept() {
    for (layout, line) in [
        ("[Container]\nImage=quay.io/a/b:1@\n", 2),
        ("[Container]\nImage=quay.io/a/b:1@", 2),
        ("[Container]\r\nImage=quay.io/a/b:1@\r\nExec=x\r\n", 2),
        ("# c\n[Container]\n\t Image \t=  quay.io/a/b:1@  \t\n# d\n", 3),
        ("[Container]\nImage=\"quay.io/a/b:1@\"\n", 2),
        ("[Container]\nImage=\"quay.io/a/b:1@\n", 2),
        ("[Container]\nImage=quay.io/a/\\\n# c\\\n\n  ; d\n   b:1@\nExec=x \\\n  y\n", 2),
        ("[Container]\r\nImage=quay.io/a/\\\r\n  b:1@\r\n", 2),
        ("[Container]\nImage=\\\nquay.io/a/b:1@\n", 2),
        ("[Container]\nImage\\\n=quay.io/a/b:1@\n", 2),
        ("[Container]\nImage=quay.io/a/b:1@\\\n", 2),
        ("[Container]\nImage=quay.io/x\nImage=quay.io/a/b:1@\n[Service]\nImage=quay.io/a/b:1\n", 3),
        ("[Container]\nExec=Image=quay.io/a/b:1 é\nImage=quay.io/a/b:1@\n", 3),
    ] {
        check(layout, line);
    }
}

#[test]
fn a_digest_that_is_spread_over_lines_stays_spread() {
    let (a, b) = ("a".repeat(32), "b".repeat(32));
    let text = |half: &str| {
        format!("[Container]\nImage=quay.io/a:1@sha256:\\\n{half}\\\n# why\n  {half}\n")
    };
    let value = |half: &str| format!("quay.io/a:1@sha256:{half}{half}");
    let edited = replace_value(&text(&a), 2, "Image", &value(&a), &value(&b)).unwrap();
    assert_eq!(edited, text(&b));
}

#[test]
fn what_does_not_stand_there_is_not_changed() {
    let text = "[Container]\nImage=quay.io/a/b:1\nExec=quay.io/a/b:1\n";
    let new = format!("{OLD}@x");
    for (line, key, old, new, why) in [
        (1, "Image", OLD, new.as_str(), EditError::Changed),
        (3, "Image", OLD, &new, EditError::Changed),
        (4, "Image", OLD, &new, EditError::Changed),
        (0, "Image", OLD, &new, EditError::Changed),
        (2, "Exec", OLD, &new, EditError::Changed),
        (2, "Image", "quay.io/a/b", &new, EditError::Changed),
        (2, "Image", "", &new, EditError::Changed),
        (2, "Image", OLD, "quay.io/c", EditError::NotAnEnd),
        (2, "Image", OLD, "quay.io/a/b:1\nExec=evil", EditError::NotAnEnd),
        (2, "Image", OLD, "quay.io/a/b:1\\", EditError::NotAnEnd),
    ] {
        let got = replace_value(text, line, key, old, new);
        match got {
            Err(got) if new != "quay.io/c" && old == OLD && line == 2 && key == "Image" => {
                // Refused for either reason, as long as it is refused.
                assert!(matches!(got, EditError::Changed | EditError::NotAnEnd));
            }
            got => assert_eq!(got, Err(why), "{line} {key} {old:?} {new:?}"),
        }
    }
}

/// Pieces of which unit files are made, in any order.
fn texts() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("[Container]"),
        Just("[Unit]"),
        Just("# comment \\"),
        Just("; Image=quay.io/no"),
        Just(""),
        Just("  "),
        Just("Image=quay.io/a/b:1"),
        Just(" Image = \"quay.io/a/b:1\"  "),
        Just("Image=quay.io/a/\\"),
        Just("Image=\\"),
        Just("  b:1"),
        Just("b:1\\"),
        Just("Exec=a \\"),
        Just("Exec=é"),
        Just("   --flag=x"),
    ];
    let end = prop_oneof![Just("\n"), Just("\r\n")];
    (prop::collection::vec((line, end), 0..14), any::<bool>()).prop_map(|(lines, newline)| {
        let mut text: String = lines.iter().flat_map(|(line, end)| [*line, *end]).collect();
        if !newline {
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
        }
        format!("[Container]\n{text}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// Every value that Podman reads can be pinned, and taking the new bytes out again gives the
    /// old file: nothing else was touched.
    #[test]
    fn only_the_value_changes(text in texts()) {
        let Ok(parsed) = parse_text(&text) else { return Ok(()) };
        for one in parsed.assignments.iter().filter(|one| one.key == "Image") {
            let old = one.value.trim_end().trim_matches('"');
            if old.is_empty() {
                continue;
            }
            let pin = "@sha256:0123";
            let new = format!("{old}{pin}");
            let edited = replace_value(&text, one.line, "Image", old, &new).unwrap();
            prop_assert_eq!(edited.len(), text.len() + pin.len());
            prop_assert_eq!(edited.matches(pin).count(), 1);
            prop_assert_eq!(edited.replacen(pin, "", 1), text.clone());
            let again = parse_text(&edited).unwrap();
            let changed: Vec<_> = again
                .assignments
                .iter()
                .zip(&parsed.assignments)
                .filter(|(after, before)| after != before)
                .collect();
            prop_assert_eq!(changed.len(), 1);
            prop_assert_eq!(changed[0].0.value.trim_end().trim_matches('"'), new);
        }
    }

    #[test]
    fn never_panics(text in "\\PC{0,60}", line in 0_usize..5, old in "\\PC{0,5}") {
        drop(replace_value(&text, line, "Image", &old, "x"));
    }
}
