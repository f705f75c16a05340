//! Times and sizes as people say them.

use jiff::civil::Time;
use jiff::{Timestamp, Zoned};

/// `18:00`, `tomorrow 07:00`, `Monday 07:00`, `1 December`: as after "until".
pub(super) fn until(at: Timestamp, now: &Zoned) -> String {
    let at = at.to_zoned(now.time_zone().clone());
    let day = day(&at, now);
    match (day, is_midnight(&at)) {
        (None, _) => clock(&at),
        (Some(day), true) => day,
        (Some(day), false) => format!("{day} {}", clock(&at)),
    }
}

/// `at 18:00`, `tomorrow at 07:00`, `on Monday at 07:00`, `on 1 December`.
pub(super) fn at(at: Timestamp, now: &Zoned) -> String {
    let at = at.to_zoned(now.time_zone().clone());
    let day = day(&at, now).map(|day| match day.as_str() {
        "tomorrow" => day,
        _ => format!("on {day}"),
    });
    match (day, is_midnight(&at)) {
        (None, _) => format!("at {}", clock(&at)),
        (Some(day), true) => day,
        (Some(day), false) => format!("{day} at {}", clock(&at)),
    }
}

/// The day, unless it is today.
fn day(at: &Zoned, now: &Zoned) -> Option<String> {
    let days = now
        .date()
        .until(at.date())
        .map_or(0, |span| span.get_days());
    match days {
        0 => None,
        1 => Some("tomorrow".to_owned()),
        2..=6 => Some(at.strftime("%A").to_string()),
        _ if at.year() == now.year() => Some(at.strftime("%-d %B").to_string()),
        _ => Some(at.strftime("%-d %B %Y").to_string()),
    }
}

fn is_midnight(at: &Zoned) -> bool {
    at.time() == Time::midnight()
}

fn clock(at: &Zoned) -> String {
    at.strftime("%H:%M").to_string()
}

/// `200 GB`, `1.5 GB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = ((bytes.saturating_add(50)) / 100, 0);
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths = (tenths + 500) / 1000;
        unit += 1;
    }
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} {}", UNITS[unit]),
        (whole, tenth) => format!("{whole}.{tenth} {}", UNITS[unit]),
    }
}
