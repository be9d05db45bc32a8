//! With the skopeo of the machine, against a registry that misbehaves.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use super::super::testing::image::{Sample, index, request};
use super::super::testing::registry_server::{Does, FakeRegistry, Login};
use super::*;
use crate::source::Source;
use crate::source::manifest::OCI_INDEX;
use crate::system::skopeo::passed_environment;
use binding::pull::Secret;

/// `user:sesame-open`, which must never be seen.
const SECRET: &str = "sesame-open";
const PAIR: &str = "dXNlcjpzZXNhbWUtb3Blbg==";

struct World {
    server: FakeRegistry,
    directory: tempfile::TempDir,
    options: RegistryOptions,
}

impl World {
    /// `None`, with a word, where there is no skopeo.
    fn new() -> Option<Self> {
        let there = std::process::Command::new("skopeo").arg("--version").output();
        if there.is_err() {
            eprintln!("skipped: needs skopeo");
            return None;
        }
        let server = FakeRegistry::start();
        let directory = tempfile::tempdir().unwrap();
        let conf = directory.path().join("registries.conf");
        std::fs::write(&conf, server.registries_conf()).unwrap();
        let mut options = RegistryOptions::new(passed_environment(std::env::vars_os()));
        options.registries_conf = Some(conf);
        options.secrets = directory.path().to_owned();
        options.stall_timeout = Duration::from_secs(2);
        options.request_timeout = Duration::from_secs(15);
        options.retries = 0;
        options.retry_delay = Duration::from_millis(10);
        Some(Self { server, directory, options })
    }

    fn source(&self) -> Source {
        Source::Registry(Registry::new(self.options.clone()))
    }

    fn request(&self, name: &str) -> Request {
        request(&format!("{}/{name}", self.server.host()))
    }
}

async fn pull(
    source: &Source,
    request: &Request,
) -> Result<(ImageBytes, Vec<Vec<u8>>), SourceError> {
    let image = source.image(request).await?;
    let mut layers = Vec::new();
    for blob in &image.layers {
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<Vec<u8>>(2);
        let collect = async {
            let mut bytes = Vec::new();
            while let Some(piece) = receiver.recv().await {
                assert!(piece.len() <= super::super::blob::PIECE);
                bytes.extend(piece);
            }
            bytes
        };
        let (bytes, result) = tokio::join!(collect, source.layer(request, &image, blob, sender));
        assert!(bytes.len() as u64 <= blob.size);
        result?;
        layers.push(bytes);
    }
    Ok((image, layers))
}

#[tokio::test]
async fn images_come_byte_for_byte() {
    let Some(world) = World::new() else { return };
    let (amd64, arm64, docker) =
        (Sample::oci("amd64"), Sample::oci("arm64"), Sample::docker("amd64"));
    for (sample, tag) in [(&amd64, "amd"), (&arm64, "arm"), (&docker, "docker")] {
        sample.push(&world.server, "ns/app", &[tag]);
    }
    let list = index(&[("arm64", &arm64), ("amd64", &amd64)]);
    let list_digest = Digest::of(&list);
    for name in ["list", &list_digest.to_string()] {
        world.server.manifest("ns/app", name, OCI_INDEX, &list);
    }
    let source = world.source();
    let table = [
        ("ns/app:amd".to_owned(), &amd64, None),
        ("ns/app:docker".to_owned(), &docker, None),
        ("ns/app:list".to_owned(), &amd64, Some(&list)),
        (format!("ns/app@{list_digest}"), &amd64, Some(&list)),
        (format!("ns/app:moved@{list_digest}"), &amd64, Some(&list)),
        (format!("ns/app@{}", docker.digest()), &docker, None),
    ];
    for (name, sample, list) in table {
        let (image, layers) = pull(&source, &world.request(&name)).await.unwrap();
        assert_eq!(image.manifest.bytes, sample.manifest, "{name}");
        assert_eq!(image.manifest.digest, sample.digest(), "{name}");
        assert_eq!(image.manifest.media_type, sample.media_type, "{name}");
        assert_eq!(image.config, sample.config, "{name}");
        assert_eq!(image.list.as_ref().map(|list| &list.bytes), list, "{name}");
        assert_eq!(layers, sample.layers, "{name}");
    }
    // The pin of an interrupted stage overrides the tag.
    let mut pinned = world.request("ns/app:amd");
    pinned.pin = Some(docker.digest());
    assert_eq!(source.image(&pinned).await.unwrap().manifest.bytes, docker.manifest);
    // Another platform of the list, and one that is not there.
    let mut other = world.request("ns/app:list");
    other.platform.architecture = "arm64".into();
    assert_eq!(source.image(&other).await.unwrap().manifest.bytes, arm64.manifest);
    other.platform.architecture = "s390x".into();
    assert_eq!(source.image(&other).await.unwrap_err().kind, Kind::Platform);
    let error = source.image(&world.request("ns/app:arm")).await.unwrap_err();
    assert_eq!(error.kind, Kind::Platform);
    assert!(error.to_string().contains("linux/arm64, not linux/amd64"), "{error}");
    let Source::Registry(registry) = &source else { panic!("a registry") };
    assert_eq!(registry.resolve(&world.request("ns/app:list")).await.unwrap(), list_digest);
}

