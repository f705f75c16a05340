//! Hours with a rule of their own, as spans of time; pure.
//!
//! A rule says what the clock on the wall shows. Where that clock skips an hour or shows it twice, a time that it skips
//! is as long after the hour before, and one that it shows twice is the first of both (RFC 5545 §3.3.5).

use std::collections::HashSet;
use std::ops::Range;

use jiff::civil::{Date, Time, Weekday};
use jiff::{Timestamp, ToSpan, Zoned};

use super::check::invalid;
use crate::api::types::{Problem, SeedingDay, SeedingHours, SeedingRule};

/// Days around now in which a rule is looked for: it may have begun yesterday, and comes again within a week.
const DAYS: Range<i64> = -2..9;

/// Checks that hours are hours.
pub(super) fn check(hours: &SeedingHours) -> Result<(), Problem> {
    if hours.days.is_empty() {
        return Err(invalid(
            "Hours have no day",
            "Name the days on which they begin",
        ));
    }
    if hours.days.iter().collect::<HashSet<_>>().len() < hours.days.len() {
        return Err(invalid(
            "Hours name a day twice",
            "Name each day on which they begin once",
        ));
    }
    for (name, text) in [("from", &hours.from), ("to", &hours.to)] {
        if time(text).is_none() {
            return Err(invalid(
                format!("{name} is not a time of day"),
                "Write hours and minutes, 00:00 to 23:59",
            ));
        }
    }
    match (hours.rule, hours.bytes_per_second) {
        (SeedingRule::Slow, None) => Err(invalid(
            "Slow hours have no bytesPerSecond",
            "Say how many bytes per second they allow",
        )),
        (SeedingRule::Only, Some(_)) => Err(invalid(
            "Hours of the rule only have bytesPerSecond",
            "Leave it out; slow hours have a rate",
        )),
        (SeedingRule::Slow, Some(_)) | (SeedingRule::Only, None) => Ok(()),
    }
}

/// Returns when the hours are, from the day before yesterday and for more than a week, in order.
pub(super) fn spans(hours: &SeedingHours, now: &Zoned) -> Vec<Range<Timestamp>> {
    let (Some(from), Some(to)) = (time(&hours.from), time(&hours.to)) else {
        return Vec::new();
    };
    let at = |date: Date, time: Time| {
        let zoned = date
            .to_datetime(time)
            .to_zoned(now.time_zone().clone())
            .ok()?;
        Some(zoned.timestamp())
    };
    let days = DAYS.filter_map(|offset| now.date().checked_add(offset.days()).ok());
    let days = days.filter(|date| hours.days.contains(&day(date.weekday())));
    days.filter_map(|date| {
        let last = if to > from {
            date
        } else {
            date.tomorrow().ok()?
        };
        let span = at(date, from)?..at(last, to)?;
        (span.start < span.end).then_some(span)
    })
    .collect()
}

/// Reads `HH:MM`.
fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| {
        let is_two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_two.then(|| text.parse::<i8>().ok()).flatten()
    };
    Time::new(number(hour)?, number(minute)?, 0, 0).ok()
}

fn day(weekday: Weekday) -> SeedingDay {
    match weekday {
        Weekday::Monday => SeedingDay::Monday,
        Weekday::Tuesday => SeedingDay::Tuesday,
        Weekday::Wednesday => SeedingDay::Wednesday,
        Weekday::Thursday => SeedingDay::Thursday,
        Weekday::Friday => SeedingDay::Friday,
        Weekday::Saturday => SeedingDay::Saturday,
        Weekday::Sunday => SeedingDay::Sunday,
    }
}
