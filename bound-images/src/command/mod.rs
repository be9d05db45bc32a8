//! One file per command: gather, decide, act, report.

pub mod list;
pub mod stage;
pub mod verify;

/// How a run ended; the number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Well = 0,
    /// Something is missing or wrong.
    Findings = 1,
    /// The command line, the configuration or the installation is wrong.
    Usage = 2,
    /// It could not be looked at, or asked for.
    CouldNotLook = 3,
    /// Somebody pressed Ctrl-C.
    Interrupted = 130,
}
