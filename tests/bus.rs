//! What is asked over D-Bus and told to systemd: states of services, locks while fetching, how the
//! host goes down, late binding with a mount that was there before; and buses that do not help.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;
#[path = "support/bus.rs"]
mod fake;

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::images::{files, make, noise, small};
use common::registry::{Does, FakeRegistry};
use common::{PROGRAM, Ran, World, end, have, wait_until};
use fake::{Answers, FakeBus, Unit};

const ONE: &str = "registry.example/ns/one:1";
const TWO: &str = "registry.example/ns/two:1";
const MOUNT: &str = "usr-lib-containers-storage.mount";

/// A host whose `/` is `WORLD/host`, with one root, which is booted.
struct Machine {
    world: World,
}

fn id() -> String {
    format!("{}.0", "a".repeat(64))
}

impl Machine {
    fn new(quadlets: &[(&str, String)]) -> Self {
        let machine = Self { world: World::new() };
        let usr = machine.top().join(format!("sysroot/ostree/deploy/lab/deploy/{}/usr", id()));
        let (texts, links) =
            (usr.join("share/containers/systemd"), usr.join("lib/bootc/bound-images.d"));
        for directory in [&texts, &links] {
            fs::create_dir_all(directory).unwrap();
        }
        for (name, text) in quadlets {
            fs::write(texts.join(name), text).unwrap();
            symlink(format!("/usr/share/containers/systemd/{name}"), links.join(name)).unwrap();
        }
        fs::create_dir_all(machine.top().join("run/ostree")).unwrap();
        for process in ["self", "1"] {
            fs::create_dir_all(machine.top().join("proc").join(process)).unwrap();
            machine.mountinfo(process, "");
        }
        machine
    }

    fn of_images(images: &[(&str, &str)]) -> Self {
        let text = |image: &str| format!("[Container]\nImage={image}\n");
        let quadlets: Vec<(&str, String)> =
            images.iter().map(|(name, image)| (*name, text(image))).collect();
        let machine = Self::new(&quadlets);
        for (_, image) in images {
            small(&machine.world, image);
        }
        machine
    }

    fn top(&self) -> PathBuf {
        self.world.path("host")
    }

    /// What is mounted beside the root.
    fn mountinfo_text(more: &str) -> String {
        format!("30 1 8:1 /ostree/deploy/lab/deploy/{} / rw - ext4 /dev/vda rw\n{more}", id())
    }

    fn mountinfo(&self, process: &str, more: &str) {
        let path = self.top().join("proc").join(process).join("mountinfo");
        fs::write(path, Self::mountinfo_text(more)).unwrap();
    }

    /// The store that the root has, as the mountinfo line of its mount.
    fn mount_line(store: &str) -> String {
        format!(
            "31 30 8:1 /bound-images/stores/{store} /usr/lib/containers/storage ro - ext4 /dev/vda rw\n"
        )
    }

    fn store(&self) -> String {
        let link = self.top().join("sysroot/bound-images/roots").join(id());
        fs::read_link(link).unwrap().file_name().unwrap().to_str().unwrap().to_owned()
    }

    fn command(&self, words: &[&str], bus: Option<&str>) -> Command {
        let mut command = self.world.command_of(PROGRAM);
        command.args(words).arg("--host").arg(self.top());
        command.env_remove("NOTIFY_SOCKET").env_remove("DBUS_SYSTEM_BUS_ADDRESS");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(address) = bus {
            command.env("DBUS_SYSTEM_BUS_ADDRESS", address);
        }
        command
    }

    fn run(&self, words: &[&str], bus: Option<&str>) -> Ran {
        Ran::of(self.command(words, bus).output().unwrap())
    }

    fn bus(&self, units: &[(&str, Unit)], answers: Answers) -> FakeBus {
        FakeBus::start(&self.world.path(""), units, answers)
    }

    fn stage(&self, words: &[&str], bus: Option<&str>) -> Ran {
        let bundle = self.world.path("bundle");
        let words = [&["stage", "--bundle", bundle.to_str().unwrap()], words].concat();
        self.run(&words, bus)
    }
}

