//! What others wrote into the journal, asked of journalctl(1): the files are its business, and so is
//! finding those of this boot.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

/// How long it may take: an index leads to the records.
const LIMIT: Duration = Duration::from_secs(10);
/// The most that is read, in bytes: some 20,000 records with the few fields that are asked for. The
/// newest come first.
const MAX_OUTPUT: u64 = 16 << 20;

/// The records of `identifier` in this boot, one JSON object a line, with only `fields`; of processes
/// of root only, since anybody may write records that look like it.
///
/// # Errors
/// Why it cannot be told, in words: most often there is no journal.
pub async fn of_this_boot(identifier: &str, fields: &[&str]) -> Result<Vec<u8>, String> {
    let mut command = Command::new("journalctl");
    command
        .args(["--quiet", "--no-pager", "--boot", "--reverse", "--output=json"])
        .arg(format!("--output-fields={}", fields.join(",")))
        .arg(format!("SYSLOG_IDENTIFIER={identifier}"))
        .arg("_UID=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    match tokio::time::timeout(LIMIT, run(command)).await {
        Ok(read) => read,
        Err(_) => Err(format!("journalctl does not end within {} s", LIMIT.as_secs())),
    }
}

async fn run(mut command: Command) -> Result<Vec<u8>, String> {
    let mut child = command.spawn().map_err(|error| format!("cannot run journalctl: {error}"))?;
    let mut bytes = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        let read = pipe.take(MAX_OUTPUT).read_to_end(&mut bytes).await;
        read.map_err(|error| format!("cannot read what journalctl says: {error}"))?;
    }
    if bytes.len() as u64 == MAX_OUTPUT {
        // The pipe is closed: it ends by itself, and not with success.
        return Ok(bytes);
    }
    let status = child.wait().await.map_err(|error| format!("journalctl is lost: {error}"))?;
    match status.success() {
        true => Ok(bytes),
        // Without any record that matches, it fails too (systemd 252 and newer: 1).
        false if bytes.is_empty() && status.code() == Some(1) => Ok(bytes),
        false => Err(format!("journalctl failed ({status})")),
    }
}
