//! Which key state may follow which: first state, renewal, revocation, rotation; and how many keys sign it.
//!
//! With a threshold of k, every change but stopping takes k keys, and the number of proofs is exact: a proof
//! more could be taken away by anybody, and the publisher would seem to have signed two states.
//! A thief of fewer than k current keys can revoke; of k current keys renew and revoke; never rotate, because
//! new keys were committed to beforehand.

use crate::did::Did;
use crate::id::Blake3Hash;
use crate::verified::Verified;

use super::{KeyState, commitment};

/// How a key state follows the one before.
///
/// A rotation is stronger than a revocation, that is stronger than a renewal: of two states that follow the
/// same one, the stronger counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Current keys changed dates and Nostr pubkeys.
    Renewal,
    /// One current or committed key stopped the publisher; nothing else changed.
    Revocation,
    /// Committed keys took over: a rotation, a recovery, a reopening, or a revocation by committed keys.
    Rotation,
    /// The origin key's first state.
    First,
}

/// A key state does not follow the one that this node knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// States in between are missing.
    #[error(
        "key state {found} of {publisher} cannot be checked: this node knows state {known} and lacks those between"
    )]
    Gap {
        /// Whose.
        publisher: Did,
        /// The `seq` that this node knows.
        known: u64,
        /// The `seq` found.
        found: u64,
    },
    /// An older state, or another one of the same `seq`.
    #[error(
        "key state {found} of {publisher} is not newer than state {known}, which this node knows"
    )]
    NotNewer {
        /// Whose.
        publisher: Did,
        /// The `seq` that this node knows.
        known: u64,
        /// The `seq` found.
        found: u64,
    },
    /// `prev` is not the hash of the state before.
    #[error("key state {seq} continues another history: its prev is not {known}")]
    Prev {
        /// The `seq` found.
        seq: u64,
        /// Hash of the state that this node knows.
        known: Blake3Hash,
    },
    /// Signed by a key whose time was over when this node first saw the state.
    #[error(
        "key state {seq} is signed by a key that the publisher {publisher} had replaced or revoked before"
    )]
    Ended {
        /// Whose.
        publisher: Did,
        /// The `seq` found.
        seq: u64,
    },
    /// More renewals than a publisher needs, with nothing in them that counts.
    #[error("this node keeps at most {max} key states of {publisher} between two rotations")]
    TooMany {
        /// Whose.
        publisher: Did,
        /// How many.
        max: usize,
    },
    /// The state is of another publisher.
    #[error("the key state is of another publisher, {0}")]
    Publisher(Did),
    /// The signer may not sign this step.
    #[error("{signer} may not sign this key state: {rule}")]
    Signer {
        /// Who signed.
        signer: Did,
        /// The rule.
        rule: &'static str,
    },
    /// Too few or too many keys signed.
    #[error("the key state has {found} proofs where this step takes exactly {required}")]
    Proofs {
        /// How many signed.
        found: usize,
        /// How many must.
        required: usize,
    },
    /// The step changes what it may not change.
    #[error("the key state {0}")]
    Change(&'static str),
}

/// Checks the first state: signed by the origin key, which is its only key (or none: revoked).
pub(super) fn check_first(state: &KeyState, signers: &[Did]) -> Result<Step, StepError> {
    if state.seq != 1 {
        return Err(StepError::Gap {
            publisher: state.publisher,
            known: 0,
            found: state.seq,
        });
    }
    exactly(signers, 1)?;
    if let Some(signer) = signers.iter().find(|signer| **signer != state.publisher) {
        return Err(StepError::Signer {
            signer: *signer,
            rule: "the first state is signed by the origin key",
        });
    }
    if state.prev.is_some() || !state.floors.is_empty() {
        return Err(StepError::Change(
            "is the first, so it has neither prev nor floors",
        ));
    }
    if state.threshold != 1 || state.keys.iter().any(|key| *key != state.publisher) {
        return Err(StepError::Change(
            "is the first, so its only key is the origin key",
        ));
    }
    Ok(Step::First)
}

