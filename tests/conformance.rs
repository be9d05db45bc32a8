//! Podman 5.4 and skopeo 1.18 on nasty images (tests/corpus/themes.py): what they say of our store, beside what
//! they make of the same images themselves. All that they do not take, or call damaged, or that we do
//! otherwise, stands in the tables here, and has to occur: docs/store-format.md gives the reasons.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/nasty.rs"]
mod nasty;
#[path = "common/peers.rs"]
mod peers;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use nasty::{layers, put, replayed, short};
use oci_digest::Digest;
use peers::{Entry, chain_id, layer_id, run, text};
use serde_json::Value;

/// What does not succeed: image, step, a part of what is said.
///
/// An image that Podman cannot unpack can be run, saved and copied, but nothing can be made of it: for that,
/// Podman unpacks its layers into its own store.
const REFUSED: &[(&str, &str, &str)] = &[
    ("gnu", "userns-auto", "bigger than the maximum value allowed with userns=auto 65536"),
    ("pax", "userns-auto", "bigger than the maximum value allowed with userns=auto 65536"),
    ("longest-path", "commit", "file name too long"),
    ("longest-path", "build", "file name too long"),
    ("longest-path", "peer-unpacks", "file name too long"),
    ("contiguous", "commit", "unhandled tar header type 55"),
    ("contiguous", "build", "unhandled tar header type 55"),
    ("contiguous", "peer-unpacks", "unhandled tar header type 55"),
    ("gnu-sparse", "commit", "unhandled tar header type 83"),
    ("gnu-sparse", "build", "unhandled tar header type 83"),
    ("gnu-sparse", "peer-unpacks", "unhandled tar header type 83"),
    ("duplicates", "commit", "duplicates of file paths not supported"),
    ("duplicates", "build", "duplicates of file paths not supported"),
    ("duplicates", "peer-unpacks", "duplicates of file paths not supported"),
    ("file-then-whiteout", "commit", "file exists"),
    ("file-then-whiteout", "build", "file exists"),
    ("file-then-whiteout", "peer-unpacks", "file exists"),
    ("below-whiteout", "commit", "not a directory"),
    ("below-whiteout", "build", "not a directory"),
    ("below-whiteout", "peer-unpacks", "not a directory"),
    // What Podman unpacked and cannot give back. From our store, it can.
    ("sized-links", "peer-copies-out", "file integrity checksum failed for \\\"z/b\\\""),
    ("absolute-parents", "peer-copies-out", "p/absolute/one: no such file or directory"),
    ("pax-sparse", "peer-copies-out", "Digest did not match"),
    ("ends-in-padding", "peer-copies-out", "Digest did not match"),
];

/// Where our tree is not Podman's: image, path, in what.
const OTHERWISE: &[(&str, &str, &str)] = &[
    ("attributes", "a/acl.d/below", "xattrs"),
    ("times", "t/year-2300", "mtime"),
    ("times", "t/year-2300.d", "mtime"),
    ("times", "t/year-2300.l", "mtime"),
    ("times", "t/year-2300.p", "mtime"),
    ("times", "t/year-9999", "mtime"),
    ("times", "t/year-9999.d", "mtime"),
    ("times", "t/year-9999.l", "mtime"),
    ("times", "t/year-9999.p", "mtime"),
    ("whiteout-and-directory", "w/both", "xattrs"),
];

/// What only containers of Podman's own image see: its line, and the sum of its content.
const SEEN_BY_PEER_ONLY: [&str; 2] = [
    "whiteout-and-directory: cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4  /w/both/old",
    "whiteout-and-directory: regular file 644 0:0 0:0 /w/both/old",
];

/// `podman system check`, with our store as Podman's own: image and what is said, a line each.
const SAID_BY_CHECK: &str = include_str!("peers/conformance-check.txt");

