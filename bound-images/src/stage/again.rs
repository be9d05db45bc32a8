//! What was looked at before another stage was waited for is looked at again.

use super::{Observer, Site, StageError, read_all};
use crate::settings::StageSettings;
use crate::state::{self, State, StoreState};

/// The root once more, after another stage ran: it may have fetched all that is wanted here.
pub(super) fn look(
    settings: &StageSettings,
    state: &State,
    site: Site<'_>,
    observer: &Observer,
) -> Result<State, StageError> {
    let mut state = match (site, &state.id) {
        (Site::Pool { machine, .. }, Some(id)) => {
            let host = machine.roots()?;
            let Some(deployment) = host.find(id) else {
                return Err(StageError::Refused(format!("{} is gone by now", id.short())));
            };
            state::look_at(machine, deployment)?
        }
        _ => state::look(&state.root)?,
    };
    if settings.repair
        && let StoreState::Ours(held) = &mut state.store
    {
        read_all(held, observer)?;
    }
    Ok(state)
}
