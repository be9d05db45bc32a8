//! A private D-Bus daemon with a systemd and a logind on it that say what a test wants. Included with
//! `#[path]`.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use tokio::runtime::Runtime;
use zbus::{Connection, OwnedFd, OwnedObjectPath, OwnedVariant, connection, interface};

/// How systemd answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    Well,
    /// Never.
    Not,
    /// With something of another type.
    Nonsense,
}

/// A unit as the fake systemd has it.
#[derive(Clone, Debug)]
pub struct Unit {
    pub load: &'static str,
    pub active: &'static str,
    pub sub: &'static str,
    /// Type of the job that it waits for.
    pub job: Option<&'static str>,
    /// When it last left the state `inactive`, in µs since the boot.
    pub began: u64,
    pub wanted_by: Vec<String>,
}

impl Unit {
    pub fn new(load: &'static str, active: &'static str, sub: &'static str) -> Self {
        Self { load, active, sub, job: None, began: 1, wanted_by: Vec::new() }
    }
}

type Entry =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

fn object(path: &str) -> OwnedObjectPath {
    OwnedObjectPath::try_from(path.to_owned()).unwrap()
}

/// What both know, and what was asked of them.
#[derive(Debug, Default)]
pub struct State {
    pub units: BTreeMap<String, Unit>,
    /// Unit and type of each job.
    pub jobs: Vec<(String, String)>,
    /// Method and arguments of each call that changes something.
    pub calls: Vec<String>,
    /// Done when something is to be run outside.
    pub on_run: Option<(PathBuf, String)>,
    /// What each lock is for, and the other end of its file descriptor.
    pub locks: Vec<(String, File)>,
}

type Shared = Arc<Mutex<State>>;

struct Manager(Shared);

impl Manager {
    fn entry(&self, name: &str) -> Entry {
        let state = self.0.lock().unwrap();
        let none = Unit::new("not-found", "inactive", "dead");
        let unit = state.units.get(name).unwrap_or(&none);
        let text = str::to_owned;
        (
            text(name),
            text("A unit"),
            text(unit.load),
            text(unit.active),
            text(unit.sub),
            String::new(),
            object("/unit/x"),
            u32::from(unit.job.is_some()),
            text(unit.job.unwrap_or_default()),
            object("/"),
        )
    }

    fn log(&self, call: String) {
        self.0.lock().unwrap().calls.push(call);
    }
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    async fn list_units_by_names(&self, names: Vec<String>) -> Vec<Entry> {
        names.iter().map(|name| self.entry(name)).collect()
    }

    async fn list_units_by_patterns(
        &self,
        _states: Vec<String>,
        patterns: Vec<String>,
    ) -> Vec<Entry> {
        let names: Vec<String> = self.0.lock().unwrap().units.keys().cloned().collect();
        let starts = |name: &&String| {
            let stem = |pattern: &String| pattern.split('?').next().unwrap().to_owned();
            patterns.iter().any(|pattern| name.starts_with(&stem(pattern)))
        };
        names.iter().filter(starts).map(|name| self.entry(name)).collect()
    }

    async fn list_jobs(
        &self,
    ) -> Vec<(u32, String, String, String, OwnedObjectPath, OwnedObjectPath)> {
        let state = self.0.lock().unwrap();
        let job = |(unit, kind): &(String, String)| {
            (1, unit.clone(), kind.clone(), "waiting".to_owned(), object("/job"), object("/unit/x"))
        };
        state.jobs.iter().map(job).collect()
    }

    async fn get_unit(&self, name: String) -> OwnedObjectPath {
        let hex: String = name.bytes().map(|byte| format!("_{byte:02x}")).collect();
        object(&format!("/unit/{hex}"))
    }

    async fn start_unit(&self, name: String, mode: String) -> OwnedObjectPath {
        self.log(format!("StartUnit {name} {mode}"));
        object("/job")
    }

    async fn reset_failed_unit(&self, name: String) {
        self.log(format!("ResetFailedUnit {name}"));
    }

    #[allow(clippy::type_complexity, reason = "the signature that systemd has")]
    async fn start_transient_unit(
        &self,
        name: String,
        mode: String,
        properties: Vec<(String, OwnedVariant)>,
        _auxiliary: Vec<(String, Vec<(String, OwnedVariant)>)>,
    ) -> OwnedObjectPath {
        let properties: Vec<String> =
            properties.iter().map(|(name, value)| format!("{name}={}", **value)).collect();
        self.log(format!("StartTransientUnit {name} {mode} {}", properties.join(" ")));
        if let Some((path, text)) = &self.0.lock().unwrap().on_run {
            fs::write(path, text).unwrap();
        }
        object("/job")
    }
}

