//! Catalogs: what a registry's operator offers, as one signed object that holds every release in full.
//!
//! An operator vouches for the selection and its date, never for what is inside: each embedded release is
//! checked against the key state of its own publisher. Reads a catalog piece by piece, so that a large or a
//! hostile one costs little more memory than its bytes; where the bytes come from is not known here.

use jiff::{SignedDuration, Timestamp};

use crate::did::Did;
use crate::id::{AppId, Blake3Hash};
use crate::json::JsonError;
use crate::key_state::{KeyHistory, KeyState, KeyStateError, Standing};
use crate::release::{self, Release, ReleaseError};
use crate::statement::{self, StatementError};
use crate::text;
use crate::verified::Verified;

mod assemble;
mod embedded;
mod raw;

pub use assemble::{Draft, Statement, assemble};

/// The `type` of a catalog.
pub const TYPE: &str = "archy/catalog/v1";
/// Largest catalog in bytes, proof included: a release of an ordinary app has 4 to 10 KB, so this holds more
/// than 6000 of them, and a small board can still keep the bytes twice in memory while it checks them.
pub const SIZE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most releases of one catalog.
pub const RELEASES_MAX: usize = 10_000;
/// Most key states of one catalog.
pub const KEY_STATES_MAX: usize = 20_000;
/// Longest name in characters.
pub const NAME_CHARS_MAX: usize = 60;

/// Longest validity: past it the catalog is no news any more, its apps stay known.
pub const VALIDITY_MAX: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Validity that operators should choose; sign anew every week.
pub const VALIDITY_DEFAULT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What an operator offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    /// The operator.
    pub publisher: Did,
    /// Counts the operator's catalogs; never goes back.
    pub seq: u64,
    /// When it was signed.
    pub created: Timestamp,
    /// Until when it is news.
    pub expires: Timestamp,
    /// What the operator calls it.
    pub name: String,
    /// Signed key states of publishers, each publisher's oldest first. Not verified.
    pub key_states: Vec<EmbeddedKeyState>,
    /// Signed releases, one per app. Not verified.
    pub releases: Vec<EmbeddedRelease>,
}

/// A signed key state as a catalog carries it; what it claims is believed only after verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedKeyState {
    /// Whose it claims to be.
    pub publisher: Did,
    /// The counter that it claims.
    pub seq: u64,
    /// The signed bytes.
    pub bytes: Vec<u8>,
}

/// A signed release as a catalog carries it; what it claims is believed only after verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedRelease {
    /// The app that it claims to be of.
    pub app: AppId,
    /// The counter that it claims.
    pub seq: u64,
    /// The signed bytes.
    pub bytes: Vec<u8>,
}

impl EmbeddedRelease {
    /// Returns the BLAKE3 hash of the signed bytes.
    pub fn hash(&self) -> Blake3Hash {
        Blake3Hash::of(&self.bytes)
    }

    /// Checks the release against all that is known of its own publisher's keys; `first_seen` is when this
    /// node first saw the release.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`], as of [`release::verify_seen`].
    pub fn verify(
        &self,
        keys: &KeyHistory,
        first_seen: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(Verified<Release>, Standing), ReleaseError> {
        release::verify_seen(&self.bytes, keys, first_seen, now)
    }
}

impl Catalog {
    /// Tells whether the catalog is no news any more.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.expires <= now
    }

    /// Lists the key states of one publisher, oldest first.
    pub fn key_states_of(&self, publisher: Did) -> impl Iterator<Item = &EmbeddedKeyState> {
        states_of(&self.key_states, publisher)
    }

    /// Continues what is known of a publisher's keys with the states that the catalog carries of it.
    ///
    /// # Errors
    ///
    /// [`KeyStateError`] of the first state that does not hold or does not follow.
    pub fn key_history(
        &self,
        known: KeyHistory,
        now: Timestamp,
    ) -> Result<KeyHistory, KeyStateError> {
        walk(&self.key_states, known, now)
    }
}

