//! `lint`: every code is found where it belongs, and not beside it; and the forms of its output.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "lint/cases.rs"]
mod cases;
mod common;

use std::collections::BTreeSet;
use std::fs;

use binding::{Code, Finding, Place, Platform, Reference, Resolved, plan_names};
use bound_images::lint;
use common::images::{make, small};
use common::registry::FakeRegistry;
use common::{Ran, find, source};
use oci_digest::Digest;
use serde_json::{Value, json};

use cases::Lay::{Bind, Gone};
use cases::{
    Lay, OF_NAMES, OF_REGISTRY, OF_VERIFY, cases, container, image, pull, root, runs, text,
};

fn codes(layers: Vec<Lay>) -> BTreeSet<Code> {
    let world = root(layers);
    let linted = lint::look(&world.root(), Some(&world.root())).unwrap();
    linted.findings.into_iter().map(|finding| finding.code).collect()
}

#[test]
fn every_code_is_found_where_it_belongs_and_not_beside_it() {
    assert_eq!(codes(vec![container("")]), BTreeSet::new(), "a root that is well");
    assert_eq!(codes(vec![Gone("usr/lib/containers")]), BTreeSet::new(), "one that binds nothing");
    for (code, hit, near) in cases() {
        let found = codes(hit);
        assert!(found.contains(&code), "{code} is not found, but {found:?}");
        let found = codes(near);
        assert!(!found.contains(&code), "{code} is found where it does not belong: {found:?}");
    }
}

/// No code without a case: a new one fails here until it has one.
#[test]
fn every_code_has_a_case_and_a_section_in_the_docs() {
    let mut cased: BTreeSet<Code> = cases().into_iter().map(|(code, ..)| code).collect();
    cased.extend(OF_NAMES);
    cased.extend(OF_REGISTRY);
    cased.extend(OF_VERIFY);
    let all: BTreeSet<Code> = Code::ALL.iter().copied().collect();
    assert_eq!(all.difference(&cased).collect::<Vec<_>>(), Vec::<&Code>::new());
    let docs = fs::read_to_string(source("docs/findings.md")).unwrap();
    let documented: Vec<&str> = docs.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let known: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(documented, known, "sections of docs/findings.md, in the order of the codes");
    for code in Code::ALL {
        let (_, section) = docs.split_once(&format!("### {code}\n")).unwrap();
        let section = section.split("\n#").next().unwrap().split_whitespace().collect::<Vec<_>>();
        let section = section.join(" ");
        assert!(section.starts_with(&format!("**{}**", code.severity())), "{code}: {section}");
        let summary = code.summary().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(section.contains(&summary), "{code} is not explained by {summary:?}");
        assert!(section.contains("*Mend:*"), "{code}: no remedy");
    }
}

#[test]
fn the_plan_of_a_store_finds_what_cannot_be_in_one() {
    let one = |name: &str, reference: &str, image: &str| Resolved {
        binding: name.to_owned(),
        place: Place::file(name),
        reference: Reference::parse(reference).unwrap(),
        alias: None,
        platform: Platform::host(),
        list: None,
        manifest: Digest::of(image.as_bytes()),
        image: Digest::of(image.as_bytes()).hex(),
    };
    let pin = format!("quay.io/a@{}", Digest::of(b"one"));
    for (code, hit, near) in [
        (
            OF_NAMES[0],
            [one("a", "quay.io/a:1", "one"), one("b", "quay.io/a:1", "two")],
            [one("a", "quay.io/a:1", "one"), one("b", "quay.io/a:2", "two")],
        ),
        (
            OF_NAMES[1],
            [one("a", &pin, "two"), one("b", "quay.io/b:1", "two")],
            [one("a", &pin, "one"), one("b", "quay.io/b:1", "two")],
        ),
    ] {
        let found: Vec<Finding> = plan_names(&hit).unwrap_err();
        assert!(found.iter().any(|finding| finding.code == code), "{found:?}");
        assert!(plan_names(&near).is_ok(), "{code}");
    }
}

