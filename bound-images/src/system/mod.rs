//! What runs or speaks to programs outside: one file per outside thing.

pub mod bus;
pub mod composefs;
pub mod file;
pub mod journal;
pub mod journal_read;
pub mod logger;
pub mod logind;
pub mod message_id;
pub mod namespace;
pub mod notify;
pub(crate) mod registries_conf;
pub(crate) mod registry_http;
pub mod remount;
pub mod skopeo;
pub mod skopeo_message;
pub mod skopeo_policy;
pub mod skopeo_proxy;
pub mod soft_reboot;
pub mod systemd;
