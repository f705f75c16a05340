//! The key states that one node knows of a publisher, and which of them count. Pure: a fold over what was heard.
//!
//! A stolen current key can sign rivals of what its owner signs. So of two states that follow the same one
//! the stronger [`Step`] counts, whichever was heard first: committed keys over a revocation by a current key,
//! that over a renewal. Two of equal strength are a contradiction. Once committed keys have taken over,
//! what a key from before them signs, and this node had not seen, counts for nothing.

use jiff::Timestamp;

use super::{KeyState, KeyStateError, Step, StepError, verify_step};
use crate::did::Did;
use crate::id::{Blake3Hash, Slug};
use crate::statement::{self, StatementError};
use crate::verified::Verified;

/// Most renewals and revocations that are kept between two rotations: what a stolen current key can fill.
pub const STATES_MAX: usize = 64;

/// The key states that a node knows of a publisher.
#[derive(Debug, Clone)]
pub struct KeyHistory {
    implicit: Verified<KeyState>,
    /// Every state that was admitted, in the order of hearing.
    known: Vec<Known>,
    /// The states that count, oldest first, as places in `known`.
    counted: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Known {
    state: Verified<KeyState>,
    step: Step,
    heard: Timestamp,
    parent: Option<usize>,
    /// How many rotations lie before it.
    rotations: usize,
}

/// What a chain that was heard brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admitted {
    /// States to keep, in order: those that were not known, with their signed bytes.
    pub added: Vec<(Verified<KeyState>, Vec<u8>)>,
    /// Whether other states count now than before.
    pub is_news: bool,
    /// Contradictions that were found.
    pub contradictions: Vec<Contradiction>,
}

/// Two valid states that follow the same one and are equally strong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// Who contradicts itself.
    pub subject: Subject,
    /// The counter of both.
    pub seq: u64,
    /// The state that was known.
    pub first: Blake3Hash,
    /// The state that was heard now.
    pub second: Blake3Hash,
    /// Its signed bytes.
    pub second_bytes: Vec<u8>,
}

/// Whose keys contradict themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Current keys, or the origin key: perhaps stolen. A rotation by committed keys settles it.
    CurrentKeys,
    /// Committed keys. Nobody is left who could settle it.
    CommittedKeys,
}

impl Subject {
    /// Returns the name under which the evidence log keeps it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CurrentKeys => "key_state",
            Self::CommittedKeys => "rotation",
        }
    }
}

/// How a signed statement stands with its publisher's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Signed by the keys that speak for the publisher now, or reaffirmed by them.
    Current,
    /// Signed by keys that were replaced since; it counts because this node had seen it before.
    SeenBeforeChange {
        /// Date of the key state that replaced them.
        since: Timestamp,
    },
    /// Signed by keys that were revoked since; it counts because this node had seen it before.
    SeenBeforeRevocation {
        /// Date of the key state that revoked them.
        since: Timestamp,
    },
    /// Signed by keys that were replaced since; it does not count any more.
    KeyChanged {
        /// Date of the key state that replaced them.
        since: Timestamp,
    },
    /// The publisher has revoked its keys; it does not count any more.
    Revoked {
        /// Date of the key state that revoked them.
        since: Timestamp,
    },
    /// The publisher has not renewed its keys; nothing of it counts until it does.
    KeysExpired {
        /// When their time was over.
        since: Timestamp,
    },
}

impl Standing {
    /// Reads the standing out of the words of a refusal; `None` when it is not about keys that changed.
    pub fn of_refusal(error: &StatementError) -> Option<Self> {
        match error {
            StatementError::KeyChanged { since, .. } => Some(Self::KeyChanged { since: *since }),
            StatementError::Revoked { since, .. } => Some(Self::Revoked { since: *since }),
            StatementError::KeysExpired { expires, .. } => {
                Some(Self::KeysExpired { since: *expires })
            }
            StatementError::Proof(_)
            | StatementError::Members { .. }
            | StatementError::Type { .. }
            | StatementError::Unauthorised { .. }
            | StatementError::Proofs { .. }
            | StatementError::Publisher { .. }
            | StatementError::Seq(_)
            | StatementError::Future { .. }
            | StatementError::Validity { .. }
            | StatementError::Expired { .. } => None,
        }
    }

