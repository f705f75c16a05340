//! Which key state may follow which: first state, renewal, rotation, revocation, reopening.
//!
//! A thief of a current key can renew or revoke, never rotate: new keys were committed to beforehand.

use crate::did::Did;
use crate::id::Blake3Hash;
use crate::verified::Verified;

use super::{KeyState, commitment};

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
    /// The step changes what it may not change.
    #[error("the key state {0}")]
    Change(&'static str),
}

/// Checks the first state: signed by the origin key, which is its only key (or none: revoked).
pub(super) fn check_first(state: &KeyState, signer: Did) -> Result<(), StepError> {
    if state.seq != 1 {
        return Err(StepError::Gap {
            publisher: state.publisher,
            known: 0,
            found: state.seq,
        });
    }
    if signer != state.publisher {
        return Err(StepError::Signer {
            signer,
            rule: "the first state is signed by the origin key",
        });
    }
    if state.prev.is_some() || !state.floors.is_empty() {
        return Err(StepError::Change(
            "is the first, so it has neither prev nor floors",
        ));
    }
    if state.keys.iter().any(|key| *key != state.publisher) {
        return Err(StepError::Change(
            "is the first, so its only key is the origin key",
        ));
    }
    Ok(())
}

/// Checks a state against the one before.
pub(super) fn check(
    state: &KeyState,
    signer: Did,
    previous: &Verified<KeyState>,
) -> Result<(), StepError> {
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
    let committed = |key: &Did| previous.next.contains(&commitment(key));
    let signer_is_current = previous.keys.contains(&signer);
    if state.keys.is_empty() {
        return check_revocation(
            state,
            signer,
            previous,
            signer_is_current,
            committed(&signer),
        );
    }
    if state.keys == previous.keys && signer_is_current {
        return check_renewal(state, previous);
    }
    if !state.keys.iter().all(committed) {
        return Err(StepError::Change(
            "brings keys that the state before did not commit to: whoever signed it is another publisher",
        ));
    }
    if !state.keys.contains(&signer) {
        return Err(StepError::Signer {
            signer,
            rule: "a rotation is signed by one of the new keys",
        });
    }
    Ok(())
}

/// A revocation by a current key keeps the commitments, so that their holder can reopen.
fn check_revocation(
    state: &KeyState,
    signer: Did,
    previous: &KeyState,
    signer_is_current: bool,
    signer_is_committed: bool,
) -> Result<(), StepError> {
    if signer_is_committed {
        return Ok(());
    }
    if !signer_is_current {
        return Err(StepError::Signer {
            signer,
            rule: "a revocation is signed by a current or a committed key",
        });
    }
    if state.next != previous.next {
        return Err(StepError::Change(
            "revokes with a current key, so it must keep the commitments of the state before",
        ));
    }
    if state.floors != previous.floors {
        return Err(StepError::Change(
            "revokes with a current key, so it must keep the floors of the state before",
        ));
    }
    Ok(())
}

/// A renewal changes dates and Nostr pubkeys only.
fn check_renewal(state: &KeyState, previous: &KeyState) -> Result<(), StepError> {
    let kept = state.next == previous.next
        && state.floors == previous.floors
        && state.reaffirm == previous.reaffirm;
    if kept {
        Ok(())
    } else {
        Err(StepError::Change(
            "keeps its keys, so it must keep commitments, floors and reaffirmed releases too",
        ))
    }
}
