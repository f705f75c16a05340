//! What limits or voids a score, whatever its parts add up to.

use super::experience::{Experience, VOTE};
use super::reasons::{EVIDENCE_MAX, key_state_row, row, sum};
use super::voices::Voices;
use super::{
    CAP_REPORTED, CAP_REPORTED_TWICE, CAP_UNPROVEN, Cap, Event, Evidence, Reason, ReasonCode,
    Recorded, Verdict,
};
use crate::key_state::Subject;

/// Lifts a negative sum to 0.
pub(super) fn floor(reasons: &mut Vec<Reason>) {
    let total = sum(reasons);
    if total < 0 {
        reasons.push(Reason {
            code: ReasonCode::Floor,
            micro_points: -total,
            text: "A score is never below 0".to_owned(),
            evidence: Vec::new(),
        });
    }
}

/// Limits a publisher with whom nobody trusted has good experience, unless the owner vouches for it.
pub(super) fn unproven(
    evidence: &Evidence,
    experience: &Experience,
    voices: &Voices,
    reasons: &mut Vec<Reason>,
) -> Option<Cap> {
    let pinned = last(&evidence.events, &Event::Pinned, &Event::Unpinned);
    if let Some((true, recorded)) = pinned {
        reasons.push(Reason {
            code: ReasonCode::Pinned,
            micro_points: 0,
            text: "You vouch for this publisher, which lifts the cap".to_owned(),
            evidence: vec![row(recorded)],
        });
        return None;
    }
    if experience.good >= VOTE || voices.good.votes >= VOTE {
        return None;
    }
    let text = "Nobody you trust, nor you yourself, has good experience with this publisher yet"
        .to_owned();
    let over = sum(reasons) - CAP_UNPROVEN;
    if over > 0 {
        reasons.push(Reason {
            code: ReasonCode::Cap,
            micro_points: -over,
            text: text.clone(),
            evidence: Vec::new(),
        });
    }
    Some(Cap {
        micro_points: CAP_UNPROVEN,
        text,
    })
}

/// Limits a publisher that reviewers with weight report for malware.
pub(super) fn reported(voices: &Voices, reasons: &mut Vec<Reason>) -> (Option<Cap>, Verdict) {
    let (most, verdict, text) = match voices.reports.len() {
        0 => return (None, Verdict::Accept),
        1 => (
            CAP_REPORTED,
            Verdict::Warn,
            "A reviewer whose word has weight here reports malware".to_owned(),
        ),
        reports => (
            CAP_REPORTED_TWICE,
            Verdict::Refuse,
            format!("{reports} reviewers whose word has weight here report malware"),
        ),
    };
    reasons.push(Reason {
        code: ReasonCode::MalwareReports,
        micro_points: (most - sum(reasons)).min(0),
        text: text.clone(),
        evidence: voices.reports.iter().take(EVIDENCE_MAX).cloned().collect(),
    });
    let cap = Cap {
        micro_points: most,
        text,
    };
    (Some(cap), verdict)
}

/// Adds what voids a score.
pub(super) fn voided(evidence: &Evidence, reasons: &mut Vec<Reason>) -> Verdict {
    let blocked = last(&evidence.events, &Event::Blocked, &Event::Unblocked);
    let mut gates = Vec::new();
    if let Some((true, recorded)) = blocked {
        gates.push((
            ReasonCode::Blocked,
            "You blocked this publisher".to_owned(),
            vec![row(recorded)],
        ));
    }
    if evidence.is_revoked {
        let text = "The publisher revoked its keys".to_owned();
        gates.push((ReasonCode::Revoked, text, vec![key_state_row(evidence)]));
    }
    let mut contradictions: Vec<_> = evidence.contradictions.iter().collect();
    contradictions.sort_by_key(|contradiction| contradiction.id);
    if let Some(first) = contradictions.first() {
        let about_keys = [Subject::CurrentKeys, Subject::CommittedKeys].map(Subject::as_str);
        let what = if about_keys.contains(&first.subject.as_str()) {
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
            .map(|contradiction| super::EvidenceRef::Contradiction {
                id: contradiction.id,
            })
            .collect();
        gates.push((ReasonCode::Contradiction, text, rows));
    }
    let verdict = if gates.is_empty() {
        Verdict::Accept
    } else {
        Verdict::Refuse
    };
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
    verdict
}

/// Returns the newest of two opposite events, and whether it is `yes`.
fn last<'e>(events: &'e [Recorded], yes: &Event, no: &Event) -> Option<(bool, &'e Recorded)> {
    events
        .iter()
        .filter(|recorded| recorded.event == *yes || recorded.event == *no)
        .max_by_key(|recorded| recorded.id)
        .map(|recorded| (recorded.event == *yes, recorded))
}