#[test]
fn severity_depends_on_the_root() {
    let severity = |layers: Vec<Lay>, code| {
        let world = root(layers);
        let linted = lint::look(&world.root(), Some(&world.root())).unwrap();
        linted.findings.iter().find(|finding| finding.code == code).unwrap().is_error()
    };
    let unpinned = || runs("quay.io/a:1");
    let require = || text("etc/bound-images/config.d/1.toml", "pin = \"require\"\n");
    assert!(!severity(vec![unpinned()], Code::Unpinned));
    assert!(severity(vec![unpinned(), require()], Code::Unpinned));
    let folded = || container("Exec=a \\\n b\n");
    assert!(!severity(vec![folded()], Code::BootcRefuses));
    assert!(severity(vec![folded(), text("usr/bin/bootc", "")], Code::BootcRefuses));
    let missing = || Gone("usr/lib/containers/storage");
    let unlisted = || Gone("usr/share/containers/storage.conf");
    assert!(severity(vec![container(""), missing()], Code::StoreMissing));
    assert!(!severity(vec![container(""), missing(), unlisted()], Code::StoreMissing));
}

#[test]
fn what_bootc_cannot_pull_is_told_with_its_line() {
    let found = |layers: Vec<Lay>| {
        let world = root(layers);
        let linted = lint::look(&world.root(), Some(&world.root())).unwrap();
        let bootc = [Code::BootcRefuses, Code::BootcDiffers];
        let found = linted.findings.into_iter().find(|found| bootc.contains(&found.code)).unwrap();
        format!("{found}")
    };
    let via = || vec![runs("y.image"), Bind("y.image", format!("[Image]\nImage={}\n", image()))];
    let dropped = || {
        let drop_in = "usr/share/containers/systemd/x.container.d/1.conf";
        text(drop_in, "[Container]\nImage=quay.io/a:1\n")
    };
    for (layers, wanted) in [
        (vec![pull("AuthFile=/a\n")], "x.image:3: bootc refuses it (AuthFile="),
        (vec![pull("AuthFile=/a\n")], "remove it, and put the credentials where"),
        (via(), "bind the .image instead"),
        (vec![container("Exec=a \\\nb\n")], "write the value in one line"),
        (vec![runs("short"), dropped()], "write the reference into the Quadlet itself"),
        (vec![runs("\"quay.io/a:1\"")], "x.container:2: bootc cannot pull it"),
        (vec![container("Exec=a \\\nImage=quay.io/evil:1\n")], "bootc pulls quay.io/evil:1"),
    ] {
        let told = found(layers);
        assert!(told.contains(wanted), "{told}");
    }
}

/// Whoever reads a remedy may type it.
#[test]
fn remedies_name_the_root_that_was_typed() {
    let world = root(vec![runs("quay.io/a:1"), Gone("usr/share/containers/storage.conf")]);
    let top = world.root();
    let shown = top.to_str().unwrap();
    let ran = world.run("lint", &[]);
    ran.says(&[
        &format!("run `bound-images pin --root {shown}`"),
        &format!("run `bound-images storage-conf enable --root {shown}`"),
    ]);
    // What was printed does it.
    let enable = world
        .command_of(common::PROGRAM)
        .args(["storage-conf", "enable", "--root"])
        .arg(&top)
        .output();
    Ran::of(enable.unwrap()).expect(0, &["it lists"]);
    assert!(top.join("usr/share/containers/storage.conf").exists());
    let inside = world.command_of(common::PROGRAM).args(["lint", "--host"]).arg(&top).output();
    Ran::of(inside.unwrap()).says(&["run `bound-images pin --root /`"]);
    let world = root(vec![container(""), Gone("usr/lib/containers/storage")]);
    let shown = world.root().display().to_string();
    world.run("lint", &[]).says(&[&format!("`bound-images stage --root {shown}`")]);
}

