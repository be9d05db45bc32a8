//! The stream of members.

use std::io::BufRead;

use super::header::{Fields, Header, text};
use super::pax::{self, Pax};
use super::sparse::{self, PaxSparse};
use super::{BLOCK, Error, Kind, MAX_META, Member};

/// The most raw bytes kept between two payloads; extended headers of many members in a row are
/// taken out by the caller after each, so only one member's worth is ever held.
const MAX_PENDING: usize = 8 << 20;

/// The bytes under the members: counts them and keeps those that are not content.
pub(super) struct Raw<R> {
    source: R,
    offset: u64,
    pending: Vec<u8>,
}

impl<R: BufRead> Raw<R> {
    pub(super) fn fault(&self, why: String) -> Error {
        Error::Malformed { offset: self.offset, why }
    }

    /// Reads up to `length` bytes into the pending ones; fewer at the end of the stream.
    fn keep(&mut self, length: usize) -> Result<usize, Error> {
        let mut got = 0;
        while got < length {
            let buffer = match self.source.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            if buffer.is_empty() {
                break;
            }
            let take = buffer.len().min(length - got);
            self.pending.extend_from_slice(buffer.get(..take).unwrap_or_default());
            self.source.consume(take);
            got += take;
        }
        self.offset += got as u64;
        if self.pending.len() > MAX_PENDING {
            return Err(self.fault(format!("more than {MAX_PENDING} bytes of headers in a row")));
        }
        Ok(got)
    }

    /// The next block, or none at the end of the stream. A part of a block is an error.
    pub(super) fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        match self.keep(BLOCK)? {
            0 => Ok(None),
            BLOCK => Ok(self.pending.last_chunk::<BLOCK>().copied()),
            _ => Err(self.fault("the stream ends inside a block".to_owned())),
        }
    }
}

/// Reads the members of a tar stream one after the other.
///
/// For each: [`Reader::member`], [`Reader::take_raw`], then [`Reader::payload`] until it is empty.
/// After the last: [`Reader::rest`] until it is empty.
pub struct Reader<R> {
    raw: Raw<R>,
    left: u64,
    padding: usize,
}

impl<R: BufRead> Reader<R> {
    /// A reader at the start of `source`.
    pub fn new(source: R) -> Self {
        Self { raw: Raw { source, offset: 0, pending: Vec::new() }, left: 0, padding: 0 }
    }

    /// Bytes of the stream read so far.
    pub fn offset(&self) -> u64 {
        self.raw.offset
    }

    /// The source under the reader, to be looked at.
    pub fn source(&self) -> &R {
        &self.raw.source
    }

    /// The source under the reader.
    pub fn into_source(self) -> R {
        self.raw.source
    }

