//! Which blobs only the images led to that are removed from an index. What cannot be told for sure is kept.

use std::collections::{BTreeSet, VecDeque};

use oci_digest::Digest;
use serde_json::Value;

use super::event::Pruned;
use super::index;
use crate::source::Kind;
use crate::source::layout::Layout;
use crate::source::manifest::{MAX_MANIFEST, Manifest, parse_manifest};

/// Deepest nesting that is followed.
const MAX_DEPTH: usize = 8;
/// Most blobs that are looked at.
const MAX_BLOBS: usize = 100_000;

/// What goes when `new` replaces `old`.
pub(super) fn plan(layout: &Layout, old: &[u8], new: &[u8]) -> Pruned {
    let dropped = index::dropped(old, new);
    let mut pruned = Pruned { images: dropped.len(), ..Pruned::default() };
    let index: Value = serde_json::from_slice(new).unwrap_or_default();
    let left = match reach(layout, &index) {
        Ok(left) => left,
        Err(why) => {
            pruned.kept = Some(why);
            return pruned;
        }
    };
    let mut blobs = BTreeSet::new();
    for digest in dropped {
        lead(layout, digest, 0, &mut blobs);
    }
    for digest in blobs.difference(&left) {
        if let Ok(size) = layout.size(*digest) {
            pruned.blobs.push(*digest);
            pruned.bytes = pruned.bytes.saturating_add(size);
        }
    }
    pruned
}

/// All that anything in `index` could lead to: whatever looks like a descriptor, in whatever looks like JSON.
fn reach(layout: &Layout, index: &Value) -> Result<BTreeSet<Digest>, String> {
    let mut seen = BTreeSet::new();
    let mut queue = VecDeque::new();
    let mut add = |value: &Value, depth: usize, queue: &mut VecDeque<_>| {
        for digest in digests(value) {
            if seen.insert(digest) {
                queue.push_back((digest, depth));
            }
        }
        if seen.len() > MAX_BLOBS { Err("there are too many blobs".to_owned()) } else { Ok(()) }
    };
    add(index, 0, &mut queue)?;
    while let Some((digest, depth)) = queue.pop_front() {
        let size = match layout.size(digest) {
            // A bundle may hold a part of a list.
            Err(refusal) if refusal.kind == Kind::NotFound => continue,
            Err(refusal) => return Err(refusal.why),
            Ok(size) => size,
        };
        if size > MAX_MANIFEST {
            continue;
        }
        let bytes = layout.read_blob(digest, size, MAX_MANIFEST).map_err(|refusal| refusal.why)?;
        if let Ok(value) = serde_json::from_slice::<Value>(&bytes) {
            if depth >= MAX_DEPTH {
                return Err(format!("what leads to {digest} is nested deeper than {MAX_DEPTH}"));
            }
            add(&value, depth + 1, &mut queue)?;
        }
    }
    Ok(seen)
}

/// Every `digest` in it.
fn digests(value: &Value) -> Vec<Digest> {
    let mut found = Vec::new();
    let mut waiting = vec![value];
    while let Some(value) = waiting.pop() {
        match value {
            Value::Object(map) => {
                let text = map.get("digest").and_then(Value::as_str);
                found.extend(text.and_then(|text| text.parse::<Digest>().ok()));
                waiting.extend(map.values());
            }
            Value::Array(list) => waiting.extend(list),
            _ => {}
        }
    }
    found
}

/// The blobs of an image, or of a list, as its manifests say.
fn lead(layout: &Layout, digest: Digest, depth: usize, blobs: &mut BTreeSet<Digest>) {
    if depth > MAX_DEPTH || blobs.len() > MAX_BLOBS || !blobs.insert(digest) {
        return;
    }
    let read = layout.size(digest).and_then(|size| layout.read_blob(digest, size, MAX_MANIFEST));
    match read.and_then(|bytes| parse_manifest(&bytes)) {
        Ok(Manifest::List { instances, .. }) => {
            for instance in instances {
                lead(layout, instance.digest, depth + 1, blobs);
            }
        }
        Ok(Manifest::Image { config, layers, .. }) => {
            blobs.insert(config.digest);
            blobs.extend(layers.iter().map(|layer| layer.digest));
        }
        Err(_) => {}
    }
}
