//! Whether the signature policy of a root asks for what the installed skopeo does not check. Fetching is
//! refused then; it is worth knowing of before an upgrade.

use std::ffi::OsString;

use binding::{Binding, Root};

use crate::source::access::demand_of_root;
use crate::source::registry::{Registry, RegistryOptions};
use crate::system::skopeo_policy::Demand;

/// Says it: as a warning if the policy of `root` demands something of one of its images, else only
/// to those who want to know more. No skopeo at all is no matter: a root can be complete without one.
pub(super) async fn warning(
    environment: Vec<(OsString, OsString)>,
    root: &Root,
    bindings: &[Binding],
) -> Option<String> {
    let version = Registry::new(RegistryOptions::new(environment)).skopeo_version().await.ok()?;
    if version.enforces_policy() {
        return None;
    }
    let asks = |binding: &&Binding| demand_of_root(root, &binding.reference) != Demand::Nothing;
    let Some(binding) = bindings.iter().find(asks) else {
        log::info!("skopeo {version} does not enforce policy.json, which demands nothing here");
        return None;
    };
    Some(format!(
        "policy.json demands something of {}, and skopeo {version} does not enforce it: the image \
         will not be fetched; install skopeo 1.13 or newer",
        binding.reference
    ))
}
