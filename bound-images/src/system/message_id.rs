//! Message ids.
#![allow(missing_docs)]
pub const HELD_BACK: &str = "0";
pub const RELEASED: &str = "0";
pub const COMPLETE: &str = "0";
pub const STAGE_FAILED: &str = "0";
pub const LATE_BINDING: &str = "0";
pub const MISSING_AT_BOOT: &str = "0";
pub const STORE_DAMAGED: &str = "0";
pub const GC_REMOVED: &str = "0";
