//! Podman's own Quadlet generator (5.4, in a chroot) judges how we read Quadlets: for every binding
//! the services must be there under the names that we say, and start the image that we say.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Files below usr/share/containers/systemd (path, text); what is not a drop-in is bound.
const QUADLETS: &[(&str, &str)] = &[
    ("plain.container", "[Container]\nImage=quay.io/a/plain:1\n"),
    (
        "digest.container",
        "[Container]\nImage=quay.io/a/digest@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n",
    ),
    ("last.container", "[Container]\nImage=quay.io/a/first:1\nImage=quay.io/a/last:2\n"),
    (
        "groups.container",
        "[Container]\nImage=quay.io/a/one:1\n[Unit]\nDescription=x\n[Container]\nImage=quay.io/a/groups:2\n",
    ),
    ("spaces.container", "  [Container]  \n  Image  =  quay.io/a/spaces:1  \n"),
    ("quotes.container", "[Container]\nImage=\"quay.io/a/quotes:1\"\n"),
    ("continued.container", "[Container]\nImage=quay.io/a/\\\ncontinued:1\n"),
    (
        "comment.container",
        "[Container]\nImage=quay.io/a/\\\n# a comment inside\n; another\n\ncomment:1\n",
    ),
    (
        "believed.container",
        "[Container]\nExec=sh \\\nImage=quay.io/a/wrong:1\nImage=quay.io/a/believed:1\n",
    ),
    (
        "hash.container",
        "[Container]\n# Image=quay.io/a/commented:1\nImage=quay.io/a/hash:1\nLabel=x=#y\n",
    ),
    ("crlf.container", "[Container]\r\nImage=quay.io/a/crlf:1\r\n"),
    ("named.container", "[Container]\nServiceName=other-name\nImage=quay.io/a/named:1\n"),
    ("dotted.name.container", "[Container]\nImage=quay.io/a/dotted:1\n"),
    ("template@.container", "[Container]\nImage=quay.io/a/template:1\n"),
    ("instance@one.container", "[Container]\nImage=quay.io/a/instance:1\n"),
    ("sub/deeper/nested.container", "[Container]\nImage=quay.io/a/nested:1\n"),
    ("dropped.container", "[Container]\nImage=quay.io/a/before:1\n"),
    ("dropped.container.d/10-image.conf", "[Container]\nImage=quay.io/a/dropped:2\n"),
    ("dropped.container.d/ignored.txt", "[Container]\nImage=quay.io/a/ignored:2\n"),
    ("order.container", "[Container]\nImage=quay.io/a/order:1\n"),
    ("order.container.d/20.conf", "[Container]\nImage=quay.io/a/order:20\n"),
    ("order.container.d/10.conf", "[Container]\nImage=quay.io/a/order:10\n"),
    ("cut-name.container", "[Container]\nImage=quay.io/a/cut:1\n"),
    ("cut-.container.d/10.conf", "[Container]\nImage=quay.io/a/cut:2\n"),
    ("instance@two.container", "[Container]\nImage=quay.io/a/two:1\n"),
    ("instance@.container.d/10.conf", "[Container]\nEnvironment=A=1\n"),
    ("template@.container.d/10.conf", "[Container]\nImage=quay.io/a/template:2\n"),
    ("everybody.container", "[Container]\nImage=quay.io/a/everybody:1\n"),
    ("container.d/99-all.conf", "[Container]\nLabel=all=yes\n"),
    ("base.image", "[Image]\nImage=quay.io/a/base:1\n"),
    ("user-of-base.container", "[Container]\nImage=base.image\n"),
    ("second-user.container", "[Container]\nImage=base.image\n"),
    ("named-image.image", "[Image]\nServiceName=pull-it\nImage=quay.io/a/pulled:1\n"),
    ("image-dropped.image", "[Image]\nImage=quay.io/a/old:1\n"),
    ("image-dropped.image.d/x.conf", "[Image]\nImage=quay.io/a/new:1\n"),
    (
        "optional.container",
        "[Container]\nImage=quay.io/a/optional:1\n[X-BoundImage]\nRequired=no\n",
    ),
    ("port.container", "[Container]\nImage=registry.example:5000/a/port:1\nPublishPort=80:80\n"),
    (
        "tagged-digest.container",
        "[Container]\nImage=quay.io/a/both:1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n",
    ),
];

/// The images that Podman's generator makes services start, by service.
fn judged(text: &str) -> BTreeMap<String, String> {
    let mut services = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("---").and_then(|line| line.strip_suffix("---")) {
            name = Path::new(path).file_name().unwrap().to_string_lossy().into_owned();
        } else if let Some(command) = line.strip_prefix("ExecStart=") {
            services.insert(name.clone(), command.to_owned());
        }
    }
    services
}

#[test]
fn podmans_generator_agrees() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let made = Command::new(project.join("tests/setup/chroot.sh")).arg("trixie").output().unwrap();
    if made.status.code() == Some(2) {
        eprintln!("skipped: needs {}", String::from_utf8_lossy(&made.stderr).trim());
        return;
    }
    let chroot = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    fs::create_dir_all(project.join("target/tests")).unwrap();
    let root = tempfile::tempdir_in(project.join("target/tests")).unwrap();
    let (units, links) =
        ("usr/share/containers/systemd", root.path().join("usr/lib/bootc/bound-images.d"));
    fs::create_dir_all(&links).unwrap();
    for (path, text) in QUADLETS {
        let file = root.path().join(units).join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        if path.ends_with(".container") || path.ends_with(".image") {
            let name = file.file_name().unwrap();
            std::os::unix::fs::symlink(format!("/{units}/{path}"), links.join(name)).unwrap();
        }
    }
    let script = root.path().join("script");
    fs::write(
        &script,
        format!("QUADLET_UNIT_DIRS=/in/{units} /usr/lib/systemd/system-generators/podman-system-generator --dryrun --no-kmsg-log 2>/tmp/errors || {{ cat /tmp/errors >&2; exit 1; }}\n"),
    )
    .unwrap();
    let output = Command::new(project.join("tests/peers/in-chroot.sh"))
        .arg(&chroot)
        .arg(root.path())
        .arg(root.path())
        .arg(&script)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let podman = judged(&String::from_utf8(output.stdout).unwrap());
    let ours = Command::new(env!("CARGO_BIN_EXE_bound-images"))
        .args(["list", "--format", "json", "--root"])
        .arg(root.path())
        .output()
        .unwrap();
    let ours: serde_json::Value = serde_json::from_slice(&ours.stdout).unwrap();
    let errors: Vec<_> = ours["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["severity"] == "error")
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    let bindings = ours["bindings"].as_array().unwrap();
    assert_eq!(
        bindings.len(),
        QUADLETS
            .iter()
            .filter(|(path, _)| !path.ends_with(".conf") && !path.ends_with(".txt"))
            .count()
    );
    let mut named = std::collections::BTreeSet::new();
    for binding in bindings {
        let reference = binding["reference"].as_str().unwrap();
        for service in binding["services"].as_array().unwrap() {
            let service = service.as_str().unwrap();
            let command = podman
                .get(service)
                .unwrap_or_else(|| panic!("{service} of {} is not Podman's", binding["name"]));
            let starts = command.split(' ').any(|word| word == reference);
            assert!(starts, "{service}: we say {reference}, Podman runs {command}");
            named.insert(service.to_owned());
        }
    }
    let missed: Vec<&String> = podman.keys().filter(|service| !named.contains(*service)).collect();
    assert!(missed.is_empty(), "services of Podman's that no binding names: {missed:?}");
}