#[test]
fn a_key_that_is_nearly_right_is_named() {
    let told = |more: &str, wanted: &[&str]| {
        root(vec![container(more)]).run("lint", &[]).says(wanted);
    };
    told("[X-BoundImage]\nRequierd=no\n", &["unknown-binding-key", "did you mean Required=?"]);
    told("[X-BoundImage]\nOptional=yes\n", &["Required= is the only key"]);
    told("PublishPorts=80\n", &["unknown-key", "did you mean PublishPort=?"]);
}

/// Quadlets and links that are copied into an image have no store yet, nor need they.
#[test]
fn files_without_an_operating_system_are_not_asked_for_its_store() {
    let system = || Gone("usr/lib/os-release");
    let bare = || vec![Gone("usr/lib/containers"), Gone("usr/share/containers/storage.conf")];
    let source = root([vec![container(""), system()], bare()].into_iter().flatten().collect());
    source
        .run("lint", &["--strict"])
        .expect(0, &["nothing to complain of", "note: ", "lint in the image"]);
    let image = root([vec![container("")], bare()].into_iter().flatten().collect());
    image.run("lint", &["--strict"]).expect(1, &["store-missing", "store-not-listed"]);
    // What they do bring is looked at.
    let broken = text("usr/share/containers/storage.conf", "[storage]\ndriver = over\n");
    let source = root(vec![container(""), system(), Gone("usr/lib/containers"), broken]);
    source.run("lint", &[]).expect(1, &["storage-conf-invalid"]);
}

#[test]
fn a_broken_storage_conf_is_told_with_line_column_and_what_follows() {
    let main = "usr/share/containers/storage.conf";
    let drop_in = "etc/containers/storage.conf.d/10.conf";
    for (path, text_of, line, why) in [
        (main, "[storage]\ndriver = over\n", 2, "column 10: "),
        (main, "[storage]\n\ndriver = 3\n", 3, "driver"),
        (main, "[storage\n", 1, "column "),
        (drop_in, "[storage.options]\n additionalimagestores = [\n", 2, "column "),
        (drop_in, "[storage.options]\nadditionalimagestores = 3\n", 2, "additionalimagestores"),
    ] {
        let world = root(vec![container(""), text(path, text_of)]);
        let ran = world.run("lint", &[]);
        let place = format!("error[storage-conf-invalid] {path}:{line}: ");
        ran.expect(1, &[&place, why, "every podman command that reads the file fails"]);
        let shown = world.run("storage-conf", &["show"]);
        shown.expect(1, &[&format!("/{path}:{line}:"), "all its commands fail"]);
    }
}

#[test]
fn list_tells_of_an_image_that_nobody_uses() {
    let world = root(vec![pull("")]);
    world.run("list", &[]).says(&["warning[unused-image]", "x.image"]);
    let json = world.run("list", &["--format", "json"]).json();
    assert_eq!(json[0]["findings"][0]["code"], "unused-image");
    let world = root(vec![pull(""), runs("x.image")]);
    assert!(!world.run("list", &[]).all().contains("unused-image"));
}

#[test]
fn help_has_the_formats_that_a_command_takes() {
    let help = |command: &str| {
        let ran = root(Vec::new()).command_of(common::PROGRAM).args([command, "--help"]).output();
        Ran::of(ran.unwrap()).out
    };
    assert!(help("lint").contains("sarif") && help("lint").contains("github"));
    for command in ["list", "verify", "stage", "status", "pin"] {
        let help = help(command);
        assert!(help.contains("json") && !help.contains("sarif"), "{command}: {help}");
    }
}

