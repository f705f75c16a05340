//! The parts of a score: identity, history, own use, and what caps or voids them.

use jiff::{SignedDuration, Timestamp};

use super::experience::{Experience, VOTE};
use super::fixed::{ONE, half_to_the, scale};
use super::{Band, CAP_UNPROVEN, Cap, Event, Evidence, POINT, Reason, Recorded, Score};

const DAY_SECONDS: u64 = 86_400;
/// Half of what time alone can earn is earned after this long.
const HISTORY_HALF_DAYS: u64 = 180;
/// Half of what releases alone can earn is earned after this many.
const HISTORY_HALF_RELEASES: u64 = 5;
/// Releases closer together than this count as one.
const RELEASE_SPACING: SignedDuration = SignedDuration::from_hours(24);
/// Rows of the log that a reason names at most.
pub(super) const EVIDENCE_MAX: usize = 50;

pub(super) fn score(evidence: &Evidence, now: Timestamp) -> Score {
    let experience = Experience::of(&evidence.events, now);
    let mut reasons = Vec::new();
    identity(evidence, now, &mut reasons);
    history(evidence, now, &mut reasons);
    own_use(&experience, &mut reasons);
    floor(&mut reasons);
    let pinned = last(&evidence.events, &Event::Pinned, &Event::Unpinned);
    let cap = cap(&experience, pinned, &mut reasons);
    let refused = gates(evidence, &mut reasons);
    let micro_points = sum(&reasons);
    Score {
        micro_points,
        band: if refused {
            Band::Refused
        } else {
            Band::of(micro_points)
        },
        would_change: would_change(evidence, &reasons, &experience, cap.is_some(), refused),
        reasons,
        cap,
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
            code: "linked",
            micro_points: 4 * POINT,
            text: "The publisher's key and its Nostr account name each other".to_owned(),
            evidence: vec![key_state_row(evidence), row(linked)],
        });
    }
    if evidence.has_next_keys {
        reasons.push(Reason {
            code: "next_keys",
            micro_points: 3 * POINT,
            text: "The publisher committed to its next keys, so a stolen key cannot take over"
                .to_owned(),
            evidence: vec![key_state_row(evidence)],
        });
    }
}

fn history(evidence: &Evidence, now: Timestamp, reasons: &mut Vec<Reason>) {
    let mut sightings: Vec<_> = evidence.sightings.iter().collect();
    sightings.sort_by(|a, b| (a.at, &a.app, a.seq).cmp(&(b.at, &b.app, b.seq)));
    let Some(first) = sightings.first() else {
        return;
    };
    let seconds = u64::try_from(now.duration_since(first.at).as_secs()).unwrap_or(0);
    let days = seconds / DAY_SECONDS;
    reasons.push(Reason {
        code: "known_for",
        micro_points: grown(8 * POINT, seconds, HISTORY_HALF_DAYS * DAY_SECONDS),
        text: match days {
            0 => "This node knows the publisher since today".to_owned(),
            1 => "This node has known the publisher for 1 day".to_owned(),
            days => format!("This node has known the publisher for {days} days"),
        },
        evidence: vec![format!("first-seen {}/{}", first.app, first.seq)],
    });
    let mut counted = Vec::new();
    let mut last: Option<Timestamp> = None;
    for sighting in sightings {
        if last.is_none_or(|last| sighting.at.duration_since(last) >= RELEASE_SPACING) {
            last = Some(sighting.at);
            counted.push(format!("first-seen {}/{}", sighting.app, sighting.seq));
        }
    }
    let count = counted.len();
    counted.truncate(EVIDENCE_MAX);
    reasons.push(Reason {
        code: "releases",
        micro_points: grown(7 * POINT, count as u64, HISTORY_HALF_RELEASES),
        text: match count {
            1 => "This node has seen 1 release".to_owned(),
            count => format!("This node has seen {count} releases at least a day apart"),
        },
        evidence: counted,
    });
}

fn own_use(experience: &Experience, reasons: &mut Vec<Reason>) {
    let total = u128::from(experience.good) + u128::from(experience.bad) + u128::from(2 * VOTE);
    let share = |points: i64, votes: u64| {
        let micro = u128::from(points.unsigned_abs()) * u128::from(votes) / total;
        i64::try_from(micro).unwrap_or(0)
    };
    if experience.good > 0 {
        reasons.push(Reason {
            code: "own_use",
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
            code: "own_complaints",
            micro_points: -share(25 * POINT, experience.bad),
            text: match experience.bad_events {
                1 => "One failure or complaint on this node".to_owned(),
                events => format!("{events} failures and complaints on this node"),
            },
            evidence: experience.bad_rows.clone(),
        });
    }
}

/// Lifts a negative sum to 0.
fn floor(reasons: &mut Vec<Reason>) {
    let total = sum(reasons);
    if total < 0 {
        reasons.push(Reason {
            code: "floor",
            micro_points: -total,
            text: "A score is never below 0".to_owned(),
            evidence: Vec::new(),
        });
    }
}

