//! The store that a root got only after its mount was made: late binding, tried again later.
//!
//! A store is never changed, so a better one is another directory, and the mount still shows the
//! old one. The new one is mounted on top of it: containers that run keep the old mount, and what starts
//! from now on sees the new one. This program runs in a mount namespace of its own and in a
//! sandbox, so systemd does it.

use std::time::Duration;

use anyhow::Context as _;
use binding::{Root, STORE_PATH};
use host::{Pool, RootId, StoreName};

use super::bus::Bus;
use super::systemd::{self, UnitState};

/// The unit of the mount, which the generator writes: the path as systemd escapes it.
const MOUNT_UNIT: &str = "usr-lib-containers-storage.mount";
/// The unit that mounts on top of it.
const STACK_UNIT: &str = "bound-images-remount.service";
/// The largest list of mounts that is read, in bytes.
const MAX_MOUNTINFO: u64 = 64 << 20;
/// How long, and how often, it is looked whether the mount was made.
const PATIENCE: Duration = Duration::from_secs(30);
const PERIOD: Duration = Duration::from_millis(100);

/// What is to be done about the mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It shows the store, or is about to, or is somebody else's.
    Nothing,
    /// Nothing is mounted.
    Start,
    /// Another store of the pool is.
    Stack,
}

/// Decides by the state of [`MOUNT_UNIT`] and by what is `mounted` there: the path on its file system.
fn decide(unit: &UnitState, mounted: Option<&str>, wanted: &StoreName) -> Step {
    // The store is inside the root, or the generator did not wire it.
    if unit.load != "loaded" {
        return Step::Nothing;
    }
    // At boot systemd waits for us, and then mounts and starts everything in order.
    if unit.job.is_some() || unit.active == "activating" {
        return Step::Nothing;
    }
    match mounted.map(store_of) {
        None => Step::Start,
        // The operator mounted something else.
        Some(None) => Step::Nothing,
        Some(Some(found)) if found == *wanted => Step::Nothing,
        Some(Some(_)) => Step::Stack,
    }
}

/// The store that a path within a file system names: `…/stores/ID.N`.
fn store_of(path: &str) -> Option<StoreName> {
    let (above, name) = path.rsplit_once('/')?;
    above.ends_with("/stores").then(|| StoreName::parse(name)).flatten()
}

/// What to do with a service whose image is there now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// It runs, or will, or cannot.
    Nothing,
    /// It failed.
    Start,
    /// It does not run: perhaps it waited for the mount, perhaps somebody stopped it.
    Ask,
}

fn need(service: &UnitState) -> Need {
    if service.load != "loaded" || service.job.is_some() {
        return Need::Nothing;
    }
    match service.active.as_str() {
        "failed" => Need::Start,
        "inactive" => Need::Ask,
        _ => Need::Nothing,
    }
}

/// Lets the mount show `store`, the one that `root` has now. True when something was done for it.
///
/// # Errors
/// When systemd does not do it; the mount is then as it was.
pub async fn mount(
    bus: &Bus,
    system: &Root,
    pool: &Pool,
    root: &RootId,
    store: &StoreName,
) -> anyhow::Result<bool> {
    let said = |why: String| anyhow::anyhow!(why).context("the new store is not mounted");
    let units = systemd::states(bus, &[MOUNT_UNIT.to_owned()]).await.map_err(said)?;
    let Some(unit) = units.first() else { return Ok(false) };
    let mounted = mounted(system)?;
    match decide(unit, mounted.as_deref(), store) {
        Step::Nothing => return Ok(false),
        // Not waited for: it may be ordered after the unit that we run in.
        Step::Start => systemd::start(bus, MOUNT_UNIT).await.map_err(said)?,
        Step::Stack => {
            let (from, at) = (format!("/{}", pool.link(root)), format!("/{STORE_PATH}"));
            let command = ["/usr/bin/mount", "--bind", "-o", "ro", &from, &at];
            let what = "Show the Bound Images That Came After the Boot";
            systemd::run_outside(bus, STACK_UNIT, what, &command).await.map_err(said)?;
            wait(system, store).await?;
        }
    }
    Ok(true)
}

