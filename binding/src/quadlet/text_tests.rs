use proptest::prelude::*;

use super::*;

fn flat(text: &str) -> String {
    match parse_text(text) {
        Err(error) => format!("!{}", error.line),
        Ok(parsed) => {
            let mut out: Vec<String> = parsed
                .assignments
                .iter()
                .map(|a| format!("{}:{}.{}={}", a.line, a.group, a.key, a.value))
                .collect();
            out.extend(parsed.lost.iter().map(|line| format!("lost {line}")));
            out.join("|")
        }
    }
}

#[test]
fn reads_what_podman_reads() {
    let table = [
        ("", ""),
        ("# only\n;comments\n\n", ""),
        ("[A]\nk=v", "2:A.k=v"),
        ("[A]\r\nk=v\r\n", "2:A.k=v"),
        ("  [A]  \n  k  =  v w  \n", "2:A.k=v w"),
        ("[A]\t \nk=v\n", "2:A.k=v"),
        ("[A]\nk=\"v\" # not a comment\n", "2:A.k=\"v\" # not a comment"),
        ("[A]\nk=a=b\n", "2:A.k=a=b"),
        ("[A]\nk=\n", "2:A.k="),
        ("[A]\nk=1\n[B]\nk=2\n[A]\nk=3\n", "2:A.k=1|4:B.k=2|6:A.k=3"),
        // Continuations are joined without a space, whatever is between.
        ("[A]\nk=a \\\n b\n", "2:A.k=a b"),
        ("[A]\nk=a\\\nb\n", "2:A.k=ab"),
        ("[A]\nk=a\\\n# comment\n\n; more \\\nb\nj=1\n", "2:A.k=ab|7:A.j=1"),
        ("[A]\nk=a\\\\\nb\n", "2:A.k=a\\b"),
        ("[A]\nk=a\\ \nb\n", "2:A.k=ab"),
        ("[A]\nImage\\\n=x\n", "2:A.Image=x"),
        ("[A\\\n]\nk=v\n", "3:A.k=v"),
        ("[A]\nk=v\\", "2:A.k=v"),
        ("[A]\nk=v\\\n", "2:A.k=v"),
        ("[A]\nk=v\\\n\n", "lost 2"),
        ("[A]\nj=1\nk=v \\\n# end\n", "2:A.j=1|lost 3"),
        // A backslash on its own begins no continuation.
        ("[A]\n\\\nk=v\n", "3:A.k=v"),
        ("# comment \\\n[A]\nk=v\n", "3:A.k=v"),
        ("[A]\n\u{a0}k=v\u{2003}\n", "2:A.k=v"),
        ("[A] x=y\n", "!1"),
        ("[A]\n[B] x=y\n", "2:A.[B] x=y"),
        ("k=v\n[A]\n", "!1"),
        ("[A]\nnonsense\n", "!2"),
        ("[A]\nk=1\\\n2\nnonsense\\\nmore\n", "!4"),
        ("[A]\n=v\n", "!2"),
        ("[]\n", "!1"),
        ("[A[B]\n", "!1"),
        ("[A]]\n", "!1"),
        ("[A\u{7}]\n", "!1"),
        ("[A\n", "!1"),
        ("\u{feff}[A]\nk=v\n", "!1"),
        ("[A]\nk=\0\n", "2:A.k=\0"),
    ];
    for (text, want) in table {
        assert_eq!(flat(text), want, "{text:?}");
    }
}

#[test]
fn a_byte_order_mark_is_named() {
    let error = parse_text("\u{feff}[Container]\n").unwrap_err();
    assert!(error.to_string().contains("byte order mark"), "{error}");
}

proptest! {
    #[test]
    fn never_panics(text in "(\\[[A-Z]?\\]?|[a-z]|=|\\\\|\n|\r|#|;| |\u{a0}|\\PC){0,60}") {
        if let Ok(parsed) = parse_text(&text) {
            prop_assert!(parsed.assignments.iter().all(|a| a.line >= 1));
        }
    }

    #[test]
    fn what_is_printed_reads_the_same(text in "(\\[[AB]\\]\n)((\\[[AB]\\]|[a-z]{1,3} ?= ?[a-z#\" ]{0,6}\\\\?|#[a-z]*|)\r?\n){0,12}") {
        if let Ok(parsed) = parse_text(&text) {
            let again = parse_text(&parsed.to_string()).unwrap();
            let strip = |text: &Text| -> Vec<(String, String, String)> {
                text.assignments
                    .iter()
                    .map(|a| (a.group.clone(), a.key.clone(), a.value.trim_end().to_owned()))
                    .collect()
            };
            prop_assert_eq!(strip(&again), strip(&parsed));
            prop_assert_eq!(parse_text(&again.to_string()).unwrap(), again);
        }
    }
}