/// A link that was forgotten, or put where nobody reads it, is no finding: Podman may be meant to pull.
#[test]
fn quadlets_of_which_none_is_bound_are_told() {
    let systemd = |name: &'static str, body: &str| {
        let at = match name {
            "x" => "usr/share/containers/systemd/x.container",
            "y" => "usr/share/containers/systemd/y.container",
            _ => "usr/share/containers/systemd/z.image",
        };
        text(at, body)
    };
    let run = |name, image: &str| systemd(name, &format!("[Container]\nImage={image}\n"));
    let elsewhere = || {
        let target = "/usr/share/containers/systemd/x.container";
        Lay::Link("usr/lib/bootc/bound-images/x.container", target)
    };
    let pulls = || systemd("z", &format!("[Image]\nImage={}\n", image()));
    let bound = "usr/lib/bootc/bound-images.d";
    let one = "note: 1 Quadlet names an image, and it is not bound";
    let two = "note: 2 Quadlets name images, and none is bound";
    for (layers, wanted) in [
        (vec![], None),
        (vec![run("x", &image())], Some(one)),
        (vec![run("x", &image()), elsewhere()], Some(one)),
        (vec![run("x", &image()), Lay::Dir(bound.into())], Some(one)),
        (vec![run("x", "z.image"), pulls()], Some(two)),
        (vec![run("x", "y.build")], None),
        (vec![systemd("x", "[Container]\nRootfs=/x\n")], None),
        (
            vec![
                run("x", &image()),
                Bind("b.container", format!("[Container]\nImage={}\n", image())),
            ],
            None,
        ),
        (
            vec![
                run("x", &image()),
                Lay::Link("usr/lib/bootc/bound-images.d/x.container", "/none"),
            ],
            None,
        ),
    ] {
        let world = root(layers);
        let ran = world.run("lint", &["--strict"]);
        match wanted {
            Some(note) => {
                ran.expect(0, &["nothing to complain of", note, bound]);
                world.run("lint", &["--format", "github"]).expect(0, &[note]);
            }
            None => assert!(!ran.err.contains("bound:"), "{}", ran.all()),
        }
    }
}

#[test]
fn formats_and_exit_codes() {
    let world = root(vec![runs("quay.io/a:1")]);
    let run = |more: &[&str]| world.run("lint", more);
    let quadlet = "usr/share/containers/systemd/x.container";
    run(&[]).expect(0, &["warning[unpinned] usr/share", "0 errors, 1 warning"]);
    run(&["--strict"]).expect(1, &["unpinned"]);
    let json = &run(&["--format", "json"]).json()[0];
    assert_eq!((&json["errors"], &json["warnings"]), (&json!(0), &json!(1)));
    assert_eq!(json["findings"][0]["code"], "unpinned");
    let top = world.root();
    let github = run(&["--format", "github"]);
    let file = top.join(quadlet);
    assert!(
        github
            .out
            .starts_with(&format!("::warning file={},line=2,title=unpinned::", file.display())),
        "{}",
        github.all()
    );
    // In an image build the root is `/`, and files are named as in the image.
    let host = ["--host", top.to_str().unwrap()];
    let inside = Ran::of(
        world
            .command_of(common::PROGRAM)
            .args(["lint", "--format", "github"])
            .args(host)
            .output()
            .unwrap(),
    );
    inside.expect(0, &[&format!("::warning file={quadlet},line=2")]);
    world.run("list", &["--format", "sarif"]).expect(2, &["possible values: table, json, refs"]);
    world.bind("bad.container", "[Container]\nImage=nginx\n");
    run(&[]).expect(1, &["error[short-name]", "1 error, 1 warning"]);
    let good = root(vec![container("")]);
    good.run("lint", &["--strict"]).expect(0, &["nothing to complain of"]);
    good.run("lint", &["--root", "/nowhere"]).expect(2, &["--root"]);
    let nowhere = good.command_of(common::PROGRAM).args(["lint", "--root", "/nowhere"]).output();
    Ran::of(nowhere.unwrap()).expect(3, &["/nowhere"]);
}

