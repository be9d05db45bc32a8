//! Sparse files: which bytes of the file the stream carries.

use std::io::BufRead;

use super::header::number;
use super::pax::SparseRecords;
use super::reader::Raw;
use super::{BLOCK, Error};

/// The most chunks that one sparse file may have; their map is held in memory.
const MAX_CHUNKS: usize = 1 << 17;

/// One run of data of a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where in the file the data goes, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
}

/// The layout of a sparse file: what the chunks do not cover is holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseMap {
    /// Size of the file on disk, in bytes.
    pub real_size: u64,
    /// Data runs, ascending and apart, their sum is what the stream carries.
    pub chunks: Vec<Chunk>,
    /// Bytes at the start of the content that hold the map itself (format 1.0).
    pub inline: u64,
}

impl SparseMap {
    fn new(real_size: i64, pairs: &[i64], inline: u64, stored: u64) -> Result<Self, String> {
        let real_size =
            u64::try_from(real_size).map_err(|_| "a negative sparse size".to_owned())?;
        let mut chunks = Vec::new();
        let (mut end, mut sum) = (0u64, 0u64);
        for pair in pairs.chunks(2) {
            let [offset, length] = pair else {
                return Err("the sparse map ends in the middle of an entry".to_owned());
            };
            let (Ok(offset), Ok(length)) = (u64::try_from(*offset), u64::try_from(*length)) else {
                return Err("a negative number in the sparse map".to_owned());
            };
            let next = offset.checked_add(length).filter(|next| *next <= real_size);
            let (Some(next), true) = (next, offset >= end) else {
                return Err("the sparse map overlaps itself or exceeds the file".to_owned());
            };
            end = next;
            sum += length;
            if length > 0 {
                chunks.push(Chunk { offset, length });
            }
        }
        if sum.checked_add(inline) != Some(stored) {
            return Err(format!("the sparse map covers {sum} bytes, the member carries {stored}"));
        }
        Ok(Self { real_size, chunks, inline })
    }
}

/// GNU's old sparse format: four entries in the header, then blocks of twenty-one.
pub(super) fn old_gnu<R: BufRead>(
    raw: &mut Raw<R>,
    header: &[u8; BLOCK],
    stored: u64,
) -> Result<SparseMap, Error> {
    let fault = |raw: &Raw<R>, why: String| raw.fault(why);
    let real_size =
        number(&header[483..495]).map_err(|why| fault(raw, format!("sparse size: {why}")))?;
    let mut pairs = Vec::new();
    let mut more =
        entries(&header[386..482], &mut pairs).map_err(|why| fault(raw, why))? && header[482] > 0;
    while more {
        if pairs.len() > 2 * MAX_CHUNKS {
            return Err(fault(raw, "too many sparse chunks".to_owned()));
        }
        let Some(block) = raw.block()? else {
            return Err(fault(raw, "the stream ends inside a sparse map".to_owned()));
        };
        more =
            entries(&block[0..504], &mut pairs).map_err(|why| fault(raw, why))? && block[504] > 0;
    }
    SparseMap::new(real_size, &pairs, 0, stored).map_err(|why| fault(raw, why))
}

/// Reads 24-byte entries until an empty one; false when it met one.
fn entries(bytes: &[u8], pairs: &mut Vec<i64>) -> Result<bool, String> {
    for entry in bytes.chunks_exact(24) {
        let (offset, length) = entry.split_at(12);
        if offset.first() == Some(&0) || length.first() == Some(&0) {
            return Ok(false);
        }
        pairs.extend([number(offset)?, number(length)?]);
    }
    Ok(true)
}

/// Which PAX sparse format the records speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PaxSparse {
    /// Formats 0.0 and 0.1: the map is in the records.
    InRecords,
    /// Format 1.0: the map is at the start of the content.
    InContent,
}

impl SparseRecords {
    /// The format, or none when the member is not sparse (an unknown version counts as not).
    pub(super) fn format(&self) -> Option<PaxSparse> {
        match (self.major.as_deref(), self.minor.as_deref()) {
            (Some(b"0"), Some(b"0" | b"1")) => Some(PaxSparse::InRecords),
            (Some(b"1"), Some(b"0")) => Some(PaxSparse::InContent),
            (None, None) if !self.map.is_empty() => Some(PaxSparse::InRecords),
            _ => None,
        }
    }

    /// The map of formats 0.0 and 0.1. `stored` is what the stream carries, in bytes.
    pub(super) fn map(&self, fallback: u64, stored: u64) -> Result<SparseMap, String> {
        SparseMap::new(self.file_size(fallback)?, &self.map, 0, stored)
    }

    /// The size of the file on disk.
    pub(super) fn file_size(&self, fallback: u64) -> Result<i64, String> {
        match self.size.or(self.real_size) {
            Some(size) => Ok(size),
            None => i64::try_from(fallback).map_err(|_| "a sparse size beyond 63 bits".to_owned()),
        }
    }
}

/// The map of format 1.0: decimal numbers, one a line, padded to a block. The blocks read are
/// content of the member, yet belong to the raw bytes.
pub(super) fn inline<R: BufRead>(
    raw: &mut Raw<R>,
    real_size: i64,
    stored: u64,
) -> Result<SparseMap, Error> {
    let mut lines =
        Lines { raw, line: Vec::new(), block: [0; BLOCK], at: BLOCK, read: 0, limit: stored };
    let count = lines.number()?;
    if usize::try_from(count).map_or(true, |count| count > MAX_CHUNKS) {
        return Err(lines.raw.fault("too many sparse chunks".to_owned()));
    }
    let mut pairs = Vec::new();
    for _ in 0..count.saturating_mul(2) {
        pairs.push(lines.number()?);
    }
    let read = lines.read;
    SparseMap::new(real_size, &pairs, read, stored).map_err(|why| raw.fault(why))
}

struct Lines<'a, R> {
    raw: &'a mut Raw<R>,
    line: Vec<u8>,
    block: [u8; BLOCK],
    at: usize,
    read: u64,
    limit: u64,
}

impl<R: BufRead> Lines<'_, R> {
    fn number(&mut self) -> Result<i64, Error> {
        self.line.clear();
        loop {
            if self.at == BLOCK {
                if self.read + BLOCK as u64 > self.limit {
                    return Err(self.raw.fault("the sparse map exceeds the member".to_owned()));
                }
                self.block = self.raw.block()?.ok_or_else(|| {
                    self.raw.fault("the stream ends inside a sparse map".to_owned())
                })?;
                self.read += BLOCK as u64;
                self.at = 0;
            }
            let byte = self.block.get(self.at).copied().unwrap_or_default();
            self.at += 1;
            match byte {
                b'\n' => break,
                b'0'..=b'9' if self.line.len() < 20 => self.line.push(byte),
                _ => {
                    return Err(self
                        .raw
                        .fault("the sparse map is not a list of numbers".to_owned()));
                }
            }
        }
        std::str::from_utf8(&self.line)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| self.raw.fault("the sparse map is not a list of numbers".to_owned()))
    }
}
