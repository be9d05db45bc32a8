//! `bound-images-generator NORMAL EARLY LATE`, called by systemd (systemd.generator(7)) at boot
//! and at every daemon-reload. Only `NORMAL` is used. The root is always `/`.
//!
//! `bound-images-generator --refresh TARGET [SOURCE]`, called by the drop-ins that it writes, makes
//! the merged storage.conf at `TARGET` again.
//!
//! Exit status: 0, also when there was nothing to wire or some of it could not be, which is told
//! in the kernel log; 1 when a file could not be written or the arguments are wrong.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use binding::{Platform, Root};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let is_refresh = arguments.first().is_some_and(|first| first == "--refresh");
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        // A service's messages belong to its own journal.
        Err(error) if is_refresh => {
            // Nobody is left to tell that stderr is closed.
            drop(writeln!(std::io::stderr(), "bound-images-generator: {error:#}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            generator::warn(&[format!("{error:#}")], Path::new("/dev/kmsg"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[OsString]) -> Result<()> {
    let root = Root::open(Path::new("/")).context("open the root /")?;
    match arguments {
        [first, target] if first == "--refresh" => {
            generator::refresh(&root, Path::new(target), None)
        }
        [first, target, source] if first == "--refresh" => {
            let source = source.to_str().context("the path of the source is not UTF-8")?;
            generator::refresh(&root, Path::new(target), Some(source))
        }
        [normal, _early, _late] => {
            let generated = generator::generate(&root, &Platform::host());
            generator::warn(&generated.warnings, Path::new("/dev/kmsg"));
            generator::write(&generated, Path::new(normal), Path::new(generator::RUN))
        }
        _ => bail!("called with {} arguments, not NORMAL EARLY LATE", arguments.len()),
    }
}