    /// Tells whether what stands so may be installed.
    pub fn is_acceptable(self) -> bool {
        match self {
            Self::Current | Self::SeenBeforeChange { .. } | Self::SeenBeforeRevocation { .. } => {
                true
            }
            Self::KeyChanged { .. } | Self::Revoked { .. } | Self::KeysExpired { .. } => false,
        }
    }
}

impl KeyHistory {
    /// Starts with nothing but the bare DID.
    pub fn new(publisher: Did) -> Self {
        Self {
            implicit: KeyState::implicit(publisher),
            known: Vec::new(),
            counted: Vec::new(),
        }
    }

    /// Folds states that were admitted before, in the order of hearing, each with its date.
    ///
    /// # Errors
    ///
    /// [`KeyStateError`] of the first state that does not hold.
    pub fn restore(publisher: Did, heard: &[(Vec<u8>, Timestamp)]) -> Result<Self, KeyStateError> {
        let mut history = Self::new(publisher);
        for (bytes, at) in heard {
            history.admit_one(bytes, *at, &mut Admitted::default())?;
        }
        Ok(history)
    }

    /// Returns whose it is.
    pub fn publisher(&self) -> Did {
        self.implicit.publisher
    }

    /// Returns the state that counts now; the implicit one when no signed state is known.
    pub fn newest(&self) -> &Verified<KeyState> {
        self.counted_states().last().unwrap_or(&self.implicit)
    }

    /// Lists the signed states that count, oldest first.
    pub fn counted_states(&self) -> impl DoubleEndedIterator<Item = &Verified<KeyState>> {
        self.counted.iter().map(|at| &self.known[*at].state)
    }

    /// Lists every known state, also those that do not count, beginning with the implicit one.
    pub fn known_states(&self) -> impl Iterator<Item = &Verified<KeyState>> {
        std::iter::once(&self.implicit).chain(self.known.iter().map(|known| &known.state))
    }

    /// Lists every known state of `seq`, also those that do not count; for 0 the implicit one.
    pub fn states_of(&self, seq: u64) -> impl Iterator<Item = &Verified<KeyState>> {
        self.known_states().filter(move |state| state.seq == seq)
    }

    /// Checks a chain (or its newer part) and takes up what it brings. Changes nothing when it fails.
    ///
    /// # Errors
    ///
    /// [`KeyStateError`] of the first state that does not hold, does not follow or comes too late.
    pub fn admit<B: AsRef<[u8]>>(
        &mut self,
        states: &[B],
        now: Timestamp,
    ) -> Result<Admitted, KeyStateError> {
        let mut trial = self.clone();
        let mut admitted = Admitted::default();
        for bytes in states {
            if !trial.admit_one(bytes.as_ref(), now, &mut admitted)? {
                break;
            }
        }
        let has_rotation = trial.known[self.known.len()..]
            .iter()
            .any(|known| known.step == Step::Rotation);
        if !has_rotation && trial.has_too_many(self.known.len()) {
            return Err(StepError::TooMany {
                publisher: self.publisher(),
                max: STATES_MAX,
            }
            .into());
        }
        admitted.is_news = trial.newest().hash() != self.newest().hash();
        *self = trial;
        Ok(admitted)
    }

    /// Takes up one state; `false` when no later one of its chain can count.
    fn admit_one(
        &mut self,
        bytes: &[u8],
        now: Timestamp,
        admitted: &mut Admitted,
    ) -> Result<bool, KeyStateError> {
        let hash = Blake3Hash::of(bytes);
        if self.find(&hash).is_some() {
            return Ok(true);
        }
        let parent = self.parent_of(bytes);
        let before = parent.map_or(self.newest_for_errors(bytes), |at| &self.known[at].state);
        let (state, step) = verify_step(bytes, Some(before), now)?;
        if state.publisher != self.publisher() {
            return Err(StepError::Publisher(state.publisher).into());
        }
        let place = self.place(parent, &state, step)?;
        let contradiction = |subject, first: usize| Contradiction {
            subject,
            seq: state.seq,
            first: self.known[first].state.hash(),
            second: hash,
            second_bytes: bytes.to_vec(),
        };
        match place {
            Place::Rival(first) => {
                let subject = match step {
                    Step::Rotation => Subject::CommittedKeys,
                    Step::First | Step::Renewal | Step::Revocation => Subject::CurrentKeys,
                };
                admitted.contradictions.push(contradiction(subject, first));
                return Ok(false);
            }
            Place::Aside(rival) => {
                if let Some(first) = rival {
                    let found = contradiction(Subject::CurrentKeys, first);
                    admitted.contradictions.push(found);
                }
                self.push(parent, &state, step, now);
            }
            Place::Counts => {
                let at = self.push(parent, &state, step, now);
                self.counted = self.path_to(at);
            }
        }
        admitted.added.push((state, bytes.to_vec()));
        Ok(true)
    }

