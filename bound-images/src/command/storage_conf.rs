//! `bound-images storage-conf`: which image stores Podman reads in a root, and ours among them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use binding::{Root, STORE_PATH};
use host::Role;
use storage_conf::{
    ConfError, Disabled, Enabled, Environment, Generation, MAX_SIZE, SEARCH, disable, enable, made,
};

use super::Exit;
use crate::cli::{StorageConf, StorageConfAction};
use crate::lint::remedy_of_missing;
use crate::machine::{Machine, Target};
use crate::podman_conf::{self, Reading};
use crate::render::{self, Style};
use crate::system::file;

/// What Podman does with a file that it cannot read.
const CONSEQUENCE: &str =
    "Podman takes no other file instead: all its commands fail, and no container starts";

/// What is read in a root.
#[derive(Debug)]
pub struct Shown {
    /// The root as it was given.
    pub root: PathBuf,
    /// Generations of Podman that read alike, and what they read.
    pub podmans: Vec<(Vec<Generation>, Reading)>,
}

impl Shown {
    /// Where the store of bound images is.
    #[must_use]
    pub fn store() -> String {
        format!("/{STORE_PATH}")
    }
}

/// What was done to a file.
#[derive(Debug)]
pub struct Change {
    /// The file.
    pub file: PathBuf,
    /// What was done, in one word: `enabled`, `made`, `disabled`, `removed`, `unchanged`.
    pub result: &'static str,
    /// The same for people.
    pub text: String,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read or written.
pub(crate) fn run(
    machine: &Machine,
    typed: &StorageConf,
    environment: &Environment,
    style: Style,
) -> anyhow::Result<Exit> {
    let path = match &typed.root {
        None => machine.system.path().to_owned(),
        Some(root) => match machine.target(Some(root), Role::Booted)? {
            Target::Plain(path) => path,
            Target::Deployment(root) => machine.files(&root)?,
        },
    };
    let root = Root::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    // Whoever asks about another root does not run in its environment.
    let environment =
        if typed.root.is_none() { environment.clone() } else { Environment::default() };
    match typed.action {
        StorageConfAction::Show => {
            let shown = look(&root, &environment);
            render::storage_conf(&shown, style)?;
            let broken = shown.podmans.iter().any(|(_, reading)| reading.result.is_err());
            Ok(if broken { Exit::Findings } else { Exit::Well })
        }
        StorageConfAction::Enable => put_in(&root, typed.root.as_deref(), style),
        StorageConfAction::Disable => take_out(&root, style),
    }
}

fn look(root: &Root, environment: &Environment) -> Shown {
    let mut podmans: Vec<(Vec<Generation>, Reading)> = Vec::new();
    for generation in Generation::ALL {
        let reading = podman_conf::gather_with_stores(root, generation, environment);
        match podmans.last_mut() {
            Some((alike, last)) if *last == reading => alike.push(generation),
            _ => podmans.push((vec![generation], reading)),
        }
    }
    Shown { root: root.path().to_owned(), podmans }
}

/// The file that Podman before 6 reads, and its text.
fn main_file(root: &Root) -> anyhow::Result<Option<(&'static str, String)>> {
    for path in SEARCH {
        let bytes = root
            .read_optional(path, MAX_SIZE as u64)
            .with_context(|| format!("cannot read {}", root.path().join(path).display()))?;
        if let Some(bytes) = bytes {
            let text = String::from_utf8(bytes)
                .with_context(|| format!("{} is not UTF-8", root.path().join(path).display()))?;
            return Ok(Some((path, text)));
        }
    }
    Ok(None)
}

fn put_in(root: &Root, typed: Option<&Path>, style: Style) -> anyhow::Result<Exit> {
    let store = Shown::store();
    let change = match main_file(root)? {
        None => {
            let [_, path] = SEARCH;
            let file = make_parent(root, path)?;
            file::write_bytes(&file, made(&store)?.as_bytes(), 0o644, None)?;
            let text = format!("Made {} with Podman's defaults; it lists {store}.", file.display());
            Change { file, result: "made", text }
        }
        Some((path, text)) => {
            let file = root.path().join(root.resolve(path)?);
            match enable(&file.display().to_string(), &text, &store) {
                Ok(Enabled::Already(line)) => {
                    let line = line.map_or_else(String::new, |line| format!(":{line}"));
                    let text = format!("{}{line} lists {store} already.", file.display());
                    Change { file, result: "unchanged", text }
                }
                Ok(Enabled::Text(new)) => {
                    replace(&file, &new)?;
                    let text = format!("{} lists {store} now.", file.display());
                    Change { file, result: "enabled", text }
                }
                Err(storage_conf::MergeError::Conf(error)) => return Ok(broken(&error, style)),
                Err(error) => {
                    render::failed(&error.to_string(), style);
                    return Ok(Exit::Findings);
                }
            }
        }
    };
    render::changed(&change, style)?;
    Ok(warn(root, typed))
}

fn take_out(root: &Root, style: Style) -> anyhow::Result<Exit> {
    let store = Shown::store();
    let nothing = |file: PathBuf| {
        let text = format!("Nothing to do: {} does not list {store}.", file.display());
        Change { file, result: "unchanged", text }
    };
    let change = match main_file(root)? {
        None => nothing(root.path().join(SEARCH[1])),
        Some((path, text)) => {
            let file = root.path().join(root.resolve(path)?);
            let shown = file.display().to_string();
            match disable(&shown, &text, &store) {
                Err(error) => return Ok(broken(&error, style)),
                Ok(Disabled::NotListed) => nothing(file),
                Ok(Disabled::NotOurs(line)) => {
                    let line = line.map_or_else(String::new, |line| format!(":{line}"));
                    let why = format!(
                        "{shown}{line} lists {store}, and `storage-conf enable` did not do that: \
                         take it out by hand"
                    );
                    render::failed(&why, style);
                    return Ok(Exit::Findings);
                }
                Ok(Disabled::Remove) => {
                    fs::remove_file(&file).with_context(|| format!("cannot remove {shown}"))?;
                    file::sync_directory(file.parent().unwrap_or(&file))?;
                    let text = format!("Removed {shown}, which `storage-conf enable` had made.");
                    Change { file, result: "removed", text }
                }
                Ok(Disabled::Text { text, exact }) => {
                    replace(&file, &text)?;
                    let how = if exact { "as before" } else { "what was changed since is kept" };
                    let text = format!("{shown} does not list {store} any more ({how}).");
                    Change { file, result: "disabled", text }
                }
            }
        }
    };
    render::changed(&change, style)?;
    Ok(Exit::Well)
}

/// The rest of the configuration may still hide the store, or be broken; or there is no store yet in the
/// root that was `typed`.
fn warn(root: &Root, typed: Option<&Path>) -> Exit {
    let mut exit = Exit::Well;
    for (generations, reading) in look(root, &Environment::default()).podmans {
        let versions: Vec<&str> = generations.iter().map(|one| one.versions()).collect();
        let why = match &reading.result {
            Err(error) => format!("fails: {error}"),
            Ok(counts) if counts.lists(&Shown::store()).is_none() => {
                "does not read it all the same; see `bound-images storage-conf show`".to_owned()
            }
            Ok(_) => continue,
        };
        render::note(&format!("warning: Podman {} {why}", versions.join(", ")));
        exit = Exit::Findings;
    }
    if exit == Exit::Findings && root.dir(STORE_PATH).is_err() {
        let option = typed.map_or_else(String::new, |root| format!(" --root {}", root.display()));
        let fix = remedy_of_missing(&option);
        render::note(&format!("{} is not there: {fix}", Shown::store()));
    }
    exit
}

fn broken(error: &ConfError, style: Style) -> Exit {
    render::failed(&format!("{error}. {CONSEQUENCE}"), style);
    Exit::Findings
}

/// Writes a file anew, with its owner and mode.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let stat = fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    let owner = Some((stat.uid(), stat.gid()));
    file::write_bytes(path, text.as_bytes(), stat.mode() & 0o7777, owner)
}

/// The path of a file that is not there yet, its directories made; links are followed in the root.
fn make_parent(root: &Root, path: &str) -> anyhow::Result<PathBuf> {
    let (directories, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut done = String::new();
    for part in directories.split('/') {
        let next = format!("{done}/{part}");
        let next = next.trim_start_matches('/');
        done = match root.resolve(next) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = root.path().join(next);
                fs::create_dir(&made).with_context(|| format!("cannot make {}", made.display()))?;
                next.to_owned()
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot look at {next}"));
            }
        };
    }
    Ok(root.path().join(done).join(name))
}

/// What to add to a fault for people.
#[must_use]
pub fn consequence() -> &'static str {
    CONSEQUENCE
}
