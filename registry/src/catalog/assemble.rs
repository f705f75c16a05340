//! Makes the statement of a catalog: embedded statements in order, each seen to survive the embedding.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{
    CatalogError, EmbeddedKeyState, EmbeddedRelease, KEY_STATES_MAX, NAME_CHARS_MAX, RELEASES_MAX,
    TYPE, VALIDITY_MAX, embedded,
};
use crate::did::Did;
use crate::json::{self, JsonError};
use crate::{key_state, proof, release, statement, text};

/// What an operator decides about a catalog; [`assemble`] makes the statement of it.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The operator.
    pub publisher: Did,
    /// One more than the catalog before; 1 for the first.
    pub seq: u64,
    /// When it is signed.
    pub created: Timestamp,
    /// Until when it is news.
    pub expires: Timestamp,
    /// What the operator calls it.
    pub name: String,
    /// Signed key states, in any order.
    pub key_states: Vec<Vec<u8>>,
    /// Signed releases, in any order, one per app.
    pub releases: Vec<Vec<u8>>,
}

/// A catalog to be signed with [`crate::sign`]. The same draft makes the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statement {
    r#type: &'static str,
    publisher: Did,
    seq: u64,
    created: Timestamp,
    expires: Timestamp,
    name: String,
    key_states: Vec<Value>,
    releases: Vec<Value>,
}

/// Makes a catalog's statement, checking all that [`super::verify`] will check but the signature.
///
/// # Errors
///
/// [`CatalogError`] naming what no node would accept; two releases of one app among them.
pub fn assemble(draft: Draft) -> Result<Statement, CatalogError> {
    let field = |field: &str, complaint: String| CatalogError::Field {
        field: field.to_owned(),
        complaint,
    };
    statement::check_seq(draft.seq)?;
    let created = proof::whole_seconds(draft.created);
    let expires = proof::whole_seconds(draft.expires);
    statement::check_dates(created, expires, VALIDITY_MAX, created)?;
    text::check_line(&draft.name, NAME_CHARS_MAX).map_err(|complaint| field("name", complaint))?;
    let key_states = in_order(&draft.key_states, embedded::key_state, |state| {
        (state.publisher.to_string(), state.seq)
    })?;
    let releases = in_order(&draft.releases, embedded::release, |release| {
        (release.app.to_string(), 0)
    })?;
    if key_states.len() > KEY_STATES_MAX {
        return Err(field(
            "key_states",
            format!("must be at most {KEY_STATES_MAX}"),
        ));
    }
    if releases.len() > RELEASES_MAX {
        return Err(field("releases", format!("must be at most {RELEASES_MAX}")));
    }
    embedded::check_order(&key_states, &releases)?;
    Ok(Statement {
        r#type: TYPE,
        publisher: draft.publisher,
        seq: draft.seq,
        created,
        expires,
        name: draft.name,
        key_states: embed(
            "key_states",
            key_states.iter().map(|state| &state.bytes),
            key_state::SIZE_BYTES_MAX,
        )?,
        releases: embed(
            "releases",
            releases.iter().map(|release| &release.bytes),
            release::SIZE_BYTES_MAX,
        )?,
    })
}

/// What an embedded statement is called, for order and for complaints.
trait Embedded {
    fn bytes(&self) -> &[u8];
}

impl Embedded for EmbeddedKeyState {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Embedded for EmbeddedRelease {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Sorts statements; the same bytes given twice count once, two different ones under one key do not pass.
fn in_order<T: Embedded>(
    all: &[Vec<u8>],
    read: impl Fn(&[u8], usize) -> Result<T, CatalogError>,
    key: impl Fn(&T) -> (String, u64),
) -> Result<Vec<T>, CatalogError> {
    let mut sorted: BTreeMap<(String, u64), T> = BTreeMap::new();
    for (index, bytes) in all.iter().enumerate() {
        let statement = read(bytes, index)?;
        let key = key(&statement);
        if let Some(other) = sorted.get(&key)
            && other.bytes() != statement.bytes()
        {
            return Err(CatalogError::Field {
                field: key.0,
                complaint: "is given twice, with different content".to_owned(),
            });
        }
        sorted.insert(key, statement);
    }
    Ok(sorted.into_values().collect())
}

/// Turns signed bytes into values and back: what is embedded must come out as it was signed.
fn embed<'a>(
    list: &str,
    all: impl Iterator<Item = &'a Vec<u8>>,
    size_bytes_max: usize,
) -> Result<Vec<Value>, CatalogError> {
    all.enumerate()
        .map(|(index, bytes)| {
            let failed = |source: JsonError| CatalogError::Embedded {
                field: format!("{list}[{index}]"),
                source,
            };
            let value = json::parse(bytes, size_bytes_max).map_err(failed)?;
            if json::canonical(&value).map_err(failed)? != *bytes {
                return Err(failed(JsonError::NotCanonical));
            }
            Ok(value)
        })
        .collect()
}