/// What is asked about the image of 200 layers: each step but the first reads all of them.
const DEEP_STEPS: [&str; 8] = [
    "inspect",
    "run",
    "userns-auto",
    "copy-out",
    "commit",
    "peer-unpacks",
    "peer-runs",
    "peer-copies-out",
];

/// What is said only of our layer, or only of the one that Podman unpacked itself: image and a part of it.
const SAID_OF_ONE_ONLY: &[(&str, &str)] = &[
    // Podman's own check ends at the first member that it cannot give back.
    ("absolute-parents", "+/p/real/one"),
    ("absolute-parents", "-/p/absolute/"),
    ("absolute-parents", "p/absolute/one: no such file or directory"),
    ("ends-in-padding", "layer content incorrect digest"),
    ("ends-in-padding", "layer content incorrect size"),
    ("pax-sparse", "layer content incorrect digest"),
    ("pax-sparse", "layer content incorrect size"),
    ("sized-links", "file integrity checksum failed for \"z/b\""),
    ("times", "/t/year-2300"),
    ("whiteout-and-directory", "+/w/both/old"),
];

#[test]
fn podman_agrees_on_nasty_images() {
    if peers::skipped(&["python3", "zstd", "skopeo", "mmdebstrap", "unshare"]) {
        return;
    }
    let Some(busybox) = nasty::busybox() else { return };
    let made = run(peers::project().join("tests/setup/chroot.sh"), ["trixie"]);
    if made.exit == 2 {
        println!("skipped: needs a chroot of Debian trixie: {}", made.stderr);
        return;
    }
    let chroot = made.well().stdout.trim().to_owned();
    let scratch = peers::scratch();
    let at = scratch.path();
    let inside = at.join("in");
    fs::create_dir(&inside).unwrap();
    let layout = inside.join("layout");
    let mut images = nasty::images(&layout, &busybox);
    let compressed = images.iter().find(|image| short(image) == "compressed").unwrap();
    images.push(nasty::chunked(&chroot, at, &inside, compressed));
    for image in &mut images {
        let store = match short(image) {
            // A path that is too long to be copied to a longer place.
            "longest-path" => "/in/apart",
            // Layers that another image has as well.
            "chunked" => "/in/chunked",
            _ => "/usr/lib/containers/storage",
        };
        put(image, store, if short(image) == "deep" { &DEEP_STEPS } else { &[] });
    }
    let stage = |name: &str, layout: &Path, images: &[Value], store: &str| {
        nasty::stage(
            at.join(name),
            layout,
            images.iter().filter(|image| text(image, "store") == store),
        )
    };
    stage("root", &layout, &images, "/usr/lib/containers/storage");
    let apart = stage("apart", &layout, &images, "/in/apart");
    fs::rename(apart.store(), inside.join("apart")).unwrap();
    let chunked = stage("chunked", &inside.join("chunked.oci"), &images, "/in/chunked");
    fs::rename(chunked.store(), inside.join("chunked")).unwrap();
    let real = real_images(at, &inside);

    let all: Vec<&Value> = images.iter().chain(&real).collect();
    fs::write(inside.join("images.json"), serde_json::to_vec(&all).unwrap()).unwrap();
    let script = |name: &str| peers::project().join("tests/peers").join(name);
    fs::copy(script("conformance-step.sh"), inside.join("steps")).unwrap();
    let store = at.join("root/usr/lib/containers/storage");
    nasty::in_chroot(&chroot, &store, &inside, &script("conformance.sh"));
    judge(&images, &real, &store, &inside);
}

