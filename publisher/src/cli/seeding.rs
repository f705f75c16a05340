//! The grammar of `archy seeding`.

use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use jiff::civil::{DateTime, Time};
use jiff::{Timestamp, Zoned};
use serde_json::{Value, json};

use crate::app::AppName;

const DAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

/// `archy seeding …`
#[derive(Debug, Subcommand)]
pub enum SeedingCommand {
    /// Show what holds now and why, and what was given away of each app
    Show,
    /// Change what is named, leave the rest; `none` lifts a limit
    Set(Box<SeedingSetArgs>),
    /// Give nothing away for a while, or until `archy seeding resume`; what you publish is given away all the same
    Pause {
        /// When the pause ends: 18:00, 2026-12-01T18:00 or 2026-12-01T18:00:00Z
        #[arg(long, value_name = "TIME")]
        until: Option<Until>,
    },
    /// End a pause
    Resume,
    /// Give an app away, or do not
    App {
        /// did:key:…/app or app
        app: AppName,
        /// Whether to
        #[arg(value_enum)]
        switch: Switch,
    },
}

/// `archy seeding set`
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct SeedingSetArgs {
    /// Bytes per second to all other nodes together, e.g. 2MB
    #[arg(long, value_name = "SIZE")]
    pub rate: Option<Bound<Size>>,
    /// Bytes per second to each of them
    #[arg(long, value_name = "SIZE")]
    pub rate_per_node: Option<Bound<Size>>,
    /// How often its own size each version of an app is given away at most, e.g. 2
    #[arg(long, value_name = "RATIO")]
    pub ratio: Option<Bound<f64>>,
    /// Bytes given away in a calendar month (UTC), e.g. 200GB
    #[arg(long, value_name = "SIZE")]
    pub budget: Option<Bound<Size>>,
    /// While the network is metered: never, usual, or bytes per second
    #[arg(long, value_name = "WHAT")]
    pub metered: Option<MeteredRule>,
    /// Whether this connection counts as metered, whatever the machine says
    #[arg(long, value_name = "YES|NO", value_parser = yes_or_no)]
    pub treat_as_metered: Option<bool>,
    /// Give apps away in these hours and no others, e.g. daily@22:00-07:00 or mon-fri,sun@22:00-07:00; replaces all hours
    #[arg(long, value_name = "DAYS@FROM-TO")]
    pub only: Vec<Hours>,
    /// Give apps away slowly in these hours, e.g. mon-fri@08:00-18:00=200kB; replaces all hours
    #[arg(long, value_name = "DAYS@FROM-TO=SIZE")]
    pub slow: Vec<SlowHours>,
    /// Forget all hours
    #[arg(long, conflicts_with_all = ["only", "slow"])]
    pub any_hour: bool,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// It is given away.
    On,
    /// It is not.
    Off,
}

/// A limit, or none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound<T>(pub Option<T>);

impl<T: FromStr> FromStr for Bound<T>
where
    T::Err: std::fmt::Display,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let bound = text.parse().map(|bound| Self(Some(bound)));
        bound.map_err(|error: T::Err| format!("{error}; or write none"))
    }
}

/// A number of bytes, as in `200 kB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size: write a number and B, kB, MB, GB or TB");
        let text = text.trim();
        let end = text
            .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let factor: f64 = match unit.trim() {
            "" | "B" => 1.0,
            "kB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            "TB" => 1e12,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let bytes = number * factor;
        // Where JSON's numbers are exact.
        if bytes < 1.0 || bytes >= (1_u64 << 53) as f64 {
            return Err(wrong());
        }
        Ok(Self(bytes as u64))
    }
}

/// What to do on a metered network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeteredRule {
    /// Give nothing away.
    Never,
    /// Change nothing.
    Usual,
    /// Bytes per second.
    Limited(Size),
}

impl FromStr for MeteredRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            "usual" => Ok(Self::Usual),
            text => text.parse().map(Self::Limited).map_err(|error: String| {
                format!("{error}; or never (nothing) or usual (no other limit)")
            }),
        }
    }
}

/// Hours, as the node takes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Hours(pub Value);

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        hours("only", text, None).map(Self)
    }
}

/// Slow hours, as the node takes them.
#[derive(Debug, Clone, PartialEq)]
pub struct SlowHours(pub Value);

impl FromStr for SlowHours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (span, rate) = text
            .split_once('=')
            .ok_or("the rate is missing: write mon-fri@08:00-18:00=200kB")?;
        hours("slow", span, Some(rate.parse()?)).map(Self)
    }
}

fn hours(rule: &str, text: &str, rate: Option<Size>) -> Result<Value, String> {
    let wrong = || format!("{text:?} is no span: write daily@22:00-07:00 or mon-fri@22:00-07:00");
    let (days, span) = text.split_once('@').ok_or_else(wrong)?;
    let (from, to) = span.split_once('-').ok_or_else(wrong)?;
    for clock in [from, to] {
        let is_clock = clock.len() == 5 && clock.parse::<Time>().is_ok();
        if !is_clock {
            return Err(wrong());
        }
    }
    Ok(json!({
        "rule": rule,
        "days": self::days(days).ok_or_else(wrong)?,
        "from": from,
        "to": to,
        "bytesPerSecond": rate.map(|rate| rate.0),
    }))
}

