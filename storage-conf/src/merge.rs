//! A host's storage.conf with one more additional image store.

use toml_edit::{Array, DocumentMut, InlineTable, Item, RawString, Table, Value};

use crate::conf::{StorageConf, clean};
use crate::error::{ConfError, MergeError};
use crate::layer::spelling;
use crate::{DEFAULT_GRAPHROOT, DEFAULT_RUNROOT};

/// The text of `host` (path for messages, text) with `store`, an absolute path, listed after all
/// other additional image stores; comments, layout and all other options are kept. A text that
/// lists it already comes back unchanged.
///
/// `runroot` and `graphroot` are added with Podman's default values where they are missing:
/// Podman 4 and 5 refuse a storage.conf without them, though they work with no storage.conf at
/// all. Without a host's file the text is the least that Podman accepts.
///
/// # Errors
/// [`MergeError`] when the host's file cannot be parsed, when its driver does not read overlay
/// stores, and when `store` cannot be written in a storage.conf.
pub fn merge(host: Option<(&str, &str)>, store: &str) -> Result<String, MergeError> {
    if !store.starts_with('/') || store.contains(|c: char| c == ',' || c.is_control()) {
        return Err(MergeError::Store(store.to_owned()));
    }
    let store = clean(store);
    let (file, text) = host.unwrap_or(("storage.conf", "[storage]\ndriver = \"overlay\"\n"));
    let conf = StorageConf::parse(file, text)?;
    if !conf.reads_overlay() {
        let driver = conf.driver().unwrap_or_default().to_owned();
        return Err(MergeError::Driver { file: file.to_owned(), driver });
    }
    let mut missing = Vec::new();
    if conf.runroot().is_none() {
        missing.push(("runroot", DEFAULT_RUNROOT));
    }
    if conf.graphroot().is_none() {
        missing.push(("graphroot", DEFAULT_GRAPHROOT));
    }
    if missing.is_empty() && conf.lists_store(&store) {
        return Ok(text.to_owned());
    }

    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        ConfError::at(file, text, error.span().map(|span| span.start), error.message())
    })?;
    let gone = || ConfError::whole(file, "[storage] is not a table");
    let storage = child(document.as_item_mut(), "storage").ok_or_else(gone)?;
    for (name, default) in missing {
        let item = child(storage, name).ok_or_else(gone)?;
        let mut value = Value::from(default);
        if let Some(empty) = item.as_value() {
            *value.decor_mut() = empty.decor().clone();
        }
        *item = Item::Value(value);
    }
    if !conf.lists_store(&store) {
        let options = child(storage, "options").ok_or_else(gone)?;
        let table = options.as_table_like_mut().ok_or_else(gone)?;
        let key = spelling(table, "additionalimagestores");
        let key = key.unwrap_or_else(|| "additionalimagestores".to_owned());
        let list = table.entry(&key).or_insert(toml_edit::value(Array::new()));
        push(list.as_array_mut().ok_or_else(gone)?, &store);
    }
    Ok(document.to_string())
}

/// The table `name` of the table `parent`, made in its parent's form if it is not there.
fn child<'t>(parent: &'t mut Item, name: &str) -> Option<&'t mut Item> {
    let empty = match parent {
        Item::Table(_) => Item::Table(Table::new()),
        // A table in braces can only hold tables in braces.
        _ => Item::Value(Value::InlineTable(InlineTable::new())),
    };
    let table = parent.as_table_like_mut()?;
    let key = spelling(table, name).unwrap_or_else(|| name.to_owned());
    Some(table.entry(&key).or_insert(empty))
}

/// Appends `store` to `list` in the layout that the list has. `Array::push` would put it between
/// the last item and the comment behind that item.
fn push(list: &mut Array, store: &str) {
    let mut tail = String::new();
    let comma = list.trailing_comma();
    if let Some(last) = list.iter_mut().last() {
        tail.push_str(raw(last.decor().suffix()));
        last.decor_mut().set_suffix("");
    }
    tail.push_str(raw(Some(list.trailing())));
    let first = list.iter().next();
    let indent =
        first.map_or("", |first| raw(first.decor().prefix()).rsplit('\n').next().unwrap_or(""));

    let mut value = Value::from(store);
    let tail = tail.trim_end_matches([' ', '\t']);
    if tail.contains('\n') {
        let indent = if indent.is_empty() { "  " } else { indent }.to_owned();
        value.decor_mut().set_prefix(format!("{tail}{indent}"));
        list.set_trailing("\n");
        list.push_formatted(value);
        list.set_trailing_comma(true);
    } else {
        let space = if list.is_empty() { "" } else { " " };
        value.decor_mut().set_prefix(space);
        list.set_trailing("");
        list.push_formatted(value);
        list.set_trailing_comma(comma);
    }
}

