//! Why a bundle was not written.

use std::fmt;
use std::path::PathBuf;

use binding::Finding;

use crate::render::count;
use crate::source::SourceError;

/// Why a bundle was not written. What was complete of it is kept.
#[derive(Debug)]
pub enum BundleError {
    /// The bindings of a root are wrong; all that was found, warnings included.
    Bindings(Vec<(PathBuf, Vec<Finding>)>),
    /// What is there must not be touched, or the place is unfit: why, and what to do.
    Refused(String),
    /// The disk has no room for it.
    NoSpace(String),
    /// Images could not be had, by the bindings that want them.
    Sources(Vec<(String, SourceError)>),
    /// Anything else, mostly I/O.
    Other(anyhow::Error),
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bundle was not written: ")?;
        match self {
            Self::Bindings(roots) => {
                let all = roots.iter().flat_map(|(_, findings)| findings);
                let errors = all.filter(|finding| finding.is_error()).count();
                write!(f, "the bindings have {}; solve that first", count(errors, "problem"))
            }
            Self::Refused(why) | Self::NoSpace(why) => f.write_str(why),
            Self::Sources(list) => write!(f, "{} could not be had", count(list.len(), "image")),
            Self::Other(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<anyhow::Error> for BundleError {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}
