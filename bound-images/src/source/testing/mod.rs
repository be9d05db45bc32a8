//! What the tests of the sources share: a registry that misbehaves, and small images.

pub(crate) mod image;
#[path = "../../../../tests/support/registry.rs"]
pub(crate) mod registry_server;
