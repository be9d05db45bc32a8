//! What the documents say: their commands are run and their outputs compared (`tests/docs/console.py`), and
//! their links lead somewhere.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use common::{PROGRAM, Ran, have, source};

fn says_what_the_programs_say(document: &str) {
    if !have(&["python3", "skopeo", "docker-registry", "bash", "sed"]) {
        return;
    }
    let mut command = Command::new("python3");
    command.arg(source("tests/docs/console.py")).arg(source(document));
    let ran = Ran::of(command.env("BOUND_IMAGES", PROGRAM).output().unwrap());
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
}

#[test]
fn the_tutorial_is_true() {
    says_what_the_programs_say("docs/tutorial.md");
}

#[test]
fn the_readme_quotes_the_demo() {
    if !have(&["python3", "bash", "busybox"]) {
        return;
    }
    let mut demo = Command::new("bash");
    demo.arg(source("tests/demo/demo.sh")).env("BOUND_IMAGES", PROGRAM);
    let said = Ran::of(demo.output().unwrap());
    assert_eq!(said.code, Some(0), "{}", said.all());
    // What it shows of Podman can be typed, as the README has it.
    if have(&["podman"]) {
        let store = "/target/demo/root/usr/lib/containers/storage";
        for command in ["images --digests", "run "] {
            let shown = said.out.lines().any(|line| {
                line.starts_with("$ podman --storage-opt additionalimagestore=/")
                    && line.contains(&format!("{store} {command}"))
            });
            assert!(shown, "{command}: {}", said.all());
        }
    }
    let output = tempfile::NamedTempFile::new().unwrap();
    fs::write(output.path(), format!("{}{}", said.out, said.err)).unwrap();
    let mut judge = Command::new("python3");
    judge.arg(source("tests/docs/console.py")).arg("--demo").arg(source("README.md"));
    let judged = Ran::of(judge.stdin(output.reopen().unwrap()).output().unwrap());
    assert_eq!(judged.code, Some(0), "{}", judged.all());
}

#[test]
fn the_authors_guide_is_true() {
    says_what_the_programs_say("docs/author.md");
}

#[test]
fn the_operators_guide_is_true() {
    let hook = Path::new(PROGRAM).with_file_name("bound-images-hook");
    if !hook.is_file() {
        eprintln!("skipped: needs {} (cargo build -p bound-images-hook)", hook.display());
        return;
    }
    says_what_the_programs_say("docs/operator.md");
    // What a log forwarder selects by.
    let guide = fs::read_to_string(source("docs/operator.md")).unwrap();
    let catalog = fs::read_to_string(source("units/bound-images.catalog")).unwrap();
    for id in catalog.lines().filter_map(|line| line.strip_prefix("-- ")) {
        assert!(guide.contains(&format!("| `{id}` |")), "the table of records has no {id}");
    }
}

/// Every Markdown file of the project, from its top.
fn documents() -> Vec<PathBuf> {
    fn walk(below: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(source(below.to_str().unwrap())).unwrap() {
            let entry = entry.unwrap();
            let path = below.join(entry.file_name());
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() {
                if name != "target" && (!name.starts_with('.') || name == ".github") {
                    walk(&path, found);
                }
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new(""), &mut found);
    found.sort();
    found
}

/// The text without its blocks of code.
fn prose(text: &str) -> String {
    let mut fence: Option<&str> = None;
    let mut out = String::new();
    for line in text.lines() {
        let begins = line.trim_start();
        match fence {
            Some(end) if begins.trim_end() == end => fence = None,
            Some(_) => {}
            None if begins.starts_with("```") => fence = Some("```"),
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

/// The targets of `[text](target)` and `![text](target)`, but for those in `code`.
fn links(prose: &str) -> Vec<String> {
    let plain: String =
        prose.split('`').enumerate().filter(|(at, _)| at % 2 == 0).map(|(_, part)| part).collect();
    plain.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// The anchors of headings, as forges make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for heading in prose(text).lines().filter(|line| line.starts_with('#')) {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
        let anchor: String =
            heading.chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect();
        let mut name = anchor.clone();
        let mut count = 1;
        while !found.insert(name.clone()) {
            name = format!("{anchor}-{count}");
            count += 1;
        }
    }
    found
}

/// `a/b/../c` as `a/c`; none above the top of the project.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if !out.pop() => return None,
            Component::ParentDir | Component::CurDir => {}
            other => out.push(other),
        }
    }
    Some(out)
}

/// What is wrong with a link of `document`.
fn fault(document: &Path, link: &str) -> Option<String> {
    if link.starts_with("https://") {
        return None;
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, to)| (path, Some(to)));
    if path.contains(':') || path.starts_with('/') {
        return Some("it is neither https:// nor relative".to_owned());
    }
    let target = match path {
        "" => Some(document.to_owned()),
        path => plain(&document.parent().unwrap().join(path)),
    };
    let Some(target) = target else { return Some("it leaves the project".to_owned()) };
    let file = source(target.to_str().unwrap());
    if !file.exists() {
        return Some(format!("there is no {}", target.display()));
    }
    let anchor = anchor?;
    let there = anchors(&fs::read_to_string(file).unwrap_or_default()).contains(anchor);
    (!there).then(|| format!("{} has no heading #{anchor}", target.display()))
}