fn cap(
    experience: &Experience,
    pinned: Option<(bool, &Recorded)>,
    reasons: &mut Vec<Reason>,
) -> Option<Cap> {
    if let Some((true, recorded)) = pinned {
        reasons.push(Reason {
            code: "pinned",
            micro_points: 0,
            text: "You vouch for this publisher, which lifts the cap".to_owned(),
            evidence: vec![row(recorded)],
        });
        return None;
    }
    if experience.good >= VOTE {
        return None;
    }
    let text = "Nobody you trust, nor you yourself, has good experience with this publisher yet"
        .to_owned();
    let total = sum(reasons);
    if total > CAP_UNPROVEN {
        reasons.push(Reason {
            code: "cap",
            micro_points: CAP_UNPROVEN - total,
            text: text.clone(),
            evidence: Vec::new(),
        });
    }
    Some(Cap {
        micro_points: CAP_UNPROVEN,
        text,
    })
}

/// Adds what voids a score; tells whether anything does.
fn gates(evidence: &Evidence, reasons: &mut Vec<Reason>) -> bool {
    let blocked = last(&evidence.events, &Event::Blocked, &Event::Unblocked);
    let mut gates = Vec::new();
    if let Some((true, recorded)) = blocked {
        gates.push((
            "blocked",
            "You blocked this publisher".to_owned(),
            vec![row(recorded)],
        ));
    }
    if evidence.is_revoked {
        let text = "The publisher revoked its keys".to_owned();
        gates.push(("revoked", text, vec![key_state_row(evidence)]));
    }
    let mut contradictions: Vec<_> = evidence.contradictions.iter().collect();
    contradictions.sort_by_key(|contradiction| contradiction.id);
    if let Some(first) = contradictions.first() {
        let what = if first.subject == "key_state" {
            "key states"
        } else {
            "releases"
        };
        let text = format!(
            "The publisher signed two different {what} with number {}: it, or a thief of its key, lies",
            first.seq
        );
        let rows = contradictions
            .iter()
            .take(EVIDENCE_MAX)
            .map(|contradiction| format!("contradiction {}", contradiction.id))
            .collect();
        gates.push(("contradiction", text, rows));
    }
    let refused = !gates.is_empty();
    for (code, text, evidence) in gates {
        // The first gate takes everything; those after it find nothing left to take.
        let micro_points = -sum(reasons);
        reasons.push(Reason {
            code,
            micro_points,
            text,
            evidence,
        });
    }
    refused
}

fn would_change(
    evidence: &Evidence,
    reasons: &[Reason],
    experience: &Experience,
    capped: bool,
    refused: bool,
) -> Vec<String> {
    let mut sentences = Vec::new();
    let has = |code: &str| reasons.iter().any(|reason| reason.code == code);
    if refused {
        if has("blocked") {
            sentences.push("Lifting your block would let the other reasons count again".to_owned());
        }
        if has("revoked") {
            sentences.push(
                "A new key state by a key that the publisher committed to would reopen it"
                    .to_owned(),
            );
        }
        return sentences;
    }
    if !has("linked") {
        sentences.push(
            "4 points more once the publisher's Nostr account and its key name each other"
                .to_owned(),
        );
    }
    if !evidence.has_next_keys {
        sentences.push("3 points more once the publisher commits to its next keys".to_owned());
    }
    if evidence.sightings.is_empty() {
        sentences.push("Up to 15 points with time and releases that this node sees".to_owned());
    } else {
        sentences.push("More with every day and every release that this node sees".to_owned());
    }
    if experience.good < 20 * VOTE {
        sentences
            .push("More with every day that an app of this publisher runs well here".to_owned());
    }
    if capped {
        sentences.push(
            "The cap of 34 points falls after four good days here, or when you vouch for the publisher"
                .to_owned(),
        );
    }
    sentences
}

/// Returns `points` times 1 − 2^−(count/half): a half at `half`, three quarters at twice that.
fn grown(points: i64, count: u64, half: u64) -> i64 {
    let share = ONE - half_to_the(count, half);
    i64::try_from(scale(points.unsigned_abs(), share)).unwrap_or(0)
}

/// Returns the newest of two opposite events, and whether it is `yes`.
fn last<'e>(events: &'e [Recorded], yes: &Event, no: &Event) -> Option<(bool, &'e Recorded)> {
    events
        .iter()
        .filter(|recorded| recorded.event == *yes || recorded.event == *no)
        .max_by_key(|recorded| recorded.id)
        .map(|recorded| (recorded.event == *yes, recorded))
}

fn sum(reasons: &[Reason]) -> i64 {
    reasons.iter().map(|reason| reason.micro_points).sum()
}

pub(super) fn row(recorded: &Recorded) -> String {
    format!("event {}", recorded.id)
}

fn key_state_row(evidence: &Evidence) -> String {
    format!("key-state {}", evidence.key_state_seq)
}
