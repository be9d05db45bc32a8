//! Drop-ins of Podman 6 as one file, for where Podman is told to read another main file: then it reads no
//! drop-ins, but `CONTAINERS_STORAGE_CONF_OVERRIDE` all the same, and after all others. Podman 4 and 5
//! know neither.

use toml_edit::{Array, DocumentMut, InlineTable, Item, TableLike, Value};

use crate::conf::clean;
use crate::effective::Text;
use crate::error::{ConfError, MergeError};
use crate::layer::{Dialect, Layer, spelling, split};

/// What the drop-ins `files`, in the order in which they are read, come to together, with `store` in the
/// list of image stores where they replace that of the main file. A list that adds to an earlier one
/// (`{append = true}`) does so still. None where there is nothing in them.
///
/// # Errors
/// At the first file that Podman 6 refuses.
pub fn merge_drop_ins(files: &[Text], store: &str) -> Result<Option<String>, MergeError> {
    let mut merged = DocumentMut::new();
    for (file, text) in files {
        Layer::parse(file, text, Dialect::From6)?;
        let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
            ConfError::at(file, text, error.span().map(|span| span.start), error.message())
        })?;
        lay_over(merged.as_table_mut(), document.as_table());
    }
    if merged.is_empty() {
        return Ok(None);
    }
    if let Some(list) = stores(merged.as_table_mut()).filter(|list| appends(list) != Some(true)) {
        let store = clean(store);
        let listed = list
            .iter()
            .filter_map(Value::as_str)
            .filter_map(|text| split(text).ok())
            .any(|paths| paths.contains(&store));
        if !listed {
            list.push(store);
        }
    }
    Ok(Some(merged.to_string()))
}

/// What adds `store` to any list that was read before.
#[must_use]
pub fn one_more(store: &str) -> String {
    let mut list = Array::new();
    list.push(clean(store));
    list.push(attribute());
    format!("[storage.options]\nadditionalimagestores = {list}\n")
}

fn attribute() -> InlineTable {
    let mut table = InlineTable::new();
    table.insert("append", Value::from(true));
    table
}

fn stores(table: &mut dyn TableLike) -> Option<&mut Array> {
    let key = spelling(table, "storage")?;
    let storage = table.get_mut(&key)?.as_table_like_mut()?;
    let key = spelling(storage, "options")?;
    let options = storage.get_mut(&key)?.as_table_like_mut()?;
    let key = spelling(options, "additionalimagestores")?;
    options.get_mut(&key)?.as_array_mut()
}

/// What an array says of itself, if it does.
fn appends(list: &Array) -> Option<bool> {
    list.iter().filter_map(|value| value.as_inline_table()?.get("append")?.as_bool()).last()
}

/// Sets in `below` what `above` sets. Keys are the same in any letter case.
fn lay_over(below: &mut dyn TableLike, above: &dyn TableLike) {
    for (key, item) in above.iter() {
        let key = spelling(below, key).unwrap_or_else(|| key.to_owned());
        match below.get_mut(&key) {
            Some(known) if known.is_table_like() && item.is_table_like() => {
                if let (Some(known), Some(item)) = (known.as_table_like_mut(), item.as_table_like())
                {
                    lay_over(known, item);
                }
            }
            Some(known) => match (known.as_array_mut(), item.as_array()) {
                (Some(list), Some(more)) => lay_list(list, more),
                _ => *known = item.clone(),
            },
            None => drop(below.insert(&key, plain(item))),
        }
    }
}

/// `{append = true}` stays in force for the files that follow, until one says otherwise.
fn lay_list(list: &mut Array, more: &Array) {
    let append = appends(more).or(appends(list)).unwrap_or(false);
    let keeps = append && appends(list) == Some(true);
    let mut items: Vec<Value> = if append { strings(list) } else { Vec::new() };
    items.extend(strings(more));
    list.clear();
    for item in items {
        list.push(item);
    }
    // Only a list that adds to the main file's from its first drop-in on does so in the end.
    if keeps {
        list.push(attribute());
    }
}

