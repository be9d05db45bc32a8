//! The hook, run as a runtime runs it: state on stdin, a bundle, a primary store and a bound
//! store in a temporary directory, a journal that writes down what it is told.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use binding::Reference;
use oci_digest::Digest;

use common::{Host, TAG, id, link, pinned, record, run, start};

#[test]
fn the_bound_image_starts_and_the_journal_says_which() {
    for reference in [TAG, &pinned()] {
        let host = Host::new(reference);
        let told = host.run();
        told.accepted();
        assert_eq!(told.field("SYSLOG_IDENTIFIER"), "bound-images-hook");
        assert_eq!(told.field("BOUND_IMAGES_RESULT"), "accepted");
        assert_eq!(told.field("BOUND_IMAGES_SERVICE"), "app.service");
        assert_eq!(told.field("BOUND_IMAGES_REFERENCE"), reference);
        assert_eq!(told.field("BOUND_IMAGES_DIGEST"), Digest::of(b"manifest").to_string());
        assert_eq!(told.field("BOUND_IMAGES_STORE_ID"), record(reference).store_id());
        assert_eq!(told.field("CONTAINER_ID_FULL"), "c1");
    }
}

#[test]
fn another_image_is_refused_when_pinned_and_told_when_not() {
    for lower in ["other", "base"] {
        let other = |reference: &str| {
            let host = Host::new(reference);
            host.write("graph/overlay/own/lower", format!("l/{}", link(lower)));
            host.write_containers(&id("another image"));
            host.run()
        };
        let (want, found) = (id("image"), id("another image"));
        let layer = id(lower);
        other(&pinned()).refused(&[
            "app.service",
            &pinned(),
            &want[..12],
            &found[..12],
            &layer[..12],
            "systemctl restart app.service",
        ]);
        let told = other(TAG);
        assert_eq!((told.code, told.field("PRIORITY")), (Some(0), "4"), "{}", told.text);
        let untag = format!("`podman untag {TAG} {TAG}`, then `systemctl restart app.service`");
        for words in [&found[..12], &untag, "bound-images pin"] {
            assert!(told.field("MESSAGE").contains(words), "{}", told.text);
        }
    }
}

#[test]
fn a_required_pin_refuses_what_a_tag_would_allow() {
    let start = |lower: &str, pin: &str| {
        let host = Host::new(TAG);
        host.write("graph/overlay/own/lower", format!("l/{}", link(lower)));
        host.write_containers(&id("another image"));
        host.write_config(&[
            ("bound-images.service", "app.service"),
            ("bound-images.reference", TAG),
            ("bound-images.pin", pin),
        ]);
        host.run()
    };
    start("other", "require").refused(&["app.service", TAG, "podman untag"]);
    start("top", "require").accepted();
    let told = start("other", "warn");
    assert_eq!(told.field("BOUND_IMAGES_RESULT"), "warned", "{}", told.text);
}

/// `ImageTag=` of a `.image`: that name may mean another image, whatever the reference is.
#[test]
fn the_name_that_is_told_is_the_one_that_podman_may_take() {
    let host = Host::new(&pinned());
    let mut record = record(&pinned());
    record.bindings[0].alias = Some(Reference::parse("example.org/alias:1").unwrap());
    host.write_record(&record);
    host.write("graph/overlay/own/lower", format!("l/{}", link("other")));
    host.write_containers(&id("another image"));
    host.run().refused(&["podman untag example.org/alias:1 example.org/alias:1"]);
}

#[test]
fn a_transient_store_lists_its_containers_elsewhere() {
    let host = Host::new(&pinned());
    host.write("graph/overlay/own/lower", format!("l/{}", link("other")));
    fs::remove_dir_all(host.at("graph/overlay-containers")).unwrap();
    host.mkdir("run/overlay-containers/c1");
    let bundle = host.at("run/overlay-containers/c1/userdata");
    fs::rename(host.at("bundle"), &bundle).unwrap();
    let state = serde_json::json!({"id": "c1", "bundle": bundle}).to_string();
    host.run_with(state.as_bytes()).refused(&["found image unknown"]);
    let list = serde_json::json!([{"id": "c1", "image": id("image"), "layer": "own"}]);
    host.write("run/overlay-containers/volatile-containers.json", list.to_string());
    host.run_with(state.as_bytes()).accepted();
}

