//! Names of bindings that mean another image to Podman: it looks into its own store first, so a tag
//! that was pulled or tagged there by hand wins over the store of bound images. A reference with a
//! digest cannot be shadowed.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::Context as _;
use binding::{Reference, Root};
use serde::{Deserialize, Serialize};
use storage_conf::{DEFAULT_GRAPHROOT, Environment, Generation};

use crate::machine::Machine;
use crate::podman_conf;
use crate::state::State;

/// The largest list of images that is read, in bytes: some 10,000 images.
const MAX_LIST: u64 = 64 << 20;

/// A binding whose name means another image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shadow {
    /// Name of the binding.
    pub binding: String,
    /// The name that means another image.
    pub name: String,
    /// Id of that image.
    pub image: String,
    /// Podman's store that has it.
    pub store: String,
    /// The command that mends it.
    pub fix: String,
}

impl fmt::Display for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { binding, name, image, store, fix } = self;
        write!(
            f,
            "{binding} is shadowed: {name} means another image, {image}, in Podman's own store {store}; \
             run `{fix}`, start its service again, and pin the reference by digest"
        )
    }
}

/// An entry of `overlay-images/images.json`.
#[derive(Clone, Debug, Deserialize)]
struct Image {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
}

/// What shadows the images of the running root. A store that cannot be read is Podman's to complain
/// of, and said in a warning.
pub(crate) fn look(machine: &Machine, state: &State) -> Vec<Shadow> {
    let mut found: Vec<Shadow> = Vec::new();
    for store in primary_stores(&machine.system) {
        let images = match read_images(&machine.system, &store) {
            Ok(images) => images,
            Err(error) => {
                log::warn!("it cannot be told which images are shadowed: {error:#}");
                continue;
            }
        };
        for shadow in find(state, &store, &images) {
            if !found.iter().any(|known| known.binding == shadow.binding) {
                found.push(shadow);
            }
        }
    }
    found.sort_by(|a, b| a.binding.cmp(&b.binding));
    found
}

/// Where Podman keeps images of its own: which generation it is does not matter, unless drop-ins of
/// Podman 6 say something else; then both are looked at.
pub(crate) fn primary_stores(system: &Root) -> BTreeSet<String> {
    let mut stores = BTreeSet::new();
    for generation in Generation::ALL {
        // Services have none of the variables of whoever asks.
        match podman_conf::gather(system, generation, &Environment::default()).result {
            Ok(counts) => {
                stores.insert(counts.graphroot.value);
                stores.extend(counts.imagestore.map(|store| store.value));
            }
            Err(error) => {
                log::info!("{error}");
                stores.insert(DEFAULT_GRAPHROOT.to_owned());
            }
        }
    }
    stores
}

fn read_images(system: &Root, store: &str) -> anyhow::Result<Vec<Image>> {
    let path = format!("{}/overlay-images/images.json", store.trim_start_matches('/'));
    let action = || format!("cannot read {}", system.path().join(&path).display());
    let Some(bytes) = system.read_optional(&path, MAX_LIST).with_context(action)? else {
        return Ok(Vec::new());
    };
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&bytes).with_context(action)
}

/// Decides which bindings are shadowed by `images`. Pure.
fn find(state: &State, store: &str, images: &[Image]) -> Vec<Shadow> {
    let mut found = Vec::new();
    for binding in &state.bindings.bindings {
        let record = state.recorded(binding).filter(|record| record.present);
        let Some(ours) = record.and_then(|record| record.image.as_deref()) else { continue };
        let names = binding.alias.iter().chain([&binding.reference]);
        let shadow = names.filter(|name| !name.is_pinned()).find_map(|name| {
            let other = holder(images, name).filter(|image| image.id != ours)?;
            let name = name.to_string();
            Some(Shadow {
                binding: binding.name.clone(),
                // Not `podman rmi`: that refuses while a container uses the image.
                fix: format!("podman untag {name} {name}"),
                name,
                image: other.id.clone(),
                store: store.to_owned(),
            })
        });
        found.extend(shadow);
    }
    found
}

fn holder<'i>(images: &'i [Image], name: &Reference) -> Option<&'i Image> {
    let name = name.to_string();
    images.iter().find(|image| image.names.iter().flatten().any(|known| *known == name))
}
