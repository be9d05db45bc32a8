//! Why a root was not staged.

use std::fmt;

use binding::Finding;
use overlay_store::Damage;

use crate::source::SourceError;

/// Why a root was not staged.
#[derive(Debug)]
pub enum StageError {
    /// The bindings are wrong; all that was found, warnings included.
    Bindings(Vec<Finding>),
    /// The store that is there is damaged, and the command that replaces it.
    Damaged(Vec<Damage>, String),
    /// What is there must not be touched, or the place is unfit: why, and what to do.
    Refused(String),
    /// The disk has no room for it: how much is needed, how much is free.
    NoSpace(String),
    /// Unpacking needs rights that this process has not.
    NotRoot,
    /// Images could not be had, by binding.
    Sources(Vec<(String, SourceError)>),
    /// The layers of an image do not unpack: binding and why.
    Layers(Vec<(String, overlay_store::Error)>),
    /// Anything else, mostly I/O.
    Other(anyhow::Error),
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bindings(findings) => {
                let errors = findings.iter().filter(|finding| finding.is_error()).count();
                let problems = crate::render::count(errors, "problem");
                write!(f, "nothing was staged: the root's bindings have {problems}; solve that first")
            }
            Self::Damaged(damage, repair) => write!(
                f,
                "nothing was staged: the store that is there is damaged ({}); `{repair}` replaces it",
                crate::render::count(damage.len(), "place")
            ),
            Self::NotRoot => f.write_str(
                "nothing was staged: layers hold files of many owners and device nodes: run it as root (a dry run needs no root)",
            ),
            Self::Refused(why) | Self::NoSpace(why) => write!(f, "nothing was staged: {why}"),
            Self::Sources(list) => {
                write!(f, "nothing was staged: {} could not be had", crate::render::count(list.len(), "image"))
            }
            Self::Layers(list) => {
                write!(f, "nothing was staged: {} could not be stored", crate::render::count(list.len(), "layer"))
            }
            Self::Other(error) => write!(f, "nothing was staged: {error:#}"),
        }
    }
}

impl StageError {
    /// What it comes from, in one line.
    #[must_use]
    pub fn first_cause(&self) -> String {
        match self {
            Self::Bindings(findings) => {
                let first = findings.iter().find(|finding| finding.is_error());
                first.map_or_else(|| self.to_string(), ToString::to_string)
            }
            Self::Damaged(damage, _) => {
                damage.first().map_or_else(|| self.to_string(), ToString::to_string)
            }
            Self::Sources(list) => list
                .first()
                .map_or_else(|| self.to_string(), |(name, error)| format!("{name}: {error}")),
            Self::Layers(list) => list
                .first()
                .map_or_else(|| self.to_string(), |(name, error)| format!("{name}: {error}")),
            Self::Refused(_) | Self::NoSpace(_) | Self::NotRoot | Self::Other(_) => {
                self.to_string()
            }
        }
    }
}

impl From<anyhow::Error> for StageError {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<overlay_store::Error> for StageError {
    fn from(error: overlay_store::Error) -> Self {
        Self::Other(error.into())
    }
}
