//! `pin`: digests come from a registry, through skopeo, into the file that holds the value.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use common::registry::FakeRegistry;
use common::{Ran, World, assert_same, find, have, picture, source};
use oci_digest::Digest;

const USR: &str = "usr/share/containers/systemd";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LIST: &str = "application/vnd.oci.image.index.v1+json";

/// A registry with a tag `1` of `name`, which has the digest that comes back.
fn push(registry: &FakeRegistry, name: &str, tag: &str, kind: &str, salt: &str) -> Digest {
    let config = Digest::of(b"{}");
    let descriptor = |digest: Digest| {
        serde_json::json!({"mediaType": MANIFEST, "digest": digest.to_string(), "size": 2,
            "platform": {"os": "linux", "architecture": "amd64"}})
    };
    let manifest = match kind {
        LIST => serde_json::json!({"schemaVersion": 2, "mediaType": LIST,
            "manifests": [descriptor(Digest::of(salt.as_bytes()))]}),
        _ => serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config.to_string(), "size": 2},
            "layers": [], "annotations": {"salt": salt}}),
    };
    let bytes = serde_json::to_vec(&manifest).unwrap();
    registry.manifest(name, tag, kind, &bytes);
    Digest::of(&bytes)
}

fn ready() -> Option<(World, FakeRegistry)> {
    if find("skopeo").is_none() {
        eprintln!("skipped: needs skopeo");
        return None;
    }
    let (world, registry) = (World::new(), FakeRegistry::start());
    fs::write(world.path("registries.conf"), registry.registries_conf()).unwrap();
    Some((world, registry))
}

fn read(world: &World, path: &str) -> String {
    fs::read_to_string(world.root().join(path)).unwrap()
}

#[test]
fn values_are_pinned_where_they_really_stand() {
    let Some((world, registry)) = ready() else { return };
    let host = registry.host();
    let one = push(&registry, "t/one", "1", MANIFEST, "one");
    let list = push(&registry, "t/many", "latest", LIST, "many");
    // A drop-in sets the image of the first, a .image that of the second, with all that Podman reads.
    world.bind("a.container", "[Container]\nImage=quay.io/not/this:1\n");
    let dropin =
        format!("# why\r\n[Container]\r\nImage={host}/t/\\\r\n# more\r\n  one:1\r\nExec=x\r\n");
    world.write(&format!("{USR}/a.container.d/10.conf"), &dropin);
    world.bind("b.container", "[Container]\nImage=b.image\n");
    world.write("opt/b.image", format!("; b\n[Image]\nImage = \"{host}/t/many\"  \n"));
    symlink("../../../../opt/b.image", world.root().join(USR).join("b.image")).unwrap();
    world.write("opt/c.container", format!("[Container]\nImage={host}/t/one:1\n"));
    symlink("/opt/c.container", world.root().join(USR).join("c.container")).unwrap();
    world.link("c.container", "/usr/share/containers/systemd/c.container");
    world.link("also-c.container", "/usr/share/containers/systemd/c.container");

    let before = picture(&world.root());
    world.run("pin", &["--check"]).expect(1, &["unpinned", "4 bindings to be pinned; nothing was"]);
    assert_same(&before, &picture(&world.root()), "--check changed something");
    world.run("pin", &[]).expect(0, &["unpinned, now pinned", "Pinned 4 bindings."]);
    assert_eq!(
        read(&world, &format!("{USR}/a.container")),
        "[Container]\nImage=quay.io/not/this:1\n"
    );
    let pinned = dropin.replace("one:1", &format!("one:1@{one}"));
    assert_eq!(read(&world, &format!("{USR}/a.container.d/10.conf")), pinned);
    assert_eq!(read(&world, &format!("{USR}/b.container")), "[Container]\nImage=b.image\n");
    let image = format!("; b\n[Image]\nImage = \"{host}/t/many:latest@{list}\"  \n");
    assert_eq!(read(&world, &format!("{USR}/b.image")), image);
    assert_eq!(
        read(&world, "opt/c.container"),
        format!("[Container]\nImage={host}/t/one:1@{one}\n")
    );
    assert!(fs::symlink_metadata(world.root().join(USR).join("c.container")).unwrap().is_symlink());

    let before = picture(&world.root());
    world.run("pin", &[]).expect(0, &["Nothing to do."]);
    world.run("pin", &["--check"]).expect(0, &["Nothing to change."]);
    assert_same(&before, &picture(&world.root()), "a second pin changed something");
    world.run("list", &[]).expect(1, &["yes"]);

    // The tag moves: --check sees it, and one name pins one binding.
    let two = push(&registry, "t/one", "1", MANIFEST, "two");
    let json = world.run("pin", &["--check", "--format", "json"]);
    assert_eq!(json.code, Some(1), "{}", json.all());
    let rows = json.json().remove(0)["bindings"].clone();
    let states: Vec<&str> =
        rows.as_array().unwrap().iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["moved", "moved", "pinned", "moved"]);
    assert_eq!(rows[0]["digest"], two.to_string());
    world.run("pin", &["a.container"]).expect(0, &["moved, now pinned", "Pinned 1 binding."]);
    assert_eq!(
        read(&world, &format!("{USR}/a.container.d/10.conf")),
        pinned.replace(&one.to_string(), &two.to_string())
    );
    assert!(read(&world, "opt/c.container").contains(&one.to_string()), "it was not named");
}