    /// Decides what becomes of a valid state that is not known.
    fn place(
        &self,
        parent: Option<usize>,
        state: &Verified<KeyState>,
        step: Step,
    ) -> Result<Place, StepError> {
        let path = parent.map_or_else(Vec::new, |parent| self.path_to(parent));
        let common = path
            .iter()
            .zip(&self.counted)
            .take_while(|(a, b)| a == b)
            .count();
        // What counts now beyond the last state that both histories share.
        let rest = &self.counted[common..];
        if rest.is_empty() {
            return Ok(Place::Counts);
        }
        let of = |wanted: Step| move |at: &&usize| self.known[**at].step == wanted;
        let mut rotations = rest.iter().filter(of(Step::Rotation));
        let revoked = rest
            .iter()
            .any(|at| self.known[*at].step == Step::Revocation);
        let ended = StepError::Ended {
            publisher: state.publisher,
            seq: state.seq,
        };
        match (rotations.next(), step) {
            (None, Step::Rotation) => Ok(Place::Counts),
            (Some(first), Step::Rotation) if rotations.next().is_none() => Ok(Place::Rival(*first)),
            (Some(_), _) => Err(ended),
            (None, Step::First) => Ok(Place::Rival(rest[0])),
            (None, Step::Revocation) if !revoked => Ok(Place::Counts),
            (None, Step::Renewal) if !revoked && path.len() == common => {
                Ok(Place::Aside(Some(rest[0])))
            }
            (None, Step::Renewal | Step::Revocation) => Ok(Place::Aside(None)),
        }
    }

    fn push(
        &mut self,
        parent: Option<usize>,
        state: &Verified<KeyState>,
        step: Step,
        heard: Timestamp,
    ) -> usize {
        let before = parent.map_or(0, |parent| self.known[parent].rotations);
        self.known.push(Known {
            state: state.clone(),
            step,
            heard,
            parent,
            rotations: before + usize::from(step == Step::Rotation),
        });
        self.known.len() - 1
    }

    fn has_too_many(&self, from: usize) -> bool {
        self.known[from..].iter().any(|added| {
            let same =
                |known: &&Known| known.rotations == added.rotations && known.step != Step::Rotation;
            self.known.iter().filter(same).count() > STATES_MAX
        })
    }

    fn find(&self, hash: &Blake3Hash) -> Option<usize> {
        self.known
            .iter()
            .position(|known| known.state.hash() == *hash)
    }

    /// Finds the known state that a state names as the one before it. Reads it before it is verified.
    fn parent_of(&self, bytes: &[u8]) -> Option<usize> {
        #[derive(serde::Deserialize)]
        struct Place {
            prev: Blake3Hash,
        }
        let place: Place = serde_json::from_slice(bytes).ok()?;
        self.find(&place.prev)
    }

    /// Returns what a state without a known one before it is checked against: for a first state nothing,
    /// else the newest, so that the refusal says what is missing.
    fn newest_for_errors(&self, bytes: &[u8]) -> &Verified<KeyState> {
        #[derive(serde::Deserialize)]
        struct Place {
            seq: u64,
        }
        let is_first = serde_json::from_slice(bytes).is_ok_and(|place: Place| place.seq == 1);
        if is_first {
            &self.implicit
        } else {
            self.newest()
        }
    }

    fn path_to(&self, at: usize) -> Vec<usize> {
        let mut path: Vec<usize> =
            std::iter::successors(Some(at), |at| self.known[*at].parent).collect();
        path.reverse();
        path
    }

    /// Returns since which state the counters of an app count: the last one that changed its floor.
    pub fn epoch(&self, slug: &Slug) -> u64 {
        epoch(self.counted_states(), slug)
    }