#[tokio::test]
async fn one_proxy_serves_all_layers_of_an_image() {
    let Some(world) = World::new() else { return };
    let sample = Sample::oci("amd64");
    sample.push(&world.server, "app", &["1"]);
    pull(&world.source(), &world.request("app:1")).await.unwrap();
    let manifests = world
        .server
        .log()
        .iter()
        .filter(|line| line.starts_with("GET") && line.contains("/manifests/"))
        .count();
    assert_eq!(manifests, 2, "{:?}", world.server.log());
}

#[tokio::test]
async fn faults_of_manifests_tell_their_kind() {
    let table = [
        (Does::Status(401), Kind::Unauthorized),
        (Does::Status(403), Kind::Unauthorized),
        (Does::Status(404), Kind::NotFound),
        (Does::Status(429), Kind::RateLimited),
        (Does::Status(500), Kind::Server),
        (Does::Status(503), Kind::Server),
        (Does::HangUp, Kind::Network),
        (Does::Truncate(20), Kind::Network),
        (Does::Garble, Kind::Corrupt),
        (Does::Hang, Kind::Stalled),
    ];
    let Some(mut world) = World::new() else { return };
    world.options.request_timeout = Duration::from_secs(4);
    let sample = Sample::oci("amd64");
    for (number, (does, kind)) in table.into_iter().enumerate() {
        let name = format!("app{number}");
        sample.push(&world.server, &name, &["1"]);
        world.server.fault(&format!("/{name}/manifests/"), does.clone(), usize::MAX);
        let begin = Instant::now();
        // By digest, so that wrong bytes can be told.
        let request = world.request(&format!("{name}@{}", sample.digest()));
        let error = world.source().image(&request).await.unwrap_err();
        assert_eq!(error.kind, kind, "{does:?}: {error}");
        assert!(error.to_string().contains(&name), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(20), "{does:?}");
        if kind == Kind::Unauthorized {
            assert!(error.to_string().contains("without credentials"), "{error}");
            assert!(error.to_string().contains(&world.server.host()), "{error}");
        }
    }
}

