//! OCI content digests: `sha256:` and 64 lower-case hex digits.
//!
//! The one type that every room shares. Only SHA-256 exists here: it is the only algorithm that
//! containers/storage uses for image and layer ids, and the only one that the OCI image
//! specification makes mandatory (`descriptor.md`, "Registered algorithms").

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// A SHA-256 content digest. Displays, parses and serialises as `sha256:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// Why a text is not a digest that this program understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// An algorithm other than `sha256`.
    Algorithm(String),
    /// Not 64 lower-case hex digits after the colon.
    Hex(String),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Algorithm(text) => {
                write!(f, "{text:?} is not a sha256 digest: only sha256 is supported")
            }
            Self::Hex(text) => {
                write!(f, "{text:?} is not a digest: 64 lower-case hex digits must follow sha256:")
            }
        }
    }
}

impl std::error::Error for ParseError {}

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The digest made of 64 lower-case hex digits, as in image and layer ids.
    ///
    /// # Errors
    /// [`ParseError::Hex`] when `hex` is anything else.
    pub fn from_hex(hex: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::Hex(hex.chars().take(80).collect());
        let digits = hex.as_bytes();
        if digits.len() != 64 {
            return Err(wrong());
        }
        let mut out = [0u8; 32];
        for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
            let mut value = 0u8;
            for digit in pair {
                value = (value << 4)
                    | match digit {
                        b'0'..=b'9' => digit - b'0',
                        b'a'..=b'f' => digit - b'a' + 10,
                        _ => return Err(wrong()),
                    };
            }
            *byte = value;
        }
        Ok(Self(out))
    }

    /// The 64 lower-case hex digits, without the algorithm.
    #[must_use]
    pub fn hex(&self) -> String {
        const DIGITS: [char; 16] =
            ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        self.0
            .iter()
            .flat_map(|byte| [usize::from(byte >> 4), usize::from(byte & 15)])
            .filter_map(|nibble| DIGITS.get(nibble))
            .collect()
    }

    /// The 32 raw bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first twelve hex digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.hex().chars().take(12).collect()
    }
}

impl FromStr for Digest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.strip_prefix("sha256:") {
            Some(hex) => Self::from_hex(hex),
            None => Err(ParseError::Algorithm(text.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Hashes what is fed to it, piece by piece.
#[derive(Clone, Default)]
pub struct Hasher {
    state: sha2::Sha256,
    length: u64,
}

impl Hasher {
    /// Adds `bytes` to what is hashed.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// Bytes hashed so far.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The digest of all that was fed.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.state.finalize().into())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").field("length", &self.length).finish_non_exhaustive()
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B.1.
    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn of_and_hasher_agree_with_the_standard() {
        assert_eq!(Digest::of(b"abc").to_string(), ABC);
        let mut hasher = Hasher::default();
        hasher.update(b"a");
        hasher.update(b"bc");
        assert_eq!(hasher.length(), 3);
        assert_eq!(hasher.finish().to_string(), ABC);
    }

    #[test]
    fn parses_only_what_it_prints() {
        let digest: Digest = ABC.parse().unwrap();
        assert_eq!(digest.to_string(), ABC);
        assert_eq!(serde_json::to_string(&digest).unwrap(), format!("\"{ABC}\""));
        assert_eq!(serde_json::from_str::<Digest>(&format!("\"{ABC}\"")).unwrap(), digest);
        for bad in
            ["", "sha256:", "abc", "sha512:00", &ABC.to_uppercase(), &ABC[..70], &format!("{ABC}0")]
        {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
