//! Layer ids and link ids.
//!
//! Podman's own ids are chain ids: a pull of another image would find our layers by them and come
//! to depend on our store, which is replaced at the next update. Ours are private: the same
//! function of the content, in a name space that no pull ever looks into. Changing the prefix
//! changes every layer id, and with it every store id.

use oci_digest::Digest;

/// What separates our layer ids from those of containers/image.
const PREFIX: &str = "bound-images-layer-v1\n";

/// Length of a link id, as in containers/storage (`drivers/overlay/overlay.go`, `idLength`).
pub const LINK_LENGTH: usize = 26;

/// The ids of all layers of an image, base layer first, from its diff ids.
#[must_use]
pub fn layer_ids(diff_ids: &[Digest]) -> Vec<String> {
    let mut chain: Option<String> = None;
    let mut ids = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        // containers/image `storage_dest.go`: not OCI's ChainID, which hashes other text.
        let next = match chain {
            None => diff_id.hex(),
            Some(below) => Digest::of(format!("{below}+{}", diff_id.hex()).as_bytes()).hex(),
        };
        ids.push(Digest::of(format!("{PREFIX}{next}").as_bytes()).hex());
        chain = Some(next);
    }
    ids
}

/// The short name under which a layer is mounted: 26 characters of base 32.
///
/// Containers remember link ids, so it must be the same in every store that has the layer.
#[must_use]
pub fn link_id(layer_id: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digest = Digest::of(format!("link{layer_id}").as_bytes());
    let mut out = String::with_capacity(LINK_LENGTH);
    let (mut buffer, mut bits) = (0u32, 0u32);
    for byte in digest.bytes() {
        buffer = (buffer << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 && out.len() < LINK_LENGTH {
            bits -= 5;
            let letter = ALPHABET.get(((buffer >> bits) & 31) as usize).copied();
            out.push(char::from(letter.unwrap_or(b'A')));
        }
        buffer &= 0xffff;
    }
    out
}

/// Whether `text` has the form of a layer or image id: 64 lower-case hex digits.
#[must_use]
pub fn is_id(text: &str) -> bool {
    Digest::from_hex(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_never_change() {
        // These values are in stores in the field: a change breaks their containers.
        let digest = Digest::of(b"a");
        let ids = layer_ids(&[digest, digest]);
        assert_eq!(ids.len(), 2);
        assert_ne!(ids[0], ids[1], "the same diff id twice is two layers");
        assert_eq!(ids, layer_ids(&[digest, digest]));
        assert_eq!(
            ids[0],
            Digest::of(format!("bound-images-layer-v1\n{}", digest.hex()).as_bytes()).hex()
        );
        let link = link_id(&ids[0]);
        assert_eq!(link.len(), LINK_LENGTH);
        assert!(
            link.bytes().all(|byte| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte))
        );
    }

    #[test]
    fn link_id_is_base32_of_a_hash() {
        // python3: base64.b32encode(hashlib.sha256(b"link" + b"x").digest())[:26]
        assert_eq!(link_id("x"), "ZAIQOMBGRRZGSPYR4OIJAVMAGB");
    }
}
