//! A publisher's key states as they travel: all of them, oldest first, as one JSON array in canonical form.
//!
//! Relays keep only the newest event of a publisher, so that event carries the whole chain: a node that was
//! away across several rotations, or never heard of the publisher, can check every step. One state by itself,
//! as an object, is read as a chain of one.

use jiff::Timestamp;
use serde_json::Value;

use super::{KeyHistory, KeyStateError};
use crate::did::Did;
use crate::json;
use crate::statement::StatementError;

/// Largest chain in bytes: with its quotation marks escaped it fits into an event of 64 KiB, what common relays
/// take.
pub const SIZE_BYTES_MAX: usize = 52 * 1024;
/// A renewal that makes the chain longer than this is not for making: the rest is for rotations and revocations.
pub const RENEWAL_BYTES_MAX: usize = 40 * 1024;

/// Splits a chain into the signed bytes of its states, in order. Verifies nothing about them.
///
/// # Errors
///
/// [`KeyStateError`] when it is too large, not canonical JSON, or has no states.
pub fn split(bytes: &[u8]) -> Result<Vec<Vec<u8>>, KeyStateError> {
    let not_json = |error| KeyStateError::Statement(StatementError::Proof(error));
    let value =
        json::parse_canonical(bytes, SIZE_BYTES_MAX).map_err(|error| not_json(error.into()))?;
    let states = match value {
        Value::Array(states) if !states.is_empty() => states,
        state @ Value::Object(_) => vec![state],
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err(KeyStateError::Chain);
        }
    };
    states
        .iter()
        .map(|state| json::canonical(state).map_err(|error| not_json(error.into())))
        .collect()
}

/// Joins the signed bytes of states, oldest first, into a chain.
pub fn join<B: AsRef<[u8]>>(states: &[B]) -> Vec<u8> {
    // Canonical texts between brackets and commas are the canonical text of the array (RFC 8785).
    let mut chain = vec![b'['];
    for (at, state) in states.iter().enumerate() {
        if at > 0 {
            chain.push(b',');
        }
        chain.extend_from_slice(state.as_ref());
    }
    chain.push(b']');
    chain
}

/// Tells whose chain it says it is; believed only after [`verify`].
pub fn claimed_publisher(bytes: &[u8]) -> Option<Did> {
    #[derive(serde::Deserialize)]
    struct Claimed {
        publisher: Did,
    }
    let chain: Vec<Claimed> = match bytes.first()? {
        b'[' => serde_json::from_slice(bytes).ok()?,
        _ => vec![serde_json::from_slice(bytes).ok()?],
    };
    chain.last().map(|state| state.publisher)
}

/// Checks a whole chain, from the first state on.
///
/// # Errors
///
/// [`KeyStateError`] of the first state that does not hold or does not follow.
pub fn verify(bytes: &[u8], publisher: Did, now: Timestamp) -> Result<KeyHistory, KeyStateError> {
    let mut history = KeyHistory::new(publisher);
    history.admit(&split(bytes)?, now)?;
    Ok(history)
}
