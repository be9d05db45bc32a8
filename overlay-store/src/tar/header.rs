//! One 512-byte header block: its checksum, its numbers, its dialect.

use super::{BLOCK, Time};

/// Which dialect of tar a header block is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

/// A header block whose checksum is right.
pub(super) struct Header<'a> {
    block: &'a [u8; BLOCK],
    pub(super) format: Format,
}

/// The fields of a header that every dialect has.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) flag: u8,
    pub(super) mode: i64,
    pub(super) uid: i64,
    pub(super) gid: i64,
    pub(super) size: i64,
    pub(super) mtime: Time,
    pub(super) atime: Option<Time>,
    pub(super) major: i64,
    pub(super) minor: i64,
}

impl<'a> Header<'a> {
    /// Checks the checksum (computed over unsigned or, as old tars did, signed bytes).
    pub(super) fn new(block: &'a [u8; BLOCK]) -> Result<Self, String> {
        let wanted = number(&block[148..156]).map_err(|why| format!("checksum: {why}"))?;
        let (mut unsigned, mut signed) = (0i64, 0i64);
        for (at, byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&at) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        if wanted != unsigned && wanted != signed {
            return Err(format!("header checksum is {wanted}, should be {unsigned}"));
        }
        let format = match (&block[257..263], &block[263..265], &block[508..512]) {
            (b"ustar\0", _, b"tar\0") => Format::Star,
            (b"ustar\0", _, _) => Format::Ustar,
            (b"ustar ", b" \0", _) => Format::Gnu,
            _ => Format::V7,
        };
        Ok(Self { block, format })
    }

    /// Decodes the fields; the prefix of the name is joined where the dialect has one.
    pub(super) fn fields(&self) -> Result<Fields, String> {
        let block = self.block;
        let field =
            |name: &str, bytes: &[u8]| number(bytes).map_err(|why| format!("{name}: {why}"));
        let mut name = text(&block[0..100]).to_vec();
        let mut atime = None;
        let (mut major, mut minor) = (0, 0);
        if self.format != Format::V7 {
            major = field("device major", &block[329..337])?;
            minor = field("device minor", &block[337..345])?;
        }
        let prefix = match self.format {
            Format::V7 => &[],
            Format::Ustar => text(&block[345..500]),
            Format::Star => {
                atime = Some(field("access time", &block[476..488])?);
                text(&block[345..476])
            }
            Format::Gnu => match gnu_atime(&block[345..357]) {
                Ok(time) => {
                    atime = time;
                    &[]
                }
                // Old Go programs wrote a USTAR prefix under the GNU magic; Go still reads it so.
                Err(()) => {
                    let prefix = text(&block[345..500]);
                    if prefix.is_ascii() { prefix } else { &[] }
                }
            },
        };
        if !prefix.is_empty() {
            name = [prefix, b"/", &name].concat();
        }
        Ok(Fields {
            name,
            link: text(&block[157..257]).to_vec(),
            flag: block[156],
            mode: field("mode", &block[100..108])?,
            uid: field("uid", &block[108..116])?,
            gid: field("gid", &block[116..124])?,
            size: field("size", &block[124..136])?,
            mtime: Time { seconds: field("modification time", &block[136..148])?, nanoseconds: 0 },
            atime: atime.map(|seconds| Time { seconds, nanoseconds: 0 }),
            major,
            minor,
        })
    }
}

/// GNU's access time field: absent when the field starts with a NUL byte.
fn gnu_atime(bytes: &[u8]) -> Result<Option<i64>, ()> {
    match bytes.first() {
        None | Some(0) => Ok(None),
        Some(_) => number(bytes).map(Some).map_err(|_| ()),
    }
}

/// The bytes before the first NUL.
pub(super) fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number field: octal digits among spaces and NULs, or big-endian base 256 when the first bit
/// is set (GNU; two's complement, so the second bit is the sign).
pub(super) fn number(bytes: &[u8]) -> Result<i64, String> {
    match bytes.first() {
        Some(first) if first & 0x80 != 0 => base_256(bytes),
        _ => octal(bytes),
    }
}

fn base_256(bytes: &[u8]) -> Result<i64, String> {
    let negative = bytes.first().is_some_and(|first| first & 0x40 != 0);
    let mut value: i128 = if negative { -1 } else { 0 };
    for (at, byte) in bytes.iter().enumerate() {
        // The first byte carries the marker bit; the sign fills its place.
        let byte = match (at, negative) {
            (0, false) => byte & 0x7f,
            (0, true) => byte | 0x80,
            _ => *byte,
        };
        value = (value << 8) | i128::from(byte);
        if value > i128::from(u64::MAX) || value < i128::from(i64::MIN) {
            return Err("a number beyond 64 bits".to_owned());
        }
    }
    i64::try_from(value).map_err(|_| "a number beyond 63 bits".to_owned())
}

fn octal(bytes: &[u8]) -> Result<i64, String> {
    let blank = |byte: &u8| *byte == b' ' || *byte == 0;
    let start = bytes.iter().position(|byte| !blank(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !blank(byte)).map_or(start, |at| at + 1);
    let digits = text(bytes.get(start..end).unwrap_or_default());
    let mut value = 0i64;
    for digit in digits {
        if !(b'0'..=b'7').contains(digit) {
            return Err(format!("{:?} is not octal", String::from_utf8_lossy(digits)));
        }
        // A field has at most twelve digits: 36 bits.
        value = (value << 3) | i64::from(digit - b'0');
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_gos_reader_takes_them() {
        let table: &[(&[u8], Option<i64>)] = &[
            (b"0000644\0", Some(0o644)),
            (b"  644 \0\0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"12x\0\0\0\0\0", None),
            (b"-1\0\0\0\0\0\0", None),
            (b"77777777777\0", Some(0o77_777_777_777)),
            (b"\x80\0\0\0\0\0\0\0\0\0\0\x2a", Some(42)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", None),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ];
        for (bytes, wanted) in table {
            assert_eq!(number(bytes).ok(), *wanted, "{bytes:x?}");
        }
    }
}
