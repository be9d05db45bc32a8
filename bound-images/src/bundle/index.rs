//! The index of a bundle: what it says, and the edit that adds images to it. Pure.
//!
//! Entries without a full name are somebody else's: they stay in front, in their order. Those with one follow, sorted
//! by it, so that the same images give the same bytes whatever came first.

use binding::Reference;
use oci_digest::Digest;
use serde_json::{Map, Value, json};

use crate::source::manifest::{MAX_MANIFEST, OCI_INDEX};

/// The annotation that carries an image's full name.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An image that the index has to name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The reference as it is bound.
    pub reference: Reference,
    /// Digest of the list, or of the manifest.
    pub digest: Digest,
    /// Bytes of it.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
}

/// The full name that an entry carries, if it does.
fn name_of(entry: &Value) -> Option<Reference> {
    let text = entry.get("annotations")?.get(REF_NAME)?.as_str()?;
    if text.contains('/') { Reference::parse(text).ok() } else { None }
}

fn is_for(value: &Value, entry: &Entry) -> bool {
    value.get("digest").and_then(Value::as_str) == Some(entry.digest.to_string().as_str())
        && value.get("size").and_then(Value::as_u64) == Some(entry.size)
}

/// The index that names `wanted` besides what `old` names; none when `old` does already. An entry of the same name that
/// leads elsewhere is replaced: the tag has another digest now. With `prune`, names that are not wanted go.
///
/// # Errors
/// Why `old` is no index.
pub(super) fn edit(
    old: Option<&[u8]>,
    wanted: &[Entry],
    prune: bool,
) -> Result<Option<Vec<u8>>, String> {
    let mut index: Map<String, Value> = match old {
        Some(bytes) => serde_json::from_slice(bytes).map_err(|error| error.to_string())?,
        None => Map::new(),
    };
    let manifests = index.remove("manifests").unwrap_or_else(|| json!([]));
    let Value::Array(before) = manifests else {
        return Err("its `manifests` is no list".to_owned());
    };
    let mut after: Vec<Value> = before
        .iter()
        .filter(|value| match name_of(value) {
            None => true,
            Some(name) => match wanted.iter().find(|entry| entry.reference == name) {
                Some(entry) => is_for(value, entry),
                None => !prune,
            },
        })
        .cloned()
        .collect();
    for entry in wanted {
        let known = |value: &Value| {
            name_of(value).as_ref() == Some(&entry.reference) && is_for(value, entry)
        };
        if !after.iter().any(known) {
            after.push(json!({
                "mediaType": entry.media_type, "digest": entry.digest, "size": entry.size,
                "annotations": { REF_NAME: entry.reference.to_string() },
            }));
        }
    }
    if old.is_some() && after == before {
        return Ok(None);
    }
    // Stable: entries of others stay as they were among themselves.
    after.sort_by_cached_key(|value| {
        let digest = value.get("digest").and_then(Value::as_str).unwrap_or_default();
        name_of(value).map(|name| (name.to_string(), digest.to_owned()))
    });
    index.insert("manifests".to_owned(), Value::Array(after));
    if old.is_none() {
        index.insert("mediaType".to_owned(), json!(OCI_INDEX));
        index.insert("schemaVersion".to_owned(), json!(2));
    }
    let mut bytes = serde_json::to_vec_pretty(&index).map_err(|error| error.to_string())?;
    bytes.push(b'\n');
    if bytes.len() as u64 > MAX_MANIFEST {
        return Err(format!("it would be larger than {MAX_MANIFEST} bytes"));
    }
    Ok(Some(bytes))
}

/// The digests of the entries that `old` has and `new` has not.
pub(super) fn dropped(old: &[u8], new: &[u8]) -> Vec<Digest> {
    let digests = |bytes: &[u8]| -> Vec<Digest> {
        let index: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let entries = index.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default();
        let texts = entries.iter().filter_map(|entry| entry.get("digest")?.as_str()?.parse().ok());
        texts.collect()
    };
    let left = digests(new);
    digests(old).into_iter().filter(|digest| !left.contains(digest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(reference: &str, content: &str) -> Entry {
        Entry {
            reference: Reference::parse(reference).unwrap(),
            digest: Digest::of(content.as_bytes()),
            size: content.len() as u64,
            media_type: OCI_INDEX.to_owned(),
        }
    }

    fn names(bytes: &[u8]) -> Vec<String> {
        let index: Value = serde_json::from_slice(bytes).unwrap();
        let entries = index["manifests"].as_array().unwrap().iter();
        entries.map(|entry| entry["annotations"][REF_NAME].to_string().replace('"', "")).collect()
    }

    #[test]
    fn the_same_images_give_the_same_bytes_in_any_order() {
        let (a, b) = (entry("r.io/a/a:1", "a"), entry("r.io/b/b:1", "b"));
        let at_once = edit(None, &[b.clone(), a.clone()], false).unwrap().unwrap();
        let first = edit(None, std::slice::from_ref(&b), false).unwrap().unwrap();
        let then = edit(Some(&first), std::slice::from_ref(&a), false).unwrap().unwrap();
        assert_eq!(at_once, then);
        assert_eq!(names(&then), ["r.io/a/a:1", "r.io/b/b:1"]);
        assert_eq!(edit(Some(&then), &[a, b], false), Ok(None), "nothing to do");
    }

    #[test]
    fn what_others_wrote_is_kept() {
        let old = json!({"schemaVersion": 2, "x-own": {"k": [1, 2]}, "manifests": [
            {"digest": "sha512:zz", "mediaType": "x/y", "size": 7, "x": 1},
            {"digest": Digest::of(b"z"), "size": 1, "annotations": {REF_NAME: "r.io/z/z:1"}},
            {"digest": Digest::of(b"t"), "size": 1, "annotations": {REF_NAME: "latest"}},
        ]});
        let old = old.to_string();
        let a = entry("r.io/a/a:1", "a");
        let new = edit(Some(old.as_bytes()), std::slice::from_ref(&a), false).unwrap().unwrap();
        assert_eq!(names(&new), ["null", "latest", "r.io/a/a:1", "r.io/z/z:1"]);
        let value: Value = serde_json::from_slice(&new).unwrap();
        assert_eq!(value["x-own"]["k"], json!([1, 2]));
        assert_eq!(value["manifests"][0]["x"], 1);
        let pruned = edit(Some(&new), std::slice::from_ref(&a), true).unwrap().unwrap();
        assert_eq!(names(&pruned), ["null", "latest", "r.io/a/a:1"]);
        assert_eq!(dropped(&new, &pruned), [Digest::of(b"z")]);
    }

    #[test]
    fn a_name_leads_to_one_image() {
        let old = edit(None, &[entry("r.io/a/a:1", "a")], false).unwrap().unwrap();
        let moved = entry("r.io/a/a:1", "moved");
        let new = edit(Some(&old), std::slice::from_ref(&moved), false).unwrap().unwrap();
        assert_eq!(names(&new), ["r.io/a/a:1"]);
        let value: Value = serde_json::from_slice(&new).unwrap();
        assert_eq!(value["manifests"][0]["digest"], moved.digest.to_string());
    }

    #[test]
    fn what_is_no_index_is_refused() {
        for text in ["", "[]", "{\"manifests\": 1}", "{"] {
            assert!(edit(Some(text.as_bytes()), &[], false).is_err(), "{text}");
        }
    }
}
