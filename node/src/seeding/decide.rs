//! What follows from the owner's policy at a time: limits, refusals, the reasons and when to look again. Pure.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use archy_swarm::{Tag, UploadLimits};
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::{hours, words};
use crate::api::types::{
    AppRef, SeedingMetered, SeedingMode, SeedingPolicy, SeedingReason, SeedingRule, SeedingState,
};

const DAY_S: i64 = 24 * 60 * 60;

/// A version of an app, and what was given away of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The tag that holds it.
    pub tag: Tag,
    /// Its size.
    pub size_bytes: u64,
    /// Bytes sent of it, in all.
    pub uploaded_bytes: u64,
}

impl Given {
    /// Tells whether it was given away as often as a ratio allows.
    pub(super) fn reaches(&self, ratio: f64) -> bool {
        self.uploaded_bytes as f64 >= ratio * self.size_bytes as f64
    }
}

/// What is the case.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Bytes given away this month.
    pub month_bytes: u64,
    /// Whether the machine says that its network is metered; unknown where it says nothing, which counts as not.
    pub network_metered: Option<bool>,
    /// The versions of apps that are here; needed only where a ratio is set.
    pub given: &'a [Given],
}

/// What holds now.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// How fast apps are given away.
    pub limits: UploadLimits,
    /// Tags, and fronts of tags, of which nothing is given away.
    pub refused: BTreeSet<Tag>,
    /// Why, the weightiest first: what stops it, or else what slows it.
    pub reasons: Vec<Reason>,
    /// When something else may hold although nobody changed anything.
    pub look_again: Option<Timestamp>,
}

/// Why seeding is as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The owner said so.
    Paused {
        /// Until then; for good when `None`.
        until: Option<Timestamp>,
    },
    /// This month's bytes are used up.
    Budget {
        /// The bytes.
        bytes_max: u64,
        /// When the next month begins.
        until: Timestamp,
    },
    /// It is not one of the hours in which apps are given away.
    Hours {
        /// When they begin.
        until: Option<Timestamp>,
    },
    /// The network is metered and apps are not given away over such.
    Metered {
        /// Whether the owner says so.
        by_owner: bool,
    },
    /// It is one of the hours in which apps are given away slowly.
    SlowHours {
        /// Bytes per second.
        rate: NonZeroU64,
        /// When they end.
        until: Timestamp,
    },
    /// The network is metered and apps are given away slowly over such.
    SlowMetered {
        /// Bytes per second.
        rate: NonZeroU64,
        /// Whether the owner says so.
        by_owner: bool,
    },
    /// The owner's limit.
    Rate(NonZeroU64),
    /// The owner's limit for each node.
    PeerRate(NonZeroU64),
    /// The setting `swarm.upload`.
    Setting(NonZeroU64),
    /// The setting `swarm.upload_per_node`.
    PeerSetting(NonZeroU64),
}