#[tokio::test]
async fn faults_of_blobs_tell_their_kind() {
    let table = [
        (Does::Status(403), Kind::Unauthorized),
        (Does::Status(404), Kind::NotFound),
        (Does::Status(500), Kind::Server),
        (Does::Truncate(1000), Kind::Network),
        (Does::Shorten(1000), Kind::Corrupt),
        (Does::Lengthen(1), Kind::Corrupt),
        (Does::Lengthen(500_000), Kind::Corrupt),
        (Does::Garble, Kind::Corrupt),
        (Does::Hang, Kind::Stalled),
        (Does::HangUp, Kind::Network),
    ];
    let Some(world) = World::new() else { return };
    let sample = Sample::oci("amd64");
    for blob in [&sample.config, &sample.layers[1]] {
        for (number, (does, kind)) in table.iter().enumerate() {
            let name = format!("app{number}-{}", blob.len());
            sample.push(&world.server, &name, &["1"]);
            let path = format!("/{name}/blobs/{}", Digest::of(blob));
            world.server.fault(&path, does.clone(), usize::MAX);
            // The config is shorter than what some faults keep.
            if matches!(does, Does::Truncate(count) | Does::Shorten(count) if *count > blob.len()) {
                continue;
            }
            let begin = Instant::now();
            let request = world.request(&format!("{name}:1"));
            let error = pull(&world.source(), &request).await.unwrap_err();
            assert_eq!(error.kind, *kind, "{does:?} of {}: {error}", blob.len());
            assert!(begin.elapsed() < Duration::from_secs(20), "{does:?}");
        }
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_continues() {
    let Some(mut world) = World::new() else { return };
    world.options.retries = 3;
    let sample = Sample::oci("amd64");
    sample.push(&world.server, "app", &["1"]);
    world.server.fault("/manifests/", Does::Status(500), 1);
    let layer = format!("/blobs/{}", Digest::of(&sample.layers[1]));
    world.server.fault(&layer, Does::Truncate(200_000), 1);
    world.server.fault(&layer, Does::Hang, 1);
    let (_, layers) = pull(&world.source(), &world.request("app:1")).await.unwrap();
    assert_eq!(layers, sample.layers);
    // A Quadlet's Retry=0 overrides it.
    world.server.fault("/manifests/", Does::Status(500), 1);
    let mut once = world.request("app:1");
    once.pull.retry = Some(0);
    assert_eq!(world.source().image(&once).await.unwrap_err().kind, Kind::Server);
}

#[tokio::test]
async fn nobody_there() {
    let Some(world) = World::new() else { return };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = world.source().image(&request(&format!("{free}/a/b:1"))).await.unwrap_err();
    assert_eq!(error.kind, Kind::Network, "{error}");
    // Without the registries.conf that allows plain HTTP; TLSVerify=false allows it too.
    let mut world = world;
    world.options.registries_conf = None;
    let sample = Sample::oci("amd64");
    sample.push(&world.server, "app", &["1"]);
    let error = world.source().image(&world.request("app:1")).await.unwrap_err();
    assert_eq!(error.kind, Kind::PlainHttp, "{error}");
    let mut plain = world.request("app:1");
    plain.pull.tls_verify = Some(false);
    pull(&world.source(), &plain).await.unwrap();
}

/// A skopeo that writes down what it is given, then does its work.
fn recording_skopeo(directory: &Path) -> (PathBuf, PathBuf) {
    let (script, record) = (directory.join("skopeo"), directory.join("record"));
    let text = format!(
        "#!/bin/sh\n{{ printf '%s\\n' \"$@\"; env; for file; do case $file in \
         */bound-images-auth-*) stat -c 'mode %a' \"$file\";; esac; done; }} >> '{}'\n\
         exec skopeo \"$@\"\n",
        record.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    (script, record)
}

#[tokio::test]
async fn credentials_open_and_are_never_seen() {
    let Some(mut world) = World::new() else { return };
    let directory = world.directory.path().to_owned();
    let (script, record) = recording_skopeo(&directory);
    world.options.skopeo = script;
    let sample = Sample::oci("amd64");
    sample.push(&world.server, "app", &["1"]);
    let root = directory.join("root");
    std::fs::create_dir_all(root.join("etc/ostree")).unwrap();
    let file =
        |pair: &str| format!(r#"{{"auths": {{"{}": {{"auth": "{pair}"}}}}}}"#, world.server.host());
    for login in [Login::Basic(PAIR.into()), Login::Bearer(PAIR.into())] {
        world.server.login(login);
        // An auth file of the root.
        std::fs::write(root.join("etc/ostree/auth.json"), file(PAIR)).unwrap();
        let mut asked = world.request("app:1");
        asked.auth_files =
            vec![AuthFile::InRoot { root: root.clone(), path: "etc/ostree/auth.json".into() }];
        pull(&world.source(), &asked).await.unwrap();
        // Creds= of a Quadlet, before any file.
        std::fs::write(root.join("etc/ostree/auth.json"), file("dXNlcjp3cm9uZw==")).unwrap();
        let mut creds = asked.clone();
        creds.pull.creds = Some(Secret::new(format!("user:{SECRET}")));
        pull(&world.source(), &creds).await.unwrap();
        // Wrong ones, and none: the error says what was tried.
        let error = world.source().image(&asked).await.unwrap_err();
        assert_eq!(error.kind, Kind::Unauthorized, "{error}");
        assert!(error.to_string().contains("root/etc/ostree/auth.json"), "{error}");
        asked.auth_files.clear();
        let error = world.source().image(&asked).await.unwrap_err();
        assert_eq!(error.kind, Kind::Unauthorized, "{error}");
        assert!(!error.to_string().contains(SECRET) && !error.to_string().contains(PAIR));
    }
    let seen = std::fs::read_to_string(record).unwrap();
    assert!(seen.contains("--authfile") && seen.contains("--no-creds"), "{seen}");
    assert!(seen.contains("mode 600") && seen.contains("HOME=/nonexistent"), "{seen}");
    assert!(!seen.contains(SECRET) && !seen.contains(PAIR), "{seen}");
    for name in ["REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "insecure-policy"] {
        assert!(!seen.contains(name), "{name}");
    }
    let left = std::fs::read_dir(&directory).unwrap().flatten();
    for entry in left {
        assert!(!entry.file_name().to_string_lossy().starts_with("bound-images-auth"));
    }
}

fn says(directory: &Path, version: &str) -> PathBuf {
    let script = directory.join("other-skopeo");
    std::fs::write(&script, format!("#!/bin/sh\necho skopeo version {version}\n")).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

#[tokio::test]
async fn skopeo_missing_or_too_old_or_unable_to_enforce_the_policy() {
    let Some(mut world) = World::new() else { return };
    let directory = world.directory.path().to_owned();
    world.options.skopeo = directory.join("none");
    let error = world.source().image(&request("quay.io/a/b:1")).await.unwrap_err();
    assert_eq!(error.kind, Kind::SkopeoMissing, "{error}");
    world.options.skopeo = says(&directory, "1.4.1");
    let error = world.source().image(&request("quay.io/a/b:1")).await.unwrap_err();
    assert_eq!(error.kind, Kind::SkopeoTooOld, "{error}");
    assert!(error.to_string().contains("1.4"), "{error}");
    world.options.skopeo = says(&directory, "1.9.3");
    let policy = directory.join("policy.json");
    std::fs::write(&policy, r#"{"default": [{"type": "signedBy"}]}"#).unwrap();
    world.options.policy = Some(policy);
    let error = world.source().image(&request("quay.io/a/b:1")).await.unwrap_err();
    assert_eq!(error.kind, Kind::Policy, "{error}");
    assert!(error.to_string().contains("does not enforce"), "{error}");
}

/// The proxies of this process that still run, by their image proxies' command lines.
fn proxies() -> usize {
    let own = std::process::id().to_string();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| {
            let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
            let line = String::from_utf8_lossy(&read("cmdline")).into_owned();
            let status = String::from_utf8_lossy(&read("status")).into_owned();
            line.contains("experimental-image-proxy")
                && line.contains("only-in-this-test")
                && status.lines().any(|line| line.split_whitespace().eq(["PPid:", own.as_str()]))
        })
        .count()
}

#[tokio::test]
async fn no_proxy_outlives_its_use() {
    let Some(mut world) = World::new() else { return };
    let conf = world.directory.path().join("only-in-this-test.conf");
    std::fs::write(&conf, world.server.registries_conf()).unwrap();
    world.options.registries_conf = Some(conf);
    world.options.stall_timeout = Duration::from_secs(300);
    let sample = Sample::oci("amd64");
    sample.push(&world.server, "app", &["1"]);
    let source = world.source();
    let asked = world.request("app:1");
    let image = source.image(&asked).await.unwrap();
    assert_eq!(proxies(), 1);
    // Dropped in the middle of a blob that hangs: the proxy is stuck, and only a kill ends it.
    world.server.fault("/blobs/", Does::Hang, usize::MAX);
    let (sender, _receiver) = tokio::sync::mpsc::channel(1000);
    let work = source.layer(&asked, &image, &image.layers[0], sender);
    assert!(tokio::time::timeout(Duration::from_secs(1), work).await.is_err());
    drop(source);
    let begin = Instant::now();
    while proxies() > 0 {
        assert!(begin.elapsed() < Duration::from_secs(10), "a proxy is left");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