/// A catalog cannot be accepted.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The statement cannot be believed.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// A member's value is not allowed.
    #[error("the catalog's {field} {complaint}")]
    Field {
        /// Path of the member.
        field: String,
        /// What is wrong with it.
        complaint: String,
    },
    /// An embedded statement is not one, or not in the form in which it was signed.
    #[error("the catalog's {field} is not a statement in canonical form")]
    Embedded {
        /// Path of the member.
        field: String,
        /// Why.
        #[source]
        source: JsonError,
    },
    /// The operator's own key states in the catalog do not hold.
    #[error("the catalog carries a key state of its operator that does not hold")]
    Operator(#[source] KeyStateError),
}

/// A catalog whose form is right and whose signature nobody has checked yet.
#[derive(Debug)]
pub struct Unverified<'a> {
    bytes: &'a [u8],
    proof: &'a [u8],
    document_sha256: [u8; 32],
    catalog: Catalog,
}

/// Reads a catalog without believing it.
///
/// # Errors
///
/// [`CatalogError`] when the bytes are not a catalog in canonical form within the limits.
pub fn read(bytes: &[u8]) -> Result<Unverified<'_>, CatalogError> {
    let raw = raw::Raw::read(bytes)?;
    let proof = raw.proof()?;
    let document_sha256 = raw.document_sha256();
    let catalog = embedded::catalog(&raw)?;
    Ok(Unverified {
        bytes,
        proof,
        document_sha256,
        catalog,
    })
}

impl Unverified<'_> {
    /// Returns the operator that the catalog claims to be of.
    pub fn operator(&self) -> Did {
        self.catalog.publisher
    }

    /// Lists the signed key states of the operator that the catalog carries, oldest first. They prove
    /// themselves, so they may be admitted before the catalog is believed.
    pub fn operator_key_states(&self) -> impl Iterator<Item = &EmbeddedKeyState> {
        states_of(&self.catalog.key_states, self.catalog.publisher)
    }

    /// Checks the operator's signature, the counter and the dates. One of the operator's keys signs, whatever
    /// the threshold: a catalog is signed anew every week, and what is in it installs only with the proofs of
    /// its publishers. A catalog whose time is over is accepted: it is merely no news ([`Catalog::is_stale`]).
    ///
    /// # Errors
    ///
    /// [`CatalogError`].
    pub fn verify(
        self,
        operator: &Verified<KeyState>,
        now: Timestamp,
    ) -> Result<Verified<Catalog>, CatalogError> {
        let signers = crate::proof::check(self.proof, &self.document_sha256, now)
            .map_err(StatementError::from)?;
        let catalog = self.catalog;
        statement::authorise(&signers, 1, catalog.publisher, operator)?;
        statement::check_keys_unexpired(operator, now)?;
        statement::check_seq(catalog.seq)?;
        statement::check_dates(catalog.created, catalog.expires, VALIDITY_MAX, now)?;
        text::check_line(&catalog.name, NAME_CHARS_MAX).map_err(|complaint| {
            CatalogError::Field {
                field: "name".to_owned(),
                complaint,
            }
        })?;
        Ok(Verified::new(catalog, Blake3Hash::of(self.bytes), signers))
    }
}

/// Checks a catalog against what is known of its operator's keys, which the catalog's own key states may continue.
///
/// # Errors
///
/// [`CatalogError`]. Expiry is no error, see [`Unverified::verify`].
pub fn verify(
    bytes: &[u8],
    operator: &KeyHistory,
    now: Timestamp,
) -> Result<Verified<Catalog>, CatalogError> {
    let unverified = read(bytes)?;
    let keys = walk(&unverified.catalog.key_states, operator.clone(), now)
        .map_err(CatalogError::Operator)?;
    unverified.verify(keys.newest(), now)
}

fn states_of(
    states: &[EmbeddedKeyState],
    publisher: Did,
) -> impl Iterator<Item = &EmbeddedKeyState> {
    states
        .iter()
        .filter(move |state| state.publisher == publisher)
}

fn walk(
    states: &[EmbeddedKeyState],
    mut known: KeyHistory,
    now: Timestamp,
) -> Result<KeyHistory, KeyStateError> {
    let chain: Vec<&[u8]> = states_of(states, known.publisher())
        .map(|state| state.bytes.as_slice())
        .collect();
    known.admit(&chain, now)?;
    Ok(known)
}
