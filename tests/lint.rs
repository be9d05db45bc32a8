//! `lint`: every code is found where it belongs, and not beside it; and the forms of its output.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use binding::{Code, Finding, Place, Platform, Reference, Resolved, plan_names};
use bound_images::lint;
use common::images::{make, small};
use common::registry::FakeRegistry;
use common::{Ran, World, find, source};
use oci_digest::Digest;
use serde_json::{Value, json};

const USR: &str = "usr/share/containers/systemd";
const BOUND: &str = "usr/lib/bootc/bound-images.d";
const CONF: &str = "[storage]\ndriver = \"overlay\"\nrunroot = \"/r\"\ngraphroot = \"/g\"\n\
    [storage.options]\nadditionalimagestores = [\"/usr/lib/containers/storage\"]\n";
const OTHER_CONF: &str = "[storage.options]\nadditionalimagestores = [\"/other\"]\n";
const VENDOR: &str = "[Service]\nExecStop=/usr/bin/ostree admin finalize-staged\n";
/// Codes that only the plan of a store gives.
const OF_NAMES: [Code; 2] = [Code::NameConflict, Code::DigestMismatch];
/// Codes that only a registry gives.
const OF_REGISTRY: [Code; 3] = [Code::ImageNotFound, Code::NoSuchPlatform, Code::ImageUnusable];

/// A code, what a root has that shows it, and what one has that does not.
type Case = (Code, Vec<Lay>, Vec<Lay>);

