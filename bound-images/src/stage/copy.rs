//! Copying layers from stores that others write on this host: Podman's, bootc's.
//!
//! What goes wrong with them is said once, and the layer is fetched: they are a way to save a
//! download, never needed.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use oci_digest::Digest;
use overlay_store::{Budget, Builder, Foreign};

use super::{LayerPlan, Plan, StageError};
use crate::settings::StageSettings;

/// How long a store that is being changed is waited for. Podman holds its lock while it unpacks a
/// layer; whoever unpacks for longer keeps us from the network no further.
const WAIT: Duration = Duration::from_secs(10);

/// Plans to copy what the stores of this host have.
pub(super) async fn plan(settings: &StageSettings, plan: &mut Plan) -> Result<(), StageError> {
    let wanted: BTreeSet<Digest> = plan.to_fetch().map(|layer| layer.diff_id).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let paths = settings.foreign_stores.clone();
    let opened = tokio::task::spawn_blocking(move || open(&paths, &wanted)).await;
    plan.copy_from(&opened.context("looking at other stores broke off")?);
    Ok(())
}

fn open(paths: &[PathBuf], wanted: &BTreeSet<Digest>) -> Vec<Foreign> {
    let mut stores = Vec::new();
    for path in paths {
        match Foreign::open(path, wanted, WAIT) {
            Ok(store) => stores.extend(store),
            // A dry run need not be root.
            Err(error) if error.io_kind() == Some(ErrorKind::PermissionDenied) => {
                log::info!("no layers are copied from {}: {error}", path.display());
            }
            Err(error) => log::warn!("no layers are copied from {}: {error}", path.display()),
        }
    }
    stores
}

/// Ends a copy when nobody waits for it any more.
struct Cancel(Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Copies a layer from the first store that has it whole; false when none has.
///
/// # Errors
/// When our own disk is at fault: fetching would not help.
pub(super) async fn layer(
    layer: &LayerPlan,
    ids: &[String],
    builder: &Builder,
    budget: &Budget,
) -> anyhow::Result<overlay_store::Result<bool>> {
    let cancelled = Arc::new(AtomicBool::new(false));
    let _cancel = Cancel(Arc::clone(&cancelled));
    let (layer, ids, builder) = (layer.clone(), ids.to_vec(), builder.clone());
    let budget = budget.clone();
    let copying = tokio::task::spawn_blocking(move || {
        for from in &layer.copies {
            let expected = layer.expected();
            match builder.copy_layer(&ids, layer.index, &expected, &budget, from, &cancelled) {
                Ok(_) => return Ok(true),
                Err(error) if error.is_source_fault() => log::warn!(
                    "layer {} is not copied from {}: {error}",
                    layer.diff_id.short(),
                    from.store().display()
                ),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    });
    copying.await.context("copying broke off")
}
