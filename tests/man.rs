//! The man pages and completions: what others say of them, and whether they name what there is.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{PROGRAM, Ran, find, source};

fn has(program: &str) -> bool {
    let here = find(program).is_some();
    if !here {
        eprintln!("skipped: needs {program}");
    }
    here
}

fn run(program: &str, words: &[&str]) -> Ran {
    let mut command = Command::new(program);
    command.args(words).env("LC_ALL", "C.UTF-8").env("MANWIDTH", "80").env_remove("MANPAGER");
    Ran::of(command.output().unwrap())
}

/// The pages of the commands, in a directory, and those in man/.
struct Pages {
    directory: tempfile::TempDir,
}

impl Pages {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("made");
        run(PROGRAM, &["man", "--out", out.to_str().unwrap()]).expect(0, &[]);
        Self { directory }
    }

    fn all(&self) -> Vec<PathBuf> {
        let listed = |path: &Path| -> Vec<PathBuf> {
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect()
        };
        let mut all = listed(&self.directory.path().join("made"));
        all.extend(listed(&source("man")));
        all.sort();
        assert!(all.len() >= 20, "{all:?}");
        all
    }
}

fn is_made(page: &Path) -> bool {
    page.parent().unwrap().ends_with("made")
}

#[test]
fn groff_and_man_take_every_page() {
    let (groff, man) = (has("groff"), has("man"));
    let pages = Pages::new();
    for page in pages.all() {
        let path = page.to_str().unwrap();
        if groff {
            let ran = run("groff", &["-ww", "-man", "-Tutf8", path]);
            assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{path}");
        }
        if man {
            let ran = run("man", &["--warnings", "-l", path]);
            assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{path}");
            for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "SEE ALSO"] {
                let is_there = ran.out.lines().any(|line| line == section);
                assert!(is_there || section == "SYNOPSIS", "{path} has no {section}:\n{}", ran.out);
            }
            let first = ran.out.lines().next().unwrap();
            assert!(first.ends_with(')') && first.chars().count() <= 80, "{path}: {first}");
        }
    }
    if groff {
        let broken = pages.directory.path().join("broken.1");
        fs::write(&broken, ".TH X 1\n.SH NAME\n.FOO bar\n").unwrap();
        let ran = run("groff", &["-ww", "-man", "-Tutf8", broken.to_str().unwrap()]);
        assert!(ran.err.contains("FOO"), "{}", ran.all());
    }
}

#[test]
fn mandoc_takes_every_page() {
    if !has("mandoc") {
        return;
    }
    for page in Pages::new().all() {
        let ran = run("mandoc", &["-Tlint", "-Wwarning", page.to_str().unwrap()]);
        // The same pages whenever they are made: without a date. The other is clap_mangen's, between the
        // help of an option and its values, and does no harm.
        let complaints = (ran.out + &ran.err)
            .lines()
            .filter(|line| !line.contains("missing date"))
            .filter(|line| !(is_made(&page) && line.contains("skipping paragraph macro: br")))
            .fold(String::new(), |all, line| all + line + "\n");
        assert_eq!(complaints, "");
    }
}

/// The first words of the `.TP` items in a section.
fn items(page: &str, section: &str) -> Vec<String> {
    let text = fs::read_to_string(source("man").join(page)).unwrap();
    let (_, rest) = text.split_once(&format!(".SH {section}\n")).unwrap();
    let body = rest.split("\n.SH ").next().unwrap();
    let mut lines = body.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line == ".TP" || line == ".TQ" {
            let named = lines.next().unwrap().split(' ').nth(1).unwrap();
            found.push(named.replace("\\-", "-"));
        }
    }
    found
}

