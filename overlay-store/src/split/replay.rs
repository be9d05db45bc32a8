//! Making the tar stream of a layer again from its tar-split and its tree.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::{Checksum, Entry, Reader};

/// Writes the layer's tar stream to `out`: raw bytes from `split` (an open tar-split file), the
/// content of files from below `diff`. Files are checked against their checksums on the way.
///
/// # Errors
/// Kind [`io::ErrorKind::InvalidData`] when the tree does not have what tar-split speaks of.
pub fn replay(split: impl Read, diff: impl AsFd, out: &mut impl Write) -> io::Result<()> {
    let mut entries = Reader::new(split);
    let mut buffer = vec![0; 1 << 17];
    while let Some(entry) = entries.entry()? {
        match entry {
            Entry::Segment(bytes) => out.write_all(&bytes)?,
            Entry::File { size: 0, .. } => {}
            Entry::File { name, size, crc } => {
                let fault = |why: String| {
                    let why = format!("{}: {why}", String::from_utf8_lossy(&name));
                    io::Error::new(io::ErrorKind::InvalidData, why)
                };
                let mut file = open(&diff, &name).map_err(|error| fault(error.to_string()))?;
                let mut checksum = Checksum::default();
                let mut left = size;
                loop {
                    let count = file.read(&mut buffer).map_err(|error| fault(error.to_string()))?;
                    let piece = buffer.get(..count).unwrap_or_default();
                    if piece.is_empty() && left == 0 {
                        break;
                    }
                    if piece.is_empty() || count as u64 > left {
                        return Err(fault(format!("its size should be {size} bytes")));
                    }
                    left -= count as u64;
                    checksum.update(piece);
                    out.write_all(piece)?;
                }
                if Some(checksum.finish()) != crc {
                    return Err(fault("its content was changed".to_owned()));
                }
            }
        }
    }
    Ok(())
}

fn open(diff: impl AsFd, name: &[u8]) -> io::Result<File> {
    let path = crate::unpack::clean(name)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file =
        File::from(rustix::fs::openat2(diff, path.as_slice(), flags, Mode::empty(), inside)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    Ok(file)
}