    /// Tells whether committed keys have settled a contradiction of key states: the freeze is over.
    pub fn has_settled(&self, subject: &str, seq: u64, second: &Blake3Hash) -> bool {
        subject == Subject::CurrentKeys.as_str()
            && self.counted.iter().any(|at| {
                let known = &self.known[*at];
                known.step == Step::Rotation
                    && known.state.seq >= seq
                    && known.state.hash() != *second
            })
    }

    /// Judges who signed a statement about the app `slug`, by the keys of now or, when this node first saw it
    /// before they changed, by those of then. A recovery that sets the app's floor ends that.
    ///
    /// # Errors
    ///
    /// [`StatementError`] saying why it does not count (any more).
    pub(crate) fn judge(
        &self,
        signed: &Signatures<'_>,
        slug: &Slug,
        first_seen: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(Standing, &Verified<KeyState>), StatementError> {
        let newest = self.newest();
        let by = |state: &KeyState| {
            let required = (signed.required)(state);
            statement::authorise(signed.signers, required, signed.publisher, state)
        };
        let own = signed.publisher == newest.publisher;
        let refusal = if own && newest.reaffirm.contains(&signed.hash) {
            None
        } else {
            by(newest).err()
        };
        if !newest.is_revoked() {
            statement::check_keys_unexpired(newest, now)?;
        }
        let Some(refusal) = refusal else {
            return Ok((Standing::Current, newest));
        };
        let Some((before, since)) = self.ended(signed.signers) else {
            return Err(refusal);
        };
        let then = first_seen.map(|seen| self.in_force(seen));
        if let Some(then) = then
            && then.hash() != newest.hash()
            && self.epoch_until(then, slug) == self.epoch(slug)
            && by(then).is_ok()
        {
            let standing = if newest.is_revoked() {
                Standing::SeenBeforeRevocation { since }
            } else {
                Standing::SeenBeforeChange { since }
            };
            return Ok((standing, then));
        }
        if let StatementError::Unauthorised { publisher, .. } = refusal {
            return Err(StatementError::KeyChanged {
                signer: before,
                publisher,
                since,
            });
        }
        Err(refusal)
    }

    /// Finds the first of `signers` that spoke once and no longer does, and the date of the state that ended it.
    fn ended(&self, signers: &[Did]) -> Option<(Did, Timestamp)> {
        let states: Vec<&Verified<KeyState>> = std::iter::once(&self.implicit)
            .chain(self.counted_states())
            .collect();
        signers.iter().find_map(|signer| {
            let last = states
                .iter()
                .rposition(|state| state.keys.contains(signer))?;
            let next = states.get(last + 1)?;
            Some((*signer, next.created))
        })
    }

    /// Returns the state that counted on this node at a time.
    fn in_force(&self, at: Timestamp) -> &Verified<KeyState> {
        let before = |known: &&usize| self.known[**known].heard <= at;
        self.counted
            .iter()
            .rfind(before)
            .map_or(&self.implicit, |known| &self.known[*known].state)
    }

    fn epoch_until(&self, last: &Verified<KeyState>, slug: &Slug) -> u64 {
        epoch(
            self.counted_states()
                .take_while(|state| state.seq <= last.seq),
            slug,
        )
    }
}

/// Who signed what; how many must is the state's word.
pub(crate) struct Signatures<'a> {
    /// The publisher that the statement names.
    pub(crate) publisher: Did,
    /// Who signed.
    pub(crate) signers: &'a [Did],
    /// The statement.
    pub(crate) hash: Blake3Hash,
    /// How many must sign.
    pub(crate) required: fn(&KeyState) -> usize,
}

/// What becomes of a valid state.
enum Place {
    /// It is the newest that counts.
    Counts,
    /// Kept because a later state may build on it; contradicts a state of equal strength, if any.
    Aside(Option<usize>),
    /// It contradicts a state, and nothing may build on it.
    Rival(usize),
}

fn epoch<'a>(chain: impl Iterator<Item = &'a Verified<KeyState>>, slug: &Slug) -> u64 {
    let mut epoch = 0;
    let mut floor = None;
    for state in chain {
        let next = state.floors.get(slug);
        if next.is_some() && next != floor {
            epoch = state.seq;
        }
        floor = next;
    }
    epoch
}
