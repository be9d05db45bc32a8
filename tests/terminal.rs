//! What a person sees: each screen in a real terminal of 80 columns and 24 lines (tmux), compared with
//! docs/terminal.md. `UPDATE_GOLDEN=1` writes that again; what depends on the moment (rates) is
//! only looked at in form.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use common::host::Machine;
use common::images::{Image, make, noise};
use common::registry::{Does, FakeRegistry};
use common::{PROGRAM, have, source, wait_until};

const EXPORTER: &str = "quay.io/prometheus/node-exporter:v1.8.2";
const FORWARDER: &str = "cr.fluentbit.io/fluent/fluent-bit:3.2";
const AGENT: &str = "registry.example.com/platform/security/agent-with-a-long-name:2026.11.1";

/// A host whose images come from a registry of ours, whatever their names say.
struct Scene {
    host: Machine,
    registry: FakeRegistry,
    images: Vec<Image>,
    sockets: tempfile::TempDir,
    terminals: Cell<usize>,
}

impl Scene {
    fn new() -> Self {
        let host = Machine::new();
        let registry = FakeRegistry::start();
        let conf = ["quay.io", "cr.fluentbit.io", "registry.example.com"].map(|name| {
            format!(
                "[[registry]]\nprefix = \"{name}\"\nlocation = \"{}\"\ninsecure = true\n",
                registry.host()
            )
        });
        fs::write(host.world.path("registries.conf"), conf.concat()).unwrap();
        let mut images = Vec::new();
        for (reference, size) in [(EXPORTER, 900_000), (FORWARDER, 2_500_000), (AGENT, 1_400_000)] {
            let layers = [noise("base", 300_000), noise(reference, size)];
            let image = make(&host.world, reference, &layers, &[]);
            let (_, path) = reference.split_once('/').unwrap();
            let (name, tag) = path.split_once(':').unwrap();
            image.push(&registry, name, tag);
            images.push(image);
        }
        let pinned = format!("{EXPORTER}@{}", images[0].manifest);
        host.deploy("c", &[("node-exporter", &pinned), ("fluent-bit", FORWARDER)]);
        host.boot("c");
        host.undeploy("a");
        let sockets = tempfile::tempdir().unwrap();
        Self { host, registry, images, sockets, terminals: Cell::new(0) }
    }

    /// An update that has one image more.
    fn stage_update(&self) {
        let pinned = format!("{EXPORTER}@{}", self.images[0].manifest);
        let images = [
            ("node-exporter", pinned.as_str()),
            ("fluent-bit", FORWARDER),
            ("security-agent", AGENT),
        ];
        self.host.deploy("d", &images);
        self.host.stage_root("d");
    }

    fn terminal(&self, typed: &str) -> Terminal {
        self.terminal_with(typed, "80")
    }

    /// Types a command into a terminal that wide.
    fn terminal_with(&self, typed: &str, columns: &str) -> Terminal {
        // Each has a server of its own: the last one may be on its way out.
        let number = self.terminals.get();
        self.terminals.set(number + 1);
        let done = self.sockets.path().join(format!("done{number}"));
        let socket = self.sockets.path().join(format!("tmux{number}"));
        let host = self.host.top();
        let terminal = Terminal { socket, done, top: host.display().to_string() };
        // The prompt is ours: what a shell would show depends on whose it is.
        let script = format!(
            "printf '$ %s\\n' '{typed}'; bound-images() {{ {PROGRAM} \"$@\" --host {}; }}; {typed}; \
             printf '(exit code %s)\\n' $?; touch {}; exec sleep 600",
            host.display(),
            terminal.done.display()
        );
        let mut command = self.host.world.command_of("tmux");
        command.args(["-f", "/dev/null", "-S"]).arg(&terminal.socket);
        command.args(["new-session", "-d", "-x", columns, "-y", "24", "bash", "-c", &script]);
        command.env_remove("TMUX").env_remove("NO_COLOR").env("LC_ALL", "C.UTF-8");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        terminal
    }

    /// What a command that ends by itself leaves on the screen.
    fn screen(&self, typed: &str) -> String {
        self.terminal(typed).at_the_end()
    }
}

struct Terminal {
    socket: PathBuf,
    done: PathBuf,
    top: String,
}