fn strings(list: &Array) -> Vec<Value> {
    list.iter().filter_map(Value::as_str).map(Value::from).collect()
}

/// The same in a document of its own: a table that is only implied in one would not be printed.
fn plain(item: &Item) -> Item {
    let mut item = item.clone();
    if let Some(table) = item.as_table_mut() {
        table.set_position(None);
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Environment, Generation, effective};

    const OURS: &str = "/usr/lib/containers/storage";
    const MAIN: &str = "[storage]\ndriver = 'overlay'\nrunroot = '/r'\ngraphroot = '/g'\n\
        [storage.options]\nadditionalimagestores = ['/main', '/usr/lib/containers/storage']\n";

    /// The main file, drop-ins and override as Podman 6 reads them.
    fn read(files: &[(&str, &str)]) -> (String, Vec<String>) {
        let files: Vec<Text> =
            files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
        let counts = effective(Generation::Since6, &Environment::default(), &files).unwrap();
        (counts.graphroot.value, counts.stores.into_iter().map(|store| store.value).collect())
    }

    fn list(items: &str) -> String {
        format!("[storage.options]\nadditionalimagestores = [{items}]\n")
    }

    /// One file after the main one must come to what the drop-ins come to, and have the store.
    #[test]
    fn one_file_comes_to_what_the_drop_ins_do() {
        let cases: Vec<Vec<String>> = vec![
            vec![list("'/a'")],
            vec![list("'/a', {append = true}")],
            vec![list("'/a', {append = true}"), list("'/b'")],
            vec![list("'/a'"), list("'/b', {append = true}")],
            vec![list("'/a', {append = true}"), list("'/b', {append = false}")],
            vec![list("")],
            vec![list("'/a,/b'"), "[Storage]\nGraphRoot = '/other'\n".to_owned()],
            vec!["storage.graphroot = '/other'\n".to_owned(), list("'/a', '/usr/lib/containers/storage/'")],
            vec!["storage = { graphroot = '/other', options = { additionalimagestores = ['/a'] } }\n".to_owned()],
            vec!["[storage.options.overlay]\nmountopt = 'nodev'\n".to_owned(), "[storage.options.overlay]\nignore_chown_errors = 'true'\n".to_owned()],
        ];
        for case in cases {
            let drop_ins: Vec<Text> =
                case.iter().map(|text| ("d".to_owned(), text.clone())).collect();
            let merged = merge_drop_ins(&drop_ins, OURS).unwrap().unwrap();
            let mut files: Vec<(&str, &str)> = vec![("main", MAIN)];
            files.extend(case.iter().map(|text| ("d", text.as_str())));
            let (graphroot, mut stores) = read(&files);
            if !stores.iter().any(|store| store.trim_end_matches('/') == OURS) {
                stores.push(OURS.to_owned());
            }
            assert_eq!(
                read(&[("main", MAIN), ("o", &merged)]),
                (graphroot, stores),
                "{case:?}\n{merged}"
            );
        }
        let overlay = merge_drop_ins(
            &[
                ("a".into(), "[storage.options.overlay]\nmountopt = 'nodev'\n".into()),
                ("b".into(), "[storage.options.overlay]\nsize = '1G'\n".into()),
            ],
            OURS,
        );
        let overlay = overlay.unwrap().unwrap();
        assert!(
            overlay.contains("mountopt = 'nodev'") && overlay.contains("size = '1G'"),
            "{overlay}"
        );
    }

    #[test]
    fn nothing_and_faults() {
        assert_eq!(merge_drop_ins(&[], OURS), Ok(None));
        assert_eq!(merge_drop_ins(&[("a".into(), "# c\n".into())], OURS), Ok(None));
        let wrong = merge_drop_ins(&[("a".into(), "[storage]\ngraphroot = 3\n".into())], OURS);
        assert_eq!(wrong.unwrap_err().to_string(), "a:2:13: graphroot must be a string");
        let (_, stores) = read(&[("main", &list("'/a'")), ("o", &one_more(OURS))]);
        assert_eq!(stores, ["/a", OURS]);
    }
}