/// Compares what was said, and the trees, with the tables.
fn judge(images: &[Value], real: &[Value], store: &Path, inside: &Path) {
    let said = |name: &str| {
        String::from_utf8_lossy(&fs::read(inside.join("out").join(name)).unwrap()).into_owned()
    };
    let all: Vec<&Value> = images.iter().chain(real).collect();
    let unpacked = steps_went_as_expected(&all, &said("results"));
    containers_see_the_same(&inside.join("out"), images, &unpacked);
    for store in ["storage", "apart", "chunked"] {
        assert_eq!(said(&format!("read-only-{store}")).trim(), "clean");
    }
    let ours = complaints(&said("own-podman"), images, &layer_id);
    let expected: BTreeSet<String> = SAID_BY_CHECK.lines().map(str::to_owned).collect();
    same_lines(&ours, &expected, "podman system check / the list of what it says");
    let other = complaints(&said("own-containers-storage"), images, &layer_id);
    same_lines(&other, &expected, "containers-storage check / the list of what podman says");
    let theirs = complaints(&said("peers-podman"), images, &chain_id);
    peer_complains_of_its_own(&ours, &theirs, &unpacked);
    let mut differences = BTreeSet::new();
    for image in images.iter().filter(|image| unpacked.contains(short(image))) {
        let store = match text(image, "store").strip_prefix("/in/") {
            Some(name) => inside.join(name),
            None => store.to_owned(),
        };
        differences.extend(tree_differences(image, &store, &inside.join("ref")));
    }
    let expected: BTreeSet<_> =
        OTHERWISE.iter().map(|(image, path, what)| format!("{image} {path}: {what}")).collect();
    same_lines(&differences, &expected, "how trees differ / the table");
}

/// The Debian images in a store of their own; tests/newer_peers.rs asks the rest about them.
fn real_images(at: &Path, inside: &Path) -> Vec<Value> {
    let (layout, mut images) = peers::debian_images();
    for image in &mut images {
        image["list"] = image["manifest"].clone();
        put(image, "/in/debian", &["inspect", "run", "userns-auto"]);
    }
    let root = nasty::stage(at.join("debian"), &layout, images.iter());
    fs::rename(root.store(), inside.join("debian")).unwrap();
    images
}

