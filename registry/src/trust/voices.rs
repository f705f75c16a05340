//! What reviewers within reach say of a publisher, as votes that fade with time.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::experience::{BAD_HALF_DAYS, GOOD_HALF_DAYS, VOTE};
use super::fixed::{date, days_between, half_to_the, scale};
use super::opinion::{Opinion, Rater};
use super::reasons::EVIDENCE_MAX;
use super::{Evidence, EvidenceRef, Voice};

/// Introducers that a reason names at most.
const INTRODUCERS_MAX: usize = 5;
/// A report of malware by a rater of at least this weight limits the score, however old it is.
const REPORT_WEIGHT_MIN: u64 = VOTE / 2;

/// What reviewers within reach say, for and against.
#[derive(Default)]
pub(super) struct Voices {
    pub(super) good: Side,
    pub(super) bad: Side,
    /// Reports of malware that limit the score, by rater.
    pub(super) reports: Vec<EvidenceRef>,
    /// Through whom the weight of those reports came in.
    pub(super) reports_through: Vec<Rater>,
}

/// The votes of one side.
#[derive(Default)]
pub(super) struct Side {
    /// Sum of weighted and faded votes, in billionths.
    pub(super) votes: u64,
    pub(super) raters: usize,
    /// Through whom they came in, with what they brought, most first.
    pub(super) introducers: Vec<(Rater, u64)>,
    /// Introducers, then votes, weightiest first.
    pub(super) evidence: Vec<EvidenceRef>,
}

impl Voices {
    /// Sums up what is said. Of each rater the newest word counts; a publisher's own accounts cannot recommend it.
    pub(super) fn of(evidence: &Evidence, now: Timestamp) -> Self {
        let today = date(now);
        let (mut good, mut bad, mut reports) = (Vec::new(), Vec::new(), Vec::new());
        for voice in newest(&evidence.voices) {
            let faded = |half_days| {
                let days = days_between(date(voice.created), today);
                scale(voice.weight.min(VOTE), half_to_the(days, half_days))
            };
            match voice.opinion {
                Opinion::Recommend if is_own(evidence, voice.rater) => {}
                Opinion::Recommend => good.push((faded(GOOD_HALF_DAYS), voice)),
                Opinion::Caution => bad.push((faded(BAD_HALF_DAYS), voice)),
                Opinion::Malware => {
                    bad.push((faded(BAD_HALF_DAYS), voice));
                    if voice.weight >= REPORT_WEIGHT_MIN {
                        reports.push(voice);
                    }
                }
                Opinion::Withdrawn => {}
            }
        }
        let mut reports_through: Vec<Rater> = reports.iter().map(|v| v.introducer).collect();
        reports_through.sort_unstable();
        reports_through.dedup();
        reports_through.truncate(INTRODUCERS_MAX);
        Self {
            good: Side::of(good),
            bad: Side::of(bad),
            reports: reports.into_iter().map(reference).collect(),
            reports_through,
        }
    }
}

impl Side {
    fn of(mut votes: Vec<(u64, &Voice)>) -> Self {
        votes.retain(|(faded, _)| *faded > 0);
        votes.sort_by_key(|(faded, voice)| (Reverse(*faded), voice.rater));
        let mut brought: BTreeMap<Rater, u64> = BTreeMap::new();
        for (faded, voice) in &votes {
            *brought.entry(voice.introducer).or_default() += faded;
        }
        let mut introducers: Vec<(Rater, u64)> = brought.into_iter().collect();
        introducers.sort_by_key(|(rater, votes)| (Reverse(*votes), *rater));
        introducers.truncate(INTRODUCERS_MAX);
        let named = introducers
            .iter()
            .map(|(rater, votes)| EvidenceRef::Introducer {
                rater: *rater,
                votes: *votes,
            });
        let said = votes.iter().take(EVIDENCE_MAX);
        Self {
            votes: votes.iter().map(|(faded, _)| faded).sum(),
            raters: votes.len(),
            evidence: named
                .chain(said.map(|(_, voice)| reference(voice)))
                .collect(),
            introducers,
        }
    }
}

/// Returns the newest word of each rater, in order of their keys; of two of one date that of the lower event id.
pub(super) fn newest(voices: &[Voice]) -> impl Iterator<Item = &Voice> {
    let mut newest: BTreeMap<Rater, &Voice> = BTreeMap::new();
    let age = |voice: &Voice| (Reverse(voice.created), voice.event_id.clone());
    for voice in voices {
        let kept = newest.entry(voice.rater).or_insert(voice);
        if age(voice) < age(kept) {
            *kept = voice;
        }
    }
    newest.into_values()
}

fn is_own(evidence: &Evidence, rater: Rater) -> bool {
    let pubkey = rater.to_string();
    evidence.nostr.iter().any(|(bound, _)| *bound == pubkey)
}

fn reference(voice: &Voice) -> EvidenceRef {
    EvidenceRef::Vote {
        rater: voice.rater,
        event_id: voice.event_id.clone(),
    }
}