/// Checks a state against the one before.
pub(super) fn check(
    state: &KeyState,
    signers: &[Did],
    previous: &Verified<KeyState>,
) -> Result<Step, StepError> {
    check_place(state, previous)?;
    let threshold = previous.threshold as usize;
    let committed = |key: &Did| previous.next.contains(&commitment(key));
    let all_current = signers.iter().all(|signer| previous.keys.contains(signer));
    let all_committed = signers.iter().all(committed);
    if state.is_revoked() {
        if all_committed && signers.len() >= threshold {
            exactly(signers, threshold)?;
            return Ok(Step::Rotation);
        }
        return check_revocation(state, signers, previous, all_current || all_committed);
    }
    if state.keys == previous.keys && all_current {
        exactly(signers, threshold)?;
        return check_renewal(state, previous);
    }
    if !state.keys.iter().all(committed) {
        return Err(StepError::Change(
            "brings keys that the state before did not commit to: whoever signed it is another publisher",
        ));
    }
    if let Some(signer) = signers.iter().find(|signer| !committed(signer)) {
        return Err(StepError::Signer {
            signer: *signer,
            rule: "a rotation is signed by new keys, to which the state before committed",
        });
    }
    exactly(signers, threshold.max(state.threshold as usize))?;
    let own = signers.iter().filter(|signer| state.keys.contains(signer));
    if own.count() < state.threshold as usize {
        return Err(StepError::Change(
            "is a rotation, so as many of its own keys sign it as its threshold says",
        ));
    }
    Ok(Step::Rotation)
}

/// Checks that a state names the one before.
fn check_place(state: &KeyState, previous: &Verified<KeyState>) -> Result<(), StepError> {
    let (publisher, known, found) = (state.publisher, previous.seq, state.seq);
    if publisher != previous.publisher {
        return Err(StepError::Publisher(publisher));
    }
    if found <= known {
        return Err(StepError::NotNewer {
            publisher,
            known,
            found,
        });
    }
    if found != known + 1 {
        return Err(StepError::Gap {
            publisher,
            known,
            found,
        });
    }
    if state.prev != Some(previous.hash()) {
        return Err(StepError::Prev {
            seq: found,
            known: previous.hash(),
        });
    }
    Ok(())
}

/// A revocation by one key keeps all but the keys, so that the holders of the committed keys can reopen.
fn check_revocation(
    state: &KeyState,
    signers: &[Did],
    previous: &KeyState,
    is_authorised: bool,
) -> Result<Step, StepError> {
    exactly(signers, 1)?;
    if !is_authorised {
        return Err(StepError::Signer {
            signer: signers[0],
            rule: "a revocation is signed by a current or a committed key",
        });
    }
    if previous.is_revoked() {
        return Err(StepError::Change("revokes keys that are revoked already"));
    }
    if state.next != previous.next {
        return Err(StepError::Change(
            "revokes without the committed keys, so it must keep the commitments of the state before",
        ));
    }
    if state.floors != previous.floors
        || state.reaffirm != previous.reaffirm
        || state.threshold != previous.threshold
    {
        return Err(StepError::Change(
            "revokes without the committed keys, so it must keep threshold, floors and reaffirmed releases",
        ));
    }
    Ok(Step::Revocation)
}

/// A renewal changes dates and Nostr pubkeys only.
fn check_renewal(state: &KeyState, previous: &KeyState) -> Result<Step, StepError> {
    let kept = state.next == previous.next
        && state.threshold == previous.threshold
        && state.floors == previous.floors
        && state.reaffirm == previous.reaffirm;
    if kept {
        Ok(Step::Renewal)
    } else {
        Err(StepError::Change(
            "keeps its keys, so it must keep commitments, threshold, floors and reaffirmed releases too",
        ))
    }
}

fn exactly(signers: &[Did], required: usize) -> Result<(), StepError> {
    if signers.len() == required {
        return Ok(());
    }
    Err(StepError::Proofs {
        found: signers.len(),
        required,
    })
}
