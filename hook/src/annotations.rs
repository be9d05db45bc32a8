//! The annotations by which a container is known as bound. The generator writes them for a
//! service, in the file that `CONTAINERS_CONF_OVERRIDE` names; `when.annotations` of the hook's
//! JSON file asks for the reference.

/// The image reference of the binding, as the record has it.
pub(crate) const REFERENCE: &str = "bound-images.reference";
/// The systemd service that starts the container. For a template that is `name@.service`.
pub(crate) const SERVICE: &str = "bound-images.service";
/// `require`: the configuration of the root has `pin = "require"`, and the reference has no digest.
pub(crate) const PIN: &str = "bound-images.pin";