/// Reads `daily`, `mon`, `mon-fri,sun`.
fn days(text: &str) -> Option<Vec<&'static str>> {
    if text == "daily" {
        return Some(DAYS.to_vec());
    }
    let number = |name: &str| {
        let is_name = name.len() == 3 && name.is_ascii();
        let mut days = DAYS.iter();
        is_name.then(|| days.position(|day| day.starts_with(name)))?
    };
    let mut named = [false; 7];
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        // From Saturday to Monday are three days.
        let length = (last + 7 - first) % 7;
        for step in 0..=length {
            named[(first + step) % 7] = true;
        }
    }
    let days = DAYS.iter().zip(named);
    Some(
        days.filter(|(_, named)| *named)
            .map(|(day, _)| *day)
            .collect(),
    )
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("write yes or no".to_owned()),
    }
}

/// A time at which something ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// A time.
    At(Timestamp),
    /// A time on this machine's clock.
    Local(DateTime),
    /// The next time that this machine's clock shows it.
    Clock(Time),
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(at) = text.parse() {
            return Ok(Self::At(at));
        }
        if text.contains('T')
            && let Ok(local) = text.parse()
        {
            return Ok(Self::Local(local));
        }
        let clock = text.parse().map(Self::Clock);
        clock.map_err(|_| format!("{text:?} is no time: write 18:00 or 2026-12-01T18:00"))
    }
}

impl Until {
    /// Says when that is; `None` beyond the calendar.
    pub fn timestamp(self, now: &Zoned) -> Option<Timestamp> {
        let zone = || now.time_zone().clone();
        match self {
            Self::At(at) => Some(at),
            Self::Local(local) => Some(local.to_zoned(zone()).ok()?.timestamp()),
            Self::Clock(clock) => {
                let days = [now.date(), now.date().tomorrow().ok()?];
                let times = days.map(|day| day.to_datetime(clock).to_zoned(zone()));
                let mut times = times.into_iter().filter_map(Result::ok);
                let next = times.find(|time| time.timestamp() > now.timestamp());
                next.map(|time| time.timestamp())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn sizes_and_days_are_read() {
        for (text, bytes) in [
            ("2MB", Some(2_000_000)),
            ("1.5 GB", Some(1_500_000_000)),
            ("7", Some(7)),
            ("0", None),
            ("-1", None),
            ("1e9", None),
            ("2 MiB", None),
            ("", None),
            (".", None),
            ("99999999TB", None),
        ] {
            let size = text.parse::<Size>().ok().map(|size| size.0);
            assert_eq!(size, bytes, "{text}");
        }
        assert_eq!("none".parse::<Bound<Size>>(), Ok(Bound(None)));
        for (text, count) in [
            ("daily", Some(7)),
            ("mon-fri", Some(5)),
            ("sat-mon", Some(3)),
            ("mon,wed,mon", Some(2)),
            ("m", None),
            ("mon-", None),
            ("monday", None),
            ("mön", None),
            ("", None),
        ] {
            assert_eq!(days(text).map(|days| days.len()), count, "{text}");
        }
    }

    #[test]
    fn hours_are_read() {
        let hours = |text: &str| text.parse::<Hours>().map(|hours| hours.0);
        assert_eq!(
            hours("sat-sun@22:00-07:00").unwrap(),
            json!({
                "rule": "only", "days": ["saturday", "sunday"], "from": "22:00", "to": "07:00",
                "bytesPerSecond": null,
            })
        );
        for text in [
            "22:00-07:00",
            "daily@22-07",
            "daily@22:00",
            "daily@24:00-07:00",
        ] {
            assert!(hours(text).is_err(), "{text}");
        }
        let slow = "mon@08:00-18:00=200kB".parse::<SlowHours>().unwrap().0;
        assert_eq!(
            (&slow["rule"], &slow["bytesPerSecond"]),
            (&json!("slow"), &json!(200_000))
        );
        assert!("mon@08:00-18:00".parse::<SlowHours>().is_err());
    }

    #[test]
    fn a_clock_time_is_the_next_one() {
        let now: DateTime = "2026-11-21T18:00".parse().unwrap();
        let now = now.to_zoned(TimeZone::UTC).unwrap();
        for (text, expected) in [
            ("18:01", "2026-11-21T18:01:00Z"),
            ("18:00", "2026-11-22T18:00:00Z"),
            ("2026-12-01T07:00", "2026-12-01T07:00:00Z"),
            ("2026-12-01T07:00:00+01:00", "2026-12-01T06:00:00Z"),
        ] {
            let until: Until = text.parse().unwrap();
            assert_eq!(
                until.timestamp(&now).unwrap().to_string(),
                expected,
                "{text}"
            );
        }
        assert!("tomorrow".parse::<Until>().is_err());
    }
}
