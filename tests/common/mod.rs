//! What the command tests share: a scratch directory with a root and a bundle in it, the program as
//! a user runs it, and pictures of trees to compare.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::panic, clippy::indexing_slicing)]

pub mod host;
pub mod images;
#[path = "../support/registry.rs"]
pub mod registry;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use binding::{BINDINGS_PATH, RECORD_FILE, STORE_PATH};
use oci_digest::Digest;
use serde_json::Value;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_bound-images");

/// The top of the source tree.
pub fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Whether all of it is here; says what a skipped test needs.
pub fn have(programs: &[&str]) -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return false;
    }
    for program in programs {
        if find(program).is_none() {
            eprintln!("skipped: needs {program}");
            return false;
        }
    }
    true
}

/// Where a program is.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|at| at.join(program)).find(|file| file.is_file())
}

/// What a finished command said.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// All that was said, for messages.
    pub fn all(&self) -> String {
        format!("exit {:?}\n--- stdout\n{}--- stderr\n{}", self.code, self.out, self.err)
    }

    /// The lines that tell of errors.
    pub fn errors(&self) -> String {
        let lines = self.err.lines().filter(|line| line.starts_with("error"));
        lines.fold(String::new(), |text, line| text + line + "\n")
    }

    #[track_caller]
    pub fn expect(&self, code: i32, wanted: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.all());
        self.says(wanted);
    }

    #[track_caller]
    pub fn says(&self, wanted: &[&str]) {
        for part in wanted {
            assert!(
                self.out.contains(part) || self.err.contains(part),
                "`{part}` is not said:\n{}",
                self.all()
            );
        }
    }

    /// Standard output as JSON lines, each with the schema number.
    #[track_caller]
    pub fn json(&self) -> Vec<Value> {
        let lines = serde_json::Deserializer::from_str(&self.out).into_iter();
        let values: Vec<Value> = lines.map(|value| value.unwrap()).collect();
        assert!(!values.is_empty(), "no JSON: {}", self.all());
        for value in &values {
            assert_eq!(value["schema"], 1, "{value}");
        }
        values
    }
}

/// A scratch directory on a real file system, removed at the end.
pub struct World {
    directory: tempfile::TempDir,
}

impl World {
    /// An empty root and what `skopeo` must know.
    pub fn new() -> Self {
        let top = source("target/tests");
        fs::create_dir_all(&top).unwrap();
        let directory = tempfile::tempdir_in(plain(&top)).unwrap();
        // Others than root look at it as well.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let world = Self { directory };
        fs::create_dir_all(world.root().join("usr")).unwrap();
        fs::write(world.path("registries.conf"), "").unwrap();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn root(&self) -> PathBuf {
        self.path("root")
    }

    pub fn store(&self) -> PathBuf {
        self.root().join(STORE_PATH)
    }

    /// Where a stage works before it publishes.
    pub fn work(&self) -> PathBuf {
        self.root().join("usr/lib/containers/.bound-images")
    }

    /// A file of the root, with the directories above it.
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A link in the directory of bindings.
    pub fn link(&self, name: &str, target: &str) {
        let directory = self.root().join(BINDINGS_PATH);
        fs::create_dir_all(&directory).unwrap();
        symlink(target, directory.join(name)).unwrap();
    }

    /// A Quadlet and the link that binds it.
    pub fn bind(&self, name: &str, text: impl AsRef<[u8]>) {
        self.write(&format!("usr/share/containers/systemd/{name}"), text);
        self.link(name, &format!("/usr/share/containers/systemd/{name}"));
    }

    /// `.container` Quadlets, one per reference.
    pub fn bind_images(&self, images: &[(&str, &str)]) {
        for (name, reference) in images {
            self.bind(&format!("{name}.container"), format!("[Container]\nImage={reference}\n"));
        }
    }

    /// The environment of a user who has credentials that must never be used.
    pub fn command_of(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .stdin(Stdio::null())
            .env("CONTAINERS_REGISTRIES_CONF", self.path("registries.conf"))
            .env_remove("JOURNAL_STREAM");
        command
    }

    /// `bound-images COMMAND --root ROOT …`, not started yet.
    pub fn command(&self, command: &str, more: &[&str]) -> Command {
        let mut made = self.command_of(PROGRAM);
        made.arg(command).arg("--root").arg(self.root()).args(more);
        made
    }

    pub fn run(&self, command: &str, more: &[&str]) -> Ran {
        Ran::of(self.command(command, more).output().unwrap())
    }

    /// Stages from the bundle `bundle`.
    pub fn stage(&self, more: &[&str]) -> Ran {
        let bundle = self.path("bundle");
        let mut words = vec!["--bundle", bundle.to_str().unwrap()];
        words.extend(more);
        self.run("stage", &words)
    }

    /// A shell script in a private mount namespace; `$P` is the program, `$ROOT` the root, `$BUNDLE`
    /// the bundle, `$W` the scratch directory.
    pub fn unshared(&self, script: &str) -> Ran {
        let mut command = self.command_of("unshare");
        command.args(["--mount", "--", "sh", "-ec", script]);
        command.env("P", PROGRAM).env("ROOT", self.root()).env("BUNDLE", self.path("bundle"));
        command.env("W", self.directory.path());
        Ran::of(command.output().unwrap())
    }

    pub fn record(&self) -> Value {
        serde_json::from_slice(&fs::read(self.store().join(RECORD_FILE)).unwrap()).unwrap()
    }

    /// Nothing at the store's place.
    #[track_caller]
    pub fn assert_unpublished(&self, ran: &Ran) {
        assert!(!self.store().exists(), "something was published: {}", ran.all());
    }
}

/// `..` taken out, without following links.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// Every path below `top` with all that a store promises to be the same: type, mode, owner, size,
/// time, device, content, link target and xattrs.
pub fn picture(top: &Path) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    take(top, "", &mut seen);
    seen
}

