//! What of the pool nothing needs any more.
//!
//! [`plan`] is pure; [`gather`] reads what it decides by, after the writer's lock was taken, so that
//! no root can be staged in between.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use binding::Root;
use host::{Host, Linked, Pool, Role, RootId, StoreName};
use serde::{Deserialize, Serialize};

use super::{NEW, REMOVING, Writer, wanted};

/// For how long what a held-back update wants is kept, unless told otherwise.
pub const DEFAULT_KEEP_WANTED: Duration = Duration::from_secs(30 * 86_400);
/// Where Podman keeps its own layers and containers, when storage.conf does not say otherwise.
const PRIMARY: &str = "var/lib/containers/storage";
/// The largest of Podman's lists that is read, in bytes.
const MAX_LIST: u64 = 64 << 20;

/// What the pool holds, and what uses it.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The roots that the host has, the staged one included.
    pub roots: BTreeSet<RootId>,
    /// Whether it could not be told which roots there are, or what is staged: then nothing of a root is
    /// removed.
    pub uncertain: bool,
    /// The links, and where they lead.
    pub links: BTreeMap<RootId, Option<StoreName>>,
    /// The stores, and the ids of their layers.
    pub stores: BTreeMap<StoreName, BTreeSet<String>>,
    /// Stores that something uses right now, and what.
    pub in_use: BTreeMap<StoreName, String>,
    /// Layers that containers and images of the primary store stand on; none when its lists cannot
    /// be read.
    pub parents: Option<BTreeSet<String>>,
    /// Wanted roots, and for how long they have been.
    pub wanted: BTreeMap<RootId, Duration>,
    /// Roots whose store is being made.
    pub partial: BTreeSet<RootId>,
    /// Roots that were released.
    pub released: BTreeSet<RootId>,
    /// What earlier removals left.
    pub leftovers: Vec<String>,
}

/// What is to be removed, and what is kept although no root has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Links of roots that are gone.
    pub links: Vec<RootId>,
    /// Stores that no root has.
    #[serde(serialize_with = "as_texts")]
    pub stores: Vec<StoreName>,
    /// Wanted roots that waited too long, or are complete.
    pub wanted: Vec<RootId>,
    /// Stores in the making that nobody waits for.
    pub partial: Vec<RootId>,
    /// Releases of roots that are gone.
    pub released: Vec<RootId>,
    /// What earlier removals left.
    pub leftovers: Vec<String>,
    /// Stores that no root has but something uses: name and user.
    pub kept: Vec<(String, String)>,
}

fn as_texts<S: serde::Serializer>(names: &[StoreName], out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(names.iter().map(ToString::to_string))
}

impl Plan {
    /// Whether there is nothing to remove.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let roots = [&self.links, &self.wanted, &self.partial, &self.released];
        roots.iter().all(|list| list.is_empty())
            && self.stores.is_empty()
            && self.leftovers.is_empty()
    }
}

/// Decides what to remove. What a root wants goes with it when it was complete once, else after a
/// while; as long as the root is there it is for `stage` to say when that is had. A link whose store is not there is kept as long as its root: it says
/// that the root once was complete.
#[must_use]
pub fn plan(facts: &Facts, keep_wanted: Duration) -> Plan {
    let gone = |root: &&RootId| !facts.uncertain && !facts.roots.contains(*root);
    let links: Vec<RootId> = facts.links.keys().filter(gone).cloned().collect();
    let linked: BTreeSet<&StoreName> = facts
        .links
        .iter()
        .filter(|(root, _)| !links.contains(root))
        .filter_map(|(_, store)| store.as_ref())
        .collect();
    let (mut stores, mut kept) = (Vec::new(), Vec::new());
    for (name, layers) in &facts.stores {
        if linked.contains(name) {
            continue;
        }
        match user(facts, name, layers, &linked) {
            None => stores.push(name.clone()),
            Some(user) => kept.push((name.to_string(), user)),
        }
    }
    let is_linked = |root: &RootId| facts.links.get(root).is_some_and(Option::is_some);
    let wanted: Vec<RootId> = facts
        .wanted
        .iter()
        .filter(|(root, age)| gone(root) && (is_linked(root) || **age > keep_wanted))
        .map(|(root, _)| root.clone())
        .collect();
    let waited_for = |root: &RootId| facts.wanted.contains_key(root) && !wanted.contains(root);
    let partial = facts.partial.iter();
    let partial = partial.filter(|root| !waited_for(root) && (is_linked(root) || gone(root)));
    Plan {
        partial: partial.cloned().collect(),
        released: facts.released.iter().filter(gone).cloned().collect(),
        leftovers: facts.leftovers.clone(),
        links,
        stores,
        wanted,
        kept,
    }
}

