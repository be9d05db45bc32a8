//! What runs or speaks to programs outside: one file per outside thing.

pub mod logger;
pub mod skopeo;
pub mod skopeo_message;
pub mod skopeo_policy;
pub mod skopeo_proxy;