impl Terminal {
    fn tmux(&self, words: &[&str]) -> String {
        let mut command = Command::new("tmux");
        let output = command.arg("-S").arg(&self.socket).args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn shows(&self) -> String {
        self.tmux(&["capture-pane", "-p"]).trim_end().to_owned() + "\n"
    }

    /// As on a host whose `/` is not in a directory of a test.
    fn as_on_a_host(&self) -> String {
        let joined = self.tmux(&["capture-pane", "-p", "-J"]).replace(&self.top, "");
        let mut out = String::new();
        for line in joined.trim_end().lines() {
            let letters: Vec<char> = line.trim_end().chars().collect();
            let broken: Vec<String> =
                letters.chunks(80).map(|part| part.iter().collect::<String>()).collect();
            out.push_str(&format!("{}\n", broken.join("\n")));
        }
        out
    }

    fn at_the_end(&self) -> String {
        wait_until("the end of the command", 60, || self.done.exists());
        self.as_on_a_host()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut command = Command::new("tmux");
        drop(command.arg("-S").arg(&self.socket).arg("kill-server").output());
    }
}

/// The text of a section of docs/terminal.md.
fn section(text: &str, title: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("\n## {title}\n"))?;
    let (_, rest) = rest.split_once("```\n")?;
    Some(rest.split_once("```")?.0.to_owned())
}

