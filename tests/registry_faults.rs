//! Registries that misbehave: how a stage ends then, what it says, how often it tried, and that
//! nothing is half-published.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::thread;

use common::images::{Image, files, make, noise};
use common::registry::{Does, FakeRegistry};
use common::{Ran, World, end, have, wait_until};
use oci_digest::Digest;

/// What goes wrong, how often, with which part of the image.
struct Case {
    what: &'static str,
    part: Part,
    does: Does,
    times: usize,
    /// Exit code, texts of standard error, requests for that part.
    code: i32,
    said: &'static [&'static str],
    asked: std::ops::RangeInclusive<usize>,
}

#[derive(Clone, Copy)]
enum Part {
    Manifest,
    Config,
    Layer,
}

const ALWAYS: usize = usize::MAX;

fn cases() -> Vec<Case> {
    use Part::{Config, Layer, Manifest};
    let case = |what, part, does, times, code, said, asked| Case {
        what,
        part,
        does,
        times,
        code,
        said,
        asked,
    };
    vec![
        case(
            "401",
            Manifest,
            Does::Status(401),
            ALWAYS,
            3,
            &["refuses access", "credentials"],
            1..=2,
        ),
        case(
            "403",
            Manifest,
            Does::Status(403),
            ALWAYS,
            3,
            &["refuses access", "credentials"],
            1..=1,
        ),
        case(
            "404",
            Manifest,
            Does::Status(404),
            ALWAYS,
            1,
            &["manifest unknown", "check the name"],
            1..=1,
        ),
        // skopeo asks five times more on its own.
        case(
            "429",
            Manifest,
            Does::Status(429),
            ALWAYS,
            3,
            &["toomanyrequests", "wait, log in"],
            2..=24,
        ),
        case("500", Manifest, Does::Status(500), ALWAYS, 3, &["500", "2 attempts"], 2..=2),
        case("500 once", Manifest, Does::Status(500), 1, 0, &["Staged"], 2..=2),
        case("a wrong manifest", Manifest, Does::Garble, ALWAYS, 1, &[], 1..=2),
        case("hangs up", Manifest, Does::HangUp, ALWAYS, 3, &["network"], 2..=20),
        case("config: 404", Config, Does::Status(404), ALWAYS, 1, &["404"], 1..=1),
        case("config: wrong", Config, Does::Garble, ALWAYS, 1, &["tampered"], 1..=1),
        case("layer: 403", Layer, Does::Status(403), ALWAYS, 3, &["refuses access"], 1..=1),
        case("layer: 404", Layer, Does::Status(404), ALWAYS, 1, &["404"], 1..=1),
        case("layer: 500", Layer, Does::Status(500), ALWAYS, 3, &["500"], 2..=4),
        case("layer: 500 once", Layer, Does::Status(500), 1, 0, &["Staged"], 2..=2),
        case("layer: truncated", Layer, Does::Truncate(1000), ALWAYS, 3, &["network"], 2..=20),
        case("layer: truncated once", Layer, Does::Truncate(1000), 1, 0, &["Staged"], 2..=2),
        case("layer: too short", Layer, Does::Shorten(1000), ALWAYS, 1, &["tampered"], 1..=2),
        case("layer: oversized", Layer, Does::Lengthen(100_000), ALWAYS, 1, &["tampered"], 1..=2),
        case("layer: wrong", Layer, Does::Garble, ALWAYS, 1, &["tampered"], 1..=2),
    ]
}

/// A registry with one image, and a root that binds it with one retry.
struct Setting {
    world: World,
    registry: FakeRegistry,
    image: Image,
    reference: String,
}

fn setting() -> Setting {
    let world = World::new();
    let registry = FakeRegistry::start();
    fs::write(world.path("registries.conf"), registry.registries_conf()).unwrap();
    let image = make(&world, "app", &[files(&[("a", "1")]), noise("n", 200_000)], &[]);
    image.push(&registry, "ns/app", "1");
    let reference = format!("{}/ns/app:1", registry.host());
    bind(&world, "app", &reference);
    Setting { world, registry, image, reference }
}

