//! The parts of a score: identity, history, network, own use.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::advice::Situation;
use super::experience::{Experience, VOTE};
use super::fixed::{ONE, date, days_between, half_to_the, scale};
use super::opinion::Rater;
use super::voices::{Side, Voices};
use super::{
    Band, Event, Evidence, EvidenceRef, POINT, Reason, ReasonCode, Recorded, Score, Sighting,
    Verdict, limits,
};

/// Half of what time alone can earn is earned after this long.
const HISTORY_HALF_DAYS: u64 = 180;
/// Half of what releases alone can earn is earned after this many.
const HISTORY_HALF_RELEASES: u64 = 5;
/// Releases closer together than this count as one.
const RELEASE_SPACING: SignedDuration = SignedDuration::from_hours(24);
/// References of one kind that a reason names at most.
pub(super) const EVIDENCE_MAX: usize = 50;

pub(super) fn score(evidence: &Evidence, now: Timestamp) -> Score {
    let experience = Experience::of(&evidence.events, now);
    let voices = Voices::of(evidence, now);
    let mut reasons = Vec::new();
    identity(evidence, now, &mut reasons);
    history(evidence, now, &mut reasons);
    network(&voices, &mut reasons);
    own_use(&experience, &mut reasons);
    limits::floor(&mut reasons);
    let unproven = limits::unproven(evidence, &experience, &voices, &mut reasons);
    let (reported, warned) = limits::reported(&voices, &mut reasons);
    let verdict = warned.max(limits::voided(evidence, &mut reasons));
    let micro_points = sum(&reasons);
    let situation = Situation {
        evidence,
        reasons: &reasons,
        experience: &experience,
        voices: &voices,
        unproven: unproven.as_ref(),
    };
    Score {
        micro_points,
        band: match verdict {
            Verdict::Refuse => Band::Refused,
            Verdict::Warn | Verdict::Accept => Band::of(micro_points),
        },
        verdict,
        would_change: situation.would_change(),
        cap: reported.or(unproven),
        reasons,
    }
}

fn identity(evidence: &Evidence, now: Timestamp, reasons: &mut Vec<Reason>) {
    let is_bound = |recorded: &&Recorded| {
        let Event::NostrLinked { pubkey } = &recorded.event else {
            return false;
        };
        evidence
            .nostr
            .iter()
            .any(|(bound, expires)| bound == pubkey && *expires > now)
    };
    let linked = evidence
        .events
        .iter()
        .filter(is_bound)
        .min_by_key(|recorded| recorded.id);
    if let Some(linked) = linked {
        reasons.push(Reason {
            code: ReasonCode::Linked,
            micro_points: 4 * POINT,
            text: "The publisher's key and its Nostr account name each other".to_owned(),
            evidence: vec![key_state_row(evidence), row(linked)],
        });
    }
    if let Some(linked) = linked_domain(&evidence.events) {
        reasons.push(Reason {
            code: ReasonCode::Domain,
            micro_points: 3 * POINT,
            text: "The publisher's key and its domain name each other".to_owned(),
            evidence: vec![row(linked)],
        });
    }
    if evidence.has_next_keys {
        reasons.push(Reason {
            code: ReasonCode::NextKeys,
            micro_points: 3 * POINT,
            text: "The publisher committed to its next keys, so a stolen key cannot take over"
                .to_owned(),
            evidence: vec![key_state_row(evidence)],
        });
    }
}

/// Returns the first of the events that link a domain which was not unlinked since.
fn linked_domain(events: &[Recorded]) -> Option<&Recorded> {
    let mut newest: BTreeMap<&str, &Recorded> = BTreeMap::new();
    for recorded in events {
        if let Event::DomainLinked { domain } | Event::DomainUnlinked { domain } = &recorded.event {
            let kept = newest.entry(domain).or_insert(recorded);
            if recorded.id > kept.id {
                *kept = recorded;
            }
        }
    }
    newest
        .into_values()
        .filter(|recorded| matches!(recorded.event, Event::DomainLinked { .. }))
        .min_by_key(|recorded| recorded.id)
}