/// Compares a screen with the document, or writes it there.
fn documented(title: &str, screen: &str, is_fixed: bool) {
    for line in screen.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let path = source("docs/terminal.md");
    let text = fs::read_to_string(&path).unwrap();
    let old = section(&text, title).unwrap_or_else(|| panic!("docs/terminal.md has no {title}"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let block = |screen: &str| format!("```\n{screen}```");
        let (head, rest) = text.split_once(&format!("\n## {title}\n")).unwrap();
        let rest = rest.replacen(&block(&old), &block(screen), 1);
        fs::write(&path, format!("{head}\n## {title}\n{rest}")).unwrap();
    } else if is_fixed {
        assert_eq!(old, screen, "{title}: UPDATE_GOLDEN=1 writes docs/terminal.md again");
    }
}

const NEEDED: [&str; 4] = ["python3", "skopeo", "tmux", "bash"];

#[test]
fn screens_are_those_of_the_document() {
    if !have(&NEEDED) {
        return;
    }
    let scene = Scene::new();
    documented(
        "stage --dry-run",
        &scene.screen("bound-images stage --root booted --dry-run"),
        true,
    );
    documented("stage, done", &scene.screen("bound-images stage --root booted"), true);
    documented("list", &scene.screen("bound-images list"), true);
    documented("verify", &scene.screen("bound-images verify --health"), true);

    // An update with an image that is not there (yet).
    scene.stage_update();
    scene.registry.fault("/manifests/2026.11.1", Does::Status(404), 100);
    let failed = scene.screen("bound-images stage 2>/dev/null");
    assert!(failed.contains("(exit code 1)"), "{failed}");
    let gate = scene.screen("bound-images gate --remember");
    assert!(gate.contains("held back") && gate.contains("(exit code 1)"), "{gate}");
    documented("list, narrow", &scene.screen("bound-images list --root staged"), true);
    let screen = scene.screen("bound-images verify --root staged --health");
    documented("verify, incomplete", &screen, true);
    documented("lint", &scene.screen("bound-images lint --root staged"), true);
    documented("status", &scene.screen("bound-images status"), true);
}

#[test]
fn a_stage_shows_how_far_it_is_and_stops_at_once() {
    if !have(&NEEDED) {
        return;
    }
    let scene = Scene::new();
    // Half of each of the upper layers comes.
    for image in &scene.images {
        scene.registry.fault(&image.layers[1], Does::Hang, 100);
    }
    let terminal = scene.terminal("bound-images stage --root booted");
    let base = "Fetching 1 of 3 layers";
    wait_until("two layers on their way", 30, || {
        let shown = terminal.shows();
        shown.contains(base)
            && shown.matches(" kB of ").count() + shown.matches(" MB of ").count() == 2
    });
    // Every byte that will come is there.
    std::thread::sleep(Duration::from_millis(1500));
    let shown = terminal.shows();
    let line = shown.lines().find(|line| line.starts_with(base)).unwrap();
    assert!(line.contains("/3.0 MB") && line.contains("/s  ") && line.ends_with(" left"), "{line}");
    for name in ["node-exporter.container", "fluent-bit.container"] {
        assert_eq!(
            shown.lines().filter(|line| line.contains(name) && line.contains("[=")).count(),
            1
        );
    }
    documented("stage, on its way", &shown, false);

    let begin = Instant::now();
    terminal.tmux(&["send-keys", "C-c"]);
    wait_until("the end after Ctrl-C", 10, || terminal.done.exists());
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    let shown = terminal.as_on_a_host();
    assert!(!shown.contains("Fetching"), "the bars stay: {shown}");
    documented("stage, interrupted", &shown, true);
    let terminal = scene.terminal("bound-images stage --root booted; stty -a | grep -ce -echoctl");
    wait_until("bars", 30, || terminal.shows().contains("Fetching"));
    terminal.tmux(&["send-keys", "C-c"]);
    let after = terminal.at_the_end();
    assert!(after.contains("\n0\n(exit code 1)"), "the terminal is not as it was: {after}");
    let status = scene.screen("bound-images status | tail -2");
    assert!(status.contains("The last stage was interrupted"), "{status}");
}

#[test]
fn colour_is_for_terminals_and_says_nothing_alone() {
    if !have(&NEEDED) {
        return;
    }
    let scene = Scene::new();
    let painted = |typed: &str| {
        let terminal = scene.terminal(typed);
        let shown = terminal.at_the_end();
        let text = terminal.tmux(&["capture-pane", "-p", "-e"]);
        (text.contains('\u{1b}'), shown)
    };
    let (color, text) = painted("bound-images list");
    assert!(color && text.contains("missing"), "{text}");
    for typed in [
        "NO_COLOR=1 bound-images list",
        "bound-images list --color never",
        "bound-images list | cat",
    ] {
        let (color, other) = painted(typed);
        assert!(!color, "{typed}");
        // But for the command itself, and for folding in a pipe, the same words.
        let words = |text: &str| {
            let text = text.split_once('\n').unwrap().1.replace("(exit code 1)", "");
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            words.iter().filter(|word| word.contains("missing")).count()
        };
        assert_eq!(words(&other), words(&text), "{typed}: {other}");
    }
    assert!(painted("bound-images list --color always | cat").0);
}

#[test]
fn a_narrow_terminal_hides_nothing() {
    if !have(&NEEDED) {
        return;
    }
    let scene = Scene::new();
    scene.stage_update();
    for columns in ["80", "60"] {
        let text = scene.terminal_with("bound-images list --root staged", columns).at_the_end();
        let joined = text.replace('\n', "");
        for reference in [EXPORTER, FORWARDER, AGENT] {
            assert!(joined.contains(reference), "{columns}: {text}");
        }
    }
}

/// Reading files looks up at nothing: it is ended all the same, and skopeo is not left behind.
#[test]
fn a_deep_look_stops_at_once_too() {
    if !have(&NEEDED) {
        return;
    }
    let scene = Scene::new();
    let host = &scene.host;
    // Large enough to take seconds where tests run.
    let zeros = serde_json::json!([{"path": "zeros", "zeros": 400_000_000_u64}]);
    make(&host.world, "registry.example/ns/large:1", &[zeros], &[]);
    host.deploy("e", &[("large", "registry.example/ns/large:1")]);
    host.boot("e");
    host.stage(&["--root", "booted"]).expect(0, &[]);
    let begin = Instant::now();
    host.run(&["verify", "--deep"]).expect(0, &["every file is as its layer has it"]);
    let all = begin.elapsed();
    let terminal = scene.terminal("bound-images verify --deep");
    let begins = "Reading 0 of 1 layer [=";
    wait_until("the bar", 10, || terminal.shows().contains(begins));
    let shown = terminal.shows();
    documented("verify --deep, on its way", &shown, false);
    terminal.tmux(&["send-keys", "C-c"]);
    let shown = terminal.at_the_end();
    assert!(shown.contains("nothing was changed\n(exit code 130)"), "{shown}");
    assert!(!shown.contains("Reading"), "{shown}");
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut command = host.world.command_of(PROGRAM);
        command.args(["verify", "--deep", "--host"]).arg(host.top());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let child = command.spawn().unwrap();
        std::thread::sleep(all / 5);
        let begin = Instant::now();
        let ran = common::end(child, signal);
        let took = begin.elapsed();
        ran.expect(130, &["interrupted: nothing was changed"]);
        // A second, and one for a machine that is busy with other tests.
        assert!(took < Duration::from_secs(2), "{took:?} of {all:?}");
    }
}
