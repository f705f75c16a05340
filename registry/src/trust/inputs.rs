//! A hash of everything that a score depends on, beside the day.

use jiff::Timestamp;
use serde::Serialize;

use super::voices::newest;
use super::{Contradiction, Evidence, Recorded, Sighting, Voice};
use crate::did::Did;
use crate::id::Blake3Hash;

/// Changes whenever the same evidence is scored differently, so that stored scores of another model are not used.
const MODEL: &str = "archy trust 1";

/// [`Evidence`] in an order that does not depend on how it was collected.
#[derive(Serialize)]
struct Inputs<'e> {
    model: &'static str,
    publisher: &'e Did,
    key_state_seq: u64,
    has_next_keys: bool,
    is_revoked: bool,
    /// Pubkeys, and whether their binding holds.
    nostr: Vec<(&'e str, bool)>,
    sightings: Vec<&'e Sighting>,
    events: Vec<&'e Recorded>,
    contradictions: Vec<&'e Contradiction>,
    seeds: u64,
    voices: Vec<&'e Voice>,
}

/// Returns a hash of all that the score depends on, beside the day of `now`: two scores of one day whose hashes
/// are equal are equal.
pub fn inputs_hash(evidence: &Evidence, now: Timestamp) -> Blake3Hash {
    let mut inputs = Inputs {
        model: MODEL,
        publisher: &evidence.publisher,
        key_state_seq: evidence.key_state_seq,
        has_next_keys: evidence.has_next_keys,
        is_revoked: evidence.is_revoked,
        nostr: evidence
            .nostr
            .iter()
            .map(|(pubkey, expires)| (pubkey.as_str(), *expires > now))
            .collect(),
        sightings: evidence.sightings.iter().collect(),
        events: evidence.events.iter().collect(),
        contradictions: evidence.contradictions.iter().collect(),
        seeds: evidence.seeds,
        voices: newest(&evidence.voices).collect(),
    };
    inputs.nostr.sort_unstable();
    inputs
        .sightings
        .sort_by_key(|sighting| (sighting.at, &sighting.app, sighting.seq));
    inputs.events.sort_by_key(|recorded| recorded.id);
    inputs
        .contradictions
        .sort_by_key(|contradiction| contradiction.id);
    let json = serde_json::to_vec(&inputs).expect("evidence has no maps with other keys than text");
    Blake3Hash::of(&json)
}
