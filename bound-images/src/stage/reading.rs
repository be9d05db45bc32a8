//! Reading every file of a store before it is repaired, which takes as long as the disk needs.

use std::sync::{Mutex, PoisonError};

use overlay_store::{LayerEntry, Watch};

use super::{Event, Meter, Observer};
use crate::state::Held;

/// Looks at all of the store that is `held`, and tells how far it has come.
///
/// # Errors
/// When the store cannot be looked at.
pub fn read_all(held: &mut Held, observer: &Observer) -> anyhow::Result<()> {
    let of = held.store.layers.len();
    let bytes = held.store.layers.iter().filter_map(|layer| layer.size).sum();
    let meter = Meter::alone();
    observer(Event::Reading { meter: &meter, layers: of, bytes });
    // Held while it is told, so that the numbers come in order.
    let done = Mutex::new(0);
    let told = |layer: &LayerEntry| {
        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
        *done += 1;
        let size = layer.size.unwrap_or_default();
        observer(Event::Read { id: &layer.id, size, done: *done, of });
    };
    held.look_deep(&Watch { bytes: meter.counter(), layer: &told })
}
