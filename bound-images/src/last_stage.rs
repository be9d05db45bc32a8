//! How the last stage for a root of this host ended, and when: for `status` and for monitoring.
//!
//! It lies in the state directory of the running system, never in a store or its record, which hold
//! no time.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use binding::Root;
use serde::{Deserialize, Serialize};

use crate::command::Exit;
use crate::system::file::{read_optional, write_json_with_mode};

/// Where it is written, on the running system.
const PATH: &str = "var/lib/bound-images/last-stage.json";
/// The largest such file that is read, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// How the last stage ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastStage {
    schema: u32,
    /// When it ended: seconds since 1970.
    pub ended: u64,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
    /// How it ended: the exit code.
    pub exit_code: u8,
}

impl LastStage {
    /// Whether it did all that there was to do.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.exit_code == 0
    }
}

/// The last one; none when none has run yet.
///
/// # Errors
/// When it cannot be read.
pub fn read(system: &Root) -> anyhow::Result<Option<LastStage>> {
    let path = path(system);
    let Some(bytes) = read_optional(&path, MAX_FILE)? else { return Ok(None) };
    let last = serde_json::from_slice(&bytes);
    last.map(Some).with_context(|| format!("{} is not valid", path.display()))
}

fn path(system: &Root) -> PathBuf {
    system.path().join(PATH)
}

/// Seconds since 1970.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A stage that runs. One that is dropped before it ended was interrupted, and that is written down
/// too.
#[derive(Debug)]
pub(crate) struct Attempt {
    path: PathBuf,
    began: Instant,
    exit: Exit,
}

impl Attempt {
    /// Begins.
    pub(crate) fn begin(system: &Root) -> Self {
        Self { path: path(system), began: Instant::now(), exit: Exit::Interrupted }
    }

    /// Ends, in that way.
    pub(crate) fn end(mut self, exit: Exit) {
        self.exit = exit;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let took: Duration = self.began.elapsed();
        let last = LastStage {
            schema: 1,
            ended: seconds(SystemTime::now()),
            milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            exit_code: self.exit as u8,
        };
        let directory = self.path.parent().unwrap_or(&self.path);
        let written = std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))
            .and_then(|()| write_json_with_mode(&self.path, &last, 0o644));
        if let Err(error) = written {
            // What was staged does not depend on it.
            log::info!("it cannot be written down how the stage ended: {error:#}");
        }
    }
}
