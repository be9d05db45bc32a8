//! An OCI image layout on disk (image-spec 1.1, `image-layout.md`), read without trust: no link is
//! followed inside it, only regular files are opened, every size is checked first.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_digest::Digest;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use serde::Deserialize;

use super::error::{Kind, Refusal};
use super::manifest::{Descriptor, MAX_MANIFEST, Manifest, check_bytes, parse_manifest};

/// An opened layout directory.
#[derive(Debug)]
pub struct Layout {
    directory: OwnedFd,
    path: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl Layout {
    /// Opens `path` and checks its `oci-layout` file.
    ///
    /// # Errors
    /// [`Kind::Io`] when it cannot be opened, [`Kind::Unsupported`] when it is no OCI layout.
    pub fn open(path: &Path) -> Result<Self, Refusal> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
            Refusal::new(
                Kind::Io,
                format!("the bundle {} cannot be opened: {error}", path.display()),
            )
        })?;
        let layout = Self { directory, path: path.to_owned() };
        let text = layout.read("oci-layout", None, MAX_MANIFEST)?;
        let marker: Marker = serde_json::from_slice(&text).map_err(|error| {
            layout.refuse(Kind::Unsupported, format_args!("oci-layout cannot be read: {error}"))
        })?;
        if !marker.image_layout_version.starts_with("1.") {
            let version: String = marker.image_layout_version.chars().take(40).collect();
            return Err(layout.refuse(
                Kind::Unsupported,
                format_args!("it is an OCI layout of version {version:?}, not 1.x"),
            ));
        }
        Ok(layout)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes of `index.json`; none where there is no such file.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for one that is too large, [`Kind::Corrupt`] for what is no file.
    pub fn index_bytes(&self) -> Result<Option<Vec<u8>>, Refusal> {
        match self.read("index.json", None, MAX_MANIFEST) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(refusal) if refusal.kind == Kind::NotFound => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// A refusal that names the bundle.
    pub fn refuse(&self, kind: Kind, why: impl std::fmt::Display) -> Refusal {
        Refusal::new(kind, format!("bundle {}: {why}", self.path.display()))
    }

    /// The entries of `index.json`.
    ///
    /// # Errors
    /// As [`parse_manifest`]; [`Kind::Unsupported`] when it is no index.
    pub fn index(&self) -> Result<Vec<Descriptor>, Refusal> {
        let bytes = self.read("index.json", None, MAX_MANIFEST)?;
        match parse_manifest(&bytes) {
            Ok(Manifest::List { instances, .. }) => Ok(instances),
            Ok(Manifest::Image { .. }) => {
                Err(self.refuse(Kind::Unsupported, "index.json is not an image index"))
            }
            Err(refusal) => {
                Err(self.refuse(refusal.kind, format_args!("index.json: {}", refusal.why)))
            }
        }
    }

    /// Opens a blob of exactly `size` bytes. Its content is not checked yet.
    ///
    /// # Errors
    /// [`Kind::NotFound`] without the file, [`Kind::Corrupt`] for another size or file type.
    pub fn blob(&self, digest: Digest, size: u64) -> Result<File, Refusal> {
        let (file, _) = self.open_file(&blob_path(digest), Some(size))?;
        Ok(file)
    }

    /// Bytes of a blob, as its file says.
    ///
    /// # Errors
    /// As [`Self::blob`].
    pub fn size(&self, digest: Digest) -> Result<u64, Refusal> {
        let (_, length) = self.open_file(&blob_path(digest), None)?;
        Ok(length)
    }

    /// Reads a blob of at most `max` bytes and checks its size and digest.
    ///
    /// # Errors
    /// As [`Self::blob`], and [`Kind::Unsupported`] beyond `max`.
    pub fn read_blob(&self, digest: Digest, size: u64, max: u64) -> Result<Vec<u8>, Refusal> {
        let bytes = self.read(&blob_path(digest), Some(size), max)?;
        check_bytes("blob", &bytes, digest, Some(size))
            .map_err(|refusal| self.refuse(refusal.kind, refusal.why))?;
        Ok(bytes)
    }

    fn read(&self, name: &str, size: Option<u64>, max: u64) -> Result<Vec<u8>, Refusal> {
        let (file, length) = self.open_file(name, size)?;
        if length > max {
            return Err(self.refuse(
                Kind::Unsupported,
                format_args!("{name} has {length} bytes, more than {max}"),
            ));
        }
        let mut bytes = Vec::new();
        // One more than stated: a file that grows meanwhile is then seen to be wrong.
        file.take(length.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| self.refuse(Kind::Io, format_args!("{name}: {error}")))?;
        Ok(bytes)
    }

    fn open_file(&self, name: &str, size: Option<u64>) -> Result<(File, u64), Refusal> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let file = openat2(&self.directory, name, flags, Mode::empty(), resolve)
            .map(File::from)
            .map_err(|error| match error {
                rustix::io::Errno::NOENT => {
                    self.refuse(Kind::NotFound, format_args!("{name} is missing"))
                }
                rustix::io::Errno::LOOP => {
                    self.refuse(Kind::Corrupt, format_args!("{name} is or crosses a symlink"))
                }
                other => self.refuse(Kind::Io, format_args!("{name}: {}", io::Error::from(other))),
            })?;
        let metadata = file
            .metadata()
            .map_err(|error| self.refuse(Kind::Io, format_args!("{name}: {error}")))?;
        if !metadata.is_file() {
            return Err(self.refuse(Kind::Corrupt, format_args!("{name} is not a regular file")));
        }
        let length = metadata.len();
        match size {
            Some(size) if size != length => Err(self.refuse(
                Kind::Corrupt,
                format_args!("{name} has {length} bytes, not the {size} promised"),
            )),
            _ => Ok((file, length)),
        }
    }
}

fn blob_path(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