/// What SARIF 2.1.0 demands of what we write: required properties, their types and values, and that
/// references hold.
#[test]
fn sarif_is_as_its_schema_demands() {
    let world = root(vec![
        runs("quay.io/a:1"),
        Bind("a b.container", "[Container]\nImage=nginx\n".into()),
        Gone("usr/lib/containers/storage"),
    ]);
    let ran = world.run("lint", &["--format", "sarif"]);
    assert_eq!(ran.code, Some(1), "{}", ran.all());
    let log: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().unwrap().starts_with("https://"));
    let runs = log["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1);
    let driver = &runs[0]["tool"]["driver"];
    assert_eq!(driver["name"], "bound-images");
    let rules = driver["rules"].as_array().unwrap();
    let ids: BTreeSet<&str> = rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), Code::ALL.len(), "3.49.3: ids are unique");
    for rule in rules {
        assert!(!rule["shortDescription"]["text"].as_str().unwrap().is_empty());
        let level = rule["defaultConfiguration"]["level"].as_str().unwrap();
        assert!(["none", "note", "warning", "error"].contains(&level));
    }
    let results = runs[0]["results"].as_array().unwrap();
    assert!(results.len() >= 3, "{results:?}");
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(["warning", "error"].contains(&result["level"].as_str().unwrap()));
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let physical = &result["locations"][0]["physicalLocation"];
        let uri = physical["artifactLocation"]["uri"].as_str().unwrap();
        assert!(uri.starts_with("file:///") && !uri.contains(' '), "{uri}");
        if let Some(region) = physical.get("region") {
            assert!(region["startLine"].as_u64().unwrap() >= 1);
        }
    }
}

#[test]
fn the_registry_is_asked_when_told_so() {
    for program in ["python3", "skopeo"] {
        if find(program).is_none() {
            return eprintln!("skipped: needs {program}");
        }
    }
    let registry = FakeRegistry::start();
    let world = root(Vec::new());
    fs::write(world.path("registries.conf"), registry.registries_conf()).unwrap();
    let host = registry.host();
    small(&world, "t/well:1").push(&registry, "t/well", "1");
    let odd = ["--platform", "linux/mips64le"];
    make(&world, "t/odd:1", &[json!([{"path": "a", "content": "b"}])], &odd)
        .push(&registry, "t/odd", "1");
    registry.manifest("t/broken", "1", "application/vnd.oci.image.manifest.v1+json", b"{}");
    for name in ["well", "gone", "odd", "broken"] {
        world.bind(&format!("{name}.container"), format!("[Container]\nImage={host}/t/{name}:1\n"));
    }
    world.run("lint", &[]).expect(0, &["unpinned"]);
    assert_eq!(registry.log(), Vec::<String>::new(), "asked without being told to");
    let ran = world.run("lint", &["--check-registry", "--format", "json"]);
    assert_eq!(ran.code, Some(1), "{}", ran.all());
    let json = &ran.json()[0];
    let findings = json["findings"].as_array().unwrap();
    let mut found: Vec<(&str, &str)> = findings
        .iter()
        .map(|one| (one["code"].as_str().unwrap(), one["subject"].as_str().unwrap()))
        .filter(|(code, _)| *code != "unpinned")
        .collect();
    found.sort_unstable();
    let mut wanted = [
        (OF_REGISTRY[0].as_str(), "gone.container"),
        (OF_REGISTRY[1].as_str(), "odd.container"),
        (OF_REGISTRY[2].as_str(), "broken.container"),
    ];
    wanted.sort_unstable();
    assert_eq!(found, wanted, "{}", ran.all());
    drop(registry);
    world.write("etc/bound-images/config.d/1.toml", "retries = 0\n");
    let top = world.root();
    let ran = world.run("lint", &["--check-registry", "--host", top.to_str().unwrap()]);
    ran.expect(3, &["unpinned", "cannot fetch"]);
}