/// What is laid over a root that is well.
enum Lay {
    /// A Quadlet and its link.
    Bind(&'static str, String),
    File(&'static str, Vec<u8>),
    Link(&'static str, &'static str),
    Dir(String),
    /// Removes what is there.
    Gone(&'static str),
    /// A link with a name that is not text.
    Raw(&'static [u8]),
}

use Lay::{Bind, Dir, File, Gone, Link, Raw};

fn image() -> String {
    format!("quay.io/a/b:1@{}", Digest::of(b"b"))
}

/// A container that is well, and more lines.
fn container(more: &str) -> Lay {
    Bind("x.container", format!("[Container]\nImage={}\n{more}", image()))
}

/// A `.image` that is well but for what is in `more`.
fn pull(more: &str) -> Lay {
    Bind("x.image", format!("[Image]\nImage={}\n{more}", image()))
}

/// A container with another image.
fn runs(image: &str) -> Lay {
    Bind("x.container", format!("[Container]\nImage={image}\n"))
}

fn text(path: &'static str, text: &str) -> Lay {
    File(path, text.as_bytes().to_vec())
}

/// A root with a store and a storage.conf, and what is laid over it.
fn root(layers: Vec<Lay>) -> World {
    let world = World::new();
    for lock in ["overlay-layers/layers.lock", "overlay-images/images.lock"] {
        world.write(&format!("usr/lib/containers/storage/{lock}"), "");
    }
    world.write("usr/share/containers/storage.conf", CONF);
    for one in layers {
        match one {
            Bind(name, text) => world.bind(name, text),
            File(path, bytes) => world.write(path, bytes),
            Link(path, target) => {
                let path = world.root().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                symlink(target, path).unwrap();
            }
            Dir(path) => fs::create_dir_all(world.root().join(path)).unwrap(),
            Gone(path) => {
                let path = world.root().join(path);
                fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)).unwrap();
            }
            Raw(name) => {
                let name = std::ffi::OsStr::from_bytes(name);
                fs::create_dir_all(world.root().join(BOUND)).unwrap();
                symlink("x", world.root().join(BOUND).join(name)).unwrap();
            }
        }
    }
    world
}

fn codes(layers: Vec<Lay>) -> BTreeSet<Code> {
    let world = root(layers);
    let linted = lint::look(&world.root()).unwrap();
    linted.findings.into_iter().map(|finding| finding.code).collect()
}

/// Per code: a root that has it, and one that is as like it as can be and has not.
fn cases() -> Vec<Case> {
    let mut cases = of_links();
    cases.extend(of_quadlets());
    cases.extend(of_images());
    cases.extend(of_services());
    cases.extend(of_roots());
    cases
}

fn of_links() -> Vec<Case> {
    const X: &str = "usr/lib/bootc/bound-images.d/x.image";
    let quadlet = || File("usr/share/containers/systemd/x.image", b"[Image]\n".to_vec());
    let to = |target| vec![quadlet(), Link(X, target)];
    let well = || to("/usr/share/containers/systemd/x.image");
    vec![
        (Code::UnknownExtension, vec![Link("usr/lib/bootc/bound-images.d/x.kube", "/usr")], well()),
        (Code::NotALink, vec![text(X, "[Image]\n")], well()),
        (Code::DanglingLink, to("/usr/none.image"), well()),
        (Code::LinkLoop, to("x.image"), well()),
        (
            Code::LinkEscapes,
            to("../../../../../usr/share/containers/systemd/x.image"),
            to("../../../share/containers/systemd/x.image"),
        ),
        (Code::NotAFile, to("/usr"), well()),
        (Code::NameNotUtf8, vec![Raw(b"\xff.image")], vec![Raw("é.image".as_bytes())]),
        (Code::HiddenName, vec![Raw(b".x.image")], vec![Raw(b"x.image")]),
        (
            Code::SearchPath,
            vec![container(""), Dir(format!("{USR}{}", "/d".repeat(70)))],
            vec![container(""), Dir(format!("{USR}{}", "/d".repeat(10)))],
        ),
    ]
}

fn of_quadlets() -> Vec<Case> {
    const X: &str = "usr/share/containers/systemd/x.container";
    let bytes = |bytes: Vec<u8>| vec![container(""), File(X, bytes)];
    let near = |more: &str| vec![container(more)];
    let other = |path, image: &str| text(path, &format!("[Container]\nImage={image}\n"));
    let dropins = |name| {
        vec![
            container(""),
            other("usr/share/containers/systemd/container.d/10.conf", "quay.io/c:1"),
            other(name, "quay.io/d:1"),
        ]
    };
    vec![
        (
            Code::Unreadable,
            vec![container(""), Dir(format!("{X}.d/10.conf"))],
            vec![container(""), Dir(format!("{X}.d/10"))],
        ),
        (Code::TooLarge, bytes(vec![b'\n'; (1 << 20) + 1]), bytes(vec![b'\n'; 1 << 20])),
        (Code::NotUtf8, bytes(b"[Container]\nExec=\xff\n".to_vec()), near("Exec=é\n")),
        (Code::Syntax, near("what\n"), near("Exec=what\n")),
        (
            Code::BrokenNeighbour,
            vec![container(""), text("usr/share/containers/systemd/y.volume", "what")],
            vec![container(""), text("usr/share/containers/systemd/README", "what")],
        ),
        (Code::LostLine, near("Exec=a \\\n# c\n"), near("Exec=a \\\n# c\nb\n")),
        (Code::RepeatedKey, near("Image=quay.io/c:1\n"), near("Image=\nImage=quay.io/c:1\n")),
        (Code::AmbiguousQuotes, vec![runs("\"quay.io/a:1")], vec![runs("\"quay.io/a:1\"")]),
        (Code::UnknownKey, near("Typo=1\n"), near("Exec=1\n")),
        (Code::Refused, near("[Service]\nType=simple\n"), near("[Service]\nType=notify\n")),
        (
            Code::DropinOrder,
            dropins("usr/share/containers/systemd/sub/x.container.d/10.conf"),
            dropins("usr/share/containers/systemd/sub/x.container.d/20.conf"),
        ),
    ]
}

fn of_images() -> Vec<Case> {
    let (a, hex) = (image(), "ab".repeat(64));
    let run = |image: &str| vec![runs(image)];
    let named = |code, image: &str| (code, run(image), run(&a));
    let of_image = |code, hit: &str, near: &str| (code, vec![pull(hit)], vec![pull(near)]);
    vec![
        (
            Code::NoImage,
            vec![Bind("x.container", "[Container]\n".into())],
            vec![Bind("x.container", format!("[Container]\nImage={a}\n"))],
        ),
        (
            Code::Rootfs,
            vec![Bind("x.container", "[Container]\nRootfs=/x\n".into())],
            vec![Bind("x.container", format!("[Container]\nImage={a}\nRootfs=\n"))],
        ),
        (
            Code::QuadletNotFound,
            run("y.image"),
            vec![runs("y.image"), text("usr/share/containers/systemd/y.image", "[Image]\n")],
        ),
        named(Code::BuildImage, "y.build"),
        (
            Code::ImageChain,
            vec![Bind("x.image", "[Image]\nImage=y.image\n".into())],
            vec![Bind("x.image", "[Image]\nImage=quay.io/y.image\n".into())],
        ),
        named(Code::Specifier, "quay.io/a:%v"),
        named(Code::ShortName, "nginx"),
        named(Code::Transport, "oci:/x"),
        named(Code::ImageId, &hex[..64]),
        named(Code::DigestAlgorithm, &format!("quay.io/a@sha512:{hex}")),
        named(Code::BadReference, "quay.io/A"),
        of_image(Code::AllTags, "AllTags=true\n", "AllTags=false\n"),
        of_image(Code::BadPullOption, "Retry=many\n", "Retry=3\n"),
        of_image(Code::BadBoolean, "TLSVerify=maybe\n", "TLSVerify=true\n"),
        (Code::Unpinned, run("quay.io/a/b:1"), run(&a)),
        (
            Code::TwoDigests,
            vec![
                container(""),
                Bind(
                    "y.container",
                    format!("[Container]\nImage=quay.io/a/b:1@{}\n", Digest::of(b"y")),
                ),
            ],
            vec![
                container(""),
                Bind(
                    "y.container",
                    format!("[Container]\nImage=quay.io/a/b:2@{}\n", Digest::of(b"y")),
                ),
            ],
        ),
        (
            Code::TwoPlatforms,
            vec![
                pull("Arch=arm64\n"),
                Bind("y.image", format!("[Image]\nImage={a}\nArch=amd64\n")),
            ],
            vec![
                pull("Arch=arm64\n"),
                Bind("y.image", format!("[Image]\nImage={a}\nArch=aarch64\n")),
            ],
        ),
        (
            Code::UnusedImage,
            vec![
                pull(""),
                text("usr/share/containers/systemd/y.container", "[Container]\nImage=z.image\n"),
            ],
            vec![
                pull(""),
                text(
                    "usr/share/containers/systemd/y.container",
                    "[Container]\nImage=quay.io/a\nMount=type=image,source=x.image,destination=/x\n",
                ),
            ],
        ),
        (
            Code::BootcRefuses,
            vec![container("Exec=a \\\n  --b\n")],
            vec![container("Exec=a --b\n")],
        ),
        (
            Code::BootcDiffers,
            vec![
                container(""),
                text(
                    "usr/share/containers/systemd/x.container.d/10.conf",
                    "[Container]\nImage=quay.io/c:1\n",
                ),
            ],
            vec![
                container(""),
                text("usr/share/containers/systemd/x.container.d/10.conf", "[Container]\nExec=c\n"),
            ],
        ),
    ]
}

fn of_services() -> Vec<Case> {
    let more = |code, hit: &str, near: &str| (code, vec![container(hit)], vec![container(near)]);
    let at = |path| Link("usr/lib/bootc/bound-images.d/x.container", path);
    let file = |path| text(path, &format!("[Container]\nImage={}\n", image()));
    vec![
        more(Code::PullPolicy, "Pull=newer\n", "Pull=missing\n"),
        more(Code::PullAlways, "Pull=always\n", "Pull=never\n"),
        more(Code::AutoUpdate, "AutoUpdate=registry\n", "AutoUpdate=local\n"),
        more(Code::PullArguments, "PodmanArgs=--arch=arm64\n", "PodmanArgs=--memory=1g\n"),
        more(
            Code::StoreHidden,
            "GlobalArgs=--storage-opt=additionalimagestore=/usr/lib/bootc/storage\n",
            "GlobalArgs=--storage-opt=additionalimagestore=/usr/lib/containers/storage\n",
        ),
        more(
            Code::UnknownBindingKey,
            "[X-BoundImage]\nRequires=no\n",
            "[X-BoundImage]\nRequired=no\n",
        ),
        more(Code::ServiceName, "ServiceName=a/b\n", "ServiceName=a\n"),
        (
            Code::TemplateName,
            vec![Bind("x@.image", "[Image]\nImage=quay.io/a\n".into())],
            vec![Bind("x@.image", "[Image]\nImage=quay.io/a\nServiceName=x\n".into())],
        ),
        (
            Code::OutsideSearchPath,
            vec![file("usr/lib/x.container"), at("/usr/lib/x.container")],
            vec![container("")],
        ),
        (
            Code::ShadowedQuadlet,
            vec![
                file("usr/share/containers/systemd/a/x.container"),
                file("usr/share/containers/systemd/b/x.container"),
                at("/usr/share/containers/systemd/b/x.container"),
            ],
            vec![
                file("usr/share/containers/systemd/a/x.container"),
                file("usr/share/containers/systemd/b/x.container"),
                at("/usr/share/containers/systemd/a/x.container"),
            ],
        ),
        (
            Code::Overridden,
            vec![
                container(""),
                text(
                    "etc/containers/systemd/x.container.d/1.conf",
                    "[Container]\nImage=quay.io/c\n",
                ),
            ],
            vec![
                container(""),
                text("etc/containers/systemd/x.container.d/1.conf", "[Container]\nExec=c\n"),
            ],
        ),
    ]
}

fn of_roots() -> Vec<Case> {
    const STORE: &str = "usr/lib/containers/storage";
    const STORAGE_CONF: &str = "usr/share/containers/storage.conf";
    const UNIT: &str = "usr/lib/systemd/system/ostree-finalize-staged.service";
    const DROP_IN: &str =
        "usr/lib/systemd/system/ostree-finalize-staged.service.d/50-bound-images.conf";
    let shipped =
        fs::read_to_string(source("units/ostree-finalize-staged.service.d/50-bound-images.conf"))
            .unwrap();
    let with = |lay| vec![container(""), lay];
    let conf = |path, more: &str| with(text(path, more));
    let gate = |vendor: &str| vec![container(""), text(UNIT, vendor), text(DROP_IN, &shipped)];
    let vfs = CONF.replace("overlay", "vfs");
    vec![
        (Code::StoreMissing, with(Gone(STORE)), with(Dir(STORE.into()))),
        (
            Code::StoreInvalid,
            with(Gone("usr/lib/containers/storage/overlay-layers/layers.lock")),
            with(Dir(format!("{STORE}/overlay/l"))),
        ),
        (Code::StoreNotListed, with(Gone(STORAGE_CONF)), with(Dir("x".into()))),
        (Code::StorageConfInvalid, conf(STORAGE_CONF, "[storage\n"), conf(STORAGE_CONF, CONF)),
        (Code::StorageConfDriver, conf(STORAGE_CONF, &vfs), conf(STORAGE_CONF, CONF)),
        (
            Code::StorageConfHides,
            conf("etc/containers/storage.conf", OTHER_CONF),
            conf("etc/containers/storage.conf", CONF),
        ),
        (
            Code::StorageConfDropin,
            conf("etc/containers/storage.conf.d/1.conf", OTHER_CONF),
            conf(
                "etc/containers/storage.conf.d/1.conf",
                &OTHER_CONF.replace("\"/other\"", "\"/other\", {append = true}"),
            ),
        ),
        (Code::GateMissing, with(text(UNIT, VENDOR)), gate(VENDOR)),
        (Code::GateDiffers, gate(&VENDOR.replace("staged", "staged --new")), gate(VENDOR)),
        (
            Code::BadConfig,
            conf("usr/lib/bound-images/config.d/1.toml", "jobs = 2\njob = 3\n"),
            conf("usr/lib/bound-images/config.d/1.toml", "jobs = 2\n"),
        ),
    ]
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
        let linted = lint::look(&world.root()).unwrap();
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
        let linted = lint::look(&world.root()).unwrap();
        let bootc = [Code::BootcRefuses, Code::BootcDiffers];
        let found = linted.findings.into_iter().find(|found| bootc.contains(&found.code)).unwrap();
        format!("{found}")
    };
    let via = || vec![runs("y.image"), Bind("y.image", format!("[Image]\nImage={}\n", image()))];
    for (layers, wanted) in [
        (vec![pull("AuthFile=/a\n")], "x.image:3: bootc refuses AuthFile="),
        (via(), "bind the .image instead"),
        (vec![runs("\"quay.io/a:1\"")], "x.container:2: bootc cannot pull it"),
        (vec![container("Exec=a \\\nImage=quay.io/evil:1\n")], "bootc pulls quay.io/evil:1"),
    ] {
        let told = found(layers);
        assert!(told.contains(wanted), "{told}");
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
    world.run("list", &["--format", "sarif"]).expect(2, &["only lint"]);
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
