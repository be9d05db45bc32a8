//! What is known of a root: its bindings, its store, and how far the two agree.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use binding::{
    Binding, Bindings, Mismatch, Platform, RECORD_FILE, Record, RecordBinding, Root, STORE_PATH,
};
use host::{Deployment, Linked, Role, RootId, StoreName};
use oci_digest::Digest;
use overlay_store::{Damage, Occupant, Store, Watch};

use crate::machine::{Machine, Target};
use crate::pool::damaged::Damaged;
use crate::requirement;
use crate::shadow::{self, Shadow};

/// The largest record that is read, in bytes.
const MAX_RECORD: u64 = binding::record::MAX_RECORD as u64;

/// What is said of a layer that was found damaged once.
const REMEMBERED: &str = "a deep verification found it damaged";

/// A root, looked at.
#[derive(Debug)]
pub struct State {
    /// The root's directory as it was given.
    pub root: PathBuf,
    /// Its id, when it is one of this host's.
    pub id: Option<RootId>,
    /// What the root binds, with what is wrong about it.
    pub bindings: Bindings,
    /// The platform that its images must be for where a Quadlet does not say.
    pub host: Platform,
    /// The store, whatever stands at its place.
    pub store: StoreState,
    /// Names of bindings that mean another image to Podman now; only known of the running root.
    pub shadows: Vec<Shadow>,
}

/// What stands where the store of a root belongs.
#[derive(Debug)]
pub enum StoreState {
    /// Nothing, or a store without images.
    Absent,
    /// Something that is not a store of ours: why.
    Foreign(String),
    /// A store of ours.
    Ours(Box<Held>),
}

/// A store of ours and what a quick check found.
#[derive(Debug)]
pub struct Held {
    /// Where it is.
    pub directory: PathBuf,
    /// Its name, when it is in the pool.
    pub name: Option<StoreName>,
    /// Its record.
    pub record: Record,
    /// Its lists.
    pub store: Store,
    /// What is wrong in it, the record's claims included.
    pub damage: Vec<Damage>,
    /// Where it does not fit the bindings.
    pub mismatches: Vec<Mismatch>,
}

/// The state of one binding's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImageState {
    /// There and whole, as far as a quick check tells.
    Present,
    /// Not there.
    Missing,
    /// There, but not what it should be.
    Damaged,
    /// There, but its name means another image in Podman's own store.
    Shadowed,
}

impl ImageState {
    /// The word for it in tables and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Missing => "missing",
            Self::Damaged => "damaged",
            Self::Shadowed => "shadowed",
        }
    }
}

/// Looks at the root `path`, whose store is inside of it.
///
/// # Errors
/// When it cannot be looked at; what is wrong in it is part of the answer instead.
pub fn look(path: &Path) -> anyhow::Result<State> {
    let mut state = look_inside(path)?;
    requirement::check(&mut state, path, None)?;
    Ok(state)
}

/// As [`look`], but for what the configuration demands of references.
fn look_inside(path: &Path) -> anyhow::Result<State> {
    let root =
        Root::open(path).with_context(|| format!("cannot open the root {}", path.display()))?;
    let (bindings, host) = read_bindings(&root)?;
    // Whoever mistypes a path must not be told that all is well there.
    if bindings.bindings.is_empty() && root.kind("usr").is_err() {
        anyhow::bail!("{} is not a root: it has no usr directory", path.display());
    }
    let directory = store_path(&root)?;
    let store = look_at_store(&root, STORE_PATH, directory, &bindings, &host)?;
    Ok(State { root: path.to_owned(), id: None, bindings, host, store, shadows: Vec::new() })
}

/// Looks at a root of this machine, whose store is inside of it or in the pool.
///
/// # Errors
/// As [`look`].
pub fn look_at(machine: &Machine, deployment: &Deployment) -> anyhow::Result<State> {
    let path = machine.files(deployment)?;
    let mut state = look_inside(&path)?;
    state.id = Some(deployment.id.clone());
    match &mut state.store {
        StoreState::Absent => {
            state.store = in_pool(machine, &deployment.id, &state.bindings, &state.host)?;
        }
        StoreState::Ours(held) => held.recall(machine, deployment.id.as_str())?,
        StoreState::Foreign(_) => {}
    }
    if deployment.role == Role::Booted {
        state.shadows = shadow::look(machine, &state);
    }
    requirement::check(&mut state, &path, Some(&machine.system))?;
    Ok(state)
}