#[test]
fn a_copy_of_the_same_image_elsewhere_starts() {
    let host = Host::new(&pinned());
    host.write("graph/overlay/own/lower", format!("l/{}", link("other")));
    host.run().accepted();
    fs::rename(
        host.at("graph/overlay-containers/containers.json"),
        host.at("graph/overlay-containers/volatile-containers.json"),
    )
    .unwrap();
    host.write("graph/overlay-containers/containers.json", "");
    host.run().accepted();
    host.write("graph/overlay-containers/volatile-containers.json", "[");
    host.run().refused(&["list of containers"]);
}

/// Why a start costs the same whatever else is on the host: neither list is even opened.
#[test]
fn lists_of_layers_and_images_are_never_read() {
    let host = Host::new(&pinned());
    for list in ["overlay-layers/layers.json", "overlay-images/images.json"] {
        for store in ["store", "graph"] {
            let path = format!("{store}/{list}");
            host.mkdir(Path::new(&path).parent().unwrap().to_str().unwrap());
            host.write(&path, "");
            // A fifo is refused where it is read.
            host.fifo(&path);
        }
    }
    host.fifo("graph/overlay-containers/containers.json");
    host.run().accepted();
}

#[test]
fn what_cannot_be_judged_is_refused() {
    type Break = fn(&Host);
    let cases: &[(&str, Break, &str)] = &[
        ("bundle gone", |h| fs::remove_dir_all(h.at("bundle")).unwrap(), "config.json"),
        ("config gone", |h| fs::remove_file(h.at("bundle/config.json")).unwrap(), "config.json"),
        ("config garbage", |h| h.write("bundle/config.json", "{\"root\":"), "config.json"),
        ("config huge", |h| h.write("bundle/config.json", vec![b' '; (16 << 20) + 1]), "larger"),
        ("no annotation", |h| h.write_config(&[]), "no annotation"),
        (
            "bad reference",
            |h| h.write_config(&[("bound-images.reference", "app\nPRIORITY=6")]),
            "bound to app",
        ),
        (
            "not in the record",
            |h| h.write_config(&[("bound-images.reference", "example.org/other:1")]),
            "no such binding",
        ),
        ("store gone", |h| fs::remove_dir_all(h.at("store")).unwrap(), "bound-images.json"),
        ("record gone", |h| fs::remove_file(h.at("store/bound-images.json")).unwrap(), "verify"),
        ("record garbage", |h| h.write("store/bound-images.json", "{}"), "not valid"),
        (
            "record of no schema",
            |h| h.write("store/bound-images.json", r#"{"schema":0,"bindings":[]}"#),
            "schema 0",
        ),
        ("no lower", |h| fs::remove_file(h.at("graph/overlay/own/lower")).unwrap(), "lower"),
        ("strange lower", |h| h.write("graph/overlay/own/lower", "../../x"), "names no layer"),
        ("config deep", |h| h.write("bundle/config.json", "[".repeat(1 << 20)), "config.json"),
        ("record deep", |h| h.write("store/bound-images.json", "[".repeat(1 << 20)), "not valid"),
        (
            "record huge",
            |h| h.write("store/bound-images.json", vec![b' '; binding::record::MAX_RECORD + 1]),
            "larger",
        ),
        ("a fifo for config.json", |h| h.fifo("bundle/config.json"), "not a regular file"),
        ("a fifo for the record", |h| h.fifo("store/bound-images.json"), "not a regular file"),
        ("a fifo for lower", |h| h.fifo("graph/overlay/own/lower"), "not a regular file"),
        (
            "a fifo for the list",
            |h| {
                h.write("graph/overlay/own/lower", format!("l/{}", link("other")));
                h.fifo("graph/overlay-containers/containers.json");
            },
            "not a regular file",
        ),
        ("config loops", |h| h.symlink_loop("bundle/config.json"), "config.json"),
        ("record loops", |h| h.symlink_loop("store/bound-images.json"), "bound-images.json"),
        ("store loops", |h| h.symlink_loop("store"), "bound-images.json"),
        ("bundle loops", |h| h.symlink_loop("bundle"), "config.json"),
        ("layer loops", |h| h.symlink_loop("graph/overlay/own"), "lower"),
        (
            "links loop",
            |h| {
                h.symlink_loop("store/overlay/l");
                h.write_containers(&id("another image"));
            },
            "expected image",
        ),
        (
            "record of a later schema without what we know",
            |h| h.write("store/bound-images.json", r#"{"schema":9,"things":[]}"#),
            "not valid",
        ),
        (
            "image not present",
            |h| {
                let mut record = record(&pinned());
                let bound = &mut record.bindings[0];
                (bound.present, bound.image, bound.manifest) = (false, None, None);
                bound.layers.clear();
                h.write_record(&record);
            },
            "not in the store",
        ),
    ];
    for (name, break_it, want) in cases {
        println!("{name}");
        let host = Host::new(&pinned());
        break_it(&host);
        host.run().refused(&[want]);
    }
}

#[test]
fn a_newer_record_is_read_for_what_is_known() {
    let host = Host::new(&pinned());
    let text = String::from_utf8(record(&pinned()).canonical()).unwrap();
    let newer = text
        .replace("\"schema\":1", "\"schema\":7,\"x\":{}")
        .replace("\"size\":9", "\"size\":9,\"y\":1");
    assert_ne!(text, newer);
    host.write("store/bound-images.json", &newer);
    let told = host.run();
    told.accepted();
    assert_eq!(told.field("BOUND_IMAGES_STORE_ID"), Digest::of(newer.as_bytes()).hex());
}

#[test]
fn garbage_on_stdin_is_refused() {
    let host = Host::new(TAG);
    let deep = "[".repeat(100_000);
    for state in
        [&b""[..], b"\0\xff", b"{}", b"null", deep.as_bytes(), br#"{"id":"c","bundle":"x"}"#]
    {
        host.run_with(state).refused(&["refused to start a bound container"]);
    }
    host.run_with(&vec![b' '; (1 << 20) + 1]).refused(&["larger than 1048576 bytes"]);
    let wide = format!("{{\"id\":\"c\",\"bundle\":\"/b\",\"x\":[{}0]}}", "0,".repeat(400_000));
    host.run_with(wide.as_bytes()).refused(&["cannot read the bundle"]);
}

#[test]
fn a_silent_stdin_is_not_waited_for() {
    let host = Host::new(TAG);
    let started = Instant::now();
    let child = {
        let mut child = start(&host.at("store"), &host.at("journal"));
        let stdin = child.stdin.take();
        let output = child.wait_with_output().unwrap();
        drop(stdin);
        output
    };
    assert_eq!(child.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&child.stderr).contains("did not end in time"));
    let took = started.elapsed();
    assert!(took > Duration::from_millis(1500) && took < Duration::from_secs(60), "{took:?}");
}

#[test]
fn without_a_journal_stderr_has_the_line() {
    let host = Host::new(TAG);
    let output = run(&host.at("store"), &host.at("nothing"), host.state().as_bytes());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success());
    assert_eq!(
        stderr,
        format!("bound-images-hook: app.service runs {TAG}, image {}\n", id("image"))
    );
}

#[test]
fn the_json_file_asks_for_the_annotation_that_the_hook_reads() {
    let text = include_str!("../../units/bound-images-hook.json");
    let json: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(json["version"], "1.0.0");
    assert_eq!(json["stages"], serde_json::json!(["createRuntime"]));
    // The pattern of the key, unescaped, is the name that the tests above use.
    let keys: Vec<_> = json["when"]["annotations"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["^bound-images\\.reference$"]);
    assert!(json["hook"]["timeout"].as_u64().unwrap() > 8, "longer than the hook's own deadline");
}
