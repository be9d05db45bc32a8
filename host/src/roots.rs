//! All roots of a host.

use anyhow::Result;
use binding::Root;
use serde::Serialize;

use crate::{RootId, booted, composefs, entries, ostree};

/// What a root is on its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It runs.
    Booted,
    /// It becomes the next boot when the host goes down in order.
    Staged,
    /// It is the next boot already, without having been staged.
    Pending,
    /// What a rollback boots.
    Rollback,
    /// It is there: pinned, or about to be removed.
    Deployed,
}

impl Role {
    /// The word for it in tables and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Booted => "booted",
            Self::Staged => "staged",
            Self::Pending => "pending",
            Self::Rollback => "rollback",
            Self::Deployed => "deployed",
        }
    }
}

/// Where the files of a root are; paths from the top of the running system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Files {
    /// In a directory.
    Directory(String),
    /// In an EROFS image, with the content of files in a directory of objects.
    Image {
        /// The image.
        image: String,
        /// The objects.
        objects: String,
    },
}

/// One root of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Its name.
    pub id: RootId,
    /// What it is.
    pub role: Role,
    /// ostree's `osname`.
    pub stateroot: Option<String>,
    /// Its files.
    pub files: Files,
}

/// The roots of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// All of them: booted, staged, pending, rollback, and the rest by id.
    pub roots: Vec<Deployment>,
    /// The id of the booted root, also when its files are not there.
    pub booted: Option<RootId>,
    /// The id of the staged root, also when its files are not there.
    pub staged: Option<RootId>,
    /// Why it could not be told whether a root is staged.
    pub staged_fault: Option<String>,
}

impl Host {
    /// The root with that role: there is at most one that is booted or staged.
    #[must_use]
    pub fn with(&self, role: Role) -> Option<&Deployment> {
        self.roots.iter().find(|root| root.role == role)
    }

    /// The root with that id.
    #[must_use]
    pub fn find(&self, id: &RootId) -> Option<&Deployment> {
        self.roots.iter().find(|root| root.id == *id)
    }
}

/// Finds the roots of the host whose `/` is `system`.
///
/// # Errors
/// When its deployments cannot be listed, or its mounts not be read. That it cannot be told what is
/// staged is part of the answer instead.
pub fn roots(system: &Root) -> Result<Host> {
    let booted = booted(system)?;
    let (staged, staged_fault) = staged(system);
    let order = entries::order(system);
    let mut host = Host { roots: Vec::new(), booted, staged, staged_fault };
    for directory in ostree::directories(system)? {
        let (id, stateroot) = (directory.id, Some(directory.stateroot));
        let files = Files::Directory(directory.path);
        host.roots.push(Deployment { id, role: Role::Deployed, stateroot, files });
    }
    for id in composefs::ids(system)? {
        let image = format!("{}/{id}", composefs::IMAGES);
        let files = Files::Image { image, objects: "sysroot/composefs/objects".to_owned() };
        host.roots.push(Deployment { id, role: Role::Deployed, stateroot: None, files });
    }
    let others = host.roots.len();
    for root in &mut host.roots {
        root.role = if Some(&root.id) == host.booted.as_ref() {
            Role::Booted
        } else if Some(&root.id) == host.staged.as_ref() {
            Role::Staged
        } else {
            of_order(&root.id, host.booted.as_ref(), &order, others)
        };
    }
    // Only the next in order is what a rollback boots.
    let first = |role| order.iter().find(|id| host.find(id).is_some_and(|root| root.role == role));
    let rollback = first(Role::Rollback).cloned();
    for root in &mut host.roots {
        if root.role == Role::Rollback && rollback.as_ref().is_some_and(|id| *id != root.id) {
            root.role = Role::Deployed;
        }
    }
    host.roots.sort_by(|one, other| (one.role, &one.id).cmp(&(other.role, &other.id)));
    Ok(host)
}

fn staged(system: &Root) -> (Option<RootId>, Option<String>) {
    let found = ostree::staged(system).and_then(|id| match id {
        Some(id) => Ok(Some(id)),
        None => composefs::staged(system),
    });
    match found {
        Ok(id) => (id, None),
        Err(error) => (None, Some(format!("{error:#}"))),
    }
}

/// Before the booted root in the order of boot entries: it comes next; behind it: it can be rolled
/// back to. Without entries (bootc's composefs backend may boot unified kernel images, which have
/// none) the only other root is what a rollback boots.
fn of_order(id: &RootId, booted: Option<&RootId>, order: &[RootId], all: usize) -> Role {
    let at = |id: &RootId| order.iter().position(|known| known == id);
    match (at(id), booted.and_then(at)) {
        (Some(0), Some(current)) if current > 0 => Role::Pending,
        (Some(_), Some(_)) => Role::Rollback,
        (None, None) if order.is_empty() && booted.is_some() && all == 2 => Role::Rollback,
        _ => Role::Deployed,
    }
}
