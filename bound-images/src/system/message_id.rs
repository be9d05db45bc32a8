//! The message ids of records in the journal (`MESSAGE_ID=`), and which fields go with each.
//!
//! `units/bound-images.catalog` explains each to an operator (`journalctl -x`). An id is never
//! changed or used again: people have filters and alarms on them. All of them: `MESSAGE`,
//! `PRIORITY`, and `BOUND_IMAGES_ROOT` (the root id) unless said otherwise. A field that a record
//! lacks shows up in the catalog's text as `@FIELD@`, so give all of them.

/// The gate did not let the staged root become the next one to boot. `BOUND_IMAGES_REASON`: one
/// line, why.
pub const UPDATE_HELD_BACK: &str = "254fb4d32f794dc2990904fbfe2adc28";

/// The store of a staged root was published, or found complete.
pub const ROOT_COMPLETE: &str = "1238c5aedf4b48bd8b4bc0e49c429875";

/// Not everything a root requires could be fetched. `BOUND_IMAGES_REASON`: one line, the first
/// fault.
pub const STAGE_FAILED: &str = "92019098e0804da299add18e0fa8f799";

/// An operator lets an incomplete root boot. `BOUND_IMAGES_REASON`: the reason that was typed.
pub const RELEASED: &str = "171f9f023b8f4efebe51c427f892e835";

/// Images were fetched for the booted root, after the boot.
pub const LATE_BINDING: &str = "d7ddcfc24d2d47aab984d04743fd316a";

/// The booted root lacks required images. `BOUND_IMAGES_REASON`: one line, which.
pub const IMAGES_MISSING: &str = "cb1d10f9d0ee45e080d8cc11929ce9f6";

/// Something was removed from the pool. No `BOUND_IMAGES_ROOT`: it is about the pool.
pub const GC_REMOVED: &str = "b7ed519e53314a33a270f13acdc5aaf9";

/// A store is not what was verified. `BOUND_IMAGES_STORE_ID`; `BOUND_IMAGES_REASON`: one line, the
/// first file.
pub const STORE_DAMAGED: &str = "f9edb59f546a49e1a7fbd87ddb2bc2fb";

/// The hook refused a container. `BOUND_IMAGES_SERVICE`, `BOUND_IMAGES_REFERENCE` and
/// `BOUND_IMAGES_DIGEST`.
pub const HOOK_REFUSED: &str = "c39bceb39b164e6c8108a5cdd28004f9";
