//! Late binding: the root runs already, so that some of its images are better than none.

use overlay_store::Builder;

use super::resolve::Answers;
use super::{Event, Observer, StageError};

/// Takes back the answers of bindings of which a layer is not there after a fetch that failed.
///
/// # Errors
/// The error itself, when nothing is left then, or it is this program's own fault.
pub(super) fn leave_out(
    error: StageError,
    answers: &mut Answers,
    builder: &Builder,
    observer: &Observer,
) -> Result<(), StageError> {
    let reasons: Vec<(String, String)> = match &error {
        StageError::Sources(list) => {
            list.iter().map(|(name, error)| (name.clone(), error.to_string())).collect()
        }
        StageError::Layers(list) => {
            list.iter().map(|(name, error)| (name.clone(), error.to_string())).collect()
        }
        _ => return Err(error),
    };
    let mut incomplete = Vec::new();
    for (binding, answer) in &answers.images {
        for id in &answer.ids {
            if builder.layer(id)?.is_none() {
                incomplete.push(binding.clone());
                break;
            }
        }
    }
    if incomplete.len() == answers.images.len() {
        return Err(error);
    }
    for binding in incomplete {
        let why = reasons.iter().find(|(name, _)| name.starts_with(binding.as_str())).map_or_else(
            || "a layer that it shares could not be had".to_owned(),
            |(_, why)| why.clone(),
        );
        observer(Event::Unavailable { binding: &binding, optional: false, why: why.clone() });
        answers.fail(&binding, why);
    }
    Ok(())
}
