//! `layers.json` of a store that others write: only the entries of wanted layers are kept.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use oci_digest::Digest;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};

use crate::layer::Packed;

/// The most entries that are kept in all.
const MAX_ENTRIES: usize = 10_000;

/// A layer that may be copied.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) diff_id: Digest,
    /// Length of the uncompressed stream in bytes.
    pub(super) size: u64,
    pub(super) packed: Option<Packed>,
}

/// An entry as it is written (containers/storage `layers.go`). Texts are texts here: one entry of a
/// kind that we do not know must not hide the others.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    id: String,
    #[serde(default, rename = "diff-digest")]
    diff_id: Option<String>,
    #[serde(default, rename = "diff-size")]
    size: Option<i64>,
    #[serde(default, rename = "compressed-diff-digest")]
    blob: Option<String>,
    #[serde(default, rename = "compressed-size")]
    blob_size: Option<i64>,
    #[serde(default)]
    compression: i64,
    #[serde(default)]
    uidmap: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    gidmap: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    flags: Option<Flags>,
}

#[derive(Deserialize)]
struct Flags {
    #[serde(default)]
    incomplete: Option<serde_json::Value>,
}

impl Line {
    /// The entry, if its layer is whole and its owners are those of the image.
    fn entry(self, wanted: &BTreeSet<Digest>) -> Option<Entry> {
        let diff_id = self.diff_id?.parse().ok().filter(|diff_id| wanted.contains(diff_id))?;
        let mapped = [self.uidmap, self.gidmap].iter().flatten().any(|map| !map.is_empty());
        let complete = match self.flags.and_then(|flags| flags.incomplete) {
            None | Some(serde_json::Value::Null | serde_json::Value::Bool(false)) => true,
            Some(_) => false,
        };
        if mapped || !complete {
            return None;
        }
        let size = self.size.and_then(|size| u64::try_from(size).ok())?;
        Some(Entry {
            id: self.id,
            diff_id,
            size,
            packed: packed(self.blob, self.blob_size, self.compression),
        })
    }
}

fn packed(blob: Option<String>, size: Option<i64>, compression: i64) -> Option<Packed> {
    let compression = u8::try_from(compression).ok().filter(|number| [0, 2, 4].contains(number))?;
    Some(Packed { blob: blob?.parse().ok()?, size: u64::try_from(size?).ok()?, compression })
}

/// The entries of `text` whose layers have one of these diff ids; none in an empty file, as for
/// Podman. Memory does not grow with the number of other entries.
pub(super) fn parse(text: &[u8], wanted: &BTreeSet<Digest>) -> io::Result<Vec<Entry>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    let entries = Entries(wanted).deserialize(&mut json)?;
    json.end()?;
    Ok(entries)
}

struct Entries<'a>(&'a BTreeSet<Digest>);

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = Vec<Entry>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = Vec<Entry>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of layers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut out = Vec::new();
        while let Some(line) = list.next_element::<Line>()? {
            if let Some(entry) = line.entry(self.0)
                && out.len() < MAX_ENTRIES
            {
                out.push(entry);
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_layers_with_their_own_owners_are_kept() {
        let digest = Digest::of(b"x");
        let wanted = BTreeSet::from([digest]);
        let entry =
            |more: &str| format!(r#"{{"id":"a","diff-digest":"{digest}","diff-size":1024{more}}}"#);
        let kept = |text: &str| parse(text.as_bytes(), &wanted).unwrap();
        let blob =
            format!(r#","compressed-diff-digest":"{digest}","compressed-size":7,"compression":2"#);
        let found = kept(&format!("[{}]", entry(&blob)));
        let packed = Some(Packed { blob: digest, size: 7, compression: 2 });
        assert_eq!(found, [Entry { id: "a".to_owned(), diff_id: digest, size: 1024, packed }]);
        for good in [
            "",
            r#","flags":{}"#,
            r#","flags":{"incomplete":false}"#,
            r#","uidmap":[],"gidmap":null"#,
        ] {
            assert_eq!(kept(&format!("[{}]", entry(good))).len(), 1, "{good}");
        }
        for bad in [
            r#","flags":{"incomplete":true}"#,
            r#","flags":{"incomplete":1}"#,
            r#","uidmap":[{"container_id":0,"host_id":100000,"size":65536}]"#,
            r#","gidmap":[{}]"#,
        ] {
            assert_eq!(kept(&format!("[{}]", entry(bad))), [], "{bad}");
        }
        let others = r#"{"id":"b","diff-digest":"sha512:00","diff-size":-1},{"id":"c"},{}"#;
        assert_eq!(kept(&format!("[{others},{}]", entry(""))).len(), 1);
        assert_eq!(kept(&format!(r#"[{{"diff-digest":"{digest}","diff-size":-1}}]"#)), []);
        assert_eq!(kept(""), []);
        assert_eq!(kept("[]"), []);
        for wrong in ["{}", "[", "[1]", "[] x", "\0"] {
            assert!(parse(wrong.as_bytes(), &wanted).is_err(), "{wrong}");
        }
    }
}
