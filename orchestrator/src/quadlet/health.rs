//! Health checks as podman takes them, run by the probe that every container with a check is given.

use std::time::Duration;

use archy_registry::manifest::{HealthCheck, HealthKind};

use super::field::{argument, seconds};
use super::section::Health;
use super::unit::Argument;
use super::{PROBE_PATH, RenderError};

const HEALTH_INTERVAL: Duration = Duration::from_secs(30);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
const HEALTH_RETRIES: u32 = 3;
const HEALTH_START_PERIOD: Duration = Duration::from_secs(60);
/// What podman waits for a check of a starting container beyond the probe's own limit.
const STARTUP_SLACK_SECONDS: u64 = 2;
/// Checks of a starting container at least: what the first ones say is known before the last one ends it.
const STARTUP_TRIES_MIN: u64 = 3;

/// Every check runs through the probe: podman would hand a list of one word to a shell, and gives `CMD` and `NONE` as
/// first words a meaning of their own.
pub(super) fn health(check: &HealthCheck, field: &str) -> Result<Health, RenderError> {
    let timeout_seconds = seconds(check.timeout, HEALTH_TIMEOUT);
    let port = || {
        let port = check.port.filter(|port| *port != 0);
        port.ok_or_else(|| RenderError::NotAllowed {
            field: format!("{field}.port"),
            value: String::new(),
            allowed: "an http or tcp check needs a port",
        })
    };
    let mut command = vec![PROBE_PATH.to_owned()];
    match check.kind {
        HealthKind::Http => {
            let path = check.path.as_deref().unwrap_or("/");
            let printable = |b: u8| b.is_ascii_graphic();
            if !path.starts_with('/') || !path.bytes().all(printable) {
                return Err(RenderError::NotAllowed {
                    field: format!("{field}.path"),
                    value: path.chars().take(80).collect(),
                    allowed: "write a path that starts with / and has no spaces; percent-encode other characters",
                });
            }
            command.extend(["http".to_owned(), port()?.to_string(), path.to_owned()]);
            command.push(timeout_seconds.to_string());
        }
        HealthKind::Tcp => {
            command.extend(["tcp".to_owned(), port()?.to_string()]);
            command.push(timeout_seconds.to_string());
        }
        HealthKind::Exec => {
            if check.command.first().is_none_or(String::is_empty) {
                return Err(RenderError::NotAllowed {
                    field: format!("{field}.command"),
                    value: String::new(),
                    allowed: "an exec check needs a command",
                });
            }
            command.push("exec".to_owned());
            command.extend(check.command.iter().cloned());
        }
    }
    let start_seconds = seconds(check.start_period, HEALTH_START_PERIOD);
    let wait_seconds = timeout_seconds.min(start_seconds.div_ceil(STARTUP_TRIES_MIN));
    let waiting = [
        PROBE_PATH.to_owned(),
        "wait".to_owned(),
        wait_seconds.to_string(),
    ];
    let waiting: Vec<String> = waiting
        .into_iter()
        .chain(command.iter().skip(1).cloned())
        .collect();
    let arguments = |texts: &[String]| -> Result<Vec<Argument>, RenderError> {
        texts.iter().map(|text| argument(field, text)).collect()
    };
    Ok(Health {
        command: arguments(&command)?,
        interval_seconds: seconds(check.interval, HEALTH_INTERVAL),
        timeout_seconds,
        retries: u64::from(check.retries.unwrap_or(HEALTH_RETRIES).max(1)),
        startup_command: arguments(&waiting)?,
        startup_timeout_seconds: timeout_seconds + STARTUP_SLACK_SECONDS,
        startup_retries: start_seconds.div_ceil(wait_seconds),
    })
}
