//! Checks health checks: each kind has its own members.

use super::{Report, container, grammar};
use crate::manifest::{HealthCheck, HealthKind, Span};

pub(super) fn check(check: &HealthCheck, report: &mut Report) {
    match check.kind {
        HealthKind::Http => {
            port(check, report);
            without_command(check, report);
            if let Some(path) = &check.path {
                report.member("path", grammar::url_path(path));
            }
        }
        HealthKind::Tcp => {
            port(check, report);
            without_command(check, report);
            without_path(check, report);
        }
        HealthKind::Exec => {
            if check.command.first().is_none_or(String::is_empty) {
                report.member(
                    "command",
                    Err("must name a program for type exec".to_owned()),
                );
            }
            container::arguments("command", &check.command, report);
            if check.port.is_some() {
                report.member("port", Err("is only for type http and tcp".to_owned()));
            }
            without_path(check, report);
        }
    }
    for (field, span, seconds_min, seconds_max) in [
        ("interval", check.interval, 1, 3600),
        ("timeout", check.timeout, 1, 3600),
        ("start_period", check.start_period, 0, 3600),
    ] {
        if let Some(span) = span {
            report.member(field, whole_seconds(span, seconds_min, seconds_max));
        }
    }
    if check
        .retries
        .is_some_and(|retries| !(1..=100).contains(&retries))
    {
        report.member("retries", Err("must be from 1 to 100".to_owned()));
    }
}

fn port(check: &HealthCheck, report: &mut Report) {
    if check.port.is_none_or(|port| port == 0) {
        report.member(
            "port",
            Err("must be given for type http and tcp, and not be 0".to_owned()),
        );
    }
}

fn without_command(check: &HealthCheck, report: &mut Report) {
    if !check.command.is_empty() {
        report.member("command", Err("is only for type exec".to_owned()));
    }
}

fn without_path(check: &HealthCheck, report: &mut Report) {
    if check.path.is_some() {
        report.member("path", Err("is only for type http".to_owned()));
    }
}

/// A span of whole seconds within limits, as systemd and Podman take them.
pub(super) fn whole_seconds(span: Span, min: u64, max: u64) -> Result<(), String> {
    let duration = span.as_duration();
    if duration.subsec_nanos() == 0 && (min..=max).contains(&duration.as_secs()) {
        Ok(())
    } else {
        Err(format!("must be whole seconds from {min}s to {max}s"))
    }
}