#[test]
fn states_of_services_are_shown() {
    if !have(&["python3", "dbus-daemon"]) {
        return;
    }
    let images = [("one.container", ONE), ("two.container", ONE), ("many@.container", TWO)];
    let host = Machine::of_images(&images);
    let bus = host.bus(
        &[
            ("one.service", Unit::new("loaded", "active", "running")),
            ("many@a.service", Unit::new("loaded", "active", "running")),
            ("many@b.service", Unit::new("loaded", "failed", "failed")),
        ],
        Answers::Well,
    );
    let address = Some(bus.address.as_str());
    host.run(&["list"], address).says(&[
        "one.container serves one.service (active)",
        "two.container serves two.service (not-found)",
        "many@.container serves many@a.service (active), many@b.service (failed)",
    ]);
    let list = host.run(&["list", "--format", "json"], address).json().remove(0);
    let state = |name: &str| {
        let all = list["bindings"].as_array().unwrap();
        let found = all.iter().find(|binding| binding["name"] == name).unwrap();
        assert!(found["services"].is_array(), "the field that was there before: {found}");
        found["service_states"].clone()
    };
    let one = serde_json::json!([
        {"name": "one.service", "load": "loaded", "active": "active", "sub": "running"}
    ]);
    assert_eq!(state("one.container"), one);
    assert_eq!(state("many@.container").as_array().unwrap().len(), 2);
    let status = host.run(&["status"], address);
    status.says(&["that do not run: ", "many@b.service (failed)", "two.service (not-found)"]);
    assert!(!status.out.contains("one.service"), "{}", status.all());
    let status = host.run(&["status", "--format", "json"], address).json().remove(0);
    let states = status["roots"][0]["service_states"].as_array().unwrap();
    assert_eq!(states.len(), 4, "{status}");

    // A directory is not what runs.
    let files = host.top().join("sysroot/ostree/deploy/lab/deploy").join(id());
    let other = host.run(&["list", "--root", files.to_str().unwrap()], address);
    other.says(&["one.container serves one.service\n"]);
}

/// A bus that does not help costs a sentence and some seconds.
#[test]
fn a_bus_that_does_not_help() {
    if !have(&["python3", "dbus-daemon"]) {
        return;
    }
    let host = Machine::of_images(&[("one.container", ONE)]);
    let dead = format!("unix:path={}", host.world.path("nobody").display());
    let table = host.run(&["list"], None);
    assert!(!table.err.contains("service"), "a machine without systemd: {}", table.all());
    for (address, why) in [
        (dead.as_str(), "there is no system bus"),
        ("nonsense", "there is no system bus"),
        ("unixexec:path=/bin/false", "there is no system bus"),
    ] {
        let ran = host.run(&["list"], Some(address));
        ran.expect(1, &["it cannot be told which services run", why]);
        assert_eq!(ran.out, table.out, "all else is as without");
        host.run(&["status"], Some(address)).says(&["It cannot be told which services run", why]);
    }
    let json = host.run(&["status", "--format", "json"], Some(&dead)).json().remove(0);
    assert!(json["services_fault"].as_str().unwrap().contains("no system bus"), "{json}");
    // Staging asks nothing that it needs.
    host.stage(&["--root", "booted"], Some(&dead)).expect(0, &["Staged 1 image"]);
    host.stage(&["--last-call"], Some(&dead)).expect(0, &["no root is staged"]);
}

#[test]
fn a_systemd_that_babbles_or_is_silent() {
    if !have(&["python3", "dbus-daemon"]) {
        return;
    }
    let host = Machine::of_images(&[("one.container", ONE)]);
    let bus = host.bus(&[], Answers::Nonsense);
    let address = Some(bus.address.as_str());
    host.run(&["list"], address).expect(1, &["which services run", "nonsense"]);
    host.stage(&["--late-binding"], address).expect(0, &["Staged 1 image", "nonsense"]);
    // Not known: the whole of the time that it may have.
    host.stage(&["--last-call"], address).expect(0, &["no root is staged"]);
    drop(bus);
    fs::remove_file(host.world.path("bus")).unwrap();
    let bus = host.bus(&[], Answers::Not);
    let silent = host.run(&["list"], Some(&bus.address));
    silent.expect(0, &["which services run", "does not answer ListUnitsByNames for 5 s"]);
}

