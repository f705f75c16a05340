//! What would change a score, as sentences for the owner.

use super::experience::{Experience, VOTE};
use super::reasons::list;
use super::voices::Voices;
use super::{CAP_UNPROVEN, Cap, Evidence, Reason, ReasonCode};
use crate::key_state::Subject;

/// What the sentences speak of.
pub(super) struct Situation<'s> {
    pub(super) evidence: &'s Evidence,
    pub(super) reasons: &'s [Reason],
    pub(super) experience: &'s Experience,
    pub(super) voices: &'s Voices,
    /// The cap for want of good experience.
    pub(super) unproven: Option<&'s Cap>,
}

impl Situation<'_> {
    pub(super) fn would_change(&self) -> Vec<String> {
        let mut sentences = self.gates();
        let is_void = !sentences.is_empty();
        if !self.voices.reports.is_empty() {
            sentences.push(format!(
                "The limit for reports of malware falls when they are withdrawn, or when those through whom \
                 their authors came in ({}) no longer count as reviewers for you",
                list(&self.voices.reports_through)
            ));
        }
        if is_void || self.voices.reports.len() > 1 {
            return sentences;
        }
        self.more(&mut sentences);
        if self.unproven.is_some() {
            sentences.push(format!(
                "The cap of {} points falls after four good days here, when reviewers you trust recommend the \
                 publisher with one whole vote, or when you vouch for it",
                CAP_UNPROVEN / super::POINT
            ));
        }
        sentences
    }

    fn has(&self, code: ReasonCode) -> bool {
        self.reasons.iter().any(|reason| reason.code == code)
    }

    fn gates(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        if self.has(ReasonCode::Blocked) {
            sentences.push("Lifting your block would let the other reasons count again".to_owned());
        }
        if self.has(ReasonCode::Revoked) {
            sentences.push(
                "A new key state by a key that the publisher committed to would reopen it"
                    .to_owned(),
            );
        }
        sentences.extend(self.settlement());
        sentences
    }

    /// What would settle the contradictions; the hardest to settle speaks for all.
    fn settlement(&self) -> Option<String> {
        let contradictions = &self.evidence.contradictions;
        let about = |subject: Subject| {
            let mut found = contradictions.iter();
            found.any(|contradiction| contradiction.subject == subject.as_str())
        };
        let sentence = if contradictions.is_empty() {
            return None;
        } else if about(Subject::CommittedKeys) {
            "Nothing lifts a contradiction of committed keys: both statements are kept as proof, and the publisher \
             can only start anew under another identity"
        } else if about(Subject::CurrentKeys) {
            "A new key state by keys that the publisher committed to would settle which keys are its own; both \
             statements stay on record"
        } else {
            "A new key state by keys that the publisher committed to, which takes the app's releases back, would \
             settle it; both statements stay on record"
        };
        Some(sentence.to_owned())
    }

    fn more(&self, sentences: &mut Vec<String>) {
        if !self.has(ReasonCode::Linked) {
            sentences.push(
                "4 points more once the publisher's Nostr account and its key name each other"
                    .to_owned(),
            );
        }
        if !self.evidence.has_next_keys {
            sentences.push("3 points more once the publisher commits to its next keys".to_owned());
        }
        if self.evidence.sightings.is_empty() {
            sentences.push("Up to 15 points with time and releases that this node sees".to_owned());
        } else {
            sentences.push("More with every day and every release that this node sees".to_owned());
        }
        if self.evidence.seeds == 0 {
            sentences.push(
                "Up to 50 points from reviewers, once you choose some whose word you trust"
                    .to_owned(),
            );
        } else if self.voices.good.votes < 20 * VOTE {
            sentences.push(
                "More with every reviewer within your reach who recommends the publisher"
                    .to_owned(),
            );
        }
        if self.experience.good < 20 * VOTE {
            sentences.push(
                "More with every day that an app of this publisher runs well here".to_owned(),
            );
        }
    }
}