/// Looks at what a command speaks of.
///
/// # Errors
/// As [`look`].
pub fn look_target(machine: &Machine, target: &Target) -> anyhow::Result<State> {
    match target {
        Target::Plain(path) => {
            let mut state = look(path)?;
            if machine.is_at(path) {
                state.shadows = shadow::look(machine, &state);
            }
            Ok(state)
        }
        Target::Deployment(deployment) => look_at(machine, deployment),
    }
}

fn in_pool(
    machine: &Machine,
    id: &RootId,
    bindings: &Bindings,
    host: &Platform,
) -> anyhow::Result<StoreState> {
    let name = match machine.pool.linked(&machine.system, id)? {
        Linked::Nowhere => return Ok(StoreState::Absent),
        Linked::Elsewhere(target) => {
            let link = machine.pool.link(id);
            return Ok(StoreState::Foreign(format!(
                "/{link} leads to {target}, which is no store of the pool"
            )));
        }
        Linked::Store(name) => name,
    };
    let path = machine.pool.store(&name);
    if machine.system.kind(&path).is_err() {
        return Ok(StoreState::Absent);
    }
    let directory = machine.system.path().join(&path);
    let mut store = look_at_store(&machine.system, &path, Some(directory), bindings, host)?;
    if let StoreState::Ours(held) = &mut store {
        if held.record.store_id() != name.id && held.damage.is_empty() {
            let why = format!("its store id is {}, not that of {name}", held.record.store_id());
            held.damage.push(record_fault(why));
        }
        held.recall(machine, &name.to_string())?;
        held.name = Some(name);
    }
    Ok(store)
}

fn read_bindings(root: &Root) -> anyhow::Result<(Bindings, Platform)> {
    let mut bindings = binding::read(root)?;
    let host = Platform::host();
    bindings.findings.extend(binding::check_conflicts(&bindings.bindings, &host));
    Ok((bindings, host))
}

/// Where the store of a root is: all links resolved inside the root. None when it is not there.
///
/// # Errors
/// When the path cannot be resolved.
pub fn store_path(root: &Root) -> anyhow::Result<Option<PathBuf>> {
    match root.resolve(STORE_PATH) {
        Ok(path) => Ok(Some(root.path().join(path))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error)
            .with_context(|| format!("cannot find {STORE_PATH} in {}", root.path().display())),
    }
}

/// Looks at the store at `path` of `root`, which is `directory` when all links are resolved.
fn look_at_store(
    root: &Root,
    path: &str,
    directory: Option<PathBuf>,
    bindings: &Bindings,
    host: &Platform,
) -> anyhow::Result<StoreState> {
    match root.dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Ok(StoreState::Foreign(format!("{path} is not a directory")));
        }
        _ => {}
    }
    let Some(directory) = directory else { return Ok(StoreState::Absent) };
    let record = root
        .read_optional(&format!("{path}/{RECORD_FILE}"), MAX_RECORD)
        .with_context(|| format!("cannot read {}", directory.join(RECORD_FILE).display()))?;
    let (record, unreadable) = match record.as_deref().map(Record::parse) {
        Some(Ok(record)) => (record, None),
        Some(Err(error)) => {
            (Record::new(Vec::new()), Some(record_fault(format!("not valid: {error}"))))
        }
        None => match overlay_store::occupant(&directory)? {
            Occupant::Nothing | Occupant::Empty => return Ok(StoreState::Absent),
            Occupant::Ours => (Record::new(Vec::new()), Some(record_fault("missing".to_owned()))),
            Occupant::Something => {
                let why = format!("it has no {RECORD_FILE}, nor a layer of ours");
                return Ok(StoreState::Foreign(why));
            }
        },
    };
    let (store, mut damage) = match Store::open(&directory) {
        Ok(store) => {
            let damage = overlay_store::check(&store)?;
            (store, damage)
        }
        Err(overlay_store::Error::Invalid(why)) => {
            let damage = Damage {
                subject: String::new(),
                path: "overlay-layers, overlay-images".to_owned(),
                why,
            };
            (
                Store { directory: directory.clone(), layers: Vec::new(), images: Vec::new() },
                vec![damage],
            )
        }
        Err(error) => return Err(error.into()),
    };
    damage.extend(unreadable);
    damage.extend(record_damage(&record, &store));
    damage.sort();
    let mismatches = record.matches(bindings, host);
    Ok(StoreState::Ours(Box::new(Held {
        directory,
        name: None,
        record,
        store,
        damage,
        mismatches,
    })))
}