/// Starts those of `services` that failed, or that waited in vain. Says what it starts.
///
/// # Errors
/// When systemd cannot be asked. A service that does not start is a matter between it and systemd.
pub async fn start_waiting(bus: &Bus, services: &[String]) -> Result<Vec<String>, String> {
    let mut started = Vec::new();
    for service in systemd::states(bus, services).await? {
        let name = service.name.as_str();
        let done = match need(&service) {
            Need::Nothing => Ok(false),
            Need::Ask => match systemd::waits(bus, name).await {
                Ok(true) => systemd::start(bus, name).await.map(|()| true),
                other => other,
            },
            Need::Start => match systemd::reset_failed(bus, name).await {
                Ok(()) => systemd::start(bus, name).await.map(|()| true),
                Err(why) => Err(why),
            },
        };
        match done {
            Ok(true) => started.push(service.name),
            Ok(false) => {}
            // The others start none the less.
            Err(why) => log::warn!("{name} is not started: {why}"),
        }
    }
    Ok(started)
}

async fn wait(system: &Root, store: &StoreName) -> anyhow::Result<()> {
    let looked = async {
        loop {
            if mounted(system)?.as_deref().and_then(store_of).as_ref() == Some(store) {
                return Ok(());
            }
            tokio::time::sleep(PERIOD).await;
        }
    };
    tokio::time::timeout(PATIENCE, looked).await.unwrap_or_else(|_| {
        let seconds = PATIENCE.as_secs();
        anyhow::bail!(
            "the new store is not mounted after {seconds} s: see the journal of {STACK_UNIT}"
        )
    })
}

/// What of its file system is mounted at the place of stores, as PID 1 sees it.
fn mounted(system: &Root) -> anyhow::Result<Option<String>> {
    let path = "proc/1/mountinfo";
    let text = system
        .read_optional(path, MAX_MOUNTINFO)
        .with_context(|| format!("cannot read /{path}"))?;
    let mounts = host::parse_mountinfo(&String::from_utf8_lossy(&text.unwrap_or_default()));
    let point = format!("/{STORE_PATH}");
    Ok(mounts.into_iter().rev().find(|mount| mount.point == point).map(|mount| mount.root))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(load: &str, active: &str, job: Option<&str>) -> UnitState {
        UnitState {
            name: MOUNT_UNIT.to_owned(),
            load: load.to_owned(),
            active: active.to_owned(),
            sub: "x".to_owned(),
            job: job.map(str::to_owned),
        }
    }

    #[test]
    fn the_mount_follows_the_link_and_nobody_elses_is_touched() {
        let wanted = StoreName::parse(&format!("{}.1", "a".repeat(64))).unwrap();
        let path = |top: &str, letter: &str, repairs: u32| {
            format!("{top}/bound-images/stores/{}.{repairs}", letter.repeat(64))
        };
        let (old, repaired) = (path("", "b", 0), path("", "a", 1));
        let (broken, subvolume) = (path("", "a", 0), path("/root", "a", 1));
        let up = unit("loaded", "active", None);
        for (name, unit, mounted, step) in [
            ("another store", &up, Some(old.as_str()), Step::Stack),
            ("before its repair", &up, Some(&broken), Step::Stack),
            ("the right one", &up, Some(&repaired), Step::Nothing),
            ("the right one, on a subvolume", &up, Some(&subvolume), Step::Nothing),
            ("the operator's own", &up, Some("/var/lib/images"), Step::Nothing),
            ("a whole file system", &up, Some("/"), Step::Nothing),
            ("nothing is mounted", &unit("loaded", "inactive", None), None, Step::Start),
            ("it failed", &unit("loaded", "failed", None), None, Step::Start),
            ("at boot", &unit("loaded", "inactive", Some("start")), None, Step::Nothing),
            ("just now", &unit("loaded", "activating", None), None, Step::Nothing),
            ("not wired", &unit("not-found", "inactive", None), None, Step::Nothing),
            ("masked", &unit("masked", "inactive", None), None, Step::Nothing),
        ] {
            assert_eq!(decide(unit, mounted, &wanted), step, "{name}");
        }
    }

    #[test]
    fn what_runs_is_left_alone() {
        for (service, wanted) in [
            (unit("loaded", "failed", None), Need::Start),
            (unit("loaded", "failed", Some("start")), Need::Nothing),
            (unit("loaded", "inactive", None), Need::Ask),
            (unit("loaded", "active", None), Need::Nothing),
            (unit("loaded", "activating", None), Need::Nothing),
            (unit("not-found", "inactive", None), Need::Nothing),
            (unit("masked", "inactive", None), Need::Nothing),
        ] {
            assert_eq!(need(&service), wanted, "{service:?}");
        }
    }
}
