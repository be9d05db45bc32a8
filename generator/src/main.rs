//! `bound-images-generator NORMAL EARLY LATE`, called by systemd (systemd.generator(7)) at boot
//! and at every daemon-reload. Only `NORMAL` is used. The root is always `/`.
//!
//! Exit status: 0, also when there was nothing to wire or some of it could not be, which is told
//! in the kernel log; 1 when a file could not be written or the arguments are wrong.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use binding::{Platform, Root};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            generator::warn(&[format!("{error:#}")], Path::new("/dev/kmsg"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [normal, _early, _late] = arguments.as_slice() else {
        bail!("called with {} arguments, not NORMAL EARLY LATE", arguments.len());
    };
    let root = Root::open(Path::new("/")).context("open the root /")?;
    let generated = generator::generate(&root, &Platform::host());
    generator::warn(&generated.warnings, Path::new("/dev/kmsg"));
    generator::write(&generated.files, Path::new(normal), Path::new(generator::RUN))
}