#[test]
fn the_page_of_the_configuration_has_its_keys() {
    let keys = items("bound-images-config.5", "KEYS");
    assert_eq!(keys, ::host::config::KEYS, "host/src/config.rs");
    let text = fs::read_to_string(source("man/bound-images-config.5")).unwrap();
    assert_eq!(text.matches("\nDefault: ").count(), keys.len(), "each has its default");
    for (key, default) in [
        ("jobs", bound_images::settings::DEFAULT_JOBS.to_string()),
        ("parts", bound_images::settings::DEFAULT_PARTS.to_string()),
        ("retries", bound_images::settings::DEFAULT_RETRIES.to_string()),
        ("stall\\-timeout", bound_images::settings::DEFAULT_STALL_TIMEOUT.as_secs().to_string()),
        ("pool", format!("\\(dq{}\\(dq", ::host::DEFAULT_POOL.replace('-', "\\-"))),
    ] {
        let (_, rest) = text.split_once(&format!("\n.BR {key} ")).unwrap();
        let body = rest.split("\n.TP").next().unwrap();
        assert!(body.contains(&format!("Default: {default}.")), "{key}: {body}");
    }
}

#[test]
fn the_page_of_the_record_has_its_fields() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let id = "0".repeat(64);
    // Written by the program: what it does not know, it leaves out.
    let full = serde_json::json!({"schema": 1, "bindings": [{
        "name": "a.image", "reference": "registry.example/a:1", "alias": "registry.example/b:1",
        "platform": {"os": "linux", "architecture": "arm", "variant": "v7"},
        "required": true, "present": true, "list": digest, "manifest": digest, "image": id,
        "layers": [{"diff_id": digest, "size": 1, "id": id}],
    }]});
    let record: binding::Record = serde_json::from_value(full.clone()).unwrap();
    let written = serde_json::to_value(&record).unwrap();
    assert_eq!(written, full, "a field is missing here");
    let mut fields = BTreeSet::new();
    for object in [&written, &written["bindings"][0], &written["bindings"][0]["layers"][0]] {
        fields.extend(object.as_object().unwrap().keys().cloned());
    }
    let told: BTreeSet<String> = items("bound-images-record.5", "FIELDS").into_iter().collect();
    assert_eq!(told, fields);
}

#[test]
fn the_page_of_the_units_has_them_all() {
    let told: BTreeSet<String> = items("bound-images-units.7", "UNITS").into_iter().collect();
    let files = fs::read_dir(source("units")).unwrap().map(|entry| entry.unwrap().path());
    let units = files.filter(|path| {
        path.extension().is_some_and(|kind| kind == "service" || kind == "timer" || kind == "path")
    });
    let mut names: BTreeSet<String> = BTreeSet::new();
    for unit in units {
        let name = unit.file_name().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&unit).unwrap();
        let kind = name.rsplit_once('.').unwrap().0;
        assert!(text.contains(&format!("Documentation=man:{kind}.")), "{name} names no page");
        names.insert(name);
    }
    names.extend(
        ["ostree", "bootc"]
            .map(|name| format!("{name}-finalize-staged.service.d/50-bound-images.conf")),
    );
    assert_eq!(told, names);
}