struct UnitObject(Unit);

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl UnitObject {
    #[zbus(property)]
    async fn inactive_exit_timestamp_monotonic(&self) -> u64 {
        self.0.began
    }

    #[zbus(property)]
    async fn wanted_by(&self) -> Vec<String> {
        self.0.wanted_by.clone()
    }

    #[zbus(property)]
    async fn required_by(&self) -> Vec<String> {
        Vec::new()
    }
}

struct Silent;

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Silent {
    async fn list_units_by_names(&self, _names: Vec<String>) -> u32 {
        std::future::pending().await
    }
}

struct Babbling;

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Babbling {
    async fn list_units_by_names(&self, _names: Vec<String>) -> Vec<(u32, String)> {
        vec![(7, "what".to_owned())]
    }

    async fn list_jobs(&self) -> &str {
        "jobs?"
    }
}

struct Logind(Shared);

#[interface(name = "org.freedesktop.login1.Manager")]
impl Logind {
    async fn inhibit(&self, what: String, who: String, why: String, mode: String) -> OwnedFd {
        let (ours, theirs) = rustix::pipe::pipe().unwrap();
        let lock = format!("{what} {mode} {who}: {why}");
        self.0.lock().unwrap().locks.push((lock, ours.into()));
        theirs.into()
    }
}

/// The bus, until it is dropped.
pub struct FakeBus {
    pub address: String,
    daemon: Child,
    runtime: Option<Runtime>,
    connection: Option<Connection>,
    state: Shared,
}

const CONFIGURATION: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=@SOCKET@</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#;

impl FakeBus {
    /// Starts with its socket in `directory`.
    pub fn start(directory: &Path, units: &[(&str, Unit)], answers: Answers) -> Self {
        // The path of a socket has 107 bytes at most.
        let short = tempfile::Builder::new().prefix("bus").tempdir_in("/tmp").unwrap().keep();
        let link = directory.join("bus");
        symlink(&short, &link).unwrap();
        let socket = short.join("socket");
        let config = directory.join("bus.conf");
        fs::write(&config, CONFIGURATION.replace("@SOCKET@", socket.to_str().unwrap())).unwrap();
        let daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--nopidfile"])
            // It complains that it may not raise a limit.
            .stderr(Stdio::null())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        // The socket is there a little before anybody listens.
        while UnixStream::connect(&socket).is_err() {
            assert!(std::time::Instant::now() < end, "no bus");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let units: BTreeMap<String, Unit> =
            units.iter().map(|(name, unit)| ((*name).to_owned(), unit.clone())).collect();
        let state: Shared = Arc::new(Mutex::new(State { units, ..State::default() }));
        let address = format!("unix:path={}", socket.display());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let served = serve(&address, &state, answers);
        let connection = runtime.block_on(served);
        let (runtime, connection) = (Some(runtime), Some(connection));
        Self { address, daemon, runtime, connection, state }
    }

    /// Looks at, or changes, what is known.
    pub fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap())
    }

    /// What was asked for that changes something.
    pub fn calls(&self) -> Vec<String> {
        self.with(|state| state.calls.clone())
    }

    /// Whether the other side has the lock number `at` open; waits for the answer when it is no.
    pub fn is_released(&self, at: usize) -> bool {
        let mut end = self.with(|state| state.locks.get(at).unwrap().1.try_clone().unwrap());
        rustix::fs::fcntl_setfl(&end, rustix::fs::OFlags::NONBLOCK).unwrap();
        // End of file when no writer is left; would block else.
        matches!(end.read(&mut [0]), Ok(0))
    }
}

async fn serve(address: &str, state: &Shared, answers: Answers) -> Connection {
    let path = "/org/freedesktop/systemd1";
    let builder = connection::Builder::address(address)
        .name("org.freedesktop.systemd1")
        .name("org.freedesktop.login1")
        .serve_at("/org/freedesktop/login1", Logind(Arc::clone(state)));
    let mut builder = match answers {
        Answers::Well => builder.serve_at(path, Manager(Arc::clone(state))),
        Answers::Not => builder.serve_at(path, Silent),
        Answers::Nonsense => builder.serve_at(path, Babbling),
    };
    let units = state.lock().unwrap().units.clone();
    for (name, unit) in units {
        let hex: String = name.bytes().map(|byte| format!("_{byte:02x}")).collect();
        builder = builder.serve_at(format!("/unit/{hex}"), UnitObject(unit));
    }
    let limit = std::time::Duration::from_secs(60);
    tokio::time::timeout(limit, builder.build()).await.unwrap().unwrap()
}

impl Drop for FakeBus {
    fn drop(&mut self) {
        drop(self.connection.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        // It is gone already: fine.
        drop(self.daemon.kill());
        drop(self.daemon.wait());
        if let Some(socket) = self.address.strip_prefix("unix:path=") {
            drop(fs::remove_dir_all(Path::new(socket).parent().unwrap()));
        }
    }
}