/// Compares with [`REFUSED`]; gives the images that Podman unpacked.
fn steps_went_as_expected(images: &[&Value], results: &str) -> BTreeSet<String> {
    let mut lines: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for line in results.lines() {
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().unwrap();
        lines.insert((word(), word()), word());
    }
    let mut wrong = Vec::new();
    for (image, step, part) in REFUSED {
        match lines.insert((image, step), "ok") {
            Some(said) if said.contains(part) => {}
            said => wrong.push(format!("{image} {step}: {part} is not said: {said:?}")),
        }
    }
    wrong.extend(lines.iter().filter(|(_, said)| **said != "ok").map(|line| format!("{line:?}")));
    let refused = |image: &str, step| REFUSED.iter().any(|(i, s, _)| *i == image && *s == step);
    let mut unpacked = BTreeSet::new();
    for image in images {
        let name = short(image);
        let steps = peers::texts(image, "steps");
        let there = !refused(name, "peer-unpacks");
        for step in steps
            .iter()
            .filter(|step| there || *step == "peer-unpacks" || !step.starts_with("peer"))
        {
            if !lines.contains_key(&(name, step)) {
                wrong.push(format!("{name} {step}: was not asked"));
            }
        }
        if there && steps.iter().any(|step| step == "peer-unpacks") {
            unpacked.insert(name.to_owned());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    unpacked
}

/// Every path and content, in a container of our image and in one of Podman's.
fn containers_see_the_same(out: &Path, images: &[Value], unpacked: &BTreeSet<String>) {
    let mut only = Vec::new();
    for image in images.iter().filter(|image| unpacked.contains(short(image))) {
        let lines = |whose: &str| -> BTreeSet<String> {
            let text = fs::read(out.join(whose).join(short(image))).unwrap();
            let text = String::from_utf8_lossy(&text);
            assert!(text.contains("/bin/busybox"), "{text}");
            text.lines().map(str::to_owned).collect()
        };
        let (ours, theirs) = (lines("ours"), lines("theirs"));
        only.extend(ours.difference(&theirs).map(|line| format!("{} here: {line}", short(image))));
        only.extend(theirs.difference(&ours).map(|line| format!("{}: {line}", short(image))));
    }
    assert_eq!(only, SEEN_BY_PEER_ONLY);
}

/// How the layers of an image differ from what skopeo made of them, save for times that are for whoever
/// unpacks to choose: of the root, of whiteouts, of directories that no member describes.
fn tree_differences(image: &Value, store: &Path, reference: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for (layer, described) in layers(image).iter().zip(image["described"].as_array().unwrap()) {
        let described: BTreeSet<PathBuf> = described
            .as_array()
            .unwrap()
            .iter()
            .map(|path| bytes(path.as_str().unwrap()))
            .collect();
        let mut trees = [(store, layer_id(layer)), (reference, chain_id(layer))]
            .map(|(store, id)| peers::tree(&store.join("overlay").join(id).join("diff")));
        for (path, entry) in trees.iter_mut().flatten() {
            let is_root = path.as_os_str().is_empty();
            let implied = entry.is_directory() && !described.contains(path);
            if is_root || implied || entry.is_whiteout() {
                entry.mtime = (0, 0);
            }
        }
        let [ours, theirs] = trees;
        let paths: BTreeSet<&PathBuf> = ours.keys().chain(theirs.keys()).collect();
        for path in paths {
            let what = difference(ours.get(path), theirs.get(path));
            if !what.is_empty() {
                out.push(format!("{} {}: {what}", short(image), path.display()));
            }
        }
    }
    out
}

/// In what two entries differ.
fn difference(ours: Option<&Entry>, theirs: Option<&Entry>) -> String {
    let (ours, theirs) = match (ours, theirs) {
        (Some(ours), Some(theirs)) => (ours, theirs),
        (Some(_), None) => return "only here".to_owned(),
        _ => return "only there".to_owned(),
    };
    let aspects = [
        ("mode", ours.mode == theirs.mode),
        ("owner", ours.owner == theirs.owner),
        ("device", ours.device == theirs.device),
        ("mtime", ours.mtime == theirs.mtime),
        ("xattrs", ours.xattrs == theirs.xattrs),
        ("content", ours.content == theirs.content),
        ("links", (ours.links, &ours.same_as) == (theirs.links, &theirs.same_as)),
    ];
    let differing: Vec<&str> =
        aspects.iter().filter(|(_, same)| !same).map(|(name, _)| *name).collect();
    differing.join(", ")
}

/// A path whose bytes stand there as the characters of the same number.
fn bytes(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    let bytes = text.chars().map(|char| u8::try_from(char).unwrap()).collect();
    std::ffi::OsString::from_vec(bytes).into()
}

/// What a check says of layers: `IMAGE path(what)`; of a layer of several images, the first's name.
fn complaints(said: &str, images: &[Value], id: &dyn Fn(&[String]) -> String) -> BTreeSet<String> {
    let mut names = BTreeMap::new();
    for image in images {
        for layer in layers(image) {
            names.entry(id(&layer)).or_insert_with(|| short(image));
        }
    }
    let lines = said.lines().filter_map(|line| {
        // Podman has a star before it.
        line.trim().trim_start_matches("* ").strip_prefix("layer ")?.split_once(": ")
    });
    let lines = lines.map(|(layer, what)| {
        // The last time that ext4 can store, and XFS.
        let what = what
            .replace("\u{ffeb}0x37fffffff", "\u{ffeb}last")
            .replace("\u{ffeb}0x3cb82fa08", "\u{ffeb}last");
        let name = names.get(layer).unwrap_or_else(|| panic!("no image has the layer {layer}"));
        format!("{name} {}", what.trim_end_matches(", layer content modified"))
    });
    lines.collect()
}

/// Podman says of our layers what it says of its own, but for [`SAID_OF_ONE_ONLY`]. Where no member says
/// it, Podman takes the time of unpacking, we 1970: times are left out.
fn peer_complains_of_its_own(
    ours: &BTreeSet<String>,
    theirs: &BTreeSet<String>,
    unpacked: &BTreeSet<String>,
) {
    let plain = |lines: &BTreeSet<String>| -> BTreeSet<String> {
        let lines = lines.iter().filter(|line| unpacked.contains(line.split(' ').next().unwrap()));
        lines.map(|line| line.split("mtime:").next().unwrap().to_owned()).collect()
    };
    let (ours, theirs) = (plain(ours), plain(theirs));
    let is = |line: &str, (image, part): &(&str, &str)| {
        line.strip_prefix(image).is_some_and(|rest| rest.starts_with(' ') && rest.contains(part))
    };
    let differing: Vec<&String> = ours.symmetric_difference(&theirs).collect();
    let unknown: Vec<_> = differing
        .iter()
        .filter(|line| !SAID_OF_ONE_ONLY.iter().any(|known| is(line, known)))
        .collect();
    assert!(unknown.is_empty(), "said of our layer or of Podman's own only: {unknown:#?}");
    for known in SAID_OF_ONE_ONLY {
        assert!(differing.iter().any(|line| is(line, known)), "{known:?} is not said any more");
    }
}

#[track_caller]
fn same_lines(one: &BTreeSet<String>, other: &BTreeSet<String>, what: &str) {
    let list =
        |lines: Vec<&String>| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let (left, right) = (one.difference(other).collect(), other.difference(one).collect());
    let (left, right) = (list(left), list(right));
    assert!(left.is_empty() && right.is_empty(), "{what}:\n{left}---\n{right}");
}

/// Every layer's stream comes back from our store bit for bit, and not when something was changed.
#[test]
fn nasty_streams_come_back() {
    if peers::skipped(&["python3", "zstd"]) {
        return;
    }
    let Some(busybox) = nasty::busybox() else { return };
    let scratch = peers::scratch();
    let layout = scratch.path().join("layout");
    let images = nasty::images(&layout, &busybox);
    let again = nasty::images(&scratch.path().join("again"), &busybox);
    assert_eq!(images, again, "the corpus is the same on every run");
    let store = nasty::stage(scratch.path().join("root"), &layout, images.iter()).store();
    let diff = |id: &str| store.join("overlay").join(id).join("diff");
    let seen: BTreeSet<Vec<String>> = images.iter().flat_map(layers).collect();
    for layer in &seen {
        let id = layer_id(layer);
        let stream = replayed(&store, &id, &diff(&id)).unwrap();
        assert_eq!(Some(&Digest::of(&stream).to_string()), layer.last(), "{id}");
    }

    let of = |name: &str, at: usize| {
        layer_id(&layers(images.iter().find(|image| short(image) == name).unwrap())[at])
    };
    let id = of("hard-links", 1);
    let file = diff(&id).join("h/a");
    let spoilt = |what: &str| replayed(&store, &id, &diff(&id)).expect_err(what).to_string();
    fs::write(&file, b"sharex").unwrap();
    assert!(spoilt("other bytes").contains("h/a: its content was changed"));
    fs::write(&file, b"share").unwrap();
    assert!(spoilt("fewer bytes").contains("h/a: its size should be 6 bytes"));
    fs::write(&file, b"shared!").unwrap();
    assert!(spoilt("more bytes").contains("h/a: its size should be 6 bytes"));
    fs::remove_file(&file).unwrap();
    assert!(spoilt("no file").contains("h/a: "));
    std::os::unix::fs::symlink("h/b", &file).unwrap();
    assert!(spoilt("a link").contains("h/a: "));
    // The tar-split of one layer over the tree of another, and half a tar-split.
    replayed(&store, &of("ustar", 1), &diff(&of("names", 1))).expect_err("another tree");
    let split = store.join(format!("overlay-layers/{}.tar-split.gz", of("names", 1)));
    let whole = fs::read(&split).unwrap();
    fs::write(&split, &whole[..whole.len() / 2]).unwrap();
    replayed(&store, &of("names", 1), &diff(&of("names", 1))).expect_err("half a tar-split");
}