/// What uses a store that no root has.
fn user(
    facts: &Facts,
    name: &StoreName,
    layers: &BTreeSet<String>,
    linked: &BTreeSet<&StoreName>,
) -> Option<String> {
    if let Some(user) = facts.in_use.get(name) {
        return Some(user.clone());
    }
    let Some(parents) = &facts.parents else {
        return Some("Podman's own store cannot be read, so nobody knows".to_owned());
    };
    // A layer that a kept store has as well is not lost with this one.
    let elsewhere = |layer: &String| {
        linked.iter().any(|name| facts.stores.get(*name).is_some_and(|have| have.contains(layer)))
    };
    let parent = layers.intersection(parents).find(|layer| !elsewhere(layer))?;
    let short = parent.get(..12).unwrap_or(parent);
    Some(format!("a container or image in Podman's own store stands on layer {short}"))
}

/// Reads what the plan decides by. Call it with the writer's lock held.
///
/// # Errors
/// When the pool cannot be read.
pub fn gather(system: &Root, pool: &Pool, host: &Host, now: SystemTime) -> anyhow::Result<Facts> {
    let directory = super::directory(system, pool);
    let mountinfo = std::fs::read_to_string(system.path().join("proc/self/mountinfo"))
        .or_else(|_| std::fs::read_to_string("/proc/self/mountinfo"))
        .context("cannot read /proc/self/mountinfo")?;
    let mut facts = Facts {
        roots: host
            .roots
            .iter()
            .map(|root| &root.id)
            .chain(host.staged.as_ref().map(|staged| &staged.id))
            .cloned()
            .collect(),
        // Whoever does not see the root that runs does not see what else there is.
        uncertain: host.staged_fault.is_some()
            || host.roots.is_empty()
            || host.booted.is_some() && host.with(Role::Booted).is_none(),
        ..Facts::default()
    };
    for (root, linked) in pool.links(system)? {
        let store = match linked {
            Linked::Store(name) => Some(name),
            Linked::Nowhere | Linked::Elsewhere(_) => None,
        };
        facts.links.insert(root, store);
    }
    for name in pool.stores(system)? {
        let path = directory.join("stores").join(name.to_string());
        // By their directories: a store whose lists cannot be read has layers all the same.
        let layers = directory_names(&path.join("overlay"))?;
        let user = overlay_store::user_of(&path, &[], &mountinfo)
            .with_context(|| format!("cannot look at {}", path.display()))?;
        facts.in_use.extend(user.map(|user| (name.clone(), user)));
        facts.stores.insert(name, layers);
    }
    facts.parents = match parents(system) {
        Ok(parents) => Some(parents),
        Err(error) => {
            log::warn!("{error:#}; stores that no root has are kept");
            None
        }
    };
    for found in wanted::read_all(&directory)? {
        // A clock that was set back makes nothing older.
        facts.wanted.insert(found.root, now.duration_since(found.since).unwrap_or_default());
    }
    let ids = |names: Vec<String>| names.into_iter().filter_map(|name| RootId::parse(&name));
    facts.partial = ids(pool.names(system, "partial")?).collect();
    let released = pool.names(system, "released")?;
    let released = released.iter().filter_map(|name| name.strip_suffix(".json"));
    facts.released = released.filter_map(RootId::parse).collect();
    let stores = pool.names(system, "stores")?;
    let removing = stores.into_iter().filter(|name| name.starts_with(REMOVING));
    facts.leftovers = removing.map(|name| format!("stores/{name}")).collect();
    for place in ["wanted", "released", "roots", "partial", ""] {
        let names = pool.names(system, place)?.into_iter().filter(|name| name.starts_with(NEW));
        let join = |name| if place.is_empty() { name } else { format!("{place}/{name}") };
        facts.leftovers.extend(names.map(join));
    }
    Ok(facts)
}

