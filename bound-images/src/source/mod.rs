//! Where the bytes of images come from: an OCI layout ([`bundle`]), registries ([`registry`]), or one
//! after the other ([`several`]).
//!
//! Whatever the source, nothing leaves this module unchecked: a manifest, config or blob is handed
//! on only when its size and SHA-256 are the promised ones. Manifests and configs are the stored
//! bytes, never re-encoded.

pub mod access;
pub mod blob;
pub mod bundle;
pub mod credentials;
pub(crate) mod direct;
pub mod error;
pub(crate) mod lanes;
pub mod layout;
pub mod manifest;
pub(crate) mod parts;
pub mod platform;
pub mod registry;
pub mod retry;
pub mod several;
#[cfg(test)]
mod testing;

use binding::pull::{Platform, PullOptions};
use binding::reference::Reference;
use oci_digest::Digest;

pub use blob::{Begun, Compression, LayerBlob, Sink};
pub use credentials::AuthFile;
pub use error::{Kind, SourceError};

/// One image to fetch.
#[derive(Clone, Debug)]
pub struct Request {
    /// The reference as it is bound.
    pub reference: Reference,
    /// What the reference resolved to when its root was staged (a list or an instance manifest):
    /// overrides the tag, so that an interrupted stage never resolves it twice.
    pub pin: Option<Digest>,
    /// The platform that the image must be for.
    pub platform: Platform,
    /// How to pull it, from the Quadlet.
    pub pull: PullOptions,
    /// Where credentials may be, in the order of precedence; see [`credentials::candidates`].
    pub auth_files: Vec<AuthFile>,
}

impl Request {
    /// The digest that the answer must have, if any is known: the pin, else the reference's own.
    #[must_use]
    pub fn wanted(&self) -> Option<Digest> {
        self.pin.or_else(|| self.reference.digest())
    }
}

/// A manifest or manifest list, byte for byte as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawManifest {
    /// SHA-256 of `bytes`.
    pub digest: Digest,
    /// Its media type, from its own `mediaType` or, where that is missing, from its shape.
    pub media_type: String,
    /// The manifest itself.
    pub bytes: Vec<u8>,
}

/// All of an image but its layers' content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageBytes {
    /// The manifest list, where the reference named one.
    pub list: Option<RawManifest>,
    /// The manifest of the one image.
    pub manifest: RawManifest,
    /// The config, byte for byte.
    pub config: Vec<u8>,
    /// SHA-256 of `config`; its hex digits are the image id.
    pub config_digest: Digest,
    /// The layers, lowest first.
    pub layers: Vec<LayerBlob>,
    /// `created` of the config, as written there.
    pub created: Option<String>,
}

/// A place that images can be read from.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one per run")]
pub enum Source {
    /// An OCI layout on disk.
    Bundle(bundle::Bundle),
    /// Registries, through skopeo.
    Registry(registry::Registry),
    /// OCI layouts, and registries for what they lack.
    Several(several::Several),
}

impl Source {
    /// Resolves a reference and reads everything but the layers.
    ///
    /// # Errors
    /// [`SourceError`], after the retries that its kind allows.
    pub async fn image(&self, request: &Request) -> Result<ImageBytes, SourceError> {
        match self {
            Self::Bundle(bundle) => bundle.image(request).await,
            Self::Registry(registry) => registry.image(request).await,
            Self::Several(several) => several.image(request).await,
        }
    }

    /// Takes note that [`Self::layer`] failed; `is_damage`: with bytes that were wrong. True when another try would be served
    /// by somebody else, or in another way.
    pub fn pass_over(&self, blob: &LayerBlob, is_damage: bool) -> bool {
        match self {
            Self::Bundle(_) => false,
            Self::Registry(registry) => is_damage && registry.pass_over(blob),
            Self::Several(several) => several.pass_over(blob, is_damage),
        }
    }

    /// Sends the bytes of a layer blob exactly as stored (compressed), in pieces of at most
    /// [`blob::PIECE`] bytes. Never sends more than `blob.size` bytes. Only `Ok` means that what
    /// was sent is the whole blob: until then, treat it as unverified.
    ///
    /// # Errors
    /// [`SourceError`]; [`Kind::Cancelled`] when the receiver is gone.
    pub async fn layer(
        &self,
        request: &Request,
        image: &ImageBytes,
        blob: &LayerBlob,
        sink: impl Into<Sink>,
    ) -> Result<(), SourceError> {
        let sink = sink.into();
        match self {
            Self::Bundle(bundle) => bundle.layer(request, blob, sink).await,
            Self::Registry(registry) => registry.layer(request, image, blob, sink).await,
            Self::Several(several) => several.layer(request, image, blob, sink).await,
        }
    }
}
