//! What is said in a topic, as bytes. Pure.

use std::ops::RangeInclusive;

use archy_registry::Blake3Hash;
use archy_registry::release::Endpoint;
use serde::{Deserialize, Serialize};

use crate::tracker::TTL;
use crate::transport::{MESSAGE_BYTES_MAX, modest};

/// Most blobs of one hint.
pub(super) const BLOBS_MAX: usize = 16;
/// The version that is written and read.
const VERSION: u32 = 1;

/// Somebody has, or gets, these blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hint {
    pub(super) endpoint: Endpoint,
    pub(super) blobs: Vec<Blake3Hash>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Message {
    version: u32,
    /// Seconds since 1970.
    at: u64,
    endpoint: Endpoint,
    blobs: Vec<Blake3Hash>,
}

/// Why a message is no hint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoHint {
    #[error("it has {0} bytes")]
    TooLong(usize),
    #[error("it is malformed: {0}")]
    Malformed(String),
    #[error("it has version {0}")]
    Version(u32),
    #[error("it was said at {0}, by another clock or long ago")]
    Stale(u64),
}

impl Hint {
    pub(super) fn parse(message: &[u8], now: u64) -> Result<Self, NoHint> {
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(NoHint::TooLong(message.len()));
        }
        let message: Message = serde_json::from_slice(message)
            .map_err(|error| NoHint::Malformed(error.to_string()))?;
        if message.version != VERSION {
            return Err(NoHint::Version(message.version));
        }
        if !fresh(now).contains(&message.at) {
            return Err(NoHint::Stale(message.at));
        }
        let mut blobs = message.blobs;
        blobs.truncate(BLOBS_MAX);
        Ok(Self {
            endpoint: modest(message.endpoint),
            blobs,
        })
    }

    pub(super) fn write(self, now: u64) -> Vec<u8> {
        let message = Message {
            version: VERSION,
            at: now,
            endpoint: modest(self.endpoint),
            blobs: self.blobs,
        };
        serde_json::to_vec(&message).unwrap_or_default()
    }
}

fn fresh(now: u64) -> RangeInclusive<u64> {
    let ttl = TTL.as_secs();
    now.saturating_sub(ttl)..=now.saturating_add(ttl)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_000;

    fn hint(addresses: usize, blobs: usize) -> Hint {
        let relay = format!("https://{}", "r".repeat(190));
        Hint {
            endpoint: Endpoint {
                id: archy_registry::id::EndpointId::from_bytes([7; 32]),
                addresses: vec![
                    "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"
                        .parse()
                        .unwrap();
                    addresses
                ],
                relays: vec![relay; addresses],
            },
            blobs: (0..blobs)
                .map(|n| Blake3Hash::of(&n.to_le_bytes()))
                .collect(),
        }
    }

    #[test]
    fn the_longest_hint_fits_and_is_read_as_it_was_written() {
        let longest = hint(100, BLOBS_MAX).write(NOW);
        assert!(longest.len() <= MESSAGE_BYTES_MAX, "{}", longest.len());
        let read = Hint::parse(&longest, NOW).unwrap();
        assert_eq!(read.blobs, hint(0, BLOBS_MAX).blobs);
        assert_eq!(
            Hint::parse(&hint(1, 2).write(NOW), NOW + 60),
            Ok(hint(1, 2))
        );
        // Of one who says more, the rest is left.
        let many = Hint::parse(&hint(0, 40).write(NOW), NOW).unwrap();
        assert_eq!(many.blobs.len(), BLOBS_MAX);
    }

    #[test]
    fn what_is_no_hint_is_told_apart() {
        let good = String::from_utf8(hint(1, 1).write(NOW)).unwrap();
        let of = |text: &str| Hint::parse(text.as_bytes(), NOW);
        assert!(matches!(of(""), Err(NoHint::Malformed(_))));
        assert!(matches!(of(&good[1..]), Err(NoHint::Malformed(_))));
        let second = good.replace("\"version\":1", "\"version\":2");
        assert_eq!(of(&second), Err(NoHint::Version(2)));
        let long = " ".repeat(MESSAGE_BYTES_MAX + 1);
        assert_eq!(of(&long), Err(NoHint::TooLong(MESSAGE_BYTES_MAX + 1)));
        for now in [NOW - 601, NOW + 601, u64::MAX, 0] {
            assert_eq!(Hint::parse(good.as_bytes(), now), Err(NoHint::Stale(NOW)));
        }
    }
}
