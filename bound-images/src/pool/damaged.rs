//! Layers that a deep verification found damaged, and the stores that have them so: those of the
//! pool by their names, one inside of a root by the id of the root.
//!
//! The files of a layer are hard links: what is wrong in one store is wrong in all that had the
//! layer at that time, and must not get into new ones. A store that is published later has a
//! layer of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Writer;
use crate::system::file::{read_optional, write_json};

/// The largest list that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// Its name in the pool.
const NAME: &str = "damaged.json";

/// Layer id → names of the stores in which it is damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    schema: u32,
    layers: BTreeMap<String, BTreeSet<String>>,
}

impl Damaged {
    /// Reads the list of the pool at `directory`. One that cannot be understood is empty, and said.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join(NAME);
        let Some(bytes) = read_optional(&path, MAX_FILE)? else { return Ok(Self::default()) };
        Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            log::warn!("{} is not valid and counts as empty: {error}", path.display());
            Self::default()
        }))
    }

    /// Whether the layer is damaged in that store.
    #[must_use]
    pub fn has(&self, layer: &str, store: &str) -> bool {
        self.layers.get(layer).is_some_and(|stores| stores.contains(store))
    }

    /// The layers that are damaged in that store.
    pub fn of<'a>(&'a self, store: &'a str) -> impl Iterator<Item = &'a str> {
        let layers = self.layers.iter().filter(move |(_, stores)| stores.contains(store));
        layers.map(|(layer, _)| layer.as_str())
    }

    /// Takes in what was `found` when all of the store `own` was read: those layers are damaged in
    /// all of `stores` that have them (store → its layers), and all others of `own` are sound. Forgets
    /// stores that are not there any more. Whether anything changed.
    pub fn learn(
        &mut self,
        own: &str,
        found: &BTreeSet<String>,
        stores: &BTreeMap<String, BTreeSet<String>>,
    ) -> bool {
        let before = self.clone();
        self.schema = 1;
        for (_, known) in self.layers.iter_mut().filter(|(layer, _)| !found.contains(*layer)) {
            known.remove(own);
        }
        for layer in found {
            let having = stores.iter().filter(|(_, layers)| layers.contains(layer));
            let having = having.map(|(store, _)| store.clone());
            self.layers.entry(layer.clone()).or_default().extend(having);
        }
        for known in self.layers.values_mut() {
            known.retain(|store| stores.contains_key(store));
        }
        self.layers.retain(|_, stores| !stores.is_empty());
        self.layers != before.layers
    }

    /// Writes the list.
    ///
    /// # Errors
    /// When the disk is at fault.
    pub fn write(&self, pool: &Writer) -> anyhow::Result<()> {
        write_json(&pool.directory().join(NAME), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_of_the_stores_that_had_the_layer() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut stores: BTreeMap<String, BTreeSet<String>> =
            [("s.0".to_owned(), set(&["a", "b"])), ("t.0".to_owned(), set(&["b"]))].into();
        let mut damaged = Damaged::default();
        assert!(damaged.learn("s.0", &set(&["b"]), &stores));
        assert!(damaged.has("b", "s.0") && damaged.has("b", "t.0") && !damaged.has("a", "s.0"));
        // A repaired store is another one.
        stores.insert("s.1".to_owned(), set(&["a", "b"]));
        stores.remove("s.0");
        assert!(damaged.learn("s.1", &BTreeSet::new(), &stores));
        assert!(!damaged.has("b", "s.1") && !damaged.has("b", "s.0") && damaged.has("b", "t.0"));
        assert_eq!(damaged.of("t.0").collect::<Vec<_>>(), ["b"]);
        // Whoever read all of it knows better than what is written down.
        assert!(damaged.learn("t.0", &BTreeSet::new(), &stores));
        assert_eq!(damaged.of("t.0").count(), 0);
    }
}