fn bind(world: &World, name: &str, reference: &str) {
    let text = format!("[Image]\nImage={reference}\nRetry=1\nRetryDelay=20ms\n");
    world.bind(&format!("{name}.image"), text);
}

/// GET requests for a part of a path.
fn asked(registry: &FakeRegistry, part: &str) -> usize {
    registry.log().iter().filter(|line| line.starts_with("GET") && line.contains(part)).count()
}

fn attempt(case: &Case) -> Result<(), String> {
    let Setting { world, registry, image, reference } = setting();
    let part = match case.part {
        Part::Manifest => "/manifests/1".to_owned(),
        Part::Config => image.config.clone(),
        Part::Layer => image.layers[1].clone(),
    };
    registry.fault(&part, case.does.clone(), case.times);
    let ran = world.run("stage", &[]);
    let requests = asked(&registry, &part);
    let wrong = |why: String| Err(format!("{}: {why}: {}", case.what, ran.all()));
    if ran.code != Some(case.code) {
        return wrong(format!("should exit with {}", case.code));
    }
    for said in case.said {
        if !ran.errors().contains(said) && !ran.out.contains(said) {
            return wrong(format!("`{said}` is not said"));
        }
    }
    if !case.asked.contains(&requests) {
        return wrong(format!("{requests} requests, not {:?}", case.asked));
    }
    if case.code == 0 {
        return Ok(());
    }
    let errors = ran.errors();
    for said in ["app.image", &reference, "nothing was staged"] {
        if !errors.contains(said) {
            return wrong(format!("`{said}` is not said"));
        }
    }
    if world.store().exists() {
        return wrong("something was published".to_owned());
    }
    Ok(())
}

#[test]
fn every_fault_ends_as_documented() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let cases = cases();
    // Most of the time is skopeo's waiting.
    let failed: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> = cases.iter().map(|case| scope.spawn(|| attempt(case))).collect();
        running.into_iter().filter_map(|thread| thread.join().unwrap().err()).collect()
    });
    assert!(failed.is_empty(), "{} of {}\n{}", failed.len(), cases.len(), failed.join("\n"));
}

#[test]
fn a_registry_that_is_down() {
    if !have(&["skopeo"]) {
        return;
    }
    let world = World::new();
    // A port where nobody listens any more.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    fs::write(
        world.path("registries.conf"),
        format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true\n"),
    )
    .unwrap();
    for name in ["one", "two"] {
        bind(&world, name, &format!("{host}/ns/{name}:1"));
    }
    for more in [&[][..], &["--dry-run"]] {
        let ran = world.run("stage", more);
        ran.expect(3, &["connection refused", "2 attempts"]);
        ran.says(&["one.image", "two.image", &host]);
        world.assert_unpublished(&ran);
    }
}

#[test]
fn a_manifest_that_is_not_the_pinned_one() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let Setting { world, registry, image, .. } = setting();
    let pinned = Digest::of(b"another");
    let bytes = fs::read(image.blob(&image.manifest)).unwrap();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    registry.manifest("ns/app", &pinned.to_string(), kind, &bytes);
    for tag in ["", ":1"] {
        let reference = format!("{}/ns/app{tag}@{pinned}", registry.host());
        fs::remove_dir_all(world.root()).unwrap();
        bind(&world, "pinned", &reference);
        let ran = world.run("stage", &[]);
        ran.expect(1, &["pinned.image", &reference, "sha256:", "nothing was staged"]);
        world.assert_unpublished(&ran);
        assert_eq!(asked(&registry, "/blobs/"), 0, "blobs of a wrong manifest were fetched");
    }
}

