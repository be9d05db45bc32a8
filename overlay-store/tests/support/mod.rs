//! A tar writer that writes what it is told, right or wrong, and a frame to unpack into.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};

use oci_digest::Digest;
use overlay_store::{Budget, Error, Expected, Layer};

/// Bytes of a tar stream in the making.
#[derive(Default, Clone)]
pub struct Tar(pub Vec<u8>);

/// The fields of a header that tests change.
#[derive(Clone)]
pub struct Header<'a> {
    pub name: &'a [u8],
    pub flag: u8,
    pub link: &'a [u8],
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: u64,
    pub device: (u32, u32),
    pub gnu: bool,
}

impl Default for Header<'_> {
    fn default() -> Self {
        Header {
            name: b"",
            flag: b'0',
            link: b"",
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 1_700_000_000,
            device: (0, 0),
            gnu: false,
        }
    }
}

pub fn block(header: &Header<'_>) -> [u8; 512] {
    let mut out = [0u8; 512];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &header.name[..header.name.len().min(100)]);
    put(100, format!("{:07o}\0", header.mode).as_bytes());
    put(108, format!("{:07o}\0", header.uid).as_bytes());
    put(116, format!("{:07o}\0", header.gid).as_bytes());
    put(124, format!("{:011o}\0", header.size).as_bytes());
    put(136, format!("{:011o}\0", header.mtime).as_bytes());
    put(156, &[header.flag]);
    put(157, &header.link[..header.link.len().min(100)]);
    put(257, if header.gnu { b"ustar  \0" } else { b"ustar\x0000" });
    put(329, format!("{:07o}\0", header.device.0).as_bytes());
    put(337, format!("{:07o}\0", header.device.1).as_bytes());
    seal(&mut out);
    out
}

/// Sets the checksum.
pub fn seal(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in records {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length != body + length.to_string().len() {
            length = body + length.to_string().len();
        }
        out.extend(format!("{length} {key}=").as_bytes());
        out.extend(*value);
        out.push(b'\n');
    }
    out
}

impl Tar {
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
    pub fn member(self, header: &Header<'_>, content: &[u8]) -> Self {
        let padding = (512 - content.len() % 512) % 512;
        self.raw(&block(header)).raw(content).raw(&vec![0; padding])
    }
    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.member(
            &Header { name: name.as_bytes(), size: content.len() as u64, ..Header::default() },
            content,
        )
    }
    pub fn dir(self, name: &str) -> Self {
        self.member(
            &Header { name: name.as_bytes(), flag: b'5', mode: 0o755, ..Header::default() },
            b"",
        )
    }
    pub fn symlink(self, name: &str, to: &str) -> Self {
        self.member(
            &Header {
                name: name.as_bytes(),
                flag: b'2',
                link: to.as_bytes(),
                mode: 0o777,
                ..Header::default()
            },
            b"",
        )
    }
    pub fn link(self, name: &str, to: &str) -> Self {
        self.member(
            &Header { name: name.as_bytes(), flag: b'1', link: to.as_bytes(), ..Header::default() },
            b"",
        )
    }
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let content = pax(records);
        self.member(
            &Header {
                name: b"PaxHeaders/x",
                flag: b'x',
                size: content.len() as u64,
                ..Header::default()
            },
            &content,
        )
    }
    pub fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }
}

/// A place to unpack layers into.
pub struct Place {
    pub directory: tempfile::TempDir,
}

pub const MAX: u64 = 1 << 32;

/// More than any test needs, but for those of budgets.
pub fn budget() -> Budget {
    Budget::new(MAX, 1 << 22)
}

impl Place {
    /// Below `target/`, since /tmp may lack trusted.* attributes.
    pub fn new() -> Self {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tests");
        std::fs::create_dir_all(&base).unwrap();
        Self { directory: tempfile::tempdir_in(base).unwrap() }
    }
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("layer")
    }
    pub fn diff(&self) -> PathBuf {
        self.path().join("diff")
    }
    /// Unpacks a plain tar stream as a base layer.
    pub fn unpack(&self, tar: &[u8]) -> Result<Layer, Error> {
        let expected =
            Expected { blob: Digest::of(tar), size: tar.len() as u64, diff_id: Digest::of(tar) };
        self.unpack_as(tar, &expected)
    }
    pub fn unpack_as(&self, blob: &[u8], expected: &Expected) -> Result<Layer, Error> {
        let ids = overlay_store::id::layer_ids(&[expected.diff_id]);
        overlay_store::write_layer(&self.path(), &ids, 0, expected, &budget(), blob)
    }
    /// Names that tar-split speaks of, cleaned as Podman cleans them.
    pub fn split_names(&self) -> Vec<String> {
        let split = std::fs::File::open(self.path().join("tar-split.gz")).unwrap();
        let mut reader = overlay_store::split::Reader::new(split);
        let mut names = Vec::new();
        while let Some(entry) = reader.entry().unwrap() {
            if let overlay_store::split::Entry::File { name, .. } = entry {
                let mut parts: Vec<&[u8]> = Vec::new();
                for part in name.split(|byte| *byte == b'/') {
                    match part {
                        b"" | b"." => {}
                        b".." => drop(parts.pop()),
                        part => parts.push(part),
                    }
                }
                names.push(String::from_utf8_lossy(&parts.join(&b'/')).into_owned());
            }
        }
        names
    }
    /// The stream made again from tar-split and the tree.
    pub fn replay(&self) -> Vec<u8> {
        let split = std::fs::File::open(self.path().join("tar-split.gz")).unwrap();
        let diff = std::fs::File::open(self.diff()).unwrap();
        let mut out = Vec::new();
        overlay_store::split::replay(split, diff.into(), &mut out).unwrap();
        out
    }
}

/// A store in `directory` with one image of these plain layers.
pub fn store_of(directory: &Path, layers: &[&[u8]]) -> Result<overlay_store::Store, Error> {
    let builder = overlay_store::Builder::open(directory)?;
    let diff_ids: Vec<Digest> = layers.iter().map(|tar| Digest::of(tar)).collect();
    let ids = overlay_store::id::layer_ids(&diff_ids);
    for (index, tar) in layers.iter().enumerate() {
        let expected =
            Expected { blob: diff_ids[index], size: tar.len() as u64, diff_id: diff_ids[index] };
        builder.write_layer(&ids, index, &expected, &budget(), *tar)?;
    }
    let image = overlay_store::Image {
        names: vec!["registry.test/image:1".to_owned()],
        config: b"{}".to_vec(),
        manifests: vec![b"{\"manifest\":1}".to_vec()],
        lists: vec![],
        layers: ids,
        created: None,
    };
    builder.finish(&[image], &[])?;
    overlay_store::Store::open(directory)
}

/// Tests that unpack need to be root: they make device nodes and change owners.
pub fn skip_without_root() -> bool {
    let skip = !rustix::process::geteuid().is_root();
    if skip {
        eprintln!("skipped: needs root (device nodes, owners, trusted.* attributes)");
    }
    skip
}
