//! Programs that judge our stores: a registry, podman, skopeo; and the roots and images they are asked about.
#![allow(dead_code, unused_imports, reason = "each test uses a part of it")]
#![allow(unreachable_pub, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod tree;

pub use tree::{Entry, Tree, differences, tree};

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oci_digest::Digest;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The top of the sources.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A directory for one test, on a file system with trusted xattrs and device nodes (no tmpfs).
pub fn scratch() -> TempDir {
    let tests = project().join("target/tests");
    fs::create_dir_all(&tests).unwrap();
    tempfile::tempdir_in(tests).unwrap()
}

/// Whether something that the test needs is not there; then it says so.
pub fn skipped(tools: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |tool: &str| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file());
    let mut missing: Vec<&str> = tools.iter().copied().filter(|tool| !there(tool)).collect();
    if !rustix::process::geteuid().is_root() {
        missing.push("root");
    }
    if !missing.is_empty() {
        println!("skipped: needs {}", missing.join(", "));
    }
    !missing.is_empty()
}

/// What a program said.
#[derive(Debug)]
pub struct Said {
    pub exit: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// Fails the test unless it went well.
    #[track_caller]
    pub fn well(self) -> Self {
        assert_eq!(self.exit, 0, "{}\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// Runs a program to its end.
#[track_caller]
pub fn run<A: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = A>) -> Said {
    said(Command::new(program).args(args))
}

#[track_caller]
fn said(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said {
        exit: output.status.code().unwrap_or(-1),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// Runs tests/corpus/mkimage.py; what it wrote.
#[track_caller]
pub fn mkimage(args: &[&str]) -> Value {
    let tool = project().join("tests/corpus/mkimage.py");
    run("python3", [tool.to_str().unwrap()].iter().chain(args)).well().json()
}

/// The layout of the real Debian images, and what is in it: nginx, redis, python3.
pub fn debian_images() -> (PathBuf, Vec<Value>) {
    let list = run(project().join("tests/corpus/debian-images.sh"), [""; 0]).well();
    let list = PathBuf::from(list.stdout.trim_end());
    let images = serde_json::from_slice(&fs::read(&list).unwrap()).unwrap();
    (list.with_file_name("layout"), images)
}

/// A layer with every kind of file, and all that a layer leaves to whoever unpacks it: parents
/// that it does not list, no root directory, times of whiteouts.
fn corners() -> Value {
    json!([
        {"path": "deep/below/implied", "type": "file", "content": "x", "mode": "4755", "mtime": 5},
        {"path": "etc/", "type": "dir", "mode": "0750", "uid": 3, "gid": 4, "mtime": 1},
        {"path": "etc/a", "content": "a", "xattrs": {"user.b": "2", "user.a": "1"}},
        {"path": "etc/b", "type": "hardlink", "link": "etc/a"},
        {"path": "other/c", "type": "hardlink", "link": "etc/a"},
        {"path": "etc/link", "type": "symlink", "link": "/absolute"},
        {"path": "capable", "content": "c", "xattrs": {"security.capability": "base64:AQAAAgAEAAAAAAAAAAAAAAAAAAA="}},
        {"path": "dev/null", "type": "char", "dev": [1, 3], "mode": "0666"},
        {"path": "dev/disk", "type": "block", "dev": [7, 0], "mode": "0660"},
        {"path": "dev/pipe", "type": "fifo", "mtime": 7},
        {"path": "old", "type": "file", "content": "to be hidden"},
        {"path": "whole/old", "type": "file", "content": "to be hidden"},
        {"path": "n\u{e4}me/with \"quotes\"\n", "content": ""}
    ])
}

/// A layer that hides files of the one below.
fn hiding() -> Value {
    json!([
        {"path": "old", "type": "whiteout"},
        {"path": "whole", "type": "dir"},
        {"path": "whole", "type": "opaque"},
        {"path": "whole/new", "content": "new"},
        {"path": "elsewhere/old", "type": "whiteout"}
    ])
}

/// Packs an image of two layers with every corner.
#[track_caller]
pub fn corner_image(directory: &Path, layout: &Path, name: &str) -> Value {
    let layers = [("corners.json", corners()), ("hiding.json", hiding())].map(|(file, entries)| {
        let path = directory.join(file);
        fs::write(&path, entries.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let at = layout.to_str().unwrap();
    mkimage(&["image", at, "--ref", name, "--layer", &layers[0], "--layer", &layers[1]])
}

/// A string of a JSON object.
#[track_caller]
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key} in {value}"))
}

/// The strings of a JSON list in an object.
#[track_caller]
pub fn texts(value: &Value, key: &str) -> Vec<String> {
    let list = value[key].as_array().unwrap_or_else(|| panic!("no list {key} in {value}"));
    list.iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

/// `sha256:hex` without `sha256:`.
pub fn hex(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap()
}

/// Debian's docker-registry on a free port of 127.0.0.1.
pub struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
    log: PathBuf,
    /// A registries.conf that allows plain HTTP with it.
    conf: PathBuf,
}

impl Registry {
    /// Starts it; what it holds, and its log, are below `directory`.
    pub fn start(directory: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        let (config, log) = (directory.join("registry.yml"), directory.join("log"));
        let storage = directory.join("storage");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nhttp: {{addr: '127.0.0.1:0'}}\n\
             storage: {{filesystem: {{rootdirectory: '{}'}}}}\n",
            storage.display()
        );
        fs::write(&config, text).unwrap();
        let output = File::create(&log).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut registry =
            Self { child, address: String::new(), log, conf: directory.join("registries.conf") };
        registry.address = registry.wait_for_address();
        let conf = format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", registry.address);
        fs::write(&registry.conf, conf).unwrap();
        registry
    }

    fn wait_for_address(&self) -> String {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let log = fs::read_to_string(&self.log).unwrap();
            if let Some((_, rest)) = log.split_once("listening on ") {
                let mark = |c: char| !c.is_ascii_digit() && c != '.' && c != ':';
                if let Some(at) = rest.find(mark) {
                    return rest[..at].to_owned();
                }
            }
            assert!(Instant::now() < end, "docker-registry did not start:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Pushes byte for byte; `to` is `repository[:tag]`.
    #[track_caller]
    pub fn push(&self, layout: &Path, image: &str, to: &str) {
        let tool = project().join("tests/corpus/push.py");
        let address = format!("http://{}/{to}", self.address);
        run("python3", [tool.to_str().unwrap(), layout.to_str().unwrap(), image, &address]).well();
    }

    /// The requests for documents and blobs since it was started: `GET /v2/…`.
    pub fn downloads(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.log).unwrap();
        let paths = log.lines().filter_map(|line| line.split_once("\"GET ")?.1.split(' ').next());
        paths.map(str::to_owned).collect()
    }

    /// A manifest, by digest, or a blob: `t/list/manifests/sha256:…`; the bytes that are sent.
    #[track_caller]
    pub fn get(&self, path: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
             application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
        write!(stream, "GET /v2/{path} HTTP/1.0\r\nHost: test\r\nAccept: {accept}\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        assert!(head.contains(" 200 "), "{path}: {head}");
        answer.split_off(end + 4)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself; then the test has failed already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A root that binds images.
pub struct Root(pub PathBuf);

impl Root {
    pub fn new(path: PathBuf) -> Self {
        fs::create_dir_all(path.join("usr/share/containers/systemd")).unwrap();
        fs::create_dir_all(path.join("usr/lib/bootc/bound-images.d")).unwrap();
        Self(path)
    }

    /// Writes a Quadlet that is not bound by itself, or changes one that is.
    pub fn quadlet(&self, file: &str, text: &str) {
        fs::write(self.0.join("usr/share/containers/systemd").join(file), text).unwrap();
    }

    /// Writes a Quadlet and binds it.
    pub fn bind(&self, file: &str, text: &str) {
        self.quadlet(file, text);
        let target = Path::new("../../../share/containers/systemd").join(file);
        symlink(target, self.0.join("usr/lib/bootc/bound-images.d").join(file)).unwrap();
    }

    /// Binds `image` with the smallest Quadlet.
    pub fn bind_container(&self, file: &str, image: &str) {
        self.bind(file, &format!("[Container]\nImage={image}\n"));
    }

    pub fn store(&self) -> PathBuf {
        self.0.join("usr/lib/containers/storage")
    }

    /// `bound-images stage --root THIS ARGS...`, from a registry where one is given.
    #[track_caller]
    pub fn stage(&self, registry: Option<&Registry>, args: &[&str]) -> Staged {
        let said = said(&mut self.stage_command(registry, args));
        let events = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Staged { exit: said.exit, events, stderr: said.stderr }
    }

    pub fn stage_command(&self, registry: Option<&Registry>, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bound-images"));
        command.args(["stage", "--format", "json", "--root"]).arg(&self.0).args(args);
        match registry {
            Some(registry) => command.env("CONTAINERS_REGISTRIES_CONF", &registry.conf),
            None => command.env_remove("CONTAINERS_REGISTRIES_CONF"),
        };
        command
    }
}

/// What a stage said.
#[derive(Debug)]
pub struct Staged {
    pub exit: i32,
    pub events: Vec<Value>,
    pub stderr: String,
}

impl Staged {
    /// Fails the test unless the stage ended with this result.
    #[track_caller]
    pub fn with_result(self, result: &str) -> Self {
        let last = self.events.last().map(|event| event["result"].as_str().unwrap_or_default());
        assert_eq!((self.exit, last), (0, Some(result)), "{:#?}\n{}", self.events, self.stderr);
        self
    }

    /// The events of a kind.
    pub fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["event"] == kind).collect()
    }
}

/// podman with `store` as its additional store, and an empty one of its own.
#[track_caller]
pub fn podman(store: &Path, args: &[&str]) -> Said {
    let script = project().join("tests/demo/podman-on-store.sh");
    let mut said = run(script, [store.to_str().unwrap()].iter().chain(args));
    // The first line repeats the command.
    said.stdout = said.stdout.split_once('\n').map_or("", |(_, rest)| rest).to_owned();
    said
}

/// `skopeo copy FROM TO`; what it mounts goes with its mount namespace.
#[track_caller]
pub fn skopeo_copy(from: &str, to: &str) -> Said {
    let start =
        ["--mount", "--propagation", "private", "skopeo", "--insecure-policy", "copy", "-q"];
    run("unshare", start.iter().chain(&[from, to]))
}

/// The id that containers/image gives a layer, from the diff ids up to and with it.
pub fn chain_id(diff_ids: &[String]) -> String {
    let first = hex(&diff_ids[0]).to_owned();
    diff_ids[1..].iter().fold(first, |below, diff_id| {
        Digest::of(format!("{below}+{}", hex(diff_id)).as_bytes()).hex()
    })
}

/// The id that the same layer has in a store of ours.
pub fn layer_id(diff_ids: &[String]) -> String {
    Digest::of(format!("bound-images-layer-v1\n{}", chain_id(diff_ids)).as_bytes()).hex()
}
