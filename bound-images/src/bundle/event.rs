//! What writing a bundle tells while it runs, and what came of it.

use std::path::{Path, PathBuf};

use binding::{Finding, Platform};
use oci_digest::Digest;

use super::plan::{Action, Plan};
use super::wish::{User, Wish};

/// Something that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A problem of a root that does not stop the run.
    Finding {
        /// The root.
        root: &'a Path,
        /// What is wrong.
        finding: &'a Finding,
    },
    /// A reference resolved to this digest.
    Resolved {
        /// Who wants it.
        wish: &'a Wish,
        /// Of the manifest list, or of the manifest.
        digest: Digest,
    },
    /// An optional image cannot be had, and the run goes on without it.
    Unavailable {
        /// Who wants it.
        wish: &'a Wish,
        /// Why.
        why: String,
    },
    /// Something in the bundle is not what its name says, and is replaced.
    Damaged {
        /// Digest of the blob.
        digest: Digest,
        /// What is wrong with it.
        why: String,
    },
    /// A copy from another bundle failed; the blob is fetched.
    NotCopied {
        /// Digest of the blob.
        digest: Digest,
        /// What is wrong with it.
        why: String,
    },
    /// What will be done is known.
    Planned(&'a Plan),
    /// A layer is there now.
    Blob {
        /// Its digest.
        digest: Digest,
        /// Where it came from.
        action: Action,
        /// Its bytes.
        size: u64,
        /// Layers done, this one included.
        done: usize,
        /// Layers to be copied or fetched in all.
        of: usize,
    },
    /// All blobs are there; the index is written.
    Writing,
}

/// Is told what happens.
pub type Observer = dyn Fn(Event<'_>) + Send + Sync;

/// What writing a bundle did.
#[derive(Debug)]
pub enum Outcome {
    /// The roots bind nothing.
    NoBindings,
    /// The bundle has all of it already, and every blob was read.
    AlreadyThere(Done),
    /// Only the plan was asked for.
    Planned(Done),
    /// The bundle has all of it now.
    Written(Done),
}

/// The bundle, and what is in it of what was wanted.
#[derive(Debug)]
pub struct Done {
    /// How it was made.
    pub plan: Plan,
    /// Optional images that could not be had, and why.
    pub missing: Vec<Missing>,
    /// What `--prune` removed, or would remove.
    pub pruned: Pruned,
}

/// An image that could not be had.
#[derive(Debug)]
pub struct Missing {
    /// The reference as it is bound.
    pub reference: String,
    /// The platform that it is wanted for.
    pub platform: Platform,
    /// Who wants it.
    pub users: Vec<User>,
    /// Why.
    pub why: String,
}

/// What is removed.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Entries of the index.
    pub images: usize,
    /// Blobs that only they led to, sorted.
    pub blobs: Vec<Digest>,
    /// Their bytes.
    pub bytes: u64,
    /// Why no blob is removed although images are.
    pub kept: Option<String>,
}

/// What decides where a bundle comes from.
#[derive(Clone, Debug)]
pub struct BundleSettings {
    /// Where it is written.
    pub out: PathBuf,
    /// The platforms; none: this machine's.
    pub platforms: Vec<Platform>,
    /// Only plan.
    pub dry_run: bool,
    /// Ask again what tags mean.
    pub refresh: bool,
    /// Remove the images that no root wants.
    pub prune: bool,
    /// Refuse references without a digest.
    pub require_pins: bool,
    /// An auth file named by the operator.
    pub authfile: Option<PathBuf>,
    /// Layers fetched at the same time.
    pub jobs: usize,
}