#[test]
fn every_link_leads_somewhere() {
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for document in documents() {
        let text = fs::read_to_string(source(document.to_str().unwrap())).unwrap();
        for link in links(&prose(&text)) {
            checked += 1;
            if let Some(why) = fault(&document, &link) {
                wrong.push(format!("{}: ({link}): {why}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(checked > 40, "only {checked} links were found");
}

#[test]
fn no_document_knows_the_machine_that_it_was_written_on() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let places = [top.to_str().unwrap(), "/home/", "/root/", "/work/"];
    // Not as a part of a relative one.
    let begins = |line: &str, place: &str| {
        line.match_indices(place).any(|(at, _)| {
            !line[..at]
                .ends_with(|before: char| before.is_alphanumeric() || "._-}".contains(before))
        })
    };
    let mut wrong = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(source(document.to_str().unwrap())).unwrap();
        for (number, line) in text.lines().enumerate() {
            if places.iter().any(|place| begins(line, place)) {
                wrong.push(format!("{}:{}: {line}", document.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Whoever looks for a document finds it from the README.
#[test]
fn the_readme_leads_to_every_document() {
    let readme = fs::read_to_string(source("README.md")).unwrap();
    let found: BTreeSet<String> = links(&prose(&readme))
        .iter()
        .map(|link| link.split('#').next().unwrap().to_owned())
        .collect();
    let of_docs = |path: &&PathBuf| path.parent() == Some(Path::new("docs"));
    let documents = documents();
    let lost: Vec<_> = documents
        .iter()
        .filter(of_docs)
        .filter(|path| !found.contains(path.to_str().unwrap()))
        .collect();
    assert!(lost.is_empty(), "README.md has no link to {lost:?}");
    assert!(readme.lines().count() <= 260, "README.md is for a first look");
}

/// The table of crates is what the manifests say.
#[test]
fn no_crate_uses_what_the_architecture_does_not_say() {
    let text = fs::read_to_string(source("docs/architecture.md")).unwrap();
    let manifest = fs::read_to_string(source("Cargo.toml")).unwrap();
    let (_, members) = manifest.split_once("members = [").unwrap();
    let members: BTreeSet<&str> =
        members.split(']').next().unwrap().split('"').skip(1).step_by(2).collect();
    let mut told = BTreeSet::new();
    for row in text.lines().filter_map(|line| line.strip_prefix("| `")) {
        let Some((name, rest)) = row.split_once("` | ") else { continue };
        if !members.contains(name) || !rest.starts_with(['`', '–']) {
            continue;
        }
        let uses: BTreeSet<&str> =
            rest.split(" | ").next().unwrap().split('`').skip(1).step_by(2).collect();
        let manifest = fs::read_to_string(source(&format!("{name}/Cargo.toml"))).unwrap();
        let (_, real) = manifest.split_once("[dependencies]\n").unwrap();
        let real = real.split("\n[").next().unwrap().lines();
        let real = real.filter_map(|line| line.split(['.', ' ']).next());
        let real: BTreeSet<&str> = real.filter(|name| members.contains(name)).collect();
        assert_eq!(uses, real, "{name}: left what docs/architecture.md says");
        told.insert(name);
    }
    assert_eq!(told, members);
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let at = Path::new("docs/upgrade.md");
    for (link, wanted) in [
        ("units.md", None),
        ("units.md#the-units", None),
        ("../README.md#commands", None),
        ("#the-pool", None),
        ("https://example.org/x", None),
        ("http://example.org/x", Some("neither")),
        ("/etc/passwd", Some("neither")),
        ("../../x", Some("leaves")),
        ("none.md", Some("there is no docs/none.md")),
        ("units.md#none", Some("has no heading")),
    ] {
        let found = fault(at, link);
        let right = match wanted {
            None => found.is_none(),
            Some(part) => found.as_ref().is_some_and(|why| why.contains(part)),
        };
        assert!(right, "{link}: {found:?}");
    }
    assert_eq!(links(&prose("[a](b) `[c](d)` ![e](f)\n```\n[g](h)\n```\n")), ["b", "f"]);
    assert!(
        anchors("# A `b`, c-d\n## a b c-d\n")
            .is_superset(&["a-b-c-d".into(), "a-b-c-d-1".into()].into())
    );
}
