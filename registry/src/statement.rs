//! What all signed statements have in common: a proof by a key that speaks for the publisher, a type,
//! a counter and dates.

use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;

use crate::did::Did;
use crate::id::Blake3Hash;
use crate::json::INTEGER_MAX;
use crate::key_state::KeyState;
use crate::proof::{self, ProofError};

/// A statement cannot be believed, whatever it says.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// The proof does not hold.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// Members are missing, unknown or of another kind.
    #[error("the statement's members are not those of {expected}")]
    Members {
        /// The type of statement that was expected.
        expected: &'static str,
        /// Which member.
        #[source]
        source: serde_json::Error,
    },
    /// A valid statement of another kind.
    #[error("the statement is {found:?} where {expected} was expected")]
    Type {
        /// The type expected.
        expected: &'static str,
        /// The type found, shortened.
        found: String,
    },
    /// Signed by a key that does not speak for the publisher.
    #[error("signed by {signer}, which does not speak for the publisher {publisher}")]
    Unauthorised {
        /// Who signed.
        signer: Did,
        /// For whom.
        publisher: Did,
    },
    /// Signed by a key that the publisher has replaced since.
    #[error(
        "signed by {signer}, a key that the publisher {publisher} replaced on {since}; this node had not seen it before"
    )]
    KeyChanged {
        /// Who signed.
        signer: Did,
        /// For whom.
        publisher: Did,
        /// Date of the key state that replaced the key.
        since: Timestamp,
    },
    /// The publisher revoked its keys.
    #[error(
        "the publisher {publisher} has revoked its keys on {since}, so nothing it signs is accepted"
    )]
    Revoked {
        /// The publisher.
        publisher: Did,
        /// Date of the key state that revoked them.
        since: Timestamp,
    },
    /// The publisher has not renewed its key state in time.
    #[error(
        "the keys of the publisher {publisher} were valid until {expires} and were not renewed"
    )]
    KeysExpired {
        /// The publisher.
        publisher: Did,
        /// When their time was over.
        expires: Timestamp,
    },
    /// Too few or too many keys signed.
    #[error("signed by {found} of the publisher's keys where exactly {required} must sign")]
    Proofs {
        /// How many signed.
        found: usize,
        /// How many must.
        required: usize,
    },
    /// The statement names another publisher than the one whose key state was consulted.
    #[error("the statement is of publisher {found} where {expected} was expected")]
    Publisher {
        /// The publisher expected.
        expected: Did,
        /// The publisher found.
        found: Did,
    },
    /// The counter is zero or too large.
    #[error("seq {0} is not between 1 and 2^53-1")]
    Seq(u64),
    /// Dated ahead of this machine's clock.
    #[error("dated {created}, more than 15 minutes ahead of this machine's clock")]
    Future {
        /// The statement's date.
        created: Timestamp,
    },
    /// It expires before it was made, or later than statements of its type may.
    #[error("valid from {created} to {expires}, where at most {} days are allowed", .validity_max.as_hours() / 24)]
    Validity {
        /// The statement's date.
        created: Timestamp,
        /// The end of its validity.
        expires: Timestamp,
        /// Longest validity of its type.
        validity_max: SignedDuration,
    },
    /// Its time is over.
    #[error("expired on {expires}")]
    Expired {
        /// The end of its validity.
        expires: Timestamp,
    },
}

/// Opens bytes as the statement type `expected`, checking the proof first.
pub(crate) fn open<T: DeserializeOwned>(
    bytes: &[u8],
    size_bytes_max: usize,
    expected: &'static str,
    now: Timestamp,
) -> Result<(T, Vec<Did>, Blake3Hash), StatementError> {
    let opened = proof::open(bytes, size_bytes_max, now)?;
    if opened.r#type != expected {
        return Err(StatementError::Type {
            expected,
            found: opened.r#type.chars().take(80).collect(),
        });
    }
    let document = &opened.document;
    let statement = serde_json::from_slice(document)
        // By way of a value the complaint names no place, which in the document without its proof nobody would find.
        .or_else(|_| serde_json::from_slice(document).and_then(serde_json::from_value::<T>))
        .map_err(|source| StatementError::Members { expected, source })?;
    Ok((statement, opened.signers, opened.hash))
}

/// Checks that `signers` are exactly `required` keys that speak for `publisher`, whose key state is `state`.
///
/// The number is exact: a proof more could be taken away by anybody, and there would be two statements.
pub(crate) fn authorise(
    signers: &[Did],
    required: usize,
    publisher: Did,
    state: &KeyState,
) -> Result<(), StatementError> {
    if publisher != state.publisher {
        return Err(StatementError::Publisher {
            expected: state.publisher,
            found: publisher,
        });
    }
    if state.is_revoked() {
        return Err(StatementError::Revoked {
            publisher,
            since: state.created,
        });
    }
    if let Some(signer) = signers.iter().find(|signer| !state.keys.contains(signer)) {
        return Err(StatementError::Unauthorised {
            signer: *signer,
            publisher,
        });
    }
    if signers.len() != required {
        return Err(StatementError::Proofs {
            found: signers.len(),
            required,
        });
    }
    Ok(())
}

/// Checks that the time of a publisher's key state is not over.
pub(crate) fn check_keys_unexpired(state: &KeyState, now: Timestamp) -> Result<(), StatementError> {
    if state.expires <= now {
        return Err(StatementError::KeysExpired {
            publisher: state.publisher,
            expires: state.expires,
        });
    }
    Ok(())
}

/// Checks a counter: 1 to 2^53−1.
pub(crate) fn check_seq(seq: u64) -> Result<(), StatementError> {
    if (1..=INTEGER_MAX).contains(&seq) {
        Ok(())
    } else {
        Err(StatementError::Seq(seq))
    }
}

/// Checks that a statement is not dated ahead and not valid for longer than its type may be.
pub(crate) fn check_dates(
    created: Timestamp,
    expires: Timestamp,
    validity_max: SignedDuration,
    now: Timestamp,
) -> Result<(), StatementError> {
    if created > proof::latest(now) {
        return Err(StatementError::Future { created });
    }
    let validity = expires.duration_since(created);
    if validity <= SignedDuration::ZERO || validity > validity_max {
        return Err(StatementError::Validity {
            created,
            expires,
            validity_max,
        });
    }
    Ok(())
}

/// Checks that a statement's time is not over.
pub(crate) fn check_unexpired(expires: Timestamp, now: Timestamp) -> Result<(), StatementError> {
    if expires <= now {
        return Err(StatementError::Expired { expires });
    }
    Ok(())
}
