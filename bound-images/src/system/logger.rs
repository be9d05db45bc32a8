//! Where log messages go: to the journal when systemd started us, else to standard error.

use log::{Level, LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::JournalLog;

use crate::render;

/// What libraries think while they shake hands helps nobody here; what comes of it, we say ourselves, since skopeo may have
/// the image all the same. Their warnings are for those who ask for more.
fn is_heard(metadata: &Metadata<'_>) -> bool {
    let is_library = ["rustls", "ureq"].iter().any(|name| metadata.target().starts_with(name));
    let asked = log::max_level() > LevelFilter::Warn;
    !is_library || asked && metadata.level() <= Level::Warn
}

struct Journal(JournalLog);

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_heard(metadata) && self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_heard(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            Level::Error => "error",
            Level::Warn => "warning",
            Level::Info => "info",
            Level::Debug | Level::Trace => "debug",
        };
        render::note(&format!("{level}: {}", record.args()));
    }

    fn flush(&self) {}
}

/// Installs the logger: warnings always, more with each `-v`.
pub fn install(verbose: u8) {
    log::set_max_level(match verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        _ => LevelFilter::Debug,
    });
    // Only standard error is left when the journal cannot be had, or a logger is there already.
    let journal = systemd_journal_logger::connected_to_journal()
        && JournalLog::new().is_ok_and(|log| log::set_boxed_logger(Box::new(Journal(log))).is_ok());
    if !journal && let Err(error) = log::set_logger(&Stderr) {
        render::note(&format!("warning: no logger: {error}"));
    }
}
