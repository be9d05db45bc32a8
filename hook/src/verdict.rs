//! Whether a container runs the image it is bound to. Pure.

use binding::{RecordBinding, Reference};

/// What became of the container's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It runs the bound image.
    Accepted,
    /// It runs another image, but its binding promises no certain one: the reference is not pinned,
    /// and need not be.
    Warned,
    /// It must not run.
    Refused,
}

/// What the journal is told.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) outcome: Outcome,
    /// One line: what, why, and how to mend it.
    pub(crate) message: String,
    /// Further journal fields, sorted by how much they matter.
    pub(crate) fields: Vec<(&'static str, String)>,
}

impl Report {
    pub(crate) fn refused(why: impl Into<String>) -> Self {
        let message = format!("refused to start a bound container: {}", why.into());
        Self { outcome: Outcome::Refused, message, fields: Vec::new() }
    }
}

/// What a container was found to be made of.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The layer right below the container's own, if our store has it.
    pub(crate) ours: Option<String>,
    /// That layer, if only the container's own store has it.
    pub(crate) elsewhere: Option<String>,
    /// The image that the container's store says it was made from. Only asked for when the layer
    /// is not the right one.
    pub(crate) image: Option<String>,
}

/// Judges `found` by `bound`, an entry of the record. `None`: it is the bound image; else what
/// was expected and what was found.
pub(crate) fn judge(bound: &RecordBinding, found: &Found) -> Option<String> {
    let Some(image) = &bound.image else {
        return Some("the record says that this image is not in the store".to_owned());
    };
    let top = bound.layers.last().map(|layer| layer.id.as_str());
    if top.is_some() && found.ours.as_deref() == top {
        return None;
    }
    // A copy of the same image in the primary store, or of its layer mapped for a user namespace.
    if found.image.as_ref() == Some(image) {
        return None;
    }
    let layer = match (&found.ours, &found.elsewhere) {
        (Some(layer), _) => format!("layer {} of the bound store", short(layer)),
        (None, Some(layer)) => format!("layer {} of the primary store", short(layer)),
        (None, None) => "a layer of no known store".to_owned(),
    };
    let other = found.image.as_deref().map_or("unknown", short);
    let top = top.map_or("none", short);
    Some(format!("expected image {} (layer {top}), found image {other} ({layer})", short(image)))
}

/// Whether a container that runs another image than `reference` was bound to must not start. A
/// tag promises no certain image, a digest does; `require_pin`: the configuration of the root
/// wants the recorded image all the same.
pub(crate) fn outcome(reference: &Reference, require_pin: bool) -> Outcome {
    if reference.is_pinned() || require_pin { Outcome::Refused } else { Outcome::Warned }
}

/// The first twelve characters of an id, as podman prints it.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use binding::{Platform, RecordLayer};
    use oci_digest::Digest;

    use super::*;

    fn bound(layers: usize) -> RecordBinding {
        let layer = |at: usize| {
            let diff_id = Digest::of(&[u8::try_from(at).unwrap()]);
            RecordLayer { diff_id, size: 1, id: format!("layer{at}") }
        };
        RecordBinding {
            name: "a.container".into(),
            reference: Reference::parse("example.org/a:1").unwrap(),
            alias: None,
            platform: Platform::host(),
            required: true,
            present: true,
            list: None,
            manifest: None,
            image: Some("image".into()),
            layers: (0..layers).map(layer).collect(),
        }
    }

    #[test]
    fn only_the_top_layer_or_the_image_id_will_do() {
        let some = |text: &str| Some(text.to_owned());
        let cases = [
            ("top layer", Found { ours: some("layer1"), ..Found::default() }, true),
            ("lower layer", Found { ours: some("layer0"), ..Found::default() }, false),
            ("elsewhere", Found { elsewhere: some("layer1"), ..Found::default() }, false),
            (
                "same image",
                Found { elsewhere: some("x"), image: some("image"), ..Found::default() },
                true,
            ),
            (
                "other image",
                Found { elsewhere: some("x"), image: some("y"), ..Found::default() },
                false,
            ),
            ("nothing", Found::default(), false),
        ];
        for (name, found, want) in cases {
            assert_eq!(judge(&bound(2), &found).is_none(), want, "{name}");
        }
        assert!(judge(&bound(0), &Found::default()).is_some(), "no layer is not the same layer");
        let mut absent = bound(1);
        absent.image = None;
        assert!(judge(&absent, &Found { ours: some("layer0"), ..Found::default() }).is_some());
    }
}
