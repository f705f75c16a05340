//! An app's log, read from the journal.

use archy_orchestrator::{ChangeError, LogQuery, Orchestrator, names};
use archy_registry::Slug;

use super::failed;
use crate::api::types::{LogLine, Problem};
use crate::problem as explain;

/// Lines that one request reads at most.
const LINES_MAX: usize = 2000;

/// Reads the last lines, oldest first.
pub(super) async fn read(
    orchestrator: &Orchestrator,
    app: &Slug,
    container: Option<&Slug>,
    lines: u32,
) -> Result<Vec<LogLine>, Problem> {
    let query = LogQuery {
        container: container.cloned(),
        lines: Some(lines),
        ..LogQuery::default()
    };
    let broken = |error: &dyn std::error::Error| explain::internal("read the app's log", error);
    let mut stream = orchestrator
        .logs(app, &query)
        .map_err(|error| match error {
            ChangeError::NotInstalled(_) => failed::not_installed(app),
            error @ (ChangeError::Needed { .. }
            | ChangeError::Start(_)
            | ChangeError::Cancelled(_)
            | ChangeError::Purge { .. }
            | ChangeError::Adopted(_)
            | ChangeError::Unsettled(_)
            | ChangeError::Journal(_)
            | ChangeError::Machine(_)) => broken(&error),
        })?;
    let mut read = Vec::new();
    while read.len() < LINES_MAX {
        let Some(line) = stream.next().await.map_err(|error| broken(&error))? else {
            break;
        };
        read.push(LogLine {
            at: line.at.to_string(),
            container: container_of(app, &line.unit),
            text: line.text,
        });
    }
    Ok(read)
}

/// Takes the container's name out of `archy.APP.CONTAINER.service`.
fn container_of(app: &Slug, unit: &str) -> String {
    let inner = unit
        .strip_prefix(names::PREFIX)
        .and_then(|rest| rest.strip_prefix(app.as_str()))
        .and_then(|rest| rest.strip_prefix('.'))
        .and_then(|rest| rest.strip_suffix(".service"));
    inner.unwrap_or(unit).to_owned()
}
