//! Reading a store: ours, or one that Podman made.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::error::{During, Error, Result};
use crate::json::{ImageEntry, LayerEntry};

/// The largest list that is read, in bytes.
const MAX_LIST: u64 = 64 << 20;

/// What a store says it holds.
#[derive(Clone, Debug)]
pub struct Store {
    /// Where it is.
    pub directory: PathBuf,
    /// Its layers.
    pub layers: Vec<LayerEntry>,
    /// Its images.
    pub images: Vec<ImageEntry>,
}

/// What stands at the place of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupant {
    /// Nothing.
    Nothing,
    /// A store without layers and images, or an empty directory: nothing is lost by replacing it.
    Empty,
    /// A store with layers that this program unpacked and verified.
    Ours,
    /// Something else.
    Something,
}

impl Store {
    /// Reads the lists of the store at `directory`. A list that is not there is empty, as for
    /// Podman.
    ///
    /// # Errors
    /// [`Error::Io`] when a list cannot be read, [`Error::Invalid`] when it is not valid.
    pub fn open(directory: &Path) -> Result<Self> {
        fs::read_dir(directory).during(|| format!("open the store {}", directory.display()))?;
        Ok(Self {
            directory: directory.to_owned(),
            layers: list(&directory.join("overlay-layers/layers.json"))?,
            images: list(&directory.join("overlay-images/images.json"))?,
        })
    }
}

/// Says what stands at `directory`, where a store should go.
///
/// # Errors
/// When it cannot be looked at.
pub fn occupant(directory: &Path) -> Result<Occupant> {
    let action = || format!("look at {}", directory.display());
    match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Occupant::Nothing),
        Err(error) => return Err(error).during(action),
        Ok(metadata) if !metadata.is_dir() => return Ok(Occupant::Something),
        Ok(_) => {}
    }
    if has_layers_of_ours(directory) {
        return Ok(Occupant::Ours);
    }
    let known: &[(&str, &[&str])] = &[
        ("", &["overlay", "overlay-layers", "overlay-images"]),
        ("overlay", &["l"]),
        ("overlay/l", &[]),
        ("overlay-layers", &["layers.json", "layers.lock"]),
        ("overlay-images", &["images.json", "images.lock"]),
    ];
    for (name, expected) in known {
        let entries = match fs::read_dir(directory.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.during(action)?,
        };
        for entry in entries {
            let entry = entry.during(action)?;
            if !expected.iter().any(|known| entry.file_name() == *known) {
                return Ok(Occupant::Something);
            }
        }
    }
    match Store::open(directory) {
        Ok(store) if store.layers.is_empty() && store.images.is_empty() => Ok(Occupant::Empty),
        Ok(_) | Err(Error::Invalid(_)) => Ok(Occupant::Something),
        Err(error) => Err(error),
    }
}

/// Whether any layer has our marker.
fn has_layers_of_ours(directory: &Path) -> bool {
    let entries = fs::read_dir(directory.join("overlay")).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| matches!(crate::layer::verified(&entry.path()), Ok(Some(_))))
}

/// The content of the file `path`, at most `max` bytes; none when it is not there.
///
/// # Errors
/// When it cannot be read, is not a regular file or is larger.
pub(crate) fn bytes(path: &Path, max: u64) -> Result<Option<Vec<u8>>> {
    let read = || {
        if !fs::symlink_metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
        }
        let mut out = Vec::new();
        File::open(path)?.take(max + 1).read_to_end(&mut out)?;
        if out.len() as u64 > max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("larger than {max} bytes"),
            ));
        }
        Ok(out)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).during(|| format!("read {}", path.display())),
    }
}

fn list<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    match bytes(path, MAX_LIST)? {
        Some(bytes) if !bytes.is_empty() => serde_json::from_slice(&bytes)
            .map_err(|error| Error::Invalid(format!("{} is not valid: {error}", path.display()))),
        _ => Ok(Vec::new()),
    }
}
