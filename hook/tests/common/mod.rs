//! A host on which one container is about to start: a bundle, a primary store and a bound store in a
//! temporary directory, and a journal that writes down what it is told.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each user takes what it needs")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use binding::{Platform, Record, RecordBinding, RecordLayer, Reference};
use oci_digest::Digest;

pub const HOOK: &str = env!("CARGO_BIN_EXE_bound-images-hook");
pub const TAG: &str = "example.org/app:1";

pub fn id(what: &str) -> String {
    Digest::of(what.as_bytes()).hex()
}

pub fn pinned() -> String {
    format!("example.org/app@{}", Digest::of(b"manifest"))
}

/// A host on which one container is about to start.
pub struct Host {
    pub dir: tempfile::TempDir,
    pub journal: UnixDatagram,
}

impl Host {
    /// The container runs the bound image and is bound to `reference`.
    pub fn new(reference: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let journal = UnixDatagram::bind(dir.path().join("journal")).unwrap();
        journal.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let host = Self { dir, journal };
        for (store, layers) in [("store", ["base", "top"]), ("graph", ["other base", "other"])] {
            host.mkdir(&format!("{store}/overlay/l"));
            for layer in layers {
                let link = host.at(&format!("{store}/overlay/l/{}", link(layer)));
                symlink(format!("../{}/diff", id(layer)), link).unwrap();
            }
        }
        host.mkdir("graph/overlay/own/merged");
        host.mkdir("graph/overlay-containers");
        host.mkdir("bundle");
        host.write_record(&record(reference));
        host.write("graph/overlay/own/lower", format!("l/{}:l/{}", link("top"), link("base")));
        host.write_config(&[
            ("bound-images.service", "app.service"),
            ("bound-images.reference", reference),
        ]);
        host.write_containers(&id("image"));
        host
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Puts a fifo, which nobody writes to, in the place of a file.
    pub fn fifo(&self, path: &str) {
        fs::remove_file(self.at(path)).unwrap();
        assert!(Command::new("mkfifo").arg(self.at(path)).status().unwrap().success());
    }

    /// Puts a link that leads to itself in the place of a file or directory.
    pub fn symlink_loop(&self, path: &str) {
        let path = self.at(path);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        symlink(&path, &path).unwrap();
    }

    pub fn mkdir(&self, path: &str) {
        fs::create_dir_all(self.at(path)).unwrap();
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        fs::write(self.at(path), text).unwrap();
    }

    pub fn write_record(&self, record: &Record) {
        self.write("store/bound-images.json", record.canonical());
    }

    pub fn write_config(&self, annotations: &[(&str, &str)]) {
        let annotations: serde_json::Map<_, _> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
        let config = serde_json::json!({
            "ociVersion": "1.2.0",
            "process": {"args": ["/app"], "cwd": "/"},
            "root": {"path": self.at("graph/overlay/own/merged")},
            "annotations": annotations,
        });
        self.write("bundle/config.json", config.to_string());
    }

    pub fn write_containers(&self, image: &str) {
        let list = serde_json::json!([
            {"id": "another", "names": ["n"], "image": id("x"), "layer": "another"},
            {"id": "c1", "names": ["app"], "image": image, "layer": "own", "metadata": "{}"},
        ]);
        self.write("graph/overlay-containers/containers.json", list.to_string());
    }

    pub fn state(&self) -> String {
        let bundle = self.at("bundle");
        serde_json::json!({"ociVersion": "1.0", "id": "c1", "status": "creating", "pid": 7,
            "bundle": bundle})
        .to_string()
    }

    pub fn run(&self) -> Told {
        self.run_with(self.state().as_bytes())
    }

    pub fn run_with(&self, state: &[u8]) -> Told {
        let output = run(&self.at("store"), &self.at("journal"), state);
        let mut datagram = [0; 65536];
        let length = self.journal.recv(&mut datagram).unwrap();
        let text = String::from_utf8(datagram[..length].to_vec()).unwrap();
        self.journal.set_nonblocking(true).unwrap();
        assert!(self.journal.recv(&mut datagram).is_err(), "one line, not two");
        self.journal.set_nonblocking(false).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        Told { code: output.status.code(), text, stderr }
    }
}

/// What the hook said.
pub struct Told {
    pub code: Option<i32>,
    pub text: String,
    pub stderr: String,
}

impl Told {
    pub fn field(&self, name: &str) -> &str {
        let value = |line| str::strip_prefix(line, name)?.strip_prefix('=');
        self.text.lines().find_map(value).unwrap_or("")
    }

    #[track_caller]
    pub fn accepted(&self) {
        assert_eq!((self.code, self.field("PRIORITY")), (Some(0), "6"), "{}", self.text);
        assert_eq!(self.stderr, "", "the journal took it");
    }

    #[track_caller]
    pub fn refused(&self, words: &[&str]) {
        assert_eq!((self.code, self.field("PRIORITY")), (Some(1), "3"), "{}", self.text);
        for word in words {
            assert!(self.field("MESSAGE").contains(word), "{word}: {}", self.text);
        }
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        assert!(self.stderr.contains(self.field("MESSAGE")), "{}", self.stderr);
    }
}

pub fn run(store: &Path, journal: &Path, state: &[u8]) -> Output {
    let mut child = start(store, journal);
    // It may refuse without reading all of it.
    drop(child.stdin.take().unwrap().write_all(state));
    child.wait_with_output().unwrap()
}

pub fn start(store: &Path, journal: &Path) -> std::process::Child {
    let mut command = Command::new(HOOK);
    command.arg("--store").arg(store).arg("--journal").arg(journal);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// A link id such as podman makes: 26 of A-Z and 2-7.
pub fn link(layer: &str) -> String {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digest = Digest::of(layer.as_bytes());
    digest.bytes()[..26].iter().map(|byte| char::from(letters[usize::from(byte & 31)])).collect()
}

pub fn record(reference: &str) -> Record {
    let layer =
        |name: &str| RecordLayer { diff_id: Digest::of(name.as_bytes()), size: 9, id: id(name) };
    Record::new(vec![RecordBinding {
        name: "app.container".into(),
        reference: Reference::parse(reference).unwrap(),
        alias: None,
        platform: Platform::host(),
        required: true,
        present: true,
        list: None,
        manifest: Some(Digest::of(b"manifest")),
        image: Some(id("image")),
        layers: vec![layer("base"), layer("top")],
    }])
}
