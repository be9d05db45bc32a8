//! Podman's own Quadlet generator (5.4 and 6, in chroots) judges how we read Quadlets: for every tree of a
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

/// Asks Podman about trees; of each, its answer and our disagreements with it. None: there is no such Podman.
fn ask(suite: &str, trees: &[Files]) -> Option<Vec<([peer::Services; 2], Vec<String>)>> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::create_dir_all(project.join("target/tests")).unwrap();
    let scratch = tempfile::tempdir_in(project.join("target/tests")).unwrap();
    // The links make no difference to Podman, so it is asked once.
    let [cases, images] = ["all", "images"].map(|name| scratch.path().join(name));
    for (index, files) in trees.iter().enumerate() {
        peer::write(&case_dir(&cases, index), files, Bound::All);
        peer::write(&case_dir(&images, index), files, Bound::Images);
    }
    let asked = peer::podman(suite, &cases)?;
    let mut answers = Vec::new();
    for (index, files) in trees.iter().enumerate() {
        let podman = &asked[case_dir(&cases, index).file_name().unwrap().to_str().unwrap()];
        let mut wrong = Vec::new();
        for (bound, all) in [(Bound::All, &cases), (Bound::Images, &images)] {
            let read = peer::read(&case_dir(all, index));
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
        answers.push((podman.clone(), wrong));
    }
    Some(answers)
}

/// All disagreements with Podman 5.4.
fn compare(trees: &[Files]) -> Option<Vec<String>> {
    let answers = ask(peer::PODMAN_5, trees)?;
    Some(answers.into_iter().flat_map(|(_, wrong)| wrong).collect())
}

/// Trees of which Podman 6 makes something else than Podman 5.4, and the finding that we have about it.
const OTHERWISE_IN_6: &[(&str, &str)] = &[
    ("quotes, escapes, specifiers: only in front", "ambiguous-quotes"),
    ("quotes, escapes, specifiers: two pairs", "ambiguous-quotes"),
    ("names of services: a template of an image", "template-name"),
    ("keys: one of Podman 6", "unknown-key"),
    ("drop-ins: of one name in two directories", "dropin-order"),
];

#[test]
fn podman_6_agrees_but_for_what_we_say() {
    let trees: Vec<Files> = cases().map(files).collect();
    let Some(six) = ask(peer::PODMAN_6, &trees) else { return };
    let Some(five) = ask(peer::PODMAN_5, &trees) else { return };
    let (mut otherwise, mut wrong) = (Vec::new(), Vec::new());
    for (case, ((five, _), (six, disagreements))) in cases().zip(five.iter().zip(&six)) {
        let differs = five != six;
        if differs {
            otherwise.push(format!("{}: {}\n  5: {five:?}\n  6: {six:?}", case.name, case.reads));
        }
        let told = OTHERWISE_IN_6.iter().find(|(name, _)| *name == case.name);
        let is_told = told.is_some_and(|(_, code)| case.reads.contains(&format!("!{code}")));
        if differs != is_told {
            wrong.push(otherwise.last().cloned().unwrap_or_default());
        }
        if !is_told {
            wrong.extend_from_slice(disagreements);
        }
    }
    assert!(wrong.is_empty(), "\n{}\nall:\n{}", wrong.join("\n"), otherwise.join("\n"));
    assert_eq!(otherwise.len(), OTHERWISE_IN_6.len(), "{}", otherwise.join("\n"));
}

/// The keys of its manual, and one of nobody's: each Podman takes those for which we have no finding.
#[test]
fn podmans_know_the_keys_that_we_say() {
    let Some(keys) = peer::script(peer::PODMAN_6, Path::new("/var/empty"), MANUAL) else { return };
    let keys: Vec<&str> = keys.lines().collect();
    assert!(keys.len() > 120 && keys.contains(&"AddCapability"), "{keys:?}");
    let place = tempfile::tempdir().unwrap();
    for key in keys.iter().filter(|key| **key != "Image").chain(&["NobodysKey"]) {
        for (end, group) in [("container", "Container"), ("image", "Image")] {
            let text = format!("[{group}]\nImage=quay.io/a/x:1\n{key}=\n");
            let file =
                place.path().join("usr/share/containers/systemd").join(format!("{key}.{end}"));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text.as_bytes()).unwrap();
            let link = place.path().join(binding::BINDINGS_PATH).join(format!("{key}.{end}"));
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            let target = format!("/usr/share/containers/systemd/{key}.{end}");
            std::os::unix::fs::symlink(target, link).unwrap();
        }
    }
    let read = peer::read(place.path());
    let unknown = |by: &str| -> std::collections::BTreeSet<String> {
        let of = |finding: &&binding::Finding| {
            finding.code == binding::Code::UnknownKey && finding.why.starts_with(by)
        };
        read.findings.iter().filter(of).map(|finding| finding.subject.clone().unwrap()).collect()
    };
    let never = unknown("Podman up to");
    let not_in_5 = never.union(&unknown("Podman 5.4")).cloned().collect();
    assert!(never.contains("NobodysKey.image") && !never.contains("AddCapability.container"));
    for (suite, ours) in [(peer::PODMAN_6, never), (peer::PODMAN_5, not_in_5)] {
        let Some(said) = peer::script(suite, place.path(), REFUSED_KEYS) else { return };
        let said = said.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        let differ: Vec<_> = said.symmetric_difference(&ours).collect();
        assert!(differ.is_empty(), "{suite}: {differ:?}");
    }
}

const MANUAL: &str = r"zcat /usr/share/man/man5/*.unit.5.gz |
    sed -n 's/^\.SS \\fB\([A-Z][A-Za-z0-9]*\)=.*/\1/p' | sort -u
";
/// The Quadlets with a key that Podman does not know.
const REFUSED_KEYS: &str = r#"QUADLET_UNIT_DIRS=/in/usr/share/containers/systemd \
    /usr/lib/systemd/system-generators/podman-system-generator --dryrun --no-kmsg-log >/tmp/out 2>&1 || true
sed -n "s/.*unsupported key '\([^']*\)' in group '\([^']*\)'.*/\1.\L\2/p" /tmp/out
"#;

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
