//! Writing tar-split.

use std::borrow::Cow;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

/// The most raw bytes in one segment; upstream's limit after the last member.
const MAX_SEGMENT: usize = 1 << 20;

/// Field order and the fields left out when empty are upstream's.
#[derive(Serialize)]
struct Line<'a> {
    r#type: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_raw: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    payload: Option<String>,
    position: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(size: &u64) -> bool {
    *size == 0
}

/// Writes the entries of one layer. The same entries give the same bytes.
pub struct Writer<W: Write> {
    out: GzEncoder<W>,
    position: u64,
}

impl<W: Write> Writer<W> {
    /// A writer over an empty file.
    pub fn new(out: W) -> Self {
        Self { out: GzEncoder::new(out, Compression::new(6)), position: 0 }
    }

    /// Adds raw bytes of the stream; nothing when there are none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn segment(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(MAX_SEGMENT) {
            self.line(2, None, 0, Some(STANDARD.encode(piece)))?;
        }
        Ok(())
    }

    /// Adds the content of the file `name`: `size` bytes with the checksum `crc`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn file(&mut self, name: &[u8], size: u64, crc: u64) -> io::Result<()> {
        let payload = (size > 0).then(|| STANDARD.encode(crc.to_be_bytes()));
        self.line(1, Some(name), size, payload)
    }

    fn line(
        &mut self,
        kind: u8,
        name: Option<&[u8]>,
        size: u64,
        payload: Option<String>,
    ) -> io::Result<()> {
        let text = name.map(String::from_utf8_lossy);
        let (name, name_raw) = match &text {
            Some(Cow::Borrowed(text)) => (Some(*text), None),
            Some(Cow::Owned(_)) => (None, name.map(|name| STANDARD.encode(name))),
            None => (None, None),
        };
        let line = Line { r#type: kind, name, name_raw, size, payload, position: self.position };
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")?;
        self.position += 1;
        Ok(())
    }

    /// Completes the file and gives it back.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self) -> io::Result<W> {
        self.out.finish()
    }
}
