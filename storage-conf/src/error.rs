//! What can be wrong with a storage.conf.

use std::fmt;

/// A storage.conf that Podman could not read either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfError {
    /// The file, as its path was given.
    pub file: String,
    /// Line, counted from 1; `None` when the whole file is meant.
    pub line: Option<usize>,
    /// Column in characters, counted from 1.
    pub column: Option<usize>,
    /// What is wrong, in one line.
    pub why: String,
}

impl ConfError {
    pub(crate) fn whole(file: &str, why: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, column: None, why: why.into() }
    }

    /// The problem at byte `offset` of `text`.
    pub(crate) fn at(file: &str, text: &str, offset: Option<usize>, why: &str) -> Self {
        // An error at the end of the file has an offset one past the last byte, and a parser may
        // point into the middle of a character: `get` rather than a slice.
        let before = offset.and_then(|offset| text.get(..offset.min(text.len())));
        let line = before.map(|before| before.matches('\n').count() + 1);
        let column =
            before.map(|before| before.rsplit('\n').next().unwrap_or_default().chars().count() + 1);
        let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
        Self { file: file.to_owned(), line, column, why }
    }
}

impl fmt::Display for ConfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if let Some(column) = self.column {
            write!(f, "{column}:")?;
        }
        write!(f, " {}", self.why)
    }
}

impl std::error::Error for ConfError {}

/// Why a store could not be added to a storage.conf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeError {
    /// The host's file cannot be read; Podman fails on it too.
    Conf(ConfError),
    /// The host uses a storage driver that does not read overlay stores.
    Driver {
        /// The file that says so.
        file: String,
        /// The driver it names.
        driver: String,
    },
    /// The path of the store cannot be written in a storage.conf.
    Store(String),
    /// Podman reads the file, but there is no place where a line could be put in.
    NoPlace(ConfError),
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conf(error) | Self::NoPlace(error) => error.fmt(f),
            Self::Driver { file, driver } => write!(
                f,
                "{file}: the storage driver is {driver:?}, which cannot read a store of the \
                 overlay driver; set driver = \"overlay\""
            ),
            Self::Store(store) => write!(
                f,
                "{store:?} cannot be listed as an additional image store: the path must be \
                 absolute and have no comma or control character"
            ),
        }
    }
}

impl std::error::Error for MergeError {}

impl From<ConfError> for MergeError {
    fn from(error: ConfError) -> Self {
        Self::Conf(error)
    }
}
