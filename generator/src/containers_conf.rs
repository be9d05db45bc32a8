//! The containers.conf that comes on top of all others for a container's service
//! (`CONTAINERS_CONF_OVERRIDE`, containers.conf(5)). Pure.
//!
//! `pull_policy` is the default of `podman run --pull`; the annotations reach the container and
//! start the hook. `{append=true}` keeps those of other files (Podman 4.8 or newer).

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, Value};

/// What the hook is told of a container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    /// Its service.
    pub(crate) service: &'a str,
    /// The reference that it is bound to.
    pub(crate) reference: &'a str,
    /// Whether it is refused another image although the reference has no digest.
    pub(crate) require_pin: bool,
}

impl Told<'_> {
    fn annotations(self) -> Vec<String> {
        let mut list = vec![
            format!("bound-images.service={}", self.service),
            format!("bound-images.reference={}", self.reference),
        ];
        if self.require_pin {
            list.push("bound-images.pin=require".to_owned());
        }
        list
    }
}

/// The file for a service without one of its own.
pub(crate) fn new(told: Told<'_>) -> String {
    // Literal strings: neither a service's name nor a reference can hold an apostrophe.
    let list: String =
        told.annotations().iter().map(|annotation| format!("  '{annotation}',\n")).collect();
    format!(
        "# Written by bound-images-generator for {}.\n\
         [engine]\n\
         pull_policy = \"never\"\n\
         \n\
         [containers]\n\
         annotations = [\n\
         {list}\
         \x20 {{append=true}},\n\
         ]\n",
        told.service
    )
}

/// `text`, the file at `path` that the service names itself, with ours added: all else in it is
/// kept. Whether its annotations replace or follow those of other files stays as it was.
///
/// # Errors
/// Why Podman could not read the file either.
pub(crate) fn merge(path: &str, text: &str, told: Told<'_>) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        let why = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        format!("{path}:{}: {why}", before.matches('\n').count() + 1)
    })?;
    let wrong = |what: &str| format!("{path}: {what}");
    let engine = entry(document.as_item_mut(), "engine", Item::Table(Table::new()))
        .ok_or_else(|| wrong("it is not a table"))?;
    let policy = entry(engine, "pull_policy", Item::None)
        .ok_or_else(|| wrong("[engine] must be a table"))?;
    *policy = toml_edit::value("never");

    let containers = entry(document.as_item_mut(), "containers", Item::Table(Table::new()))
        .ok_or_else(|| wrong("it is not a table"))?;
    let mut added = Array::new();
    added.push(Value::InlineTable(InlineTable::from_iter([("append", true)])));
    let annotations = entry(containers, "annotations", toml_edit::value(added))
        .ok_or_else(|| wrong("[containers] must be a table"))?;
    let list = annotations.as_array_mut().ok_or_else(|| wrong("annotations must be an array"))?;
    list.extend(told.annotations());
    Ok(document.to_string())
}

/// The item `name` of the table `parent`, in any letter case, as Go's TOML decoder finds it; made
/// if it is not there.
fn entry<'t>(parent: &'t mut Item, name: &str, missing: Item) -> Option<&'t mut Item> {
    let inline = parent.is_inline_table();
    let table = parent.as_table_like_mut()?;
    let key = match table.contains_key(name) {
        true => name.to_owned(),
        false => {
            let known = table.iter().map(|(key, _)| key).find(|key| key.eq_ignore_ascii_case(name));
            known.unwrap_or(name).to_owned()
        }
    };
    let missing = match missing {
        // A table in braces can only hold tables in braces.
        Item::Table(_) if inline => toml_edit::value(InlineTable::new()),
        missing => missing,
    };
    Some(table.entry(&key).or_insert(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(text: &str) -> Result<String, String> {
        let told = Told { service: "a.service", reference: "example.org/a:1", require_pin: false };
        merge("/etc/own.conf", text, told)
    }

    #[test]
    fn what_a_service_has_is_kept() {
        let text = merged(
            "# mine\n[engine]\ncgroup_manager = \"cgroupfs\" # here\npull_policy = \"always\"\n\
             [containers]\nannotations = ['a=b']\nenv = ['X=1']\n",
        )
        .unwrap();
        assert!(text.starts_with("# mine\n[engine]\ncgroup_manager = \"cgroupfs\" # here\n"));
        assert!(text.contains("pull_policy = \"never\"\n") && !text.contains("always"));
        assert!(
            text.contains(
                "annotations = ['a=b', \"bound-images.service=a.service\", \
                 \"bound-images.reference=example.org/a:1\"]\nenv = ['X=1']\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn what_is_missing_is_made_and_appends() {
        for text in ["", "[Engine]\n[Containers]\n", "engine = {}\ncontainers = {}\n"] {
            let merged = merged(text).unwrap();
            let parsed: DocumentMut = merged.parse().unwrap();
            let table = |name: &str| {
                let (_, item) = parsed.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
                Some(item.clone())
            };
            let policy = table("engine").unwrap();
            assert_eq!(policy["pull_policy"].as_str(), Some("never"), "{merged}");
            let list = table("containers").unwrap()["annotations"].as_array().unwrap().clone();
            let append = list.get(0).unwrap().as_inline_table().unwrap();
            assert_eq!(append.get("append").unwrap().as_bool(), Some(true), "{merged}");
            assert_eq!(list.get(1).unwrap().as_str(), Some("bound-images.service=a.service"));
        }
    }

    #[test]
    fn a_file_that_podman_cannot_read_is_named() {
        for (text, want) in [
            ("[engine\n", "/etc/own.conf:1: "),
            ("engine = 1\n", "[engine] must be a table"),
            ("[containers]\nannotations = 'a=b'\n", "annotations must be an array"),
        ] {
            let why = merged(text).unwrap_err();
            assert!(why.contains(want), "{why}");
        }
    }
}
