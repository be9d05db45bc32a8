//! All roots of a host.

use anyhow::Result;
use binding::Root;
use serde::Serialize;

use crate::ostree::Named;
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
    /// The booted root, also when its files are not there.
    pub booted: Option<Named>,
    /// The staged root, also when its files are not there.
    pub staged: Option<Named>,
    /// Why it could not be told whether a root is staged.
    pub staged_fault: Option<String>,
}

impl Deployment {
    /// Whether it is what is named so.
    #[must_use]
    pub fn is(&self, named: &Named) -> bool {
        named.is(&self.id, self.stateroot.as_deref())
    }
}

impl Host {
    /// The root with that role: there is at most one that is booted or staged.
    #[must_use]
    pub fn with(&self, role: Role) -> Option<&Deployment> {
        self.roots.iter().find(|root| root.role == role)
    }

    /// The root with that id; where several stateroots have one, the first: the booted one, then
    /// the staged one. They are of one commit, so they have the same bindings, and one store.
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
    let booted = booted::find(system)?;
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
        let is = |named: &Option<Named>| named.as_ref().is_some_and(|named| root.is(named));
        root.role = if is(&host.booted) {
            Role::Booted
        } else if is(&host.staged) {
            Role::Staged
        } else {
            of_order(root, host.booted.as_ref(), &order, others)
        };
    }
    // Only the next in order is what a rollback boots.
    let is_rollback = |named: &&Named| {
        host.roots.iter().any(|root| root.role == Role::Rollback && root.is(named))
    };
    let rollback = order.iter().find(is_rollback);
    for root in &mut host.roots {
        if root.role == Role::Rollback && rollback.is_some_and(|named| !root.is(named)) {
            root.role = Role::Deployed;
        }
    }
    host.roots.sort_by(|one, other| {
        (one.role, &one.id, &one.stateroot).cmp(&(other.role, &other.id, &other.stateroot))
    });
    Ok(host)
}

fn staged(system: &Root) -> (Option<Named>, Option<String>) {
    let found = ostree::staged(system).and_then(|named| match named {
        Some(named) => Ok(Some(named)),
        None => Ok(composefs::staged(system)?.map(Named::anywhere)),
    });
    match found {
        Ok(named) => (named, None),
        Err(error) => (None, Some(format!("{error:#}"))),
    }
}

/// Before the booted root in the order of boot entries: it comes next; behind it: it can be rolled
/// back to. Without entries (bootc's composefs backend may boot unified kernel images, which have
/// none) the only other root is what a rollback boots.
fn of_order(root: &Deployment, booted: Option<&Named>, order: &[Named], all: usize) -> Role {
    let at = |is: &dyn Fn(&Named) -> bool| order.iter().position(is);
    let current = |booted: &Named| at(&|known| booted.is(&known.id, known.stateroot.as_deref()));
    match (at(&|known| root.is(known)), booted.and_then(current)) {
        (Some(0), Some(current)) if current > 0 => Role::Pending,
        (Some(_), Some(_)) => Role::Rollback,
        (None, None) if order.is_empty() && booted.is_some() && all == 2 => Role::Rollback,
        _ => Role::Deployed,
    }
}