#[test]
fn what_cannot_be_pinned_is_told_with_the_place() {
    let Some((world, registry)) = ready() else { return };
    let host = registry.host();
    let one = push(&registry, "t/one", "1", MANIFEST, "one");
    world.bind("a.container", "[Container]\nExec=a\n");
    world.write("opt/vendor/10.conf", format!("[Container]\nImage={host}/t/one:1\n"));
    fs::create_dir_all(world.root().join(USR).join("a.container.d")).unwrap();
    let link = world.root().join(USR).join("a.container.d/10.conf");
    symlink("/opt/vendor/10.conf", link).unwrap();
    let digest = Digest::of(b"x");
    world.bind("digest.container", format!("[Container]\nImage={host}/t/gone@{digest}\n"));
    let before = picture(&world.root());
    let ran = world.run("pin", &[]);
    ran.expect(1, &["opt/vendor/10.conf", "write Image=", &format!("one:1@{one}"), "no-tag"]);
    assert_same(&before, &picture(&world.root()), "somebody else's file was changed");

    world.run("pin", &["digest.container"]).expect(0, &["no-tag", "Nothing to do."]);
    world.run("pin", &["none.container"]).expect(2, &["there is no none.container"]);
    let typed = world.run("pin", &["digest"]);
    typed.expect(2, &["there is no digest in", "is it digest.container?"]);
    world.run("pin", &["../x"]).expect(2, &["there is no ../x"]);
    // A link that is no binding hides no other, but is no success either.
    world.bind("bad.container", "[Container]\nImage=nginx\n");
    world.run("pin", &["bad.container"]).expect(1, &["short-name"]);
    world.run("pin", &["digest.container"]).expect(0, &["no-tag"]);
    fs::remove_file(world.root().join("usr/lib/bootc/bound-images.d/bad.container")).unwrap();
    world.bind("gone.container", format!("[Container]\nImage={host}/t/gone:1\n"));
    world.run("pin", &["--check", "gone.container"]).expect(1, &["unknown", "cannot fetch"]);
    let ran = world.run("pin", &["gone.container", "digest.container"]);
    ran.expect(1, &["The tag of 1 binding is not there."]);
    assert!(!ran.all().contains("Nothing to do"), "{}", ran.all());
    // A registry without TLS that nobody allowed.
    fs::write(world.path("registries.conf"), "").unwrap();
    let ran = world.run("pin", &["--check", "gone.container"]);
    ran.expect(3, &["Could not ask for the tag of 1 binding.", "`insecure = true`"]);
    assert!(!ran.all().contains("certs.d"), "{}", ran.all());
    fs::write(world.path("registries.conf"), registry.registries_conf()).unwrap();
    drop(registry);
    world.write("etc/bound-images/config.d/1.toml", "retries = 0\n");
    let top = world.root();
    let host = ["--host", top.to_str().unwrap()];
    world
        .run("pin", &[&["--check", "gone.container"], &host[..]].concat())
        .expect(3, &["unknown", "cannot fetch", "Could not ask for the tag of 1 binding."]);
    let none = world.command_of(common::PROGRAM).args(["pin", "--check"]).output().unwrap();
    Ran::of(none).expect(2, &["--root"]);
}

#[test]
fn mode_and_owner_are_kept_and_a_read_only_root_is_told() {
    if !have(&["unshare"]) {
        return;
    }
    let Some((world, registry)) = ready() else { return };
    let host = registry.host();
    let one = push(&registry, "t/one", "1", MANIFEST, "one");
    world.bind("a.container", format!("[Container]\nImage={host}/t/one:1\n"));
    let path = world.root().join(USR).join("a.container");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    chown(&path, Some(7), Some(8)).unwrap();
    let copy = world.path("copy");
    fs::hard_link(&path, &copy).unwrap();

    let ran = world.unshared(
        "mount --bind \"$ROOT\" \"$ROOT\"; mount -o remount,ro,bind \"$ROOT\"
         exec \"$P\" pin --root \"$ROOT\"",
    );
    let place = format!("{USR}/a.container:2");
    ran.expect(3, &["Read-only", &place, &format!("one:1@{one}"), "could not pin 1"]);
    assert_eq!(fs::metadata(&path).unwrap().ino(), fs::metadata(&copy).unwrap().ino());

    world.run("pin", &[]).expect(0, &["Pinned 1 binding."]);
    let stat = fs::metadata(&path).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid()), (0o640, 7, 8));
    let kept = fs::read_to_string(&copy).unwrap();
    assert_eq!(kept, format!("[Container]\nImage={host}/t/one:1\n"), "another name of the file");
    let names = fs::read_dir(world.root().join(USR)).unwrap().count();
    assert_eq!(names, 1, "something is left beside it");
}

