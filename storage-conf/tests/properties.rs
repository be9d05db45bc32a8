//! What must hold for every storage.conf.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use proptest::prelude::*;
use storage_conf::{Disabled, Enabled, StorageConf, disable, enable, merge};

const OURS: &str = "/usr/lib/containers/storage";

/// A list of stores in one of the layouts that people write.
fn list() -> impl Strategy<Value = String> {
    let item = prop_oneof!["'/[a-c]{1,3}'", "\"/[a-c]{1,3}/\"", Just(format!("'{OURS}'"))];
    let comment = prop_oneof![Just(String::new()), " # [a-z ]{1,8}"];
    let items = prop::collection::vec((item, comment, "[ \t]{0,3}"), 0..4);
    (items, any::<bool>(), any::<bool>()).prop_map(|(items, lines, comma)| {
        let count = items.len();
        let mut text = String::from(if lines { "[ # top\n" } else { "[" });
        for (at, (item, comment, indent)) in items.into_iter().enumerate() {
            let comma = if at + 1 < count || comma { "," } else { "" };
            text.push_str(&format!("{indent}{item}{comma}"));
            if lines {
                text.push_str(&format!("{comment}\n"));
            }
        }
        text.push(']');
        text
    })
}

/// A storage.conf that Podman would read.
fn conf() -> impl Strategy<Value = String> {
    let head = prop::sample::subsequence(
        vec![
            "driver = 'overlay' # d\n",
            "runroot = '/r'\n",
            "graphroot = '/g' # g\n",
            "# a remark\n",
            "transient_store = false\n",
        ],
        0..=5,
    );
    let options = prop::sample::subsequence(vec!["# o\n", "size = ''\n", "\n"], 0..=3);
    let last = any::<bool>();
    (head, options, prop::option::of(list()), last).prop_map(|(head, options, list, overlay)| {
        let mut text = format!("# first\n[storage]\n{}", head.concat());
        if let Some(list) = list {
            let options = options.concat();
            text.push_str(&format!("[storage.options]\n{options}additionalimagestores = {list}\n"));
        }
        if overlay {
            text.push_str("[storage.options.overlay]\nmountopt = 'nodev' # last\n");
        }
        text
    })
}

fn comments(text: &str) -> Vec<String> {
    let mut comments: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_once('#').map(|(_, comment)| comment.trim().to_owned()))
        .collect();
    comments.sort();
    comments
}

proptest! {
    #[test]
    fn merging_adds_the_store_and_loses_nothing(text in conf()) {
        let before = StorageConf::parse("f", &text).unwrap();
        let merged = merge(Some(("f", &text)), OURS).unwrap();
        let after = StorageConf::parse("f", &merged).unwrap();
        let path = |conf: &StorageConf| -> Vec<String> {
            conf.stores().iter().map(|store| store.path.clone()).collect()
        };
        let mut want = path(&before);
        if !before.lists_store(OURS) {
            want.push(OURS.to_owned());
        }
        prop_assert_eq!(path(&after), want, "{}", merged);
        prop_assert_eq!(comments(&merged), comments(&text), "{}", merged);
        prop_assert_eq!(before.driver(), after.driver());
        prop_assert_eq!(before.graphroot().unwrap_or("/var/lib/containers/storage"), after.graphroot().unwrap());
        prop_assert_eq!(merge(Some(("f", &merged)), OURS).unwrap(), merged.clone(), "twice");
        for line in ["transient_store = false", "mountopt = 'nodev' # last", "size = ''"] {
            prop_assert_eq!(text.contains(line), merged.contains(line), "{}", line);
        }
    }

    #[test]
    fn enabling_is_undone_to_the_byte(text in conf(), cut in 0..3_usize, form in 0..4_usize) {
        let text = match form {
            0 => text.replace('\n', "\r\n"),
            1 => format!("\u{feff}{text}"),
            2 => text.replace("[storage.options]\n", "").replace("[storage]\n", "[storage]\noptions.size = ''\n"),
            _ => text,
        };
        // Without a line end, or with some more of them.
        let text = if cut == 0 { text.trim_end().to_owned() } else { text + &"\n".repeat(cut - 1) };
        if let Ok(Enabled::Text(with)) = enable("f", &text, OURS) {
            prop_assert!(StorageConf::parse("f", &with).unwrap().lists_store(OURS));
            prop_assert_eq!(
                disable("f", &with, OURS),
                Ok(Disabled::Text { text: text.clone(), exact: true }),
                "{}", with
            );
            // All that was there is there, in its order.
            let mut rest = text.chars().peekable();
            with.chars().for_each(|letter| { rest.next_if_eq(&letter); });
            prop_assert_eq!(rest.next(), None, "{}", with);
        } else if let Ok(conf) = StorageConf::parse("f", &text) {
            prop_assert!(conf.lists_store(OURS), "{}", text);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[\\[\\]{}=.,#'\"a-d\\\\ \n]{0,60}", tail in any::<String>()) {
        for text in [text.clone(), format!("[storage]\n{text}"), format!("[storage.options]\nadditionalimagestores = {text}{tail}")] {
            if let Ok(Enabled::Text(with)) = enable("f", &text, OURS) {
                prop_assert_eq!(disable("f", &with, OURS), Ok(Disabled::Text { text: text.clone(), exact: true }));
            }
            if let Ok(merged) = merge(Some(("f", &text)), OURS) {
                prop_assert!(StorageConf::parse("f", &merged).unwrap().lists_store(OURS), "{}", merged);
            }
        }
    }
}
