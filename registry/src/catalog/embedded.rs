//! What a catalog's embedded statements claim to be, and that they come in order.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::raw::Raw;
use super::{Catalog, CatalogError, EmbeddedKeyState, EmbeddedRelease};
use crate::did::Did;
use crate::id::{AppId, Slug};
use crate::json;
use crate::{key_state, release};

/// What every embedded statement says of itself.
#[derive(Deserialize)]
struct Claim {
    r#type: String,
    publisher: Did,
    seq: u64,
}

/// Where a release names its app.
#[derive(Deserialize)]
struct Named {
    manifest: NamedManifest,
}

#[derive(Deserialize)]
struct NamedManifest {
    app: NamedApp,
}

#[derive(Deserialize)]
struct NamedApp {
    id: Slug,
}

/// Reads all members; the embedded statements are cut out, each in canonical form.
pub(super) fn catalog(raw: &Raw<'_>) -> Result<Catalog, CatalogError> {
    let mut key_states = Vec::with_capacity(raw.key_states.0.len());
    for (index, piece) in raw.key_states.0.iter().enumerate() {
        key_states.push(key_state(piece.get().as_bytes(), index)?);
    }
    let mut releases = Vec::with_capacity(raw.releases.0.len());
    for (index, piece) in raw.releases.0.iter().enumerate() {
        releases.push(release(RawValue::get(piece).as_bytes(), index)?);
    }
    check_order(&key_states, &releases)?;
    Ok(Catalog {
        publisher: raw.publisher()?,
        seq: raw.seq()?,
        created: raw.created()?,
        expires: raw.expires()?,
        name: raw.name()?,
        key_states,
        releases,
    })
}

/// Reads what a key state claims.
pub(super) fn key_state(bytes: &[u8], index: usize) -> Result<EmbeddedKeyState, CatalogError> {
    let field = || format!("key_states[{index}]");
    let value = canonical(bytes, key_state::SIZE_BYTES_MAX, field())?;
    let claim = claim(&value, key_state::TYPE, field)?;
    Ok(EmbeddedKeyState {
        publisher: claim.publisher,
        seq: claim.seq,
        bytes: bytes.to_vec(),
    })
}

/// Reads what a release claims.
pub(super) fn release(bytes: &[u8], index: usize) -> Result<EmbeddedRelease, CatalogError> {
    let field = || format!("releases[{index}]");
    let value = canonical(bytes, release::SIZE_BYTES_MAX, field())?;
    let claim = claim(&value, release::TYPE, field)?;
    let named = Named::deserialize(&value).map_err(|_| CatalogError::Field {
        field: field(),
        complaint: "does not name its app".to_owned(),
    })?;
    Ok(EmbeddedRelease {
        app: AppId {
            publisher: claim.publisher,
            slug: named.manifest.app.id,
        },
        seq: claim.seq,
        bytes: bytes.to_vec(),
    })
}

/// Checks that the lists are in order, each entry once, so that one content has one spelling.
pub(super) fn check_order(
    key_states: &[EmbeddedKeyState],
    releases: &[EmbeddedRelease],
) -> Result<(), CatalogError> {
    let fault = |list: &str, index: usize, complaint: &str| CatalogError::Field {
        field: format!("{list}[{index}]"),
        complaint: complaint.to_owned(),
    };
    let state_key = |state: &EmbeddedKeyState| (state.publisher.to_string(), state.seq);
    for (index, pair) in key_states.windows(2).enumerate() {
        if state_key(&pair[0]) >= state_key(&pair[1]) {
            return Err(fault(
                "key_states",
                index + 1,
                "must come after the one before, in order of publisher and seq",
            ));
        }
    }
    for (index, pair) in releases.windows(2).enumerate() {
        if pair[0].app.to_string() >= pair[1].app.to_string() {
            return Err(fault(
                "releases",
                index + 1,
                "must come after the one before, in order of publisher and slug, one per app",
            ));
        }
    }
    Ok(())
}

fn canonical(bytes: &[u8], size_bytes_max: usize, field: String) -> Result<Value, CatalogError> {
    json::parse_canonical(bytes, size_bytes_max)
        .map_err(|source| CatalogError::Embedded { field, source })
}

fn claim(value: &Value, expected: &str, field: impl Fn() -> String) -> Result<Claim, CatalogError> {
    let fault = |complaint: String| CatalogError::Field {
        field: field(),
        complaint,
    };
    let claim = Claim::deserialize(value)
        .map_err(|_| fault("does not say its type, publisher and seq".to_owned()))?;
    if claim.r#type != expected {
        return Err(fault(format!("must be of type {expected}")));
    }
    Ok(claim)
}
