//! Podman's own Quadlet generator (5.4, in a chroot) judges how we read Quadlets: for every tree of a
//! corpus, and for random ones, the services must be there under the names that we say, and start
//! the image that we say.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic"
)]

#[path = "quadlets/corpus.rs"]
mod corpus;
#[path = "quadlets/mutate.rs"]
mod mutate;
#[path = "quadlets/peer.rs"]
mod peer;
#[path = "quadlets/texts.rs"]
mod texts;
#[path = "quadlets/trees.rs"]
mod trees;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use corpus::cases;
use peer::{Bound, Files, case_dir};

/// What we make of a case: services with their images, then the codes of what is wrong.
fn reading(read: &binding::Bindings) -> String {
    let mut text = String::new();
    for (service, images) in peer::ours(read) {
        let name = service.strip_suffix(".service").unwrap();
        let images: Vec<&str> =
            images.iter().map(|image| image.trim_start_matches("quay.io/")).collect();
        write!(text, "{name}={} ", images.join("|")).unwrap();
    }
    let codes: std::collections::BTreeSet<_> =
        read.findings.iter().map(|finding| finding.code.to_string()).collect();
    for code in codes {
        write!(text, "!{code} ").unwrap();
    }
    text.trim_end().to_owned()
}

fn files(case: &corpus::Case) -> Files {
    let bytes = |text: &str| text.replace("{LONG}", &"x".repeat(70_000)).into_bytes();
    case.files.iter().map(|(path, text)| ((*path).to_owned(), bytes(text))).collect()
}

#[test]
fn the_corpus_reads_as_it_says() {
    let mut wrong = String::new();
    for case in cases() {
        let root = tempfile::tempdir().unwrap();
        peer::write(root.path(), &files(case), Bound::All);
        let read = peer::read(root.path());
        let got = reading(&read);
        if got != case.reads {
            writeln!(wrong, "{}\n  want {:?}\n  have {got:?}", case.name, case.reads).unwrap();
            for finding in read.findings {
                writeln!(wrong, "    {finding}").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Asks Podman about trees; the disagreements with what they are in.
fn compare(trees: &[Files]) -> Option<Vec<String>> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::create_dir_all(project.join("target/tests")).unwrap();
    let scratch = tempfile::tempdir_in(project.join("target/tests")).unwrap();
    // The links make no difference to Podman, so it is asked once.
    let [cases, images] = ["all", "images"].map(|name| scratch.path().join(name));
    for (index, files) in trees.iter().enumerate() {
        peer::write(&case_dir(&cases, index), files, Bound::All);
        peer::write(&case_dir(&images, index), files, Bound::Images);
    }
    let asked = peer::podman(&cases)?;
    let mut wrong = Vec::new();
    for (index, files) in trees.iter().enumerate() {
        for (bound, all) in [(Bound::All, &cases), (Bound::Images, &images)] {
            let dir = case_dir(all, index);
            let read = peer::read(&dir);
            let podman = &asked[dir.file_name().unwrap().to_str().unwrap()];
            let found = peer::disagreements(&read, podman, bound);
            if !found.is_empty() {
                let mut text = format!("tree {index}: {}\n", found.join("\n  "));
                for (path, content) in files {
                    writeln!(text, "  {path:?} {:?}", String::from_utf8_lossy(content)).unwrap();
                }
                writeln!(text, "  ours: {}\n  Podman: {podman:?}", reading(&read)).unwrap();
                wrong.push(text);
            }
        }
    }
    Some(wrong)
}

#[test]
fn podmans_generator_agrees() {
    let trees: Vec<Files> = cases().map(files).collect();
    let Some(wrong) = compare(&trees) else { return };
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// How many random trees, and from which seed: `QUADLET_TREES`, `QUADLET_SEED`.
#[test]
fn podmans_generator_agrees_about_random_trees() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
    };
    let (count, seed) = (number("QUADLET_TREES", 100), number("QUADLET_SEED", 1));
    let mut random = mutate::Random(seed);
    let corpus: Vec<Files> = cases().map(files).collect();
    let trees: Vec<Files> = (0..count)
        .map(|index| match usize::try_from(index).unwrap() {
            index if index % 2 == 0 => mutate::tree(&mut random),
            index => mutate::vary(&mut random, &corpus[index / 2 % corpus.len()]),
        })
        .collect();
    let Some(wrong) = compare(&trees) else { return };
    assert!(wrong.is_empty(), "{} of {count}, seed {seed}:\n{}", wrong.len(), wrong.join("\n"));
}
