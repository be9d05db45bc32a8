//! docs/schema: what every command writes with `--format json`, checked against the JSON Schema of it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "schema/bundle.rs"]
mod bundle;
mod common;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use common::host::{Machine, NEW, ONE, TWO, id};
use common::{Ran, World, have, source};
use serde_json::Value;

/// Whether schemas can be checked here.
fn can_check() -> bool {
    if !have(&["python3", "skopeo"]) {
        return false;
    }
    let output = Command::new("python3").args(["-c", "import jsonschema"]).output().unwrap();
    if !output.status.success() {
        eprintln!("skipped: needs python3-jsonschema");
    }
    output.status.success()
}

/// Outputs, each with the name of its schema.
#[derive(Default)]
struct Outputs {
    lines: RefCell<Vec<(String, Value)>>,
}

impl Outputs {
    /// All that a command wrote; a `failed` object is one wherever it comes.
    fn add(&self, name: &str, ran: &Ran) {
        let has_events = ["stage", "bundle"].contains(&name);
        for value in ran.json() {
            let failed = value["event"] == "failed" && !has_events;
            self.lines.borrow_mut().push((if failed { "failed" } else { name }.to_owned(), value));
        }
    }

    fn faults(&self) -> String {
        let lines = self.lines.borrow();
        let text: String = lines.iter().map(|(name, value)| format!("{name}\t{value}\n")).collect();
        let mut child = Command::new("python3")
            .arg("-W")
            .arg("ignore")
            .arg(source("tests/schema/validate.py"))
            .arg(source("docs/schema"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Beside reading what it says: a pipe has room for little of that.
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
        let ran = Ran::of(child.wait_with_output().unwrap());
        writer.join().unwrap().unwrap();
        assert!(ran.err.is_empty() && ran.code < Some(2), "{}", ran.all());
        ran.out
    }

    fn names(&self) -> BTreeSet<String> {
        self.lines.borrow().iter().map(|(name, _)| name.clone()).collect()
    }

    /// The events of a command, a result of `done` each its own.
    fn events(&self, name: &str) -> BTreeSet<String> {
        let lines = self.lines.borrow();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let lines = lines.iter().filter(|(other, _)| other == name);
        lines.filter_map(|(_, line)| text(&line["result"]).or(text(&line["event"]))).collect()
    }

    /// Each line once for every object in it, with one field more there.
    fn with_a_new_field(&self) -> Self {
        let lines = self.lines.borrow();
        let changed = lines.iter().flat_map(|(name, value)| {
            let mut places = Vec::new();
            objects(value, String::new(), &mut places);
            places.into_iter().map(move |place| {
                let mut value = value.clone();
                value.pointer_mut(&place).unwrap()["new"] = 1.into();
                (name.clone(), value)
            })
        });
        Self { lines: RefCell::new(changed.collect()) }
    }
}

/// JSON pointers to every object in `value`; of a list, the first and the last are enough.
fn objects(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| objects(value, format!("{at}/{key}"), found));
            found.push(at);
        }
        Value::Array(list) => {
            let ends = BTreeSet::from([0, list.len().saturating_sub(1)]);
            for number in ends.into_iter().filter(|number| *number < list.len()) {
                objects(&list[number], format!("{at}/{number}"), found);
            }
        }
        _ => {}
    }
}

const JSON: [&str; 2] = ["--format", "json"];

/// A host through an upgrade that is held back, released, completed and cleaned up.
fn on_a_host(all: &Outputs) {
    let host = Machine::new();
    let run = |name: &str, words: &[&str]| all.add(name, &host.run(&[words, &JSON].concat()));
    let stage = |words: &[&str]| all.add("stage", &host.stage(&[words, &JSON].concat()));
    for (name, words) in [("gate", &["gate"][..]), ("stage", &["stage"]), ("gc", &["gc"])] {
        run(name, words);
    }
    stage(&["--root", "booted", "--dry-run"]);
    stage(&["--late-binding"]);
    host.deploy("b", &[("one", ONE), ("two", TWO)]);
    host.stage_root("b");
    stage(&[]);
    run("gate", &["gate"]);
    host.deploy("c", &[("one", ONE), ("new", NEW), ("gone", "registry.example/ns/gone:1")]);
    host.stage_root("c");
    stage(&[]);
    for (name, words) in [
        ("gate", &["gate", "--remember"][..]),
        ("status", &["status"]),
        ("list", &["list"]),
        ("list", &["list", "--root", "staged"]),
        ("list", &["list", "--root", "pending"]),
        ("verify", &["verify", "--deep"]),
        ("verify", &["verify", "--root", "staged"]),
        ("release", &["release", "staged", "--reason", "a test"]),
        ("gate", &["gate"]),
        ("status", &["status"]),
        ("release", &["release", "rollback", "--reason", "no\nline"]),
    ] {
        run(name, words);
    }
    stage(&["--root", "booted", "--repair"]);
    host.unstage();
    host.undeploy("b");
    host.undeploy("c");
    stage(&[]);
    run("gc", &["gc", "--dry-run"]);
    run("gc", &["gc"]);
    // Damage.
    let store = host.pool().join("roots").join(id("a"));
    fs::write(store.join("overlay-layers/layers.json"), "[]").unwrap();
    for (name, words) in [("verify", &["verify"][..]), ("status", &["status"]), ("list", &["list"])]
    {
        run(name, words);
    }
}

