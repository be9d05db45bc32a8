//! Quadlet files, as Podman reads them (podman-systemd.unit(5)).
//!
//! Where versions of Podman differ, 5.4 is followed, and a finding is given where that matters.

pub mod arguments;
pub mod edit;
pub mod image;
pub mod keys;
pub mod options;
pub mod search;
pub mod service;
pub mod text;
pub mod unit;
pub mod words;
