//! What this node saw of a publisher, as rows that reasons name and people read. Pure.

use std::cmp::Reverse;

use archy_registry::trust::opinion::Opinion;
use archy_registry::trust::{
    Contradiction, Event, Evidence, EvidenceRef, Recorded, Sighting, Voice,
};
use jiff::Timestamp;

use crate::api::types::Observation;

/// Explains what a reason rests on; `None` when the evidence no longer holds it.
pub(crate) fn explain(evidence: &Evidence, reference: &EvidenceRef) -> Option<Observation> {
    match reference {
        EvidenceRef::Event { id } => {
            let mut events = evidence.events.iter();
            events.find(|recorded| recorded.id == *id).map(of_event)
        }
        EvidenceRef::KeyState { seq } => Some(Observation {
            reference: reference.to_string(),
            kind: "keyState".to_owned(),
            at: None,
            text: match seq {
                0 => "The key that the publisher's DID names".to_owned(),
                seq => format!("The publisher's key state {seq}"),
            },
            event_id: None,
            pubkey: None,
        }),
        EvidenceRef::FirstSeen { app, seq } => {
            let mut sightings = evidence.sightings.iter();
            sightings
                .find(|sighting| sighting.app == *app && sighting.seq == *seq)
                .map(of_sighting)
        }
        EvidenceRef::Contradiction { id } => {
            let mut contradictions = evidence.contradictions.iter();
            contradictions
                .find(|found| found.id == *id)
                .map(of_contradiction)
        }
        EvidenceRef::Vote { event_id, .. } => {
            let mut voices = evidence.voices.iter();
            voices
                .find(|voice| voice.event_id == *event_id)
                .map(of_voice)
        }
        EvidenceRef::Introducer { rater, votes } => Some(Observation {
            reference: reference.to_string(),
            kind: "introducer".to_owned(),
            at: None,
            text: format!("{} votes came in through this reviewer", billionths(*votes)),
            event_id: None,
            pubkey: Some(rater.to_string()),
        }),
    }
}

/// Lists all that this node saw of a publisher, the newest first.
pub(crate) fn all(evidence: &Evidence) -> Vec<Observation> {
    let events = evidence.events.iter().map(|row| (row.at, of_event(row)));
    let sightings = evidence
        .sightings
        .iter()
        .map(|row| (row.at, of_sighting(row)));
    let contradictions = evidence
        .contradictions
        .iter()
        .map(|row| (row.at, of_contradiction(row)));
    let voices = evidence
        .voices
        .iter()
        .map(|row| (row.created, of_voice(row)));
    let mut rows: Vec<(Timestamp, Observation)> = events
        .chain(sightings)
        .chain(contradictions)
        .chain(voices)
        .collect();
    rows.sort_by(|(a, x), (b, y)| {
        let key = |at: &Timestamp, row: &Observation| Reverse((*at, row.reference.clone()));
        key(a, x).cmp(&key(b, y))
    });
    rows.into_iter().map(|(_, row)| row).collect()
}

fn of_event(recorded: &Recorded) -> Observation {
    let text = match &recorded.event {
        Event::Installed { app, .. } => format!("{app} was installed here"),
        Event::InstallFailed {
            app,
            reason,
            publishers_fault,
            ..
        } => {
            let whose = if *publishers_fault {
                ""
            } else {
                ", not by its own fault"
            };
            format!("Installing {app} failed{whose}: {reason}")
        }
        Event::HealthyDay { app, day } => format!("{app} ran well here on {day}"),
        Event::UnhealthyDay { app, day } => format!("{app} was unhealthy here on {day}"),
        Event::Complaint { app, text } => format!("You complained about {app}: {text}"),
        Event::Pinned => "You vouched for the publisher".to_owned(),
        Event::Unpinned => "You no longer vouch for the publisher".to_owned(),
        Event::Blocked => "You blocked the publisher".to_owned(),
        Event::Unblocked => "You lifted the block".to_owned(),
        Event::NostrLinked { .. } => {
            "A Nostr account that the publisher's key names carried that key".to_owned()
        }
        Event::DomainLinked { domain } => format!("{domain} and the publisher name each other"),
        Event::DomainUnlinked { domain } => format!("{domain} no longer names the publisher"),
    };
    let pubkey = match &recorded.event {
        Event::NostrLinked { pubkey } => Some(pubkey.clone()),
        Event::Installed { .. }
        | Event::InstallFailed { .. }
        | Event::HealthyDay { .. }
        | Event::UnhealthyDay { .. }
        | Event::Complaint { .. }
        | Event::Pinned
        | Event::Unpinned
        | Event::Blocked
        | Event::Unblocked
        | Event::DomainLinked { .. }
        | Event::DomainUnlinked { .. } => None,
    };
    Observation {
        reference: EvidenceRef::Event { id: recorded.id }.to_string(),
        kind: "event".to_owned(),
        at: Some(recorded.at.to_string()),
        text,
        event_id: None,
        pubkey,
    }
}

fn of_sighting(sighting: &Sighting) -> Observation {
    let reference = EvidenceRef::FirstSeen {
        app: sighting.app.clone(),
        seq: sighting.seq,
    };
    Observation {
        reference: reference.to_string(),
        kind: "firstSeen".to_owned(),
        at: Some(sighting.at.to_string()),
        text: format!(
            "First heard of release {} of {}",
            sighting.seq, sighting.app
        ),
        event_id: None,
        pubkey: None,
    }
}

fn of_contradiction(found: &Contradiction) -> Observation {
    let what = match found.subject.as_str() {
        "key_state" => "key states",
        _ => "releases",
    };
    Observation {
        reference: EvidenceRef::Contradiction { id: found.id }.to_string(),
        kind: "contradiction".to_owned(),
        at: Some(found.at.to_string()),
        text: format!(
            "Two different {what} with number {} came, both signed; both are kept",
            found.seq
        ),
        event_id: None,
        pubkey: None,
    }
}

fn of_voice(voice: &Voice) -> Observation {
    let reference = EvidenceRef::Vote {
        rater: voice.rater,
        event_id: voice.event_id.clone(),
    };
    let said = match voice.opinion {
        Opinion::Recommend => "recommends the publisher",
        Opinion::Caution => "speaks against the publisher",
        Opinion::Malware => "reports malware",
        Opinion::Withdrawn => "took back what it said",
    };
    Observation {
        reference: reference.to_string(),
        kind: "vote".to_owned(),
        at: Some(voice.created.to_string()),
        text: format!(
            "A reviewer {said}; its word weighs {} votes",
            billionths(voice.weight)
        ),
        event_id: Some(voice.event_id.clone()),
        pubkey: Some(voice.rater.to_string()),
    }
}

/// Writes billionths with two decimals.
fn billionths(value: u64) -> String {
    let hundredths = value / 10_000_000;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}