fn take(top: &Path, below: &str, seen: &mut BTreeMap<String, String>) {
    let path = top.join(below);
    let Ok(stat) = fs::symlink_metadata(&path) else { return };
    let kind = stat.file_type();
    let content = if kind.is_file() {
        Digest::of(&fs::read(&path).unwrap()).to_string()
    } else if kind.is_symlink() {
        fs::read_link(&path).unwrap().display().to_string()
    } else {
        String::new()
    };
    let size = if kind.is_dir() { 0 } else { stat.size() };
    let links = if kind.is_dir() { 0 } else { stat.nlink() };
    let line = format!(
        "{:o} {}:{} {size} {links} {}.{} {:x} {content} {:?}",
        stat.mode(),
        stat.uid(),
        stat.gid(),
        stat.mtime(),
        stat.mtime_nsec(),
        stat.rdev(),
        xattrs(&path)
    );
    seen.insert(below.to_owned(), line);
    if kind.is_dir() {
        for entry in fs::read_dir(&path).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            let below = if below.is_empty() { name } else { format!("{below}/{name}") };
            take(top, &below, seen);
        }
    }
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 4096];
    let count = rustix::fs::llistxattr(path, names.as_mut_slice()).unwrap_or(0);
    let mut found = BTreeMap::new();
    for name in names[..count].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = String::from_utf8_lossy(name).into_owned();
        let mut value = vec![0; 4096];
        let count = rustix::fs::lgetxattr(path, name.as_str(), value.as_mut_slice()).unwrap();
        found.insert(name, value[..count].to_vec());
    }
    found
}

/// What differs between two pictures, in a few lines.
#[track_caller]
pub fn assert_same(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>, what: &str) {
    let mut differences = Vec::new();
    for path in one.keys().chain(other.keys()) {
        if one.get(path) != other.get(path) {
            differences.push(format!("{path}\n  {:?}\n  {:?}", one.get(path), other.get(path)));
        }
    }
    differences.dedup();
    assert!(differences.is_empty(), "{what}:\n{}", differences.join("\n"));
}

/// Waits until `done`, at most `seconds`.
#[track_caller]
pub fn wait_until(what: &str, seconds: u64, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(seconds), "{what}: not after {seconds} s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ends a command with a signal, and what it said.
pub fn end(child: Child, signal: rustix::process::Signal) -> Ran {
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, signal).unwrap();
    Ran::of(child.wait_with_output().unwrap())
}

/// Every file below `top` that contains `needle`, in its bytes.
pub fn containing(top: &Path, needle: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(top) else { return found };
    for entry in entries.map(|entry| entry.unwrap()) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(containing(&entry.path(), needle));
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).unwrap();
            if bytes.windows(needle.len()).any(|window| window == needle.as_bytes()) {
                found.push(entry.path());
            }
        }
    }
    found
}
