//! `layers.json` and `images.json` as containers/storage reads them (`layers.go`, `images.go`).
//!
//! Fields that are empty are left out, as there. Readers ignore what they do not know.

use std::collections::BTreeMap;

use oci_digest::Digest;
use serde::{Deserialize, Serialize};

/// The time that stands for "no time": nothing in a store is about when it was made.
pub(crate) const EPOCH: &str = "1970-01-01T00:00:00Z";

/// One layer in `layers.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerEntry {
    /// 64 hex digits.
    pub id: String,
    /// Id of the layer below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    pub created: String,
    /// Digest of the blob in the registry; lets Podman reuse the bytes without a download.
    #[serde(default, rename = "compressed-diff-digest", skip_serializing_if = "Option::is_none")]
    pub blob: Option<Digest>,
    /// Size of that blob in bytes.
    #[serde(default, rename = "compressed-size", skip_serializing_if = "Option::is_none")]
    pub blob_size: Option<u64>,
    /// Digest of the uncompressed tar stream.
    #[serde(default, rename = "diff-digest", skip_serializing_if = "Option::is_none")]
    pub diff_id: Option<Digest>,
    /// Its length in bytes.
    #[serde(default, rename = "diff-size", skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Compression of the blob: 0 none, 2 gzip, 4 zstd.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub compression: u8,
    /// Owners in the layer.
    #[serde(default, rename = "uidset", skip_serializing_if = "Vec::is_empty")]
    pub uids: Vec<u32>,
    /// Groups in the layer.
    #[serde(default, rename = "gidset", skip_serializing_if = "Vec::is_empty")]
    pub gids: Vec<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(number: &u8) -> bool {
    *number == 0
}

/// One image in `images.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageEntry {
    /// Hex digits of the config's digest.
    pub id: String,
    /// The digest that Podman shows: of the manifest list where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Full references; unique in the whole store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Id of the top layer; none for an image without layers.
    #[serde(default, rename = "layer", skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// A JSON text of containers/image (sizes of signatures).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// Keys of the config and the manifests.
    #[serde(default, rename = "big-data-names", skip_serializing_if = "Option::is_none")]
    pub data_names: Option<Vec<String>>,
    /// Their sizes in bytes.
    #[serde(default, rename = "big-data-sizes", skip_serializing_if = "Option::is_none")]
    pub data_sizes: Option<BTreeMap<String, u64>>,
    /// Their digests; every key that starts with `manifest` can be found by its digest.
    #[serde(default, rename = "big-data-digests", skip_serializing_if = "Option::is_none")]
    pub data_digests: Option<BTreeMap<String, Digest>>,
    /// RFC 3339, from the config.
    #[serde(default)]
    pub created: String,
}

/// File name of a big data item: the key itself where it is plain, else `=` and base 64
/// (containers/storage `store.go`, `makeBigDataBaseName`).
#[must_use]
pub fn data_file_name(key: &str) -> String {
    use base64::Engine as _;
    let plain = |byte: u8| byte == b'.' || byte.is_ascii_digit() || byte.is_ascii_lowercase();
    if key.bytes().all(plain) {
        return key.to_owned();
    }
    format!("={}", base64::engine::general_purpose::STANDARD.encode(key))
}

/// `text` if it is a time that Go's RFC 3339 parser takes, else 1970. One bad time in
/// `images.json` makes every Podman command fail, so nothing else may get there.
#[must_use]
pub(crate) fn created(text: Option<&str>) -> String {
    text.filter(|text| is_rfc3339(text)).unwrap_or(EPOCH).to_owned()
}

fn is_rfc3339(text: &str) -> bool {
    let Some((date, rest)) = text.split_at_checked(10) else { return false };
    let Some((clock, rest)) = rest.strip_prefix('T').and_then(|rest| rest.split_at_checked(8))
    else {
        return false;
    };
    let zone = match rest.strip_prefix('.') {
        None => rest,
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|digit: char| digit.is_ascii_digit());
            if zone.len() == fraction.len() || fraction.len() - zone.len() > 9 {
                return false;
            }
            zone
        }
    };
    is_date(date) && is_clock(clock) && is_zone(zone)
}

fn numbers(text: &str, separator: char, widths: &[usize]) -> Option<Vec<u32>> {
    let parts: Vec<&str> = text.split(separator).collect();
    let right = parts.len() == widths.len()
        && parts.iter().zip(widths).all(|(part, width)| {
            part.len() == *width && part.bytes().all(|byte| byte.is_ascii_digit())
        });
    right.then(|| parts.iter().filter_map(|part| part.parse().ok()).collect())
}

fn is_date(text: &str) -> bool {
    let list = numbers(text, '-', &[4, 2, 2]).and_then(|list| <[u32; 3]>::try_from(list).ok());
    let Some([year, month, day]) = list else { return false };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => 0,
    };
    year > 0 && (1..=days).contains(&day)
}

fn is_clock(text: &str) -> bool {
    numbers(text, ':', &[2, 2, 2])
        .and_then(|list| <[u32; 3]>::try_from(list).ok())
        .is_some_and(|[hour, minute, second]| hour < 24 && minute < 60 && second < 60)
}

fn is_zone(text: &str) -> bool {
    if text == "Z" {
        return true;
    }
    text.strip_prefix(['+', '-'])
        .and_then(|zone| numbers(zone, ':', &[2, 2]))
        .and_then(|list| <[u32; 2]>::try_from(list).ok())
        .is_some_and(|[hour, minute]| hour < 24 && minute < 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_that_podman_can_read() {
        for good in
            ["2024-05-06T07:08:09Z", "2024-02-29T00:00:00.123456789+02:00", "1970-01-01T00:00:00Z"]
        {
            assert_eq!(created(Some(good)), good);
        }
        for bad in [
            "",
            "yesterday",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-05-06T24:00:00Z",
            "2024-05-06T07:08:09",
            "2024-05-06 07:08:09Z",
            "2024-05-06T07:08:09.Z",
            "+024-05-06T07:08:09Z",
            "2024-05-06T07:08:09+2:00",
            "２024-05-06T07:08:09Z",
            "0000-01-01T00:00:00Z",
        ] {
            assert_eq!(created(Some(bad)), EPOCH, "{bad}");
        }
        assert_eq!(created(None), EPOCH);
    }

    #[test]
    fn names_of_big_data() {
        assert_eq!(data_file_name("manifest"), "manifest");
        assert_eq!(data_file_name("sha256:00"), "=c2hhMjU2OjAw");
    }
}