/// A record that cannot be read makes every image of its store doubtful.
fn record_fault(why: String) -> Damage {
    Damage { subject: String::new(), path: RECORD_FILE.to_owned(), why }
}

/// Where the store does not hold what its record says. Pure.
#[must_use]
pub fn record_damage(record: &Record, store: &Store) -> Vec<Damage> {
    let images: BTreeMap<&str, _> =
        store.images.iter().map(|image| (image.id.as_str(), image)).collect();
    let layers: BTreeMap<&str, _> =
        store.layers.iter().map(|layer| (layer.id.as_str(), layer)).collect();
    let mut found = Vec::new();
    let mut wrong = |subject: &str, why: String| {
        found.push(Damage { subject: subject.to_owned(), path: RECORD_FILE.to_owned(), why });
    };
    for binding in record.bindings.iter().filter(|binding| binding.present) {
        let (Some(id), Some(manifest)) = (binding.image.as_deref(), binding.manifest) else {
            wrong("", format!("{} is said to be present, but no image is named", binding.name));
            continue;
        };
        let Some(image) = images.get(id) else {
            wrong(id, format!("the image of {} is not in the store", binding.name));
            continue;
        };
        let manifests: BTreeSet<Digest> =
            image.data_digests.iter().flatten().map(|(_, digest)| *digest).collect();
        for digest in [Some(manifest), binding.list].into_iter().flatten() {
            if !manifests.contains(&digest) {
                wrong(id, format!("manifest {digest} of {} is not in the store", binding.name));
            }
        }
        if !image.names.iter().flatten().any(|name| is_name_of(name, binding)) {
            wrong(id, format!("the image of {} is not stored under its name", binding.name));
        }
        if image.layer.as_deref() != binding.layers.last().map(|layer| layer.id.as_str()) {
            wrong(
                id,
                format!("the image of {} has other layers than the record says", binding.name),
            );
        }
        let mut below: Option<&str> = None;
        for layer in &binding.layers {
            let fits = layers.get(layer.id.as_str()).is_some_and(|entry| {
                entry.diff_id == Some(layer.diff_id)
                    && entry.size == Some(layer.size)
                    && entry.parent.as_deref() == below
            });
            if !fits {
                wrong(
                    &layer.id,
                    format!(
                        "layer {} of {} is missing or another one",
                        layer.diff_id, binding.name
                    ),
                );
            }
            below = Some(&layer.id);
        }
    }
    // A record may name a hundred thousand layers, and each finding is looked up in it.
    overlay_store::limit_damage(&mut found);
    found
}

fn is_name_of(name: &str, binding: &RecordBinding) -> bool {
    let reference = &binding.reference;
    match reference.digest() {
        Some(digest) => name == reference.with_digest(digest),
        None => name == reference.to_string(),
    }
}

impl State {
    /// The root for people: its id, or its directory.
    #[must_use]
    pub fn name(&self) -> String {
        self.id.as_ref().map_or_else(|| self.root.display().to_string(), RootId::short)
    }

