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
    let (Site::Pool { machine, .. }, Some(id)) = (site, &state.id) else {
        return Ok(state::look(&state.root)?);
    };
    let host = machine.roots()?;
    let Some(deployment) = host.find(id) else {
        return Err(StageError::Refused(format!("{} is gone by now", id.short())));
    };
    let mut state = state::look_at(machine, deployment)?;
    if settings.repair
        && let StoreState::Ours(held) = &mut state.store
    {
        read_all(held, observer)?;
    }
    Ok(state)
}
