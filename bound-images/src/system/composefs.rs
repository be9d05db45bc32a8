//! The files of a root of bootc's composefs backend: an EROFS image whose regular files are
//! redirects into a directory of objects, put together by overlayfs (composefs' own way).
//!
//! Mounting is done in the private mount namespace of this process, which takes it away with it.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// Where it is mounted; seen by this process only.
const PLACE: &str = "/run/bound-images/roots";

/// Mounts the files of `image` read-only and says where. A second call for the same image gives
/// the same directory.
///
/// # Errors
/// When it cannot be mounted: not root, no such image, a kernel without EROFS.
pub fn mounted(image: &Path, objects: &Path) -> anyhow::Result<PathBuf> {
    if !image.is_file() {
        bail!("the image {} of the root's files is not there", image.display());
    }
    let name = image.file_name().map(Path::new).context("the image has no name")?;
    let top = Path::new(PLACE).join(name);
    let (tree, files) = (top.join("tree"), top.join("files"));
    if files.join("usr").is_dir() {
        return Ok(files);
    }
    super::namespace::enter().context("cannot look into the root's image")?;
    // The one above is for everybody: configuration is looked for in it.
    let above = Path::new(PLACE).parent().unwrap_or(Path::new("/"));
    for (directory, mode) in [(above, 0o755), (tree.as_path(), 0o700), (files.as_path(), 0o700)] {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
    }
    mount(&["-t", "erofs", "-o", "ro,loop"], image, &tree)?;
    let options =
        format!("ro,metacopy=on,redirect_dir=on,lowerdir={}::{}", escape(&tree), escape(objects));
    mount(&["-t", "overlay", "-o", &options], Path::new("composefs"), &files)?;
    Ok(files)
}

/// overlayfs takes `:` as a separator, and `,` would end the option.
fn escape(path: &Path) -> String {
    path.display().to_string().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,")
}

fn mount(options: &[&str], what: &Path, place: &Path) -> anyhow::Result<()> {
    let output = Command::new("mount")
        .args(options)
        .arg(what)
        .arg(place)
        .output()
        .context("cannot run mount")?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("cannot mount {} at {}: {}", what.display(), place.display(), why.trim());
    }
    Ok(())
}
