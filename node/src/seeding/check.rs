//! Which seeding policies make sense, and the one that holds when nothing was set.

use std::collections::HashSet;

use archy_registry::{Did, Slug};
use jiff::Timestamp;

use super::hours;
use crate::api::problem;
use crate::api::types::{AppRef, Problem, SeedingMetered, SeedingPolicy};
use crate::policy::Decided;

/// Rules for hours.
const HOURS_MAX: usize = 32;
/// Apps that are switched off.
const APPS_OFF_MAX: usize = 1000;
/// Largest ratio.
const RATIO_MAX: f64 = 10_000.0;
/// Largest number of bytes: JSON's numbers are exact up to it (RFC 8259 §6).
const BYTES_MAX: u64 = (1 << 53) - 1;

/// Who installs an app helps to serve it, as fast as the link allows; a link that is paid by the byte is another matter.
impl Default for SeedingPolicy {
    fn default() -> Self {
        Self {
            paused: false,
            paused_until: None,
            bytes_per_second: None,
            peer_bytes_per_second: None,
            ratio_max: None,
            month_bytes_max: None,
            hours: Vec::new(),
            metered: SeedingMetered::Never,
            metered_bytes_per_second: None,
            treat_as_metered: false,
            apps_off: Vec::new(),
        }
    }
}

impl Decided for SeedingPolicy {
    fn check(&self) -> Result<(), Problem> {
        check_pause(self)?;
        for (name, bytes) in [
            ("bytesPerSecond", self.bytes_per_second),
            ("peerBytesPerSecond", self.peer_bytes_per_second),
            ("monthBytesMax", self.month_bytes_max),
            ("meteredBytesPerSecond", self.metered_bytes_per_second),
        ] {
            check_bytes(name, bytes)?;
        }
        if let Some(ratio) = self.ratio_max
            && !(ratio > 0.0 && ratio <= RATIO_MAX)
        {
            return Err(invalid(
                format!("ratioMax is {ratio}; it is more than 0 and at most {RATIO_MAX}"),
                "1 gives each version away once; leave it out for no bound",
            ));
        }
        if self.metered == SeedingMetered::Limited && self.metered_bytes_per_second.is_none() {
            return Err(invalid(
                "meteredBytesPerSecond is missing",
                "Say how many bytes per second a metered network may carry, or choose never or usual",
            ));
        }
        if self.hours.len() > HOURS_MAX {
            return Err(invalid(
                format!("There are {} rules for hours", self.hours.len()),
                &format!("Keep to {HOURS_MAX}"),
            ));
        }
        for hours in &self.hours {
            hours::check(hours)?;
            check_bytes("bytesPerSecond of the hours", hours.bytes_per_second)?;
        }
        check_apps(&self.apps_off)
    }
}

fn check_pause(policy: &SeedingPolicy) -> Result<(), Problem> {
    let Some(until) = &policy.paused_until else {
        return Ok(());
    };
    if !policy.paused {
        return Err(invalid(
            "pausedUntil is set, but paused is not",
            "Set paused too, or leave pausedUntil out",
        ));
    }
    match until.parse::<Timestamp>() {
        Ok(_) => Ok(()),
        Err(_) => Err(invalid(
            "pausedUntil is not a time",
            "Write it as 2026-12-01T18:00:00Z",
        )),
    }
}

fn check_bytes(name: &str, bytes: Option<u64>) -> Result<(), Problem> {
    match bytes {
        Some(0) => Err(invalid(
            format!("{name} is 0"),
            "Leave it out for no limit; to give nothing away, pause",
        )),
        Some(bytes) if bytes > BYTES_MAX => Err(invalid(
            format!("{name} is {bytes}, which no link carries"),
            "Leave it out for no limit",
        )),
        Some(_) | None => Ok(()),
    }
}

fn check_apps(apps: &[AppRef]) -> Result<(), Problem> {
    if apps.len() > APPS_OFF_MAX {
        return Err(invalid(
            format!("{} apps are switched off", apps.len()),
            &format!("Keep to {APPS_OFF_MAX}, or pause"),
        ));
    }
    let mut seen = HashSet::new();
    for app in apps {
        let is_app = app.publisher.parse::<Did>().is_ok() && app.slug.parse::<Slug>().is_ok();
        if !is_app {
            return Err(invalid(
                "appsOff names something that is no app",
                "Each is a publisher's DID and the app's slug",
            ));
        }
        if !seen.insert(app) {
            return Err(invalid(
                format!("appsOff names {} twice", app.slug),
                "Name each app once",
            ));
        }
    }
    Ok(())
}

pub(super) fn invalid(message: impl Into<String>, hint: &str) -> Problem {
    problem("invalid", message, hint)
}