fn history(evidence: &Evidence, now: Timestamp, reasons: &mut Vec<Reason>) {
    let mut sightings: Vec<_> = evidence.sightings.iter().collect();
    sightings.sort_by(|a, b| (a.at, &a.app, a.seq).cmp(&(b.at, &b.app, b.seq)));
    let Some(first) = sightings.first() else {
        return;
    };
    let days = days_between(date(first.at), date(now));
    reasons.push(Reason {
        code: ReasonCode::KnownFor,
        micro_points: grown(8 * POINT, days, HISTORY_HALF_DAYS),
        text: match days {
            0 => "This node knows the publisher since today".to_owned(),
            1 => "This node has known the publisher for 1 day".to_owned(),
            days => format!("This node has known the publisher for {days} days"),
        },
        evidence: vec![first_seen(first)],
    });
    let mut counted = Vec::new();
    let mut last: Option<Timestamp> = None;
    for sighting in sightings {
        if last.is_none_or(|last| sighting.at.duration_since(last) >= RELEASE_SPACING) {
            last = Some(sighting.at);
            counted.push(first_seen(sighting));
        }
    }
    let count = counted.len();
    counted.truncate(EVIDENCE_MAX);
    reasons.push(Reason {
        code: ReasonCode::Releases,
        micro_points: grown(7 * POINT, count as u64, HISTORY_HALF_RELEASES),
        text: match count {
            1 => "This node has seen 1 release".to_owned(),
            count => format!("This node has seen {count} releases at least a day apart"),
        },
        evidence: counted,
    });
}

fn network(voices: &Voices, reasons: &mut Vec<Reason>) {
    let (good, bad) = (&voices.good, &voices.bad);
    if good.votes > 0 {
        reasons.push(Reason {
            code: ReasonCode::Network,
            micro_points: share(50 * POINT, good.votes, good.votes, bad.votes),
            text: said(good, "recommends it", "recommend it"),
            evidence: good.evidence.clone(),
        });
    }
    if bad.votes > 0 {
        reasons.push(Reason {
            code: ReasonCode::NetworkComplaints,
            micro_points: -share(60 * POINT, bad.votes, good.votes, bad.votes),
            text: said(bad, "speaks against it", "speak against it"),
            evidence: bad.evidence.clone(),
        });
    }
}

/// Says who stands on one side, and through whom most of them came in.
fn said(side: &Side, one: &str, many: &str) -> String {
    let who = match side.raters {
        1 => format!("1 reviewer within your reach {one}"),
        raters => format!("{raters} reviewers within your reach {many}"),
    };
    let introducers: Vec<Rater> = side.introducers.iter().map(|(rater, _)| *rater).collect();
    let hundredths = side.votes / (VOTE / 100);
    format!(
        "{who}, with {}.{:02} votes after weight and age; most through {}",
        hundredths / 100,
        hundredths % 100,
        list(&introducers[..introducers.len().min(3)])
    )
}

/// Names raters by the first digits of their keys.
pub(super) fn list(raters: &[Rater]) -> String {
    let short = |rater: &Rater| rater.to_string().chars().take(8).collect::<String>();
    raters.iter().map(short).collect::<Vec<_>>().join(", ")
}

/// Returns the share of `points` that `part` is of all votes and two more, cut off.
fn share(points: i64, part: u64, good: u64, bad: u64) -> i64 {
    let total = u128::from(good) + u128::from(bad) + u128::from(2 * VOTE);
    let micro = u128::from(points.unsigned_abs()) * u128::from(part) / total;
    i64::try_from(micro).unwrap_or(0)
}

fn own_use(experience: &Experience, reasons: &mut Vec<Reason>) {
    let share = |points, part| share(points, part, experience.good, experience.bad);
    if experience.good > 0 {
        reasons.push(Reason {
            code: ReasonCode::OwnUse,
            micro_points: share(25 * POINT, experience.good),
            text: match experience.good_days {
                1 => "Its apps ran well here for 1 day".to_owned(),
                days => format!("Its apps ran well here for {days} days (counted per app)"),
            },
            evidence: experience.good_rows.clone(),
        });
    }
    if experience.bad > 0 {
        reasons.push(Reason {
            code: ReasonCode::OwnComplaints,
            micro_points: -share(25 * POINT, experience.bad),
            text: match experience.bad_events {
                1 => "One failure or complaint on this node".to_owned(),
                events => format!("{events} failures and complaints on this node"),
            },
            evidence: experience.bad_rows.clone(),
        });
    }
}

/// Returns `points` times 1 − 2^−(count/half): a half at `half`, three quarters at twice that.
fn grown(points: i64, count: u64, half: u64) -> i64 {
    let share = ONE - half_to_the(count, half);
    i64::try_from(scale(points.unsigned_abs(), share)).unwrap_or(0)
}

pub(super) fn sum(reasons: &[Reason]) -> i64 {
    reasons.iter().map(|reason| reason.micro_points).sum()
}

fn first_seen(sighting: &Sighting) -> EvidenceRef {
    EvidenceRef::FirstSeen {
        app: sighting.app.clone(),
        seq: sighting.seq,
    }
}

pub(super) fn row(recorded: &Recorded) -> EvidenceRef {
    EvidenceRef::Event { id: recorded.id }
}

pub(super) fn key_state_row(evidence: &Evidence) -> EvidenceRef {
    EvidenceRef::KeyState {
        seq: evidence.key_state_seq,
    }
}
