//! `bound-images man` and `bound-images completions`: what packages install beside the program.

use std::path::Path;

use anyhow::Context as _;

use super::Exit;
use crate::pages::{complete, man};
use crate::render;
use crate::system::file::write_bytes;

/// Writes all pages to a directory, or the first one to standard output.
pub(super) fn man(out: Option<&Path>) -> anyhow::Result<Exit> {
    let pages = man::pages(crate::command_line()).context("cannot make the man pages")?;
    let Some(directory) = out else {
        let first = pages.first().map(|page| String::from_utf8_lossy(&page.text));
        render::print(&first.unwrap_or_default()).context("cannot write the man page")?;
        return Ok(Exit::Well);
    };
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    for page in pages {
        write_bytes(&directory.join(page.file), &page.text, 0o644, None)?;
    }
    Ok(Exit::Well)
}

/// Writes to standard output what completes our command lines in a shell.
pub(super) fn completions(shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    let text = complete::script(shell);
    // clap_complete 4.6.11 writes a program's name with a hyphen in two ways, and bash then knows no
    // option of any command. Where it does not, this changes nothing.
    let text = String::from_utf8_lossy(&text).replace("bound__subcmd__images", "bound__images");
    render::print(&text).context("cannot write the completions")?;
    Ok(Exit::Well)
}