impl Reason {
    fn kind(self) -> &'static str {
        match self {
            Self::Paused { .. } => "paused",
            Self::Budget { .. } => "budget",
            Self::Hours { .. } => "hours",
            Self::Metered { .. } | Self::SlowMetered { .. } => "metered",
            Self::SlowHours { .. } => "slowHours",
            Self::Rate(_) => "rate",
            Self::PeerRate(_) => "peerRate",
            Self::Setting(_) | Self::PeerSetting(_) => "setting",
        }
    }

    fn until(self) -> Option<Timestamp> {
        match self {
            Self::Paused { until } | Self::Hours { until } => until,
            Self::Budget { until, .. } | Self::SlowHours { until, .. } => Some(until),
            Self::Metered { .. }
            | Self::SlowMetered { .. }
            | Self::Rate(_)
            | Self::PeerRate(_)
            | Self::Setting(_)
            | Self::PeerSetting(_) => None,
        }
    }

    /// Says it to a person.
    pub fn words(self, now: &Zoned) -> String {
        let metered = |by_owner| match by_owner {
            true => "this connection counts as metered, as you said",
            false => "the network is metered",
        };
        let per_second = |rate: NonZeroU64| format!("{}/s", words::size(rate.get()));
        match self {
            Self::Paused { until: None } => "paused until you resume it".to_owned(),
            Self::Paused { until: Some(until) } => {
                format!("paused until {}", words::until(until, now))
            }
            Self::Budget { bytes_max, until } => format!(
                "monthly budget of {} used up; seeding goes on {}",
                words::size(bytes_max),
                words::at(until, now)
            ),
            Self::Hours { until: None } => "outside the seeding hours".to_owned(),
            Self::Hours { until: Some(until) } => format!(
                "outside the seeding hours; seeding goes on {}",
                words::at(until, now)
            ),
            Self::Metered { by_owner } => metered(by_owner).to_owned(),
            Self::SlowHours { rate, until } => format!(
                "slow hours until {}: at most {}",
                words::until(until, now),
                per_second(rate)
            ),
            Self::SlowMetered { rate, by_owner } => {
                format!("{}: at most {}", metered(by_owner), per_second(rate))
            }
            Self::Rate(rate) => format!("at most {} as you set", per_second(rate)),
            Self::PeerRate(rate) => format!("at most {} to each node as you set", per_second(rate)),
            Self::Setting(rate) => {
                format!("at most {} by the setting swarm.upload", per_second(rate))
            }
            Self::PeerSetting(rate) => format!(
                "at most {} to each node by the setting swarm.upload_per_node",
                per_second(rate)
            ),
        }
    }

    fn view(self, now: &Zoned) -> SeedingReason {
        SeedingReason {
            kind: self.kind().to_owned(),
            text: self.words(now),
            until: self.until().map(|until| until.to_string()),
        }
    }
}

impl Decision {
    /// Shows it to a person.
    pub fn state(&self, now: &Zoned) -> SeedingState {
        let UploadLimits {
            is_paused,
            bytes_per_second,
            peer_bytes_per_second,
        } = self.limits;
        let is_limited = bytes_per_second.is_some() || peer_bytes_per_second.is_some();
        SeedingState {
            mode: match (is_paused, is_limited) {
                (true, _) => SeedingMode::Stopped,
                (false, true) => SeedingMode::Limited,
                (false, false) => SeedingMode::Unlimited,
            },
            reasons: self.reasons.iter().map(|reason| reason.view(now)).collect(),
            bytes_per_second: bytes_per_second.map(NonZeroU64::get),
            peer_bytes_per_second: peer_bytes_per_second.map(NonZeroU64::get),
        }
    }
}

/// A calendar month in UTC, as the counters of the swarm know days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Month {
    /// Its first day, counted since 1970-01-01.
    pub(super) first_day: u32,
    /// When the next one begins.
    pub(super) end: Timestamp,
}

/// Returns the month of a time.
pub(super) fn month(now: &Zoned) -> Month {
    let today = now.timestamp().to_zoned(TimeZone::UTC).date();
    let start = |date: jiff::civil::Date| {
        let start = date.to_datetime(Time::midnight()).to_zoned(TimeZone::UTC);
        start.map_or(Timestamp::MAX, |start| start.timestamp())
    };
    let first = start(today.first_of_month()).as_second() / DAY_S;
    Month {
        first_day: u32::try_from(first).unwrap_or(0),
        end: today
            .last_of_month()
            .tomorrow()
            .map_or(Timestamp::MAX, start),
    }
}