    /// Its directory, unless it is one of this host's, which nobody changes.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.id.is_none().then_some(self.root.as_path())
    }

    /// The command that makes its store complete.
    #[must_use]
    pub fn stage_command(&self) -> String {
        format!("bound-images stage --root {}", self.name())
    }

    /// What the record says of a binding.
    #[must_use]
    pub fn recorded(&self, binding: &Binding) -> Option<&RecordBinding> {
        match &self.store {
            StoreState::Ours(held) => held.recorded(binding, &self.host),
            StoreState::Absent | StoreState::Foreign(_) => None,
        }
    }

    /// How it stands with the image of a binding.
    #[must_use]
    pub fn image_state(&self, binding: &Binding) -> ImageState {
        let StoreState::Ours(held) = &self.store else { return ImageState::Missing };
        let Some(record) = held.recorded(binding, &self.host).filter(|record| record.present)
        else {
            return ImageState::Missing;
        };
        let mut parts: BTreeSet<&str> =
            record.layers.iter().map(|layer| layer.id.as_str()).collect();
        parts.extend(record.image.as_deref());
        // What is wrong with the store as a whole is wrong with each of its images.
        let hurt = held
            .damage
            .iter()
            .any(|damage| damage.subject.is_empty() || parts.contains(damage.subject.as_str()));
        match self.shadow(binding) {
            _ if hurt => ImageState::Damaged,
            Some(_) => ImageState::Shadowed,
            None => ImageState::Present,
        }
    }

    /// What shadows the image of a binding.
    #[must_use]
    pub fn shadow(&self, binding: &Binding) -> Option<&Shadow> {
        self.shadows.iter().find(|shadow| shadow.binding == binding.name)
    }
}

impl Held {
    /// What the record says of a binding, if it speaks of the same reference and platform.
    #[must_use]
    pub fn recorded(&self, binding: &Binding, host: &Platform) -> Option<&RecordBinding> {
        self.record.bindings.iter().find(|record| {
            record.name == binding.name
                && record.reference == binding.reference
                && record.platform == binding.pull.platform(host)
        })
    }

    /// Adds what a deep verification found before; `name`: what the pool calls the store.
    fn recall(&mut self, machine: &Machine, name: &str) -> anyhow::Result<()> {
        let damaged = Damaged::read(&machine.pool_directory())?;
        self.damage.extend(damaged.of(name).map(|layer| Damage {
            subject: layer.to_owned(),
            path: format!("overlay/{layer}/diff"),
            why: REMEMBERED.to_owned(),
        }));
        self.damage.sort();
        Ok(())
    }

    /// Whether its record cannot be read: nothing else that it seems to say counts.
    #[must_use]
    pub fn has_no_record(&self) -> bool {
        let is_fault = |damage: &Damage| damage.subject.is_empty() && damage.path == RECORD_FILE;
        self.record.bindings.is_empty() && self.damage.iter().any(is_fault)
    }

    /// Reads every file of every layer and adds what is wrong to what a quick check found; `watch` is
    /// told how far it has come. What an earlier one found counts no more.
    ///
    /// # Errors
    /// When the store cannot be looked at.
    pub fn look_deep(&mut self, watch: &Watch<'_>) -> anyhow::Result<()> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        self.damage.retain(|damage| damage.why != REMEMBERED);
        self.damage.extend(overlay_store::check_deep_watched(&self.store, threads, watch)?);
        self.damage.sort();
        self.damage.dedup();
        Ok(())
    }

    /// A layer that nothing is known against.
    #[must_use]
    pub fn sound_layer(&self, id: &str) -> Option<&overlay_store::LayerEntry> {
        let hurt = self.damage.iter().any(|damage| damage.subject == id);
        self.store.layers.iter().find(|layer| layer.id == id).filter(|_| !hurt)
    }

    /// Names of the bindings whose image is, or has, the image or layer `id`.
    #[must_use]
    pub fn bindings_of(&self, id: &str) -> Vec<&str> {
        let has = |binding: &&RecordBinding| {
            binding.image.as_deref() == Some(id)
                || binding.layers.iter().any(|layer| layer.id == id)
        };
        self.record.bindings.iter().filter(has).map(|binding| binding.name.as_str()).collect()
    }

    /// Whether nothing is wrong, and every image of the bindings is there, optional ones too.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty()
            && self.mismatches.is_empty()
            && self.record.bindings.iter().all(|binding| binding.present)
    }
}