fn raw(text: Option<&RawString>) -> &str {
    text.and_then(RawString::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "/usr/lib/containers/storage";
    const ROOTS: &str = "[storage]\ndriver = \"overlay\"\nrunroot = \"/r\"\ngraphroot = \"/g\"\n";

    #[test]
    fn without_a_host_file_the_text_is_the_least_that_podman_accepts() {
        let want = format!(
            "[storage]\ndriver = \"overlay\"\nrunroot = \"/run/containers/storage\"\n\
             graphroot = \"/var/lib/containers/storage\"\n\n\
             [storage.options]\nadditionalimagestores = [\"{OURS}\"]\n"
        );
        assert_eq!(merge(None, OURS).unwrap(), want);
    }

    #[test]
    fn adds_one_item_and_touches_nothing_else() {
        // What stands below the roots, and the same with our store.
        let cases = [
            ("", "\n[storage.options]\nadditionalimagestores = [\"@\"]\n"),
            (
                "\n[storage.options] # here\nsize = \"1G\" # one\n",
                "\n[storage.options] # here\nsize = \"1G\" # one\nadditionalimagestores = [\"@\"]\n",
            ),
            (
                "[storage.options]\nadditionalimagestores = []\n",
                "[storage.options]\nadditionalimagestores = [\"@\"]\n",
            ),
            (
                "[storage.options]\nadditionalimagestores = [ '/a' ] # c\n",
                "[storage.options]\nadditionalimagestores = [ '/a', \"@\"] # c\n",
            ),
            (
                "[storage.options]\nadditionalimagestores = ['/a', '/b',]\n",
                "[storage.options]\nadditionalimagestores = ['/a', '/b', \"@\",]\n",
            ),
            (
                "[storage.options]\nadditionalimagestores = [\n]\n",
                "[storage.options]\nadditionalimagestores = [\n  \"@\",\n]\n",
            ),
            (
                "[storage.options]\nadditionalimagestores = [\n# '/x',\n]\n",
                "[storage.options]\nadditionalimagestores = [\n# '/x',\n  \"@\",\n]\n",
            ),
            (
                "[storage.options]\nadditionalimagestores = [ # all\n    '/a', # one\n    '/b' # two\n]\n",
                "[storage.options]\nadditionalimagestores = [ # all\n    '/a', # one\n    '/b', # two\n    \"@\",\n]\n",
            ),
            (
                "[storage.options]\nadditionalimagestores = [\n\t'/a', # one\n]\n",
                "[storage.options]\nadditionalimagestores = [\n\t'/a', # one\n\t\"@\",\n]\n",
            ),
            (
                "options = { size = '1G' }\n",
                "options = { size = '1G' , additionalimagestores = [\"@\"] }\n",
            ),
            (
                "[storage.options.overlay]\nmountopt = 'nodev'\n",
                "\n[storage.options]\nadditionalimagestores = [\"@\"]\n[storage.options.overlay]\nmountopt = 'nodev'\n",
            ),
            (
                "[storage.Options]\nAdditionalImageStores = ['/a']\n",
                "[storage.Options]\nAdditionalImageStores = ['/a', \"@\"]\n",
            ),
        ];
        for (below, want) in cases {
            let got = merge(Some(("f", &format!("{ROOTS}{below}"))), OURS).unwrap();
            assert_eq!(got, format!("{ROOTS}{}", want.replace('@', OURS)), "{below}");
            assert_eq!(
                merge(Some(("f", &got)), OURS).unwrap(),
                got,
                "a second merge changes nothing"
            );
        }
    }

    #[test]
    fn fills_in_the_roots_that_podman_insists_on() {
        let got = merge(Some(("f", "# mine\n[storage]\nrunroot = \"\" # empty\n")), OURS).unwrap();
        let conf = StorageConf::parse("f", &got).unwrap();
        assert_eq!(conf.runroot(), Some(DEFAULT_RUNROOT));
        assert_eq!(conf.graphroot(), Some(DEFAULT_GRAPHROOT));
        assert_eq!(conf.driver(), None, "Podman goes on choosing the driver");
        assert!(got.starts_with("# mine\n[storage]\n") && got.contains(" # empty\n"), "{got}");
        assert!(merge(Some(("f", "")), OURS).unwrap().contains("[storage]\nrunroot"));
    }

    #[test]
    fn refuses_what_could_not_work() {
        let vfs = merge(Some(("etc/s.conf", "[storage]\ndriver = 'vfs'")), OURS).unwrap_err();
        assert!(vfs.to_string().starts_with("etc/s.conf: the storage driver is \"vfs\""), "{vfs}");
        assert!(matches!(merge(Some(("f", "[")), OURS), Err(MergeError::Conf(_))));
        for store in ["", "a", "a/b", "/a,/b", "/a\n"] {
            assert_eq!(merge(None, store), Err(MergeError::Store(store.to_owned())));
        }
    }
}
