//! `hooks_dir` of containers.conf, as Podman 5.4.2 merges it. Pure.

use toml::{Table, Value};

/// Where packages put hooks: the list where nothing else is said.
pub const DEFAULT_DIRECTORY: &str = "/usr/share/containers/oci/hooks.d";

/// What counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conf {
    /// The directories, a later one before an earlier one.
    pub directories: Vec<String>,
    /// The last file that sets them.
    pub source: Option<String>,
}

/// Merges files (path and text) in the order in which they are read. A list takes the place of the one
/// before, or with `{append=true}` in it or in one before is added to it; `{append=false}` takes
/// that back.
///
/// # Errors
/// Which file is not valid: then every command of Podman fails, and says so.
pub fn merge(files: &[(String, String)]) -> Result<Conf, String> {
    let mut conf = Conf { directories: vec![DEFAULT_DIRECTORY.to_owned()], source: None };
    let mut append = false;
    for (path, text) in files {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let why = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            format!("{path}: {why}")
        })?;
        let engine = get(&table, "engine").and_then(Value::as_table);
        let Some(list) = engine.and_then(|engine| get(engine, "hooks_dir")) else { continue };
        let list = list.as_array().ok_or_else(|| format!("{path}: hooks_dir is not a list"))?;
        let mut directories = Vec::new();
        for item in list {
            match item {
                Value::String(directory) => directories.push(directory.clone()),
                Value::Table(attributes) => {
                    let said = get(attributes, "append").and_then(Value::as_bool);
                    append = said.unwrap_or(append);
                }
                _ => return Err(format!("{path}: hooks_dir has an entry that is no path")),
            }
        }
        if append {
            conf.directories.extend(directories);
        } else {
            conf.directories = directories;
        }
        conf.source = Some(path.clone());
    }
    Ok(conf)
}

/// Keys are found in any letter case, as by Go's TOML decoder.
fn get<'t>(table: &'t Table, key: &str) -> Option<&'t Value> {
    let fold = || table.iter().find(|(known, _)| known.eq_ignore_ascii_case(key));
    table.get(key).or_else(|| fold().map(|(_, value)| value))
}