#[test]
fn the_last_call_is_for_a_host_that_goes_down() {
    if !have(&["python3", "dbus-daemon"]) {
        return;
    }
    let host = Machine::of_images(&[("one.container", ONE)]);
    let bus = host.bus(&[], Answers::Well);
    let address = Some(bus.address.as_str());
    bus.with(|state| state.jobs = vec![("nginx.service".to_owned(), "start".to_owned())]);
    host.stage(&["--last-call"], address).expect(0, &["the host is not going down"]);
    let socket = host.world.path("n");
    let heard = UnixDatagram::bind(&socket).unwrap();
    heard.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    for (target, seconds) in [("reboot", 330), ("kexec", 330), ("poweroff", 45), ("halt", 45)] {
        let job = |unit: &str| (format!("{unit}.target"), "start".to_owned());
        bus.with(|state| state.jobs = vec![job("shutdown"), job(target)]);
        let mut command = host.command(&["stage", "--last-call"], address);
        let ran = Ran::of(command.env("NOTIFY_SOCKET", &socket).output().unwrap());
        ran.expect(0, &["no root is staged"]);
        let mut buffer = [0; 256];
        let count = heard.recv(&mut buffer).unwrap();
        let wanted = format!("EXTEND_TIMEOUT_USEC={seconds}000000\n");
        assert_eq!(std::str::from_utf8(&buffer[..count]).unwrap(), wanted, "{target}");
    }
}