/// A directory: what is wrong with Quadlets, pins, storage.conf.
fn in_a_directory(all: &Outputs) {
    let world = World::new();
    let run = |name: &str, words: &[&str]| {
        let mut command = world.command(words[0], &words[1..]);
        all.add(name, &Ran::of(command.args(JSON).output().unwrap()));
    };
    common::images::small(&world, ONE);
    all.add("stage", &world.stage(&JSON));
    world.bind_images(&[("one", ONE)]);
    world.bind(
        "late.container",
        format!("[Container]\nImage={NEW}\n[X-BoundImage]\nRequired=no\nFlavour=x\n"),
    );
    all.add("stage", &world.stage(&JSON));
    all.add("stage", &world.stage(&JSON));
    for (name, words) in [
        ("list", &["list"][..]),
        ("verify", &["verify", "--deep"]),
        ("lint", &["lint"]),
        ("pin", &["pin", "--check"]),
        ("storage-conf", &["storage-conf", "show"]),
        ("storage-conf", &["storage-conf", "enable"]),
        ("storage-conf", &["storage-conf", "show"]),
        ("storage-conf", &["storage-conf", "disable"]),
    ] {
        run(name, words);
    }
    let record = serde_json::from_value(world.record()).unwrap();
    all.lines.borrow_mut().push(("record".to_owned(), record));
    world.bind("wrong.container", "[Container]\nImage=\n");
    world.write("etc/containers/storage.conf", "[storage\n");
    all.add("stage", &world.stage(&JSON));
    for (name, words) in
        [("list", &["list"][..]), ("lint", &["lint"]), ("storage-conf", &["storage-conf", "show"])]
    {
        run(name, words);
    }
    let none = world.path("none");
    let mut command = world.command_of(common::PROGRAM);
    command.args(["list", "--root"]).arg(none).args(JSON);
    all.add("list", &Ran::of(command.output().unwrap()));
}

#[test]
fn every_output_is_as_its_schema_has_it() {
    if !can_check() {
        return;
    }
    let all = Outputs::default();
    on_a_host(&all);
    in_a_directory(&all);
    bundle::every_event(|ran| all.add("bundle", ran));
    assert_eq!(all.faults(), "");

    // Of each something was seen.
    let files = fs::read_dir(source("docs/schema")).unwrap();
    let files =
        files.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
    let wanted: BTreeSet<String> = files.filter(|name| name != "common").collect();
    assert_eq!(all.names(), wanted);
    let stage = [
        "reading",
        "read",
        "finding",
        "resolved",
        "unavailable",
        "planned",
        "plan",
        "layer",
        "publishing",
        "no-bindings",
        "already-there",
        "published",
        "linked",
        "nothing-staged",
        "prefetched",
        "failed",
    ];
    assert_eq!(all.events("stage"), stage.map(str::to_owned).into());
    let bundle = [
        "finding",
        "resolved",
        "unavailable",
        "damaged",
        "planned",
        "plan",
        "not-copied",
        "blob",
        "writing",
        "no-bindings",
        "already-there",
        "written",
        "failed",
    ];
    assert_eq!(all.events("bundle"), bundle.map(str::to_owned).into());
    let lines = all.lines.borrow();
    let bundles = lines.iter().filter(|(name, _)| name == "bundle");
    let text: String = bundles.map(|(_, line)| format!("{line}\n")).collect();
    for part in [
        r#""action":"keep""#,
        r#""action":"write""#,
        r#""action":"copy""#,
        r#""action":"fetch""#,
        r#""kind":"list""#,
        r#""from":""#,
        r#""variant":""#,
        r#""missing":[{"#,
        r#""blobs":["sha256:"#,
        r#""kept":""#,
        r#""causes":["#,
        r#""causes":[]"#,
        r#""roots":[{"#,
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }

    // Nothing is added unseen, wherever it is.
    let more = all.with_a_new_field();
    let faults = more.faults();
    let seen: BTreeSet<&str> = faults.lines().filter_map(|line| line.split(':').next()).collect();
    for (number, (name, value)) in more.lines.borrow().iter().enumerate() {
        let number = (number + 1).to_string();
        assert!(seen.contains(number.as_str()), "{name} has `new`, unseen: {value}");
    }
}

#[test]
fn a_field_that_no_schema_names_is_seen() {
    if !can_check() {
        return;
    }
    let world = World::new();
    let mut value = world.run("list", &JSON).json().remove(0);
    let check = |value: &Value| {
        let all = Outputs::default();
        all.lines.borrow_mut().push(("list".to_owned(), value.clone()));
        all.faults()
    };
    assert_eq!(check(&value), "");
    value["new"] = 1.into();
    assert!(check(&value).contains("new"), "{}", check(&value));
    value.as_object_mut().unwrap().remove("new");
    value["bindings"] = "none".into();
    assert!(check(&value).contains("$.bindings"), "{}", check(&value));
}

/// Somebody who looks for a schema finds it.
#[test]
fn the_document_names_every_schema() {
    let text = fs::read_to_string(source("docs/json.md")).unwrap();
    for entry in fs::read_dir(source("docs/schema")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(text.contains(&format!("schema/{name}")), "docs/json.md does not name {name}");
    }
}
