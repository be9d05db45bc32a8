//! A Quadlet with its drop-ins merged, and how Podman looks values up in it.

use crate::finding::{Code, Finding, Place};
use crate::quadlet::text::Text;
use crate::quadlet::words::split_words;

/// A Quadlet and the drop-ins that apply to it, in the order in which Podman merges them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Root-relative path of the Quadlet.
    pub path: String,
    /// Its file name: what Podman knows it by.
    pub name: String,
    parts: Vec<(String, std::rc::Rc<Text>)>,
}

/// A value that was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The value without trailing white space and without quotes, as Podman 5 reads it.
    pub text: String,
    /// How Podman 6 reads it, where that differs.
    pub other: Option<String>,
    /// Where it stands.
    pub place: Place,
}

impl Value {
    fn new(raw: &str, place: Place) -> Self {
        let raw = raw.trim_end();
        // Podman 5.4 strips all quotes at both ends, Podman 6 one matched pair.
        let text = raw.trim_matches('"');
        let newer = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
        let other = (newer != text).then(|| newer.to_owned());
        Self { text: text.to_owned(), other, place }
    }

    /// A warning, where Podman versions read the value of `key` differently.
    #[must_use]
    pub fn ambiguity(&self, key: &str) -> Option<Finding> {
        self.other.as_ref().map(|_| {
            Finding::new(
                Code::AmbiguousQuotes,
                self.place.clone(),
                format!("the quotes of {key}= are stripped by some versions of Podman only"),
                "write the value without quotes",
            )
        })
    }

    /// The value as one of Podman's booleans: everything but `1`, `yes`, `true` and `on` is false.
    #[must_use]
    pub fn is_true(&self) -> bool {
        ["1", "yes", "true", "on"].iter().any(|word| self.text.eq_ignore_ascii_case(word))
    }

    /// The boolean, if the value is a word that people write for one.
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        let is_false =
            ["0", "no", "false", "off"].iter().any(|word| self.text.eq_ignore_ascii_case(word));
        (self.is_true() || is_false).then(|| self.is_true())
    }
}

impl Unit {
    /// The Quadlet at `path` without drop-ins.
    #[must_use]
    pub fn new(path: &str, text: std::rc::Rc<Text>) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        Self { path: path.to_owned(), name, parts: vec![(path.to_owned(), text)] }
    }

    /// Merges a drop-in: its assignments come after all that are there.
    pub fn merge(&mut self, path: &str, text: std::rc::Rc<Text>) {
        self.parts.push((path.to_owned(), text));
    }

    /// The Quadlet itself as a place.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::file(&self.path)
    }

    /// All values of a key, with resets and repeats, in order; raw.
    fn raw(&self, group: &str, key: &str) -> impl DoubleEndedIterator<Item = (&str, Place)> {
        self.parts.iter().flat_map(move |(file, text)| {
            text.assignments
                .iter()
                .filter(move |assignment| assignment.group == group && assignment.key == key)
                .map(move |found| (found.value.as_str(), Place::line(file, found.line)))
        })
    }

    /// The last value of a key, also when it is empty.
    #[must_use]
    pub fn last(&self, group: &str, key: &str) -> Option<Value> {
        self.raw(group, key).next_back().map(|(raw, place)| Value::new(raw, place))
    }

    /// The last value of a key, unless it is empty.
    #[must_use]
    pub fn filled(&self, group: &str, key: &str) -> Option<Value> {
        self.last(group, key).filter(|value| !value.text.is_empty())
    }

    /// All values of a key since the last empty one, raw, as Podman adds them to a list.
    #[must_use]
    pub fn all(&self, group: &str, key: &str) -> Vec<(String, Place)> {
        let mut values = Vec::new();
        for (raw, place) in self.raw(group, key) {
            match raw {
                "" => values.clear(),
                _ => values.push((raw.to_owned(), place)),
            }
        }
        values
    }

    /// The words of all values of a key, with the place of each.
    #[must_use]
    pub fn words(&self, group: &str, key: &str) -> Vec<(String, Place)> {
        self.all(group, key)
            .into_iter()
            .flat_map(|(raw, place)| {
                let words = split_words(&raw).unwrap_or_default();
                words.into_iter().map(move |word| (word, place.clone()))
            })
            .collect()
    }

    /// The keys of a group, each with the place where it stands first.
    #[must_use]
    pub fn keys(&self, group: &str) -> Vec<(String, Place)> {
        let mut keys: Vec<(String, Place)> = Vec::new();
        for (file, text) in &self.parts {
            for found in text.assignments.iter().filter(|found| found.group == group) {
                if !keys.iter().any(|(key, _)| *key == found.key) {
                    keys.push((found.key.clone(), Place::line(file, found.line)));
                }
            }
        }
        keys
    }

    /// The place where `key` is given a second, different value in one file, without a reset
    /// between the two.
    #[must_use]
    pub fn repeated(&self, group: &str, key: &str) -> Option<Place> {
        for (file, text) in &self.parts {
            let mut before: Option<&str> = None;
            for found in text.assignments.iter().filter(|a| a.group == group && a.key == key) {
                let value = found.value.as_str();
                if before.is_some_and(|before| !value.is_empty() && before != value) {
                    return Some(Place::line(file, found.line));
                }
                before = Some(value).filter(|value| !value.is_empty());
            }
        }
        None
    }

    /// Files and lines of assignments that Podman loses.
    #[must_use]
    pub fn lost(&self) -> Vec<Place> {
        self.parts
            .iter()
            .flat_map(|(file, text)| text.lost.iter().map(move |line| Place::line(file, *line)))
            .collect()
    }
}
