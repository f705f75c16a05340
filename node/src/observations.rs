//! What this node saw of a publisher, as rows that reasons name and people read. Pure.

use archy_registry::store::{LogEntry, LogRow};
use archy_registry::trust::opinion::Opinion;
use archy_registry::trust::{Event, Evidence, EvidenceRef, Voice};
use jiff::Timestamp;

use crate::api::types::Observation;

/// Explains what a reason rests on; `None` when the evidence no longer holds it.
pub(crate) fn explain(evidence: &Evidence, reference: &EvidenceRef) -> Option<Observation> {
    let name = reference.to_string();
    match reference {
        EvidenceRef::Event { id } => {
            let mut events = evidence.events.iter();
            let found = events.find(|recorded| recorded.id == *id)?;
            let entry = LogEntry::Event {
                id: found.id,
                event: found.event.clone(),
            };
            Some(observation(name, Some(found.at), &entry))
        }
        EvidenceRef::KeyState { seq } => {
            Some(observation(name, None, &LogEntry::KeyState { seq: *seq }))
        }
        EvidenceRef::FirstSeen { app, seq } => {
            let mut sightings = evidence.sightings.iter();
            let found = sightings.find(|seen| seen.app == *app && seen.seq == *seq)?;
            let entry = LogEntry::FirstSeen {
                app: app.clone(),
                seq: *seq,
            };
            Some(observation(name, Some(found.at), &entry))
        }
        EvidenceRef::Contradiction { id } => {
            let mut contradictions = evidence.contradictions.iter();
            let found = contradictions.find(|found| found.id == *id)?;
            let entry = LogEntry::Contradiction {
                id: found.id,
                subject: found.subject.clone(),
                seq: found.seq,
            };
            Some(observation(name, Some(found.at), &entry))
        }
        EvidenceRef::Vote { event_id, .. } => {
            let mut voices = evidence.voices.iter();
            let found = voices.find(|voice| voice.event_id == *event_id)?;
            Some(of_voice(name, found))
        }
        EvidenceRef::Introducer { rater, votes } => Some(Observation {
            reference: name,
            kind: "introducer".to_owned(),
            at: None,
            text: format!(
                "{} votes came in through this reviewer of yours",
                billionths(*votes)
            ),
            event_id: None,
            pubkey: Some(rater.to_string()),
        }),
    }
}

/// Writes a row of the publisher's log.
pub(crate) fn of_row(row: &LogRow) -> Observation {
    observation(row.reference().to_string(), Some(row.at), &row.entry)
}

fn observation(reference: String, at: Option<Timestamp>, entry: &LogEntry) -> Observation {
    let (kind, text) = match entry {
        LogEntry::Event { event, .. } => ("event", of_event(event)),
        LogEntry::KeyState { seq: 0 } => (
            "keyState",
            "The key that the publisher's DID names".to_owned(),
        ),
        LogEntry::KeyState { seq } => ("keyState", format!("The publisher's key state {seq}")),
        LogEntry::FirstSeen { app, seq } => (
            "firstSeen",
            format!("First heard of release {seq} of {app}"),
        ),
        LogEntry::Contradiction { subject, seq, .. } => {
            let what = match subject.as_str() {
                "key_state" => "key states",
                _ => "releases",
            };
            let text =
                format!("Two different {what} with number {seq} came, both signed; both are kept");
            ("contradiction", text)
        }
        LogEntry::Vote {
            app,
            opinion,
            words,
            newest,
            ..
        } => {
            let about = app
                .as_ref()
                .map(|app| format!(" because of {app}"))
                .unwrap_or_default();
            let said = if words.is_empty() {
                String::new()
            } else {
                format!(": {words}")
            };
            let replaced = if *newest { "" } else { " (replaced since)" };
            let text = format!("A reviewer {}{about}{replaced}{said}", says(*opinion));
            ("vote", text)
        }
    };
    let (event_id, pubkey) = match entry {
        LogEntry::Vote {
            event_id, rater, ..
        } => (Some(event_id.clone()), Some(rater.to_string())),
        LogEntry::Event {
            event: Event::NostrLinked { pubkey },
            ..
        } => (None, Some(pubkey.clone())),
        LogEntry::Event { .. }
        | LogEntry::KeyState { .. }
        | LogEntry::FirstSeen { .. }
        | LogEntry::Contradiction { .. } => (None, None),
    };
    Observation {
        reference,
        kind: kind.to_owned(),
        at: at.map(|at| at.to_string()),
        text,
        event_id,
        pubkey,
    }
}

fn of_event(event: &Event) -> String {
    match event {
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
        Event::BadDelta { app, reason, .. } => format!(
            "A delta of {app} that the publisher signed does not make the layer that it signed: {reason}; the layer was \
             fetched whole"
        ),
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
    }
}

fn of_voice(reference: String, voice: &Voice) -> Observation {
    Observation {
        reference,
        kind: "vote".to_owned(),
        at: Some(voice.created.to_string()),
        text: format!(
            "A reviewer {}; its word weighs {} votes",
            says(voice.opinion),
            billionths(voice.weight)
        ),
        event_id: Some(voice.event_id.clone()),
        pubkey: Some(voice.rater.to_string()),
    }
}

fn says(opinion: Opinion) -> &'static str {
    match opinion {
        Opinion::Recommend => "recommends the publisher",
        Opinion::Caution => "speaks against the publisher",
        Opinion::Malware => "reports malware",
        Opinion::Withdrawn => "took back what it said",
    }
}

/// Writes billionths with two decimals.
fn billionths(value: u64) -> String {
    let hundredths = value / 10_000_000;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}