fn directory_names(path: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(names),
        Err(error) => return Err(error).with_context(|| format!("cannot list {}", path.display())),
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", path.display()))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

#[derive(Deserialize)]
struct Layer {
    parent: Option<String>,
}

/// Ids of the layers that Podman's own layers stand on. The layer of a container is one of them.
fn parents(system: &Root) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    // Podman's own store may have been moved; what is at the old place may be used again.
    let mut stores = crate::shadow::primary_stores(system);
    stores.insert(PRIMARY.to_owned());
    let lists = ["layers.json", "volatile-layers.json"];
    for (store, name) in stores.iter().flat_map(|store| lists.map(|name| (store, name))) {
        let path = format!("{}/overlay-layers/{name}", store.trim_matches('/'));
        let bytes = system
            .read_optional(&path, MAX_LIST)
            .with_context(|| format!("cannot read /{path}"))?;
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else { continue };
        let layers: Vec<Layer> =
            serde_json::from_slice(&bytes).with_context(|| format!("/{path} is not valid"))?;
        found.extend(layers.into_iter().filter_map(|layer| layer.parent));
    }
    Ok(found)
}

/// Removes what the plan says. One thing that cannot be removed does not stop the others.
///
/// # Errors
/// What could not be removed, all of it.
pub fn apply(plan: &Plan, writer: &Writer) -> Result<(), Vec<anyhow::Error>> {
    let mut errors = Vec::new();
    let mut done = |result: anyhow::Result<()>| errors.extend(result.err());
    for name in &plan.leftovers {
        done(writer.remove_tree(name));
    }
    for root in &plan.links {
        done(writer.unlink(root));
    }
    for name in &plan.stores {
        done(writer.remove_store(name));
    }
    for root in &plan.wanted {
        done(wanted::remove(writer, root));
    }
    for root in &plan.partial {
        done(writer.remove_tree(&format!("partial/{root}")));
    }
    for root in &plan.released {
        done(writer.remove_file(&format!("released/{root}.json")));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(letter: &str) -> RootId {
        RootId::parse(&format!("{}.0", letter.repeat(64))).unwrap()
    }

    fn store(letter: &str) -> StoreName {
        StoreName { id: letter.repeat(64), repairs: 0 }
    }

    fn layers(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// A booted root a with store a, and store b of a root that is gone.
    fn facts() -> Facts {
        Facts {
            roots: [id("a")].into(),
            links: [(id("a"), Some(store("a"))), (id("b"), Some(store("b")))].into(),
            stores: [
                (store("a"), layers(&["base", "one"])),
                (store("b"), layers(&["base", "two"])),
            ]
            .into(),
            parents: Some(BTreeSet::new()),
            ..Facts::default()
        }
    }

    #[test]
    fn what_no_root_has_goes() {
        let plan = plan(&facts(), DEFAULT_KEEP_WANTED);
        assert_eq!((plan.links, plan.stores), (vec![id("b")], vec![store("b")]));
        assert!(plan.kept.is_empty() && plan.wanted.is_empty() && plan.partial.is_empty());
    }

    #[test]
    fn what_is_used_stays() {
        let stays = |change: &dyn Fn(&mut Facts)| {
            let mut facts = facts();
            change(&mut facts);
            let plan = plan(&facts, DEFAULT_KEEP_WANTED);
            plan.stores.is_empty()
        };
        assert!(stays(&|facts| {
            facts.in_use.insert(store("b"), "it is mounted".to_owned());
        }));
        assert!(stays(&|facts| facts.parents = Some(layers(&["two"]))));
        assert!(stays(&|facts| facts.parents = None));
        assert!(stays(&|facts| facts.uncertain = true));
        assert!(stays(&|facts| {
            facts.roots.insert(id("b"));
        }));
        // The booted root's store has that layer too.
        assert!(!stays(&|facts| facts.parents = Some(layers(&["base"]))));
    }

    #[test]
    fn wanted_roots_wait_for_a_while() {
        let day = Duration::from_secs(86_400);
        let mut facts = facts();
        facts.wanted = [(id("c"), day), (id("d"), day * 40), (id("a"), day)].into();
        facts.partial = [id("c"), id("d"), id("a"), id("e")].into();
        let plan = plan(&facts, day * 30);
        assert_eq!(plan.wanted, [id("d")], "too old");
        assert_eq!(plan.partial, [id("d"), id("e")]);
        // What is staged now is not too old.
        facts.roots.insert(id("d"));
        let plan = super::plan(&facts, day * 30);
        assert_eq!((plan.wanted, plan.partial), (vec![], vec![id("e")]));
        // What is gone, and was complete, wants nothing.
        facts.roots.remove(&id("a"));
        let plan = super::plan(&facts, day * 30);
        assert_eq!((plan.wanted, plan.partial), (vec![id("a")], vec![id("a"), id("e")]));
    }
}
