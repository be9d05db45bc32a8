//! What a deep look found is written down, so that nobody takes such a store for whole, or its layers
//! over, until they are repaired.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::machine::Machine;
use crate::pool::damaged::Damaged;
use crate::pool::{Unavailable, Writer};
use crate::state::{State, StoreState};

/// How long another writer of the pool is waited for.
const WAIT: Duration = Duration::from_secs(60);

/// Writes down which layers of the store of `state` are damaged, all of which was read. Of a plain
/// directory nothing is: it may be anybody's, and is only looked at.
pub(super) async fn remember(machine: &Machine, state: &State) {
    if let Err(error) = write(machine, state).await {
        log::warn!("this damage is not remembered, and may be taken for sound: {error:#}");
    }
}

async fn write(machine: &Machine, state: &State) -> anyhow::Result<()> {
    let (StoreState::Ours(held), Some(id)) = (&state.store, &state.id) else { return Ok(()) };
    let own = held.name.as_ref().map_or_else(|| id.to_string(), ToString::to_string);
    let known: BTreeSet<&str> = held.store.layers.iter().map(|layer| layer.id.as_str()).collect();
    let subjects = held.damage.iter().map(|damage| damage.subject.as_str());
    let found: BTreeSet<String> =
        subjects.filter(|subject| known.contains(subject)).map(str::to_owned).collect();
    let directory = machine.pool_directory();
    let mut stores: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // Stores inside of other roots share no files with ours, and are not forgotten.
    for root in machine.roots()?.roots {
        stores.insert(root.id.to_string(), BTreeSet::new());
    }
    for name in machine.pool.stores(&machine.system)? {
        let store = overlay_store::Store::open(&directory.join("stores").join(name.to_string()));
        let layers = store.map(|store| store.layers).unwrap_or_default();
        stores.insert(name.to_string(), layers.into_iter().map(|layer| layer.id).collect());
    }
    stores.insert(own.clone(), known.iter().map(|layer| (*layer).to_owned()).collect());
    if held.name.is_none() {
        // Not hard links to the pool's: another store is not hurt by what happened to this one.
        stores.retain(|name, layers| {
            if *name != own {
                layers.clear();
            }
            true
        });
    }
    if !Damaged::read(&directory)?.learn(&own, &found, &stores) {
        return Ok(());
    }
    let writer = Writer::wait(&directory, WAIT).await.map_err(|error| match error {
        Unavailable::Busy(lock) => {
            anyhow::anyhow!("a stage is running ({} is locked); verify again", lock.display())
        }
        Unavailable::Other(error) => error,
    })?;
    // Somebody may have written it meanwhile.
    let mut damaged = Damaged::read(&directory)?;
    damaged.learn(&own, &found, &stores);
    damaged.write(&writer)
}
