//! Own experience with a publisher's apps, as votes that fade with time.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::fixed::{date, days_between, half_to_the, scale};
use super::reasons::{EVIDENCE_MAX, row};
use super::{Event, EvidenceRef, Recorded};

/// One vote, in billionths.
pub(super) const VOTE: u64 = 1_000_000_000;
/// Good experience fades to one half in this time, bad experience in [`BAD_HALF_DAYS`].
pub(super) const GOOD_HALF_DAYS: u64 = 180;
pub(super) const BAD_HALF_DAYS: u64 = 730;

/// Own experience: sums of faded votes, in billionths, with the rows they come from.
#[derive(Default)]
pub(super) struct Experience {
    pub(super) good: u64,
    pub(super) bad: u64,
    pub(super) good_days: usize,
    pub(super) bad_events: usize,
    pub(super) good_rows: Vec<EvidenceRef>,
    pub(super) bad_rows: Vec<EvidenceRef>,
}

impl Experience {
    /// Sums up a log: a day of an app is a third of a vote, and so is a release with deltas that are bad; a failed install
    /// or a complaint is a whole one.
    pub(super) fn of(events: &[Recorded], now: Timestamp) -> Self {
        let today = date(now);
        let mut events: Vec<&Recorded> = events.iter().collect();
        events.sort_by_key(|recorded| recorded.id);
        let mut seen = BTreeSet::new();
        let mut spoilt = BTreeSet::new();
        let mut good_thirds = 0_u64;
        let mut bad_thirds = 0_u64;
        let mut found = Self::default();
        for recorded in events {
            let (good, thirds, day) = match &recorded.event {
                Event::HealthyDay { app, day } if seen.insert((true, app, *day)) => (true, 1, *day),
                Event::UnhealthyDay { app, day } if seen.insert((false, app, *day)) => {
                    (false, 1, *day)
                }
                // Whoever builds one delta wrongly builds all of a release so.
                Event::BadDelta { release, .. } if spoilt.insert(release.as_bytes()) => {
                    (false, 1, date(recorded.at))
                }
                Event::InstallFailed {
                    publishers_fault: true,
                    ..
                }
                | Event::Complaint { .. } => (false, 3, date(recorded.at)),
                Event::HealthyDay { .. }
                | Event::UnhealthyDay { .. }
                | Event::InstallFailed { .. }
                | Event::BadDelta { .. }
                | Event::Installed { .. }
                | Event::Pinned
                | Event::Unpinned
                | Event::Blocked
                | Event::Unblocked
                | Event::NostrLinked { .. }
                | Event::DomainLinked { .. }
                | Event::DomainUnlinked { .. } => continue,
            };
            let half_days = if good { GOOD_HALF_DAYS } else { BAD_HALF_DAYS };
            let vote = thirds * scale(VOTE, half_to_the(days_between(day, today), half_days));
            if good {
                good_thirds = good_thirds.saturating_add(vote);
                found.good_days += 1;
                found.good_rows.push(row(recorded));
            } else {
                bad_thirds = bad_thirds.saturating_add(vote);
                found.bad_events += 1;
                found.bad_rows.push(row(recorded));
            }
        }
        found.good = good_thirds / 3;
        found.bad = bad_thirds / 3;
        found.good_rows.truncate(EVIDENCE_MAX);
        found.bad_rows.truncate(EVIDENCE_MAX);
        found
    }
}
