//! The root that a soft reboot would enter, at `/run/nextroot` (systemd-soft-reboot.service(8)).

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Where systemd looks for it.
const NEXT_ROOT: &str = "/run/nextroot";
/// How long the commands may take, all together.
const LIMIT: Duration = Duration::from_secs(30);

/// Takes the root at `/run/nextroot` away, so that a soft reboot starts the present one again.
/// Does nothing when there is none.
///
/// # Errors
/// When something is mounted there still, as PID 1 sees it.
pub fn forbid() -> anyhow::Result<()> {
    if !is_mounted()? {
        return Ok(());
    }
    // ostree knows how it was made and forgets it; a mount that somebody else made is systemd's.
    for command in [
        ["ostree", "admin", "prepare-soft-reboot", "--reset"].as_slice(),
        &["systemctl", "stop", "--no-ask-password", "run-nextroot.mount"],
        &["umount", "--lazy", NEXT_ROOT],
    ] {
        if let Err(error) = run(command) {
            log::info!("{error:#}");
        }
        if !is_mounted()? {
            return Ok(());
        }
    }
    bail!("{NEXT_ROOT} cannot be unmounted: a soft reboot would enter an incomplete root")
}

fn is_mounted() -> anyhow::Result<bool> {
    let path = "/proc/1/mountinfo";
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    Ok(host::mount_points(&text).iter().any(|point| point == NEXT_ROOT))
}

fn run(command: &[&str]) -> anyhow::Result<()> {
    let [program, words @ ..] = command else { bail!("no command") };
    let mut child = Command::new(program)
        .args(words)
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(status) =
            child.try_wait().with_context(|| format!("cannot wait for {program}"))?
        {
            if !status.success() {
                bail!("{} failed ({status})", command.join(" "));
            }
            return Ok(());
        }
        if Instant::now() > end {
            child
                .kill()
                .and_then(|()| child.wait())
                .with_context(|| format!("cannot end {program}"))?;
            bail!("{} took longer than {} s", command.join(" "), LIMIT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
