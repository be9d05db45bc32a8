//! Gathers what a verdict needs, and words it.

use std::path::Path;

use binding::{RECORD_FILE, Record, RecordBinding, Reference, Root};
use oci_digest::Digest;

use crate::annotations;
use crate::container::{self, Config, Layer, State, linked_layer};
use crate::verdict::{Found, Outcome, Report, judge, outcome};

/// Judges the container whose state is `state` by the record of the store at `store`.
pub(crate) fn check(state: &[u8], store: &Path) -> Report {
    let mut fields = Vec::new();
    match gather(state, store, &mut fields) {
        Ok((outcome, message)) => Report { outcome, message, fields },
        Err(why) => Report { fields, ..Report::refused(why) },
    }
}

type Fields = Vec<(&'static str, String)>;

fn gather(state: &[u8], store: &Path, fields: &mut Fields) -> Result<(Outcome, String), String> {
    let state = State::parse(state)?;
    fields.push(("CONTAINER_ID_FULL", state.id.clone()));
    let config = Config::read(&state.bundle)?;
    let annotation = |name| config.annotations.get(name);
    let service = annotation(annotations::SERVICE).cloned().unwrap_or_else(|| "?".to_owned());
    fields.push(("BOUND_IMAGES_SERVICE", service.clone()));
    let reference = annotation(annotations::REFERENCE).ok_or_else(|| {
        format!(
            "the container of {service} has no annotation {}; reload systemd, so that \
             bound-images-generator writes it again",
            annotations::REFERENCE
        )
    })?;
    fields.push(("BOUND_IMAGES_REFERENCE", reference.clone()));
    let about = |why: String| format!("{service}, bound to {reference}: {why}");

    let wanted = Reference::parse(reference).map_err(|error| about(error.to_string()))?;
    let (record, id) = read_record(store).map_err(about)?;
    fields.push(("BOUND_IMAGES_STORE_ID", id));
    // Several bindings may name one reference; plan and record see to it that they are one image.
    let bound =
        record.bindings.iter().find(|bound| bound.reference == wanted).ok_or_else(|| {
            about(format!("the record of {} has no such binding; {MEND}", store.display()))
        })?;
    if let Some(digest) = &bound.manifest {
        fields.push(("BOUND_IMAGES_DIGEST", digest.to_string()));
    }
    let layer = config.layer(&state.bundle, container::mounts).map_err(about)?;
    let found = find(&layer, store, bound).map_err(about)?;
    let Some(difference) = judge(bound, &found) else {
        let image = bound.image.as_deref().unwrap_or_default();
        return Ok((Outcome::Accepted, format!("{service} runs {reference}, image {image}")));
    };
    let require_pin = annotation(annotations::PIN).is_some_and(|pin| pin == "require");
    let outcome = outcome(&bound.reference, require_pin);
    let mend = mend(bound, &service);
    let message = match outcome {
        Outcome::Warned => format!(
            "{service} is bound to {reference} but runs another image: {difference}; {mend}, or \
             pin the reference (bound-images pin)"
        ),
        _ => format!("refused to start {service}, bound to {reference}: {difference}; {mend}"),
    };
    Ok((outcome, message))
}

/// What to do where another image is run: take its name away, if it has one that ours could have.
/// Not `podman rmi`, which refuses while a container uses the image.
fn mend(bound: &RecordBinding, service: &str) -> String {
    if bound.image.is_none() {
        return MEND.to_owned();
    }
    let names = bound.alias.iter().chain([&bound.reference]);
    let untag: Vec<String> = names
        .filter(|name| !name.is_pinned())
        .map(|name| format!("`podman untag {name} {name}`"))
        .collect();
    match untag.is_empty() {
        false => format!("run {}, then `systemctl restart {service}`", untag.join(" and ")),
        true => format!(
            "the unit {service} does not start it like this: run `systemctl restart {service}`, \
             after a `systemctl daemon-reload` if its Quadlet was changed"
        ),
    }
}

const MEND: &str = "bound-images verify says what is wrong with the store";

/// The record of a store and its store id.
fn read_record(store: &Path) -> Result<(Record, String), String> {
    let fail = |why: String| {
        format!("cannot read the record {}: {why}; {MEND}", store.join(RECORD_FILE).display())
    };
    let text = Root::open(store)
        .and_then(|root| root.read(RECORD_FILE, MAX_RECORD))
        .map_err(|error| fail(error.to_string()))?;
    let record = Record::parse(&text).map_err(|error| fail(error.to_string()))?;
    // The file is the canonical record; parsing one of a newer schema loses what is not known.
    Ok((record, Digest::of(&text).hex()))
}

const MAX_RECORD: u64 = binding::record::MAX_RECORD as u64;

fn find(layer: &Layer, store: &Path, bound: &RecordBinding) -> Result<Found, String> {
    let link = layer.parent_link()?;
    let open = |path: &Path| {
        Root::open(path).map_err(|error| format!("cannot open {}: {error}", path.display()))
    };
    let mut found = Found { ours: linked_layer(&open(store)?, &link), ..Found::default() };
    if found.ours.is_none() {
        found.elsewhere = linked_layer(&open(&layer.graphroot)?, &link);
    }
    if judge(bound, &found).is_some() {
        found.image = layer.image()?;
    }
    Ok(found)
}
