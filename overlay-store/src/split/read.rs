//! Reading tar-split: ours, or Podman's.

use std::io::{self, BufRead, BufReader, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;

/// The longest line that is read, in bytes: a segment with the largest headers, in base 64.
const MAX_LINE: u64 = 32 << 20;

/// One entry of a tar-split file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Raw bytes of the stream.
    Segment(Vec<u8>),
    /// The content of a file below the layer's `diff`.
    File {
        /// Its name as the stream has it.
        name: Vec<u8>,
        /// Its size in bytes.
        size: u64,
        /// Its checksum; none for an empty file.
        crc: Option<u64>,
    },
}

#[derive(Deserialize)]
struct Line {
    r#type: u8,
    #[serde(default)]
    name: String,
    #[serde(default)]
    name_raw: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    payload: Option<String>,
    position: u64,
}

/// Reads entries one after the other.
pub struct Reader<R> {
    lines: BufReader<MultiGzDecoder<R>>,
    position: u64,
    line: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// A reader at the start of a tar-split file.
    pub fn new(file: R) -> Self {
        Self {
            lines: BufReader::with_capacity(1 << 17, MultiGzDecoder::new(file)),
            position: 0,
            line: Vec::new(),
        }
    }

    /// The next entry, or none at the end.
    ///
    /// # Errors
    /// When the file cannot be read or is not tar-split (kind [`io::ErrorKind::InvalidData`]).
    pub fn entry(&mut self) -> io::Result<Option<Entry>> {
        let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        self.line.clear();
        let read = (&mut self.lines).take(MAX_LINE).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        let at = self.position;
        let line: Line = serde_json::from_slice(&self.line)
            .map_err(|error| wrong(format!("tar-split entry {at} is not valid: {error}")))?;
        if line.position != at {
            return Err(wrong(format!(
                "tar-split entry {at} says that it is number {}",
                line.position
            )));
        }
        self.position += 1;
        let bytes = |text: &str| {
            STANDARD.decode(text).map_err(|error| wrong(format!("tar-split entry {at}: {error}")))
        };
        let payload = line.payload.as_deref().map(bytes).transpose()?;
        match line.r#type {
            2 => Ok(Some(Entry::Segment(payload.unwrap_or_default()))),
            1 => {
                let name = match line.name_raw.as_str() {
                    "" => line.name.into_bytes(),
                    raw => bytes(raw)?,
                };
                let crc = match payload.as_deref() {
                    None | Some([]) => None,
                    Some(payload) => {
                        Some(u64::from_be_bytes(payload.try_into().map_err(|_| {
                            wrong(format!(
                                "tar-split entry {at} has a checksum of {} bytes",
                                payload.len()
                            ))
                        })?))
                    }
                };
                if line.size > 0 && crc.is_none() {
                    return Err(wrong(format!("tar-split entry {at} has no checksum")));
                }
                Ok(Some(Entry::File { name, size: line.size, crc }))
            }
            other => Err(wrong(format!("tar-split entry {at} is of the unknown type {other}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Checksum, Writer};
    use super::*;

    #[test]
    fn entries_survive_and_have_upstreams_text() {
        let mut crc = Checksum::default();
        crc.update(b"123456789");
        let crc = crc.finish();
        assert_eq!(crc, 0xb909_56c7_75a4_1001, "the check value of CRC-64/GO-ISO");
        let mut writer = Writer::new(Vec::new());
        writer.segment(b"").unwrap();
        writer.segment(b"head").unwrap();
        writer.file(b"./a", 9, crc).unwrap();
        writer.file(b"./d/", 0, 0).unwrap();
        writer.file(b"./\xff", 9, crc).unwrap();
        let file = writer.finish().unwrap();
        let mut text = String::new();
        MultiGzDecoder::new(file.as_slice()).read_to_string(&mut text).unwrap();
        assert_eq!(
            text,
            "{\"type\":2,\"payload\":\"aGVhZA==\",\"position\":0}\n\
             {\"type\":1,\"name\":\"./a\",\"size\":9,\"payload\":\"uQlWx3WkEAE=\",\"position\":1}\n\
             {\"type\":1,\"name\":\"./d/\",\"payload\":null,\"position\":2}\n\
             {\"type\":1,\"name_raw\":\"Li//\",\"size\":9,\"payload\":\"uQlWx3WkEAE=\",\"position\":3}\n"
        );
        let mut reader = Reader::new(file.as_slice());
        assert_eq!(reader.entry().unwrap(), Some(Entry::Segment(b"head".to_vec())));
        assert_eq!(
            reader.entry().unwrap(),
            Some(Entry::File { name: b"./a".to_vec(), size: 9, crc: Some(crc) })
        );
        assert_eq!(
            reader.entry().unwrap(),
            Some(Entry::File { name: b"./d/".to_vec(), size: 0, crc: None })
        );
        assert_eq!(
            reader.entry().unwrap(),
            Some(Entry::File { name: b"./\xff".to_vec(), size: 9, crc: Some(crc) })
        );
        assert_eq!(reader.entry().unwrap(), None);
    }
}