/// Locks are held, and systemd hears of us, exactly while layers are fetched.
#[test]
fn while_layers_are_fetched() {
    if !have(&["python3", "dbus-daemon", "skopeo"]) {
        return;
    }
    let registry = FakeRegistry::start();
    let reference = format!("{}/ns/app:1", registry.host());
    let host = Machine::new(&[("app.container", format!("[Container]\nImage={reference}\n"))]);
    fs::write(host.world.path("registries.conf"), registry.registries_conf()).unwrap();
    let image = make(&host.world, "app", &[files(&[("a", "1")]), noise("n", 200_000)], &[]);
    image.push(&registry, "ns/app", "1");
    registry.fault(&image.layers[1], Does::Hang, usize::MAX);
    let bus = host.bus(&[], Answers::Well);
    let socket = host.world.path("n");
    let heard = UnixDatagram::bind(&socket).unwrap();
    heard.set_nonblocking(true).unwrap();

    let mut command = host.command(&["stage", "--late-binding"], Some(&bus.address));
    let child = command.env("NOTIFY_SOCKET", &socket).spawn().unwrap();
    let mut said = String::new();
    wait_until("two locks and a word to systemd", 60, || {
        let mut buffer = [0; 512];
        while let Ok(count) = heard.recv(&mut buffer) {
            said.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
        let fetching = said.contains("STATUS=Fetching images: 1 of 2 layers done");
        fetching && bus.with(|state| state.locks.len()) == 2
    });
    assert!(said.contains("EXTEND_TIMEOUT_USEC=600000000\n"), "{said}");
    let locks = bus.with(|state| state.locks.iter().map(|lock| lock.0.clone()).collect::<Vec<_>>());
    let why = "bound-images: Fetching bound images";
    assert_eq!(locks, [format!("sleep:idle block {why}"), format!("shutdown delay {why}")]);
    assert!(!bus.is_released(0) && !bus.is_released(1), "a lock was given back too early");
    end(child, rustix::process::Signal::TERM);
    wait_until("locks are given back", 60, || bus.is_released(0) && bus.is_released(1));

    // A directory is no root of this host: nobody is kept awake for it.
    let copy = host.world.path("copy");
    let files = host.top().join("sysroot/ostree/deploy/lab/deploy").join(id());
    let copied = Command::new("cp").arg("-a").args([&files, &copy]).status().unwrap();
    assert!(copied.success());
    let mut plain = host.command(&["stage", "--root", copy.to_str().unwrap()], Some(&bus.address));
    said.clear();
    let child = plain.env("NOTIFY_SOCKET", &socket).spawn().unwrap();
    wait_until("it fetches", 60, || {
        let mut buffer = [0; 512];
        while let Ok(count) = heard.recv(&mut buffer) {
            said.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
        said.contains("STATUS=Fetching images: 1 of 2 layers done")
    });
    end(child, rustix::process::Signal::TERM);
    assert_eq!(bus.with(|state| state.locks.len()), 2);
}

/// Late binding that succeeds only when the mount was made long ago.
#[test]
fn a_store_that_came_late_is_mounted_and_its_services_start() {
    if !have(&["python3", "dbus-daemon"]) {
        return;
    }
    let loaded = |active, sub| Unit::new("loaded", active, sub);
    let waits = |wanted_by: &str, began| Unit {
        began,
        wanted_by: vec![wanted_by.to_owned()],
        ..loaded("inactive", "dead")
    };
    let names = ["failed", "runs", "waits", "stopped", "unwanted"];
    let quadlets = names.map(|name| (format!("{name}.container"), ONE));
    let images: Vec<(&str, &str)> =
        quadlets.iter().map(|(name, it)| (name.as_str(), *it)).collect();
    let host = Machine::of_images(&images);
    let units = [
        ("failed.service", loaded("failed", "failed")),
        ("runs.service", loaded("active", "running")),
        ("waits.service", waits("multi-user.target", 0)),
        ("stopped.service", waits("multi-user.target", 7)),
        ("unwanted.service", waits("rescue.target", 0)),
        ("multi-user.target", loaded("active", "active")),
        ("rescue.target", loaded("inactive", "dead")),
    ];
    let mount = |unit: Unit| [units.as_slice(), &[(MOUNT, unit)]].concat();
    let services = ["ResetFailedUnit failed.service", "StartUnit failed.service replace"];

    // At boot: systemd is about to mount, after us.
    let pending = Unit { job: Some("start"), ..loaded("inactive", "dead") };
    let bus = host.bus(&mount(pending), Answers::Well);
    bus.with(|state| {
        for name in names {
            state.units.get_mut(&format!("{name}.service")).unwrap().job = Some("start");
        }
    });
    host.stage(&["--late-binding"], Some(&bus.address)).expect(0, &["Staged 1 image"]);
    assert_eq!(bus.calls(), Vec::<String>::new());
    drop(bus);

    // Another store is mounted: the new one goes on top of it.
    fs::remove_file(host.world.path("bus")).unwrap();
    host.mountinfo("1", &Machine::mount_line(&format!("{}.0", "b".repeat(64))));
    let bus = host.bus(&mount(loaded("active", "mounted")), Answers::Well);
    let mounts = [format!("{}.0", "b".repeat(64)), host.store()].map(|it| Machine::mount_line(&it));
    let after = Machine::mountinfo_text(&mounts.concat());
    bus.with(|state| state.on_run = Some((host.top().join("proc/1/mountinfo"), after)));
    let ran = host.stage(&["--late-binding"], Some(&bus.address));
    ran.expect(0, &["is complete", "started: failed.service, waits.service"]);
    let calls = bus.calls();
    let link = format!("/sysroot/bound-images/roots/{}", id());
    for part in [
        "StartTransientUnit bound-images-remount.service fail ",
        "Type=\"oneshot\"",
        &format!(
            "\"/usr/bin/mount\", \"--bind\", \"-o\", \"ro\", \"{link}\", \"/usr/lib/containers/storage\""
        ),
    ] {
        assert!(calls[0].contains(part), "`{part}` is not in {}", calls[0]);
    }
    assert_eq!(calls[1..3], services);
    assert_eq!(calls[3..], ["StartUnit waits.service replace"]);

    // The right one is mounted: a service that fails now fails for another reason.
    bus.with(|state| state.calls.clear());
    host.stage(&["--late-binding"], Some(&bus.address)).expect(0, &["is complete"]);
    assert_eq!(bus.calls(), Vec::<String>::new());

    // Nothing is: systemd mounts it, and orders the services after it.
    host.mountinfo("1", "");
    host_unit(&bus, MOUNT, loaded("failed", "failed"));
    host.stage(&["--late-binding"], Some(&bus.address)).expect(0, &["started: failed.service"]);
    let calls = bus.calls();
    assert_eq!(calls[0], format!("StartUnit {MOUNT} replace"));
    assert_eq!(calls[1..3], services);
}

fn host_unit(bus: &FakeBus, name: &str, unit: Unit) {
    bus.with(|state| state.units.insert(name.to_owned(), unit));
}

/// A socket behind which nobody speaks.
#[test]
fn a_bus_that_only_listens() {
    let world = World::new();
    let path = tempfile::Builder::new().prefix("bus").tempdir_in("/tmp").unwrap();
    let socket = path.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    world.bind_images(&[("one", ONE)]);
    let mut command = world.command_of(PROGRAM);
    command.args(["list", "--host"]).arg(world.root());
    command.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", socket.display()));
    let ran = Ran::of(command.output().unwrap());
    ran.expect(1, &["which services run", "the system bus is silent for 5 s"]);
}
