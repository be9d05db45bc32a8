//! What a stage tells while it runs.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use binding::Finding;
use oci_digest::Digest;

use super::{Action, LayerPlan, Meter, Plan};

/// Something that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// Every file of the store that is there is being read; this shows how far it has come.
    Reading {
        /// Counts the bytes.
        meter: &'a Meter,
        /// How many layers there are.
        layers: usize,
        /// Bytes of them all.
        bytes: u64,
    },
    /// All files of a layer were read.
    Read {
        /// Its id in the store.
        id: &'a str,
        /// Bytes of its tar stream.
        size: u64,
        /// Layers done, this one included.
        done: usize,
        /// Layers in all.
        of: usize,
    },
    /// A problem that does not stop the stage.
    Finding(&'a Finding),
    /// A binding's reference resolved to this digest.
    Resolved {
        /// Name of the link.
        binding: &'a str,
        /// What the link binds.
        reference: String,
        /// Of the manifest list, or of the manifest.
        digest: Digest,
    },
    /// An image cannot be had, and the stage goes on without it.
    Unavailable {
        /// Name of the link.
        binding: &'a str,
        /// Whether the root may boot without it.
        optional: bool,
        /// Why.
        why: String,
    },
    /// What will be done is known.
    Planned(&'a Plan),
    /// Layers are being copied, fetched and unpacked; this shows how far it has come.
    Fetching(&'a Meter),
    /// A layer is on its way.
    Begun {
        /// What the plan says of it.
        layer: &'a LayerPlan,
        /// Bytes of its blob that came so far.
        came: &'a Arc<AtomicU64>,
    },
    /// It did not come; why is told at the end.
    Broken {
        /// Its diff id.
        diff_id: Digest,
    },
    /// A layer is there now.
    Layer {
        /// Its diff id.
        diff_id: Digest,
        /// Where it came from.
        action: Action,
        /// Bytes of its blob.
        size: u64,
        /// Layers done, this one included.
        done: usize,
        /// Layers to be copied or fetched in all.
        of: usize,
    },
    /// All is verified; the store is being put into its place.
    Publishing,
}

/// Is told what happens.
pub type Observer = dyn Fn(Event<'_>) + Send + Sync;