/// Decides what holds now. The settings are a ceiling: the smaller of what they and the owner allow holds.
pub fn decide(
    policy: &SeedingPolicy,
    ceiling: UploadLimits,
    now: &Zoned,
    facts: &Facts<'_>,
) -> Decision {
    let at = now.timestamp();
    let mut looks = Vec::new();
    let mut stops = Vec::new();
    let mut rates = Vec::new();

    if policy.paused {
        let until = policy.paused_until.as_deref();
        let until = until.and_then(|until| until.parse::<Timestamp>().ok());
        looks.extend(until);
        if until.is_none_or(|until| until > at) {
            stops.push(Reason::Paused { until });
        }
    }
    if let Some(bytes_max) = policy.month_bytes_max {
        let until = month(now).end;
        looks.push(until);
        if facts.month_bytes >= bytes_max {
            stops.push(Reason::Budget { bytes_max, until });
        }
    }
    hold_hours(policy, now, &mut looks, &mut stops, &mut rates);
    hold_metered(policy, facts, &mut stops, &mut rates);
    rates.extend(rate(policy.bytes_per_second).map(|rate| (rate, Reason::Rate(rate))));
    rates.extend(
        ceiling
            .bytes_per_second
            .map(|rate| (rate, Reason::Setting(rate))),
    );
    // Of equals the first is named.
    let slowest = rates.into_iter().min_by_key(|(rate, _)| *rate);
    let own = rate(policy.peer_bytes_per_second).map(|rate| (rate, Reason::PeerRate(rate)));
    let set = ceiling
        .peer_bytes_per_second
        .map(|rate| (rate, Reason::PeerSetting(rate)));
    let peer_slowest = own.into_iter().chain(set).min_by_key(|(rate, _)| *rate);

    let is_paused = ceiling.is_paused || !stops.is_empty();
    let slowing = slowest.iter().chain(&peer_slowest);
    let reasons = match is_paused {
        true => stops,
        false => slowing.map(|(_, reason)| *reason).collect(),
    };
    Decision {
        limits: UploadLimits {
            is_paused,
            bytes_per_second: slowest.map(|(rate, _)| rate),
            peer_bytes_per_second: peer_slowest.map(|(rate, _)| rate),
        },
        refused: refused(policy, facts.given),
        reasons,
        look_again: looks.into_iter().filter(|look| *look > at).min(),
    }
}

fn rate(bytes_per_second: Option<u64>) -> Option<NonZeroU64> {
    bytes_per_second.and_then(NonZeroU64::new)
}

fn hold_hours(
    policy: &SeedingPolicy,
    now: &Zoned,
    looks: &mut Vec<Timestamp>,
    stops: &mut Vec<Reason>,
    rates: &mut Vec<(NonZeroU64, Reason)>,
) {
    let at = now.timestamp();
    let mut allowed = Vec::new();
    for hours in &policy.hours {
        let spans = hours::spans(hours, now);
        looks.extend(spans.iter().flat_map(|span| [span.start, span.end]));
        match hours.rule {
            SeedingRule::Only => allowed.extend(spans),
            SeedingRule::Slow => {
                let slow = spans.into_iter().find(|span| span.contains(&at));
                let slow = slow.zip(rate(hours.bytes_per_second));
                rates.extend(slow.map(|(span, rate)| {
                    let until = span.end;
                    (rate, Reason::SlowHours { rate, until })
                }));
            }
        }
    }
    let mut rules = policy.hours.iter().map(|hours| hours.rule);
    let is_bound = rules.any(|rule| rule == SeedingRule::Only);
    if is_bound && !allowed.iter().any(|span| span.contains(&at)) {
        let begins = allowed.iter().map(|span| span.start);
        let until = begins.filter(|start| *start > at).min();
        stops.push(Reason::Hours { until });
    }
}

fn hold_metered(
    policy: &SeedingPolicy,
    facts: &Facts<'_>,
    stops: &mut Vec<Reason>,
    rates: &mut Vec<(NonZeroU64, Reason)>,
) {
    let by_owner = policy.treat_as_metered;
    if !by_owner && facts.network_metered != Some(true) {
        return;
    }
    match policy.metered {
        SeedingMetered::Never => stops.push(Reason::Metered { by_owner }),
        SeedingMetered::Limited => rates.extend(
            rate(policy.metered_bytes_per_second)
                .map(|rate| (rate, Reason::SlowMetered { rate, by_owner })),
        ),
        SeedingMetered::Usual => {}
    }
}

/// What is refused whatever the limits: apps that are switched off, and versions that were given away often enough.
fn refused(policy: &SeedingPolicy, given: &[Given]) -> BTreeSet<Tag> {
    let off = policy.apps_off.iter().flat_map(|app| {
        let AppRef { publisher, slug } = app;
        ["app", "catalog"].map(|kind| format!("{kind}/{publisher}/{slug}").parse::<Tag>())
    });
    let enough = policy.ratio_max.into_iter().flat_map(|ratio| {
        let enough = given.iter().filter(move |given| given.reaches(ratio));
        enough.map(|given| given.tag.clone())
    });
    off.filter_map(Result::ok).chain(enough).collect()
}