#[test]
fn one_bad_image_hides_no_other_and_what_was_whole_is_kept() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let Setting { world, registry, image, .. } = setting();
    let other = make(&world, "other", &[noise("o", 50_000)], &[]);
    other.push(&registry, "ns/other", "1");
    bind(&world, "other", &format!("{}/ns/other:1", registry.host()));
    bind(&world, "gone", &format!("{}/ns/gone:1", registry.host()));
    bind(&world, "away", &format!("{}/ns/away:1", registry.host()));
    let ran = world.run("stage", &[]);
    ran.expect(1, &["gone.image", "away.image"]);
    world.assert_unpublished(&ran);
    for name in ["gone", "away"] {
        let name = format!("usr/lib/bootc/bound-images.d/{name}.image");
        fs::remove_file(world.root().join(name)).unwrap();
    }
    registry.fault(&other.layers[0], Does::Garble, 1);
    let ran = world.run("stage", &[]);
    ran.expect(1, &["other.image"]);
    world.assert_unpublished(&ran);
    world.run("stage", &[]).expect(0, &["2 there already", "Staged 2 images"]);
    for layer in &image.layers {
        assert_eq!(asked(&registry, layer), 1, "a whole layer was fetched again");
    }
}

#[test]
fn a_blob_that_hangs_is_given_up() {
    if !have(&["python3", "skopeo", "unshare", "mount"]) {
        return;
    }
    for (times, code) in [(1, 0), (ALWAYS, 3)] {
        let Setting { world, registry, image, .. } = setting();
        registry.fault(&image.layers[1], Does::Hang, times);
        let begin = std::time::Instant::now();
        let ran: Ran = world.unshared(
            "mount -t tmpfs none /run; mkdir -p /run/bound-images/config.d
             echo 'stall-timeout = 1' > /run/bound-images/config.d/50-x.toml
             exec \"$P\" stage --root \"$ROOT\"",
        );
        assert_eq!(ran.code, Some(code), "{}", ran.all());
        assert!(begin.elapsed().as_secs() < 15, "{:?}", begin.elapsed());
        assert_eq!(asked(&registry, &image.layers[1]), 2);
        if code != 0 {
            ran.says(&["app.image", "stall-timeout", "nothing was staged"]);
            world.assert_unpublished(&ran);
        }
    }
}

#[test]
fn a_large_layer_comes_in_parts_where_the_registry_has_them() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    let world = World::new();
    let registry = FakeRegistry::start();
    let plain = registry.registries_conf();
    let mirrored = format!(
        "{plain}[[registry.mirror]]\nlocation = \"{}\"\ninsecure = true\n",
        registry.host()
    );
    let image = make(&world, "app", &[noise("n", 16_000_000)], &[]);
    image.push(&registry, "ns/app", "1");
    let layer = &image.layers[0];
    let size = fs::metadata(image.blob(layer)).unwrap().len();
    assert!(size > 9 << 20, "{size}");
    let parts = size.div_ceil(4 << 20) as usize;
    for (conf, does, said, in_parts, whole) in [
        (&plain, None, "", parts..=parts, 0),
        // Several parts are asked for at once.
        (&plain, Some(Does::Whole), "", 1..=parts, 1),
        // Wrong only in parts: as behind a cache that mixes them up.
        (&plain, Some(Does::Garble), "once more, whole", parts..=parts, 1),
        (&mirrored, None, "", 0..=0, 1),
    ] {
        fs::write(world.path("registries.conf"), conf).unwrap();
        // A root, and nothing of the former ones.
        drop(fs::remove_dir_all(world.root()));
        bind(&world, "app", &format!("{}/ns/app:1", registry.host()));
        let before = registry.log().len();
        if let Some(does) = does {
            registry.fault("bytes=", does, parts);
        }
        world.run("stage", &[]).expect(0, &["Staged 1 image", said]);
        world.run("verify", &["--deep"]).expect(0, &[]);
        let log = &registry.log()[before..];
        let asked: Vec<_> = log.iter().filter(|line| line.contains(layer.as_str())).collect();
        let ranges = asked.iter().filter(|line| line.contains("bytes=")).count();
        assert!(in_parts.contains(&ranges), "{asked:?}");
        assert_eq!(asked.len() - ranges, whole, "{asked:?}");
    }
}

/// What may lie where the beginning of a large layer was kept.
enum Left {
    Good,
    Wrong,
    /// A link to another file.
    Link,
}

