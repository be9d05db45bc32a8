//! `bound-images stage --late-binding`: the root runs already.

use std::collections::BTreeSet;

use host::{Deployment, Role};

use super::Exit;
use super::stage::Run;
use crate::machine::Target;
use crate::render;
use crate::stage::{Site, Wish};
use crate::state::{self, ImageState, State, StoreState};
use crate::system::{journal, remount};

impl Run<'_> {
    /// Fetches what the booted root lacks, publishes what can be had, and lets the services that
    /// waited for it have it.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub(crate) async fn late(&self) -> anyhow::Result<Exit> {
        let Target::Deployment(booted) = self.machine.target(None, Role::Booted)? else {
            render::nothing_staged(self.style)?;
            return Ok(Exit::Well);
        };
        let state = state::look_at(self.machine, &booted)?;
        let before = present(&state);
        if super::verify::reasons(&state).is_empty() {
            render::note(&format!("{} is complete", booted.id.short()));
            self.hand_over(&booted, &before, &state).await;
            return Ok(Exit::Well);
        }
        journal::late_binding(booted.id.as_str());
        let site = Site::Pool { machine: self.machine, wait: self.wait, wish: Wish::Own };
        let exit = self.stage(state, site).await?;
        let after = state::look_at(self.machine, &booted)?;
        self.hand_over(&booted, &before, &after).await;
        let reasons = super::verify::reasons(&after);
        if reasons.is_empty() {
            return Ok(exit);
        }
        journal::missing_at_boot(booted.id.as_str(), &reasons);
        Ok(if exit == Exit::Well { Exit::Findings } else { exit })
    }

    /// Mounts the store that the root has `after`, and starts what failed for want of it. What
    /// cannot be done now is done at the next boot by the generator.
    async fn hand_over(&self, booted: &Deployment, before: &BTreeSet<String>, after: &State) {
        if self.settings.dry_run {
            return;
        }
        let StoreState::Ours(held) = &after.store else { return };
        let Some(store) = &held.name else { return };
        let Some(bus) = &self.outside.bus else {
            log::info!("there is no system bus: nothing is mounted or started now");
            return;
        };
        let (system, pool) = (&self.machine.system, &self.machine.pool);
        let mounted = remount::mount(bus, system, pool, &booted.id, store).await;
        let all = match mounted {
            Ok(all) => all,
            Err(error) => return render::note(&format!("warning: {error:#}")),
        };
        let services = services(before, after, all);
        match remount::start_waiting(bus, &services).await {
            Ok(started) if started.is_empty() => {}
            Ok(started) => render::note(&format!("started: {}", started.join(", "))),
            Err(why) => render::note(&format!("warning: services are not started: {why}")),
        }
    }
}

/// The names of the bindings whose image is there.
fn present(state: &State) -> BTreeSet<String> {
    let bindings = state.bindings.bindings.iter();
    let there = bindings.filter(|binding| state.image_state(binding) == ImageState::Present);
    there.map(|binding| binding.name.clone()).collect()
}

/// The services whose image is there now: `all` of them when nothing right was mounted before, else
/// those whose image was not there `before`.
fn services(before: &BTreeSet<String>, after: &State, all: bool) -> Vec<String> {
    let now = present(after);
    let bindings =
        after.bindings.bindings.iter().filter(|binding| {
            now.contains(&binding.name) && (all || !before.contains(&binding.name))
        });
    let services: BTreeSet<&String> = bindings.flat_map(|binding| &binding.services).collect();
    services.into_iter().cloned().collect()
}
