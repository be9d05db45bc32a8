//! Bundles first, then registries: what one of the bundles has is taken from it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use oci_digest::Digest;

use super::blob::{LayerBlob, Sink};
use super::bundle::Bundle;
use super::error::{Asked, Kind, SourceError};
use super::registry::Registry;
use super::{ImageBytes, Request};

/// Bundles, the best first, and registries for what none of them has.
#[derive(Debug)]
pub struct Several {
    /// The bundles.
    pub bundles: Vec<Bundle>,
    /// Asked last.
    pub registry: Registry,
    /// Blobs that a bundle has, and has wrong.
    wrong: Mutex<BTreeSet<(PathBuf, Digest)>>,
}

impl Several {
    /// Nothing is known to be wrong yet.
    #[must_use]
    pub fn new(bundles: Vec<Bundle>, registry: Registry) -> Self {
        Self { bundles, registry, wrong: Mutex::default() }
    }

    /// See [`super::Source::image`]. A bundle that has the image, but not whole, is passed over.
    ///
    /// # Errors
    /// That of the registries, with what kept the bundles from serving.
    pub async fn image(&self, request: &Request) -> Result<ImageBytes, SourceError> {
        let mut passed = Vec::new();
        for bundle in &self.bundles {
            match bundle.image(request).await {
                Ok(image) => return Ok(image),
                // Whoever has that digest has the same bytes.
                Err(error)
                    if request.wanted().is_some()
                        && matches!(error.kind, Kind::Platform | Kind::Unsupported) =>
                {
                    return Err(error);
                }
                Err(error) => {
                    if error.kind != Kind::NotFound {
                        log::warn!("{}: {}; it is looked for elsewhere", error.image, error.why);
                    }
                    passed.push(error.why);
                }
            }
        }
        self.registry.image(request).await.map_err(|mut error| {
            if !passed.is_empty() {
                error.asked = Asked::Both;
            }
            for why in passed {
                error.why.push_str(&format!("; {why}"));
            }
            error
        })
    }

    /// See [`super::Source::layer`]. What a bundle began to deliver is never finished by another
    /// source: the receiver has its bytes already. Whoever tries again says [`Self::pass_over`] first.
    ///
    /// # Errors
    /// [`SourceError`].
    pub async fn layer(
        &self,
        request: &Request,
        image: &ImageBytes,
        blob: &LayerBlob,
        sink: Sink,
    ) -> Result<(), SourceError> {
        match self.server(blob) {
            Some(bundle) => bundle.layer(request, blob, sink).await,
            None => self.registry.layer(request, image, blob, sink).await,
        }
    }

    /// Takes note that a delivery was wrong. False when there is nowhere else to take it from.
    pub fn pass_over(&self, blob: &LayerBlob, is_damage: bool) -> bool {
        let Some(bundle) = self.server(blob) else {
            return is_damage && self.registry.pass_over(blob);
        };
        log::warn!("layer {} of the bundle {} is damaged", blob.digest, bundle.path().display());
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.insert((bundle.path().to_owned(), blob.digest))
    }

    /// The bundle that delivers a blob.
    fn server(&self, blob: &LayerBlob) -> Option<&Bundle> {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        self.bundles.iter().find(|bundle| {
            bundle.has(blob.digest, blob.size)
                && !wrong.contains(&(bundle.path().to_owned(), blob.digest))
        })
    }
}
