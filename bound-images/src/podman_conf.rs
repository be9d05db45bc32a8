//! The files of Podman's configuration, read below a root. What they mean is decided by
//! [`storage_conf`].

use std::io;

use binding::{Kind, Root};
use storage_conf::{
    ConfError, Effective, Environment, Generation, MAX_SIZE, Text, effective, plan_drop_ins,
    plan_search,
};

/// What a generation of Podman reads in a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Files in the order in which they are read.
    pub read: Vec<String>,
    /// Files that are there and are not read, and why.
    pub ignored: Vec<(String, String)>,
    /// What counts, or why every command of Podman fails.
    pub result: Result<Effective, ConfError>,
}

/// Reads what `generation` of Podman reads below `root`.
#[must_use]
pub fn gather(root: &Root, generation: Generation, environment: &Environment) -> Reading {
    let mut files = Vec::new();
    let mut ignored = Vec::new();
    let read = read_files(root, generation, environment, &mut files, &mut ignored);
    let result = read.and_then(|()| effective(generation, environment, &files));
    Reading { read: files.into_iter().map(|(path, _)| path).collect(), ignored, result }
}

/// As [`gather`], and whether the stores that count are there: Podman fails where one is not.
#[must_use]
pub fn gather_with_stores(
    root: &Root,
    generation: Generation,
    environment: &Environment,
) -> Reading {
    let mut reading = gather(root, generation, environment);
    let missing =
        reading.result.as_ref().ok().filter(|counts| counts.reads_overlay()).and_then(|counts| {
            let is_missing =
                |path: &str| root.dir(path.trim_start_matches('/')).is_err() && path != "/";
            counts.stores.iter().find(|store| is_missing(&store.value))
        });
    if let Some(store) = missing {
        let why = format!("{} is listed and is no directory here", store.value);
        let (file, line) = (store.from.source.clone(), store.from.line);
        reading.result = Err(ConfError { file, line, column: None, why });
    }
    reading
}

fn read_files(
    root: &Root,
    generation: Generation,
    environment: &Environment,
    files: &mut Vec<Text>,
    ignored: &mut Vec<(String, String)>,
) -> Result<(), ConfError> {
    let search = plan_search(generation, environment);
    let mut main: Option<String> = None;
    for path in &search.main {
        match &main {
            Some(main) if exists(root, path) => {
                ignored.push((path.clone(), format!("{main} is read instead")));
            }
            Some(_) => {}
            None => {
                if let Some(text) = text(root, path)? {
                    files.push((path.clone(), text));
                    main = Some(path.clone());
                }
            }
        }
    }
    if search.must_exist && main.is_none() {
        return Err(missing(search.main.first(), "CONTAINERS_STORAGE_CONF"));
    }
    let mut directories = Vec::new();
    for directory in search.drop_ins {
        let names = names(root, &directory)?;
        directories.push((directory, names));
    }
    let drop_ins = plan_drop_ins(&directories);
    let replaced = drop_ins.replaced.into_iter();
    ignored.extend(replaced.map(|(path, by)| (path, format!("{by} has its name and wins"))));
    for path in drop_ins.read {
        // A dangling link is passed over.
        if let Some(text) = text(root, &path)? {
            files.push((path, text));
        }
    }
    if let Some(path) = search.last {
        match text(root, &path)? {
            Some(text) => files.push((path, text)),
            None => return Err(missing(Some(&path), "CONTAINERS_STORAGE_CONF_OVERRIDE")),
        }
    }
    Ok(())
}

fn missing(path: Option<&String>, variable: &str) -> ConfError {
    let path = path.cloned().unwrap_or_default();
    fault(&path, format!("{variable} names this file, which is not there"))
}

fn fault(path: &str, why: String) -> ConfError {
    ConfError { file: path.to_owned(), line: None, column: None, why }
}

fn exists(root: &Root, path: &str) -> bool {
    root.resolve(path.trim_start_matches('/')).is_ok()
}

fn text(root: &Root, path: &str) -> Result<Option<String>, ConfError> {
    // Nothing, as a path, is no file.
    let below = path.trim_start_matches('/');
    if below.is_empty() {
        return Ok(None);
    }
    let bytes = match root.read_optional(below, MAX_SIZE as u64) {
        Ok(bytes) => bytes,
        Err(error) => return Err(fault(path, format!("it cannot be read: {error}"))),
    };
    let Some(bytes) = bytes else { return Ok(None) };
    let text = String::from_utf8(bytes);
    text.map(Some).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count() + 1;
        let why = "a byte here is not UTF-8".to_owned();
        ConfError { file: path.to_owned(), line: Some(line), column: None, why }
    })
}

/// Names of the files in a directory of drop-ins.
fn names(root: &Root, directory: &str) -> Result<Vec<String>, ConfError> {
    let entries = match root.list_optional(directory.trim_start_matches('/')) {
        Ok(entries) => entries.unwrap_or_default(),
        // What leads nowhere is not there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(fault(directory, format!("it cannot be listed: {error}"))),
    };
    let files = entries.into_iter().filter(|entry| entry.kind != Kind::Dir);
    Ok(files.filter_map(|entry| entry.name.into_string().ok()).collect())
}