#[test]
fn a_large_layer_that_was_cut_off_goes_on_where_it_was() {
    if !have(&["python3", "skopeo"]) {
        return;
    }
    for left in [Left::Good, Left::Wrong, Left::Link] {
        let world = World::new();
        let registry = FakeRegistry::start();
        fs::write(world.path("registries.conf"), registry.registries_conf()).unwrap();
        let image = make(&world, "app", &[noise("n", 16_000_000)], &[]);
        image.push(&registry, "ns/app", "1");
        bind(&world, "app", &format!("{}/ns/app:1", registry.host()));
        let layer = &image.layers[0];
        // The third part hangs.
        registry.fault("bytes=8388608-", Does::Hang, 1);
        let child = world.command("stage", &[]).spawn().unwrap();
        let kept = world.work().join("store/blobs").join(layer.strip_prefix("sha256:").unwrap());
        let long = || fs::metadata(&kept).is_ok_and(|found| found.len() >= 8 << 20);
        wait_until("two parts are kept", 60, long);
        end(child, rustix::process::Signal::KILL);
        let size = fs::metadata(&kept).unwrap().len();
        let other = world.path("other");
        match left {
            Left::Good => {}
            Left::Wrong => fs::write(&kept, vec![7; usize::try_from(size).unwrap()]).unwrap(),
            Left::Link => {
                fs::write(&other, "precious").unwrap();
                fs::remove_file(&kept).unwrap();
                std::os::unix::fs::symlink(&other, &kept).unwrap();
            }
        }
        let before = registry.log().len();
        let ran = world.run("stage", &[]);
        ran.expect(0, &["Staged 1 image"]);
        world.run("verify", &["--deep"]).expect(0, &[]);
        assert!(!kept.exists());
        let log = &registry.log()[before..];
        let asked: Vec<_> = log.iter().filter(|line| line.contains(layer.as_str())).collect();
        let again = asked.iter().any(|line| line.contains("bytes=0-"));
        match left {
            Left::Good => assert!(!again && size >= 8 << 20, "{asked:?}"),
            Left::Wrong => ran.says(&["once more, whole"]),
            Left::Link => {
                assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
                assert!(again, "{asked:?}");
            }
        }
    }
}

/// Keeping the beginning of a large layer must not take the room that the layer itself needs: not while it comes, and not
/// after an attempt that was cut off.
#[test]
fn a_large_layer_that_just_fits_has_its_room() {
    if !have(&["python3", "skopeo", "unshare", "mount"]) {
        return;
    }
    for (zeros, megabytes, is_left) in [(40_000_000, 64, false), (0, 32, true)] {
        let world = World::new();
        let registry = FakeRegistry::start();
        fs::write(world.path("registries.conf"), registry.registries_conf()).unwrap();
        let mut layer = noise("n", 16_000_000);
        let more = serde_json::json!({"path": "zeros", "content": "0".repeat(zeros)});
        layer.as_array_mut().unwrap().push(more);
        let image = make(&world, "app", &[layer], &[]);
        image.push(&registry, "ns/app", "1");
        bind(&world, "app", &format!("{}/ns/app:1", registry.host()));
        let blob = image.blob(&image.layers[0]);
        let size = fs::metadata(&blob).unwrap().len();
        assert!((9 << 20..16 << 20).contains(&size), "{size}");
        let store = world.work().join("store");
        let left = if is_left {
            format!(
                "umask 77; mkdir -p '{0}/overlay' '{0}/blobs'; umask 22
                 head -c -1000 '{1}' > '{0}/blobs/{2}'; echo old > '{0}/blobs/old'",
                store.display(),
                blob.display(),
                image.layers[0].strip_prefix("sha256:").unwrap()
            )
        } else {
            String::new()
        };
        let ran = world.unshared(&format!(
            "cp -a \"$ROOT\" \"$W/copy\"; mount -t tmpfs -o size={megabytes}M none \"$ROOT\"
             cp -a \"$W/copy/.\" \"$ROOT\"; {left}
             \"$P\" stage --dry-run --root \"$ROOT\"; exec \"$P\" stage --root \"$ROOT\"",
        ));
        ran.expect(0, &["Staged 1 image"]);
    }
}