#[test]
fn pages_name_pages_that_are_there() {
    let pages = Pages::new();
    let names: BTreeSet<String> = pages
        .all()
        .iter()
        .map(|page| page.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    for page in pages.all() {
        let text = fs::read_to_string(&page).unwrap().replace("\\-", "-").replace("\\fR", "");
        let (_, see) =
            text.split_once(".SH \"SEE ALSO\"").or(text.split_once(".SH SEE ALSO")).unwrap();
        let see = see.replace("\\fB", "").replace(".BR ", "").replace(" (", "(");
        let mut count = 0;
        for word in see.split([' ', ',', '\n']).filter(|word| word.starts_with("bound-images")) {
            let (name, section) = word.trim_end_matches(')').split_once('(').unwrap();
            assert!(names.contains(&format!("{name}.{section}")), "{}: {word}", page.display());
            count += 1;
        }
        assert!(count >= 2, "{}: {see}", page.display());
    }
}

#[test]
fn without_a_directory_the_first_page_is_printed() {
    let ran = run(PROGRAM, &["man"]);
    ran.expect(0, &[".TH BOUND-IMAGES 1", "SEE ALSO"]);
    run(PROGRAM, &["man", "--out", "/proc/none"]).expect(3, &["/proc/none"]);
}

#[test]
fn shells_take_the_completions() {
    let directory = tempfile::tempdir().unwrap();
    let written = |shell: &str| {
        let ran = run(PROGRAM, &["completions", shell]);
        ran.expect(0, &["bound-images", "storage-conf", "foreign-store"]);
        let path = directory.path().join(shell);
        fs::write(&path, ran.out).unwrap();
        path
    };
    for shell in ["bash", "zsh", "fish"] {
        let path = written(shell);
        if has(shell) {
            let ran = run(shell, &["-n", path.to_str().unwrap()]);
            assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{shell}");
        }
    }
    run(PROGRAM, &["completions", "x"]).expect(2, &["bash"]);
    // What bash would offer.
    let offers = |words: &str| {
        let script = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _bound__images bound-images \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; \
             echo ${{COMPREPLY[@]}}",
            directory.path().join("bash").display()
        );
        run("bash", &["-c", &script]).out
    };
    assert_eq!(offers("bound-images st").trim(), "stage status storage-conf");
    assert_eq!(offers("bound-images stage --foreign").trim(), "--foreign-store");
    assert_eq!(offers("bound-images storage-conf e").trim(), "enable");
    for (words, wanted) in [
        ("list --format ''", "table json refs"),
        ("status --format ''", "table json prometheus"),
        ("lint --format ''", "table json sarif github"),
        ("stage --format ''", "table json"),
        ("stage --root ''", "booted staged pending rollback"),
        ("verify --h", "--health --help"),
    ] {
        assert_eq!(offers(&format!("bound-images {words}")).trim(), wanted, "{words}");
    }
    for (shell, directories) in
        [("bash", "plusdirs"), ("zsh", ":ROOT:_files -/"), ("fish", "__fish_complete_directories")]
    {
        let text = fs::read_to_string(directory.path().join(shell)).unwrap();
        assert!(text.contains(directories), "{shell}");
        assert!(!text.contains("--host") && !text.contains("-l host"), "{shell}");
    }
}

#[test]
fn pages_and_scripts_have_one_form() {
    for words in [["man", "--format", "json"], ["--format", "json", "man"]] {
        run(PROGRAM, &words).expect(2, &["--format"]);
    }
    run(PROGRAM, &["completions", "bash", "--format", "json"]).expect(2, &["--format"]);
    // Before the command as after it.
    run(PROGRAM, &["--format", "sarif", "list"]).expect(2, &["list does not write"]);
}

#[test]
fn a_synopsis_has_the_values_of_options() {
    let pages = Pages::new();
    let text = fs::read_to_string(pages.directory.path().join("made/bound-images-list.1")).unwrap();
    let synopsis = text.split_once(".SH SYNOPSIS\n").unwrap().1.lines().next().unwrap();
    let plain = synopsis.replace("\\fB", "").replace("\\fI", "").replace("\\fR", "");
    assert!(plain.replace('\\', "").contains("[--root ROOT]"), "{plain}");
}

#[test]
fn every_help_says_what_to_type_and_what_happens() {
    let help = run(PROGRAM, &["--help"]).out;
    let commands = help.split_once("Commands:\n").unwrap().1.split("\n\n").next().unwrap();
    let names: Vec<&str> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(names.len() >= 12, "{names:?}");
    for name in names {
        let help = run(PROGRAM, &[name, "--help"]).out;
        for part in ["Usage:", "Examples:\n", "Exit codes:\n  0 ", &format!("bound-images {name}")]
        {
            assert!(help.contains(part), "{name}: no {part:?} in\n{help}");
        }
    }
}