#[test]
fn a_file_that_cannot_be_written_is_told_with_what_to_write() {
    if !have(&["unshare", "setpriv", "chattr"]) {
        return;
    }
    let Some((world, registry)) = ready() else { return };
    let one = push(&registry, "t/one", "1", MANIFEST, "one");
    world.bind("a.container", format!("[Container]\nImage={}/t/one:1\n", registry.host()));
    let quadlets = world.root().join(USR);
    let before = read(&world, &format!("{USR}/a.container"));
    let dir = format!("\"$ROOT\"/{USR}");
    let pin = "exec \"$P\" pin --root \"$ROOT\"";
    // Not every file system has the flag; one that has none can be written.
    let immutable = |what: &str| {
        format!(
            "chattr +i {what} || exec echo no flags; trap 'chattr -i {what}' EXIT
             \"$P\" pin --root \"$ROOT\""
        )
    };
    for (what, script, why) in [
        (
            "no space",
            format!(
                "mount -t tmpfs -o size=64k tmpfs /mnt; cp {dir}/a.container /mnt/
                 dd if=/dev/zero of=/mnt/full bs=4k 2>/dev/null || true
                 mount --bind /mnt {dir}; {pin}"
            ),
            "No space left",
        ),
        (
            "a user",
            format!(
                "exec setpriv --reuid=65534 --regid=65534 --clear-groups {}",
                pin.trim_start_matches("exec ")
            ),
            "Permission denied",
        ),
        ("an immutable file", immutable(&format!("{dir}/a.container")), "not permitted"),
        ("an immutable directory", immutable(&dir), "not permitted"),
    ] {
        let ran = world.unshared(&script);
        if ran.out.starts_with("no flags") {
            eprintln!("skipped: needs chattr +i, for {what}");
            continue;
        }
        let write = format!("write Image={}/t/one:1@{one}", registry.host());
        ran.expect(3, &[why, &write, &format!("where {USR}/a.container:2 comes from")]);
        assert_eq!(read(&world, &format!("{USR}/a.container")), before, "{what}");
        assert_eq!(
            fs::read_dir(&quadlets).unwrap().count(),
            1,
            "{what}: something is left beside it"
        );
    }
}

/// Layouts of one value; `@` is the registry.
const LAYOUTS: [(&str, &str); 7] = [
    ("plain.container", "[Container]\nImage=@/t/one:1\n"),
    ("end.container", "[Container]\nImage=@/t/one:1"),
    ("crlf.container", "# c\r\n[Container]\r\nImage=@/t/one:1\r\nExec=x\r\n"),
    ("quotes.container", "[Container]\nImage = \"@/t/one:1\" \nExec=x\n"),
    ("folded.container", "[Container]\nImage=@/t/\\\n# c\n\n; d\n  one:1\nExec=a \\\n  b\n"),
    ("backslash.container", "[Container]\nImage=@/t/one:1\\\n"),
    ("last.container", "[Container]\nImage=@/t/two:1\n[Unit]\nA=b\n[Container]\nImage=@/t/one:1\n"),
];

/// Podman's own generator (5.4) judges what was written: every service starts the pinned image.
#[test]
fn podman_reads_the_digests_that_were_written() {
    let made =
        std::process::Command::new(source("tests/setup/chroot.sh")).arg("trixie").output().unwrap();
    if made.status.code() == Some(2) {
        return eprintln!("skipped: needs {}", String::from_utf8_lossy(&made.stderr).trim());
    }
    let chroot = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let Some((world, registry)) = ready() else { return };
    let host = registry.host();
    let one = push(&registry, "t/one", "1", MANIFEST, "one");
    for (name, layout) in LAYOUTS {
        world.bind(name, layout.replace('@', &host));
    }
    world.run("pin", &[]).expect(0, &["Pinned 7 bindings."]);
    let generator = "/usr/lib/systemd/system-generators/podman-system-generator";
    world.write(
        "script",
        format!("QUADLET_UNIT_DIRS=/in/{USR} {generator} --dryrun --no-kmsg-log\n"),
    );
    let top = world.root();
    let mut judge = world.command_of(source("tests/peers/in-chroot.sh"));
    judge.arg(chroot).args([&top, &top]).arg(top.join("script"));
    let judged = Ran::of(judge.output().unwrap());
    assert_eq!(judged.code, Some(0), "{}", judged.all());
    let wanted = format!("{host}/t/one:1@{one}");
    let starts = judged.out.lines().filter(|line| line.starts_with("ExecStart="));
    let starts: Vec<&str> = starts.collect();
    assert_eq!(starts.len(), LAYOUTS.len(), "{}", judged.all());
    for start in starts {
        assert!(start.split(' ').any(|word| word == wanted), "{start} does not run {wanted}");
    }
}
