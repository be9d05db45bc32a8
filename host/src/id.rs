//! The name of a root on its host.

use std::fmt;

use serde::Serialize;

/// Longest id: a SHA-512 in hex, a dot and a number.
const MAX_ID: usize = 160;

/// What tells the roots of a host apart: `<commit>.<serial>` for a deployment of ostree, the id of
/// the deployment (its fs-verity digest in hex) for one of bootc's composefs backend.
///
/// It is safe as the name of a file: hex digits, and for ostree one dot and decimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RootId(String);

impl RootId {
    /// The id in `text`, if it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (hex, serial) = match text.split_once('.') {
            Some((hex, serial)) => (hex, Some(serial)),
            None => (text, None),
        };
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let fine = text.len() <= MAX_ID
            && matches!(hex.len(), 64 | 128)
            && hex.bytes().all(is_hex)
            && serial.is_none_or(|serial| {
                (1..=10).contains(&serial.len()) && serial.bytes().all(|byte| byte.is_ascii_digit())
            });
        fine.then(|| Self(text.to_owned()))
    }

    /// The id of a deployment of ostree.
    pub(crate) fn of_ostree(text: &str) -> Option<Self> {
        Self::parse(text).filter(|id| id.0.get(64..).is_some_and(|rest| rest.starts_with('.')))
    }

    /// The id of a deployment of bootc's composefs backend.
    pub(crate) fn of_composefs(text: &str) -> Option<Self> {
        Self::parse(text).filter(|id| !id.0.contains('.'))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the root's files are, without the serial number that a second deployment of the same
    /// commit gets.
    #[must_use]
    pub fn content(&self) -> &str {
        self.0.split_once('.').map_or(self.as_str(), |(hex, _)| hex)
    }

    /// Short form for people: twelve hex digits, and the serial number.
    #[must_use]
    pub fn short(&self) -> String {
        let hex = self.content();
        let rest = self.0.get(hex.len()..).unwrap_or_default();
        format!("{}{rest}", hex.get(..12).unwrap_or(hex))
    }
}

impl fmt::Display for RootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::RootId;

    #[test]
    fn ids() {
        let hex = "0123456789abcdef".repeat(4);
        let table = [
            (hex.clone(), true),
            (format!("{hex}.0"), true),
            (format!("{hex}.12"), true),
            (hex.repeat(2), true),
            (format!("{hex}."), false),
            (format!("{hex}.x"), false),
            (format!("{hex}.0.origin"), false),
            (format!("{hex}.0/.."), false),
            (format!("{hex}.99999999999"), false),
            (hex.to_uppercase(), false),
            ("..".to_owned(), false),
            (String::new(), false),
        ];
        for (text, fine) in table {
            assert_eq!(RootId::parse(&text).is_some(), fine, "{text}");
        }
        let id = RootId::parse(&format!("{hex}.3")).unwrap();
        assert_eq!((id.content(), id.short()), (hex.as_str(), "0123456789ab.3".to_owned()));
        assert!(RootId::of_ostree(&hex).is_none() && RootId::of_composefs(&hex).is_some());
        assert!(RootId::of_ostree(id.as_str()).is_some());
        assert!(RootId::of_composefs(id.as_str()).is_none());
    }
}