    /// The raw bytes since the end of the previous payload.
    pub fn take_raw(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.raw.pending)
    }

    /// The next piece of the current member's content; empty when there is no more. The caller
    /// says with [`Reader::consume`] how much of it was used.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the stream ends too early, [`Error::Io`] when it cannot be read.
    pub fn payload(&mut self) -> Result<&[u8], Error> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let offset = self.raw.offset;
        let buffer = self.raw.source.fill_buf()?;
        if buffer.is_empty() {
            let why = format!("the stream ends {} bytes before the end of a file", self.left);
            return Err(Error::Malformed { offset, why });
        }
        let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        Ok(buffer.get(..take).unwrap_or_default())
    }

    /// Takes `count` bytes of the content that [`Reader::payload`] showed.
    pub fn consume(&mut self, count: usize) {
        let count = count.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.raw.source.consume(count);
        self.raw.offset += count as u64;
        self.left -= count as u64;
    }

    /// The bytes after the last member (trailer, padding, anything), in pieces; empty at the end.
    /// What [`Reader::take_raw`] still holds comes before them.
    ///
    /// # Errors
    /// [`Error::Io`] when the stream cannot be read.
    pub fn rest(&mut self) -> Result<&[u8], Error> {
        Ok(self.raw.source.fill_buf()?)
    }

    /// Takes `count` bytes of what [`Reader::rest`] showed.
    pub fn consume_rest(&mut self, count: usize) {
        self.raw.source.consume(count);
        self.raw.offset += count as u64;
    }

    /// The next member, or none at the end of the archive: two zero blocks, or, as many tools
    /// accept, the end of the stream in their place, or in that of the padding before them. What the caller left of the current member's
    /// content is an error of the caller and reported as such.
    ///
    /// # Errors
    /// [`Error::Malformed`] and [`Error::Io`].
    pub fn member(&mut self) -> Result<Option<Member>, Error> {
        if self.left > 0 {
            return Err(self.raw.fault("the content of the member before was not read".to_owned()));
        }
        let padding = std::mem::take(&mut self.padding);
        if self.raw.keep(padding)? < padding {
            // Some programs (umoci) leave out the padding of the last member, or end in it, and Go's reader takes it: all
            // of the content was there.
            return Ok(None);
        }
        let mut meta = Meta::default();
        loop {
            let Some(block) = self.raw.block()? else {
                return if meta.is_empty() {
                    Ok(None)
                } else {
                    Err(self.raw.fault("the stream ends after an extended header".to_owned()))
                };
            };
            if block.iter().all(|byte| *byte == 0) {
                return self.trailer();
            }
            let fields = Header::new(&block)
                .and_then(|header| header.fields())
                .map_err(|why| self.raw.fault(why))?;
            match fields.flag {
                // Global headers change nothing, as in Go's reader; their bytes are kept.
                b'g' => {
                    pax::parse(&self.meta(&fields)?).map_err(|why| self.raw.fault(why))?;
                }
                b'x' => {
                    meta.pax =
                        Some(pax::parse(&self.meta(&fields)?).map_err(|why| self.raw.fault(why))?)
                }
                b'L' => meta.name = Some(text(&self.meta(&fields)?).to_vec()),
                b'K' => meta.link = Some(text(&self.meta(&fields)?).to_vec()),
                _ => return self.build(&block, fields, meta).map(Some),
            }
        }
    }

    /// After a zero block: another one, or the end of the stream.
    fn trailer(&mut self) -> Result<Option<Member>, Error> {
        match self.raw.block()? {
            None => Ok(None),
            Some(block) if block.iter().all(|byte| *byte == 0) => Ok(None),
            Some(_) => Err(self.raw.fault("a zero block in the middle of the archive".to_owned())),
        }
    }

    /// The content of an extended header, its padding kept too.
    fn meta(&mut self, fields: &Fields) -> Result<Vec<u8>, Error> {
        let size = u64::try_from(fields.size).ok().filter(|size| *size <= MAX_META);
        let Some(size) = size.and_then(|size| usize::try_from(size).ok()) else {
            return Err(self.raw.fault(format!("an extended header of {} bytes", fields.size)));
        };
        let start = self.raw.pending.len();
        let padded = size.next_multiple_of(BLOCK);
        if self.raw.keep(padded)? < padded {
            return Err(self.raw.fault("the stream ends inside an extended header".to_owned()));
        }
        Ok(self.raw.pending.get(start..start + size).unwrap_or_default().to_vec())
    }

    fn build(
        &mut self,
        block: &[u8; BLOCK],
        mut fields: Fields,
        meta: Meta,
    ) -> Result<Member, Error> {
        let fault = |raw: &Raw<R>, why: &str| raw.fault(why.to_owned());
        let pax = meta.pax.unwrap_or_default();
        fields.name = pax.path.clone().unwrap_or(fields.name);
        fields.link = pax.link.clone().unwrap_or(fields.link);
        fields.name = meta.name.unwrap_or(fields.name);
        fields.link = meta.link.unwrap_or(fields.link);
        let kind = kind(fields.flag, &fields.name).ok_or_else(|| {
            self.raw.fault(format!("member of the unknown type {:?}", char::from(fields.flag)))
        })?;
        let size = u64::try_from(pax.size.unwrap_or(fields.size))
            .map_err(|_| fault(&self.raw, "a negative size"))?;
        let size = if kind == Kind::Regular { size } else { 0 };
        let id = |id: i64, what: &str| {
            u32::try_from(id)
                .ok()
                .filter(|id| *id != u32::MAX)
                .ok_or_else(|| self.raw.fault(format!("{what} {id} is out of range")))
        };
        let mut member = Member {
            kind,
            mode: u32::try_from(fields.mode & 0o7777).unwrap_or_default(),
            uid: id(pax.uid.unwrap_or(fields.uid), "uid")?,
            gid: id(pax.gid.unwrap_or(fields.gid), "gid")?,
            device: match kind {
                Kind::CharDevice | Kind::BlockDevice => {
                    (id(fields.major, "device major")?, id(fields.minor, "device minor")?)
                }
                _ => (0, 0),
            },
            size,
            mtime: pax.mtime.unwrap_or(fields.mtime),
            atime: pax.atime.or(fields.atime),
            xattrs: pax.xattrs.clone(),
            sparse: None,
            name: fields.name,
            link: fields.link,
        };
        self.left = size;
        self.sparse(block, fields.flag, &pax, &mut member)?;
        self.padding = usize::try_from((BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64)
            .unwrap_or_default();
        if member.name.contains(&0) || member.link.contains(&0) {
            return Err(fault(&self.raw, "a NUL byte in a name"));
        }
        Ok(member)
    }

    /// Reads the sparse map of a sparse member, in whichever format.
    fn sparse(
        &mut self,
        block: &[u8; BLOCK],
        flag: u8,
        pax: &Pax,
        member: &mut Member,
    ) -> Result<(), Error> {
        let size = member.size;
        if flag == b'S' {
            member.sparse = Some(sparse::old_gnu(&mut self.raw, block, size)?);
            return Ok(());
        }
        let Some(format) = pax.sparse.format().filter(|_| member.kind == Kind::Regular) else {
            return Ok(());
        };
        if let Some(name) = &pax.sparse.name {
            member.name.clone_from(name);
        }
        let map = match format {
            PaxSparse::InRecords => {
                pax.sparse.map(size, size).map_err(|why| self.raw.fault(why))?
            }
            PaxSparse::InContent => {
                let real = pax.sparse.file_size(size).map_err(|why| self.raw.fault(why))?;
                sparse::inline(&mut self.raw, real, size)?
            }
        };
        self.left = size - map.inline.min(size);
        member.sparse = Some(map);
        Ok(())
    }
}

/// Extended headers seen before a member.
#[derive(Default)]
struct Meta {
    pax: Option<Pax>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Meta {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.name.is_none() && self.link.is_none()
    }
}

fn kind(flag: u8, name: &[u8]) -> Option<Kind> {
    Some(match flag {
        0 if name.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::Regular,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        _ => return None,
    })
}
