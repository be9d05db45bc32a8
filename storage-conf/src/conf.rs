//! One storage.conf, parsed.

use crate::SEARCH;
use crate::error::ConfError;
use crate::layer::{Dialect, Layer, Setting};

/// The file of `files` (root-relative path and text) that Podman reads: the first of [`SEARCH`].
#[must_use]
pub fn main_file(files: &[(String, String)]) -> Option<(&str, &str)> {
    SEARCH.iter().find_map(|path| {
        let (path, text) = files.iter().find(|(given, _)| given == path)?;
        Some((path.as_str(), text.as_str()))
    })
}

/// An additional image store and where it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Absolute path, cleaned of `.`, `..` and doubled slashes.
    pub path: String,
    /// Line of the file, counted from 1.
    pub line: Option<usize>,
}

/// What of a storage.conf decides which image stores Podman reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConf {
    driver: Option<String>,
    runroot: Option<String>,
    graphroot: Option<String>,
    stores: Vec<Store>,
}

impl StorageConf {
    /// Parses `text`, the content of `file` (which is only used in messages).
    ///
    /// # Errors
    /// [`ConfError`] with file, line and column when the text is over [`crate::MAX_SIZE`] or not TOML, or
    /// has a value that Podman refuses: a wrong type, a store that is not an absolute path.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfError> {
        let layer = Layer::parse(file, text, Dialect::Before6)?;
        let stores = layer.stores()?;
        let value = |setting: Option<Setting>| setting.map(|setting| setting.value);
        let set = |setting| value(setting).filter(|value| !value.is_empty());
        Ok(Self {
            driver: set(layer.driver),
            runroot: set(layer.runroot),
            graphroot: set(layer.graphroot),
            stores,
        })
    }

    /// The storage driver, if the file names one.
    #[must_use]
    pub fn driver(&self) -> Option<&str> {
        self.driver.as_deref()
    }

    /// `runroot`, if the file sets it. Podman 4 and 5 refuse a file that does not.
    #[must_use]
    pub fn runroot(&self) -> Option<&str> {
        self.runroot.as_deref()
    }

    /// `graphroot`, the primary store, if the file sets it. Podman 4 and 5 refuse a file that does
    /// not.
    #[must_use]
    pub fn graphroot(&self) -> Option<&str> {
        self.graphroot.as_deref()
    }

    /// The additional image stores in the order in which Podman searches them.
    #[must_use]
    pub fn stores(&self) -> &[Store] {
        &self.stores
    }

    /// Whether the driver reads stores of the overlay format. A file that names none leaves the
    /// choice to Podman, which takes overlay unless the primary store already has another format.
    #[must_use]
    pub fn reads_overlay(&self) -> bool {
        matches!(self.driver(), None | Some("overlay" | "overlay2"))
    }

    /// Whether Podman reads the store at `path` (absolute) because of this file. Paths are
    /// compared as text: a symlink to the store is another path.
    #[must_use]
    pub fn lists_store(&self, path: &str) -> bool {
        let path = clean(path);
        self.reads_overlay() && self.stores.iter().any(|store| store.path == path)
    }
}

/// An absolute path without `.`, `..`, doubled and trailing slashes: Go's `filepath.Clean`.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_SIZE;

    const OURS: &str = "/usr/lib/containers/storage";

    fn paths(text: &str) -> Vec<String> {
        let conf = StorageConf::parse("f", text).unwrap();
        conf.stores().iter().map(|store| store.path.clone()).collect()
    }

    #[test]
    fn finds_stores_wherever_toml_lets_them_be_written() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("[storage]\ndriver = 'overlay'\n", &[]),
            ("[storage.options]\nadditionalimagestores = []", &[]),
            ("[storage.options]\nadditionalimagestores = [\n]\n", &[]),
            ("[storage.options]\nadditionalimagestores = [\"/a\", '/b//c/',]", &["/a", "/b/c"]),
            ("storage.options.additionalimagestores = ['/a']", &["/a"]),
            ("[storage]\noptions = {additionalimagestores = ['/a']}", &["/a"]),
            ("[Storage.OPTIONS]\nAdditionalImageStores = ['/a/../b']", &["/b"]),
            ("[storage.options]\nadditionalimagestores = ['/a,/b', '']", &["/a", "/b"]),
            ("[storage.options]\nadditionalimagestores = ['/a', '/a']", &["/a", "/a"]),
            // Not a key of the driver's own table: Podman only warns.
            ("[storage.options.overlay]\nadditionalimagestores = ['/a']", &[]),
            ("[storage]\nadditionalimagestores = ['/a']", &[]),
            ("# [storage.options]\n# additionalimagestores = ['/a']", &[]),
        ];
        for (text, want) in cases {
            assert_eq!(paths(text), *want, "{text}");
        }
    }

    #[test]
    fn says_where_it_is_wrong() {
        let cases = [
            ("[storage\n", "f:1:9: "),
            ("[storage]\ndriver = \"over", "f:2:15: "),
            ("[storage]\ndriver = 3\n", "f:2:10: driver must be a string"),
            ("storage = 1", "f:1:11: storage must be a table"),
            ("[[storage]]\n", "storage must be a table"),
            ("[storage]\noptions = []", "f:2:11: options must be a table"),
            (
                "[storage.options]\nadditionalimagestores = '/a'",
                "f:2:25: additionalimagestores must be an array of paths",
            ),
            (
                "[storage.options]\nadditionalimagestores = [\n  '/a',\n  {append = true}]",
                "f:4:3: each of additionalimagestores must be a string",
            ),
            (
                "[storage.options]\nadditionalimagestores = ['é', 'a']",
                "f:2:26: \"é\" in additionalimagestores is not an absolute path",
            ),
            ("a = 1\na = 2\n", "f:2:1: "),
        ];
        for (text, want) in cases {
            let error = StorageConf::parse("f", text).unwrap_err().to_string();
            assert!(error.contains(want), "{text}\n{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        let error = StorageConf::parse("f", &"#".repeat(MAX_SIZE + 1)).unwrap_err();
        assert_eq!(error.to_string(), "f: the file has 1048577 bytes, more than 1048576");
        assert!(StorageConf::parse("f", &"[".repeat(100_000)).is_err(), "too deep");
    }

    #[test]
    fn lists_a_store_only_where_the_driver_reads_it() {
        let list = format!("[storage.options]\nadditionalimagestores = ['{OURS}/']");
        for (head, want) in [
            ("", true),
            ("[storage]\ndriver = ''\n", true),
            ("[storage]\ndriver = 'overlay'\n", true),
            ("[storage]\ndriver = 'overlay2'\n", true),
            ("[storage]\ndriver = 'vfs'\n", false),
        ] {
            let conf = StorageConf::parse("f", &format!("{head}{list}")).unwrap();
            assert_eq!(conf.lists_store(OURS), want, "{head}");
            assert_eq!(conf.stores()[0].line, Some(head.lines().count() + 2), "{head}");
        }
    }

    #[test]
    fn the_first_file_of_the_search_wins() {
        let [etc, usr] = SEARCH.map(|path| (path.to_owned(), format!("# {path}")));
        assert_eq!(main_file(&[]), None);
        let other = ("etc/containers/storage.conf.d/a.conf".to_owned(), String::new());
        assert_eq!(main_file(&[other, usr.clone()]), Some((SEARCH[1], usr.1.as_str())));
        assert_eq!(main_file(&[usr, etc.clone()]), Some((SEARCH[0], etc.1.as_str())));
    }
}
