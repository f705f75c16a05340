//! The members of a catalog as slices of its bytes, and its one canonical spelling. Knows nothing of what the
//! embedded statements say.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{CatalogError, KEY_STATES_MAX, RELEASES_MAX, SIZE_BYTES_MAX, TYPE};
use crate::json::{self, JsonError};
use crate::proof::ProofError;
use crate::statement::StatementError;

/// Longest member other than the lists, in bytes.
const MEMBER_BYTES_MAX: usize = 4096;

/// Members in canonical order, each as it is spelled.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw<'a> {
    #[serde(borrow)]
    created: &'a RawValue,
    #[serde(borrow)]
    expires: &'a RawValue,
    #[serde(borrow)]
    pub(super) key_states: Pieces<'a, KEY_STATES_MAX>,
    #[serde(borrow)]
    name: &'a RawValue,
    #[serde(borrow)]
    proof: Option<&'a RawValue>,
    #[serde(borrow)]
    publisher: &'a RawValue,
    #[serde(borrow)]
    pub(super) releases: Pieces<'a, RELEASES_MAX>,
    #[serde(borrow)]
    seq: &'a RawValue,
    #[serde(borrow)]
    r#type: &'a RawValue,
}

/// A list of at most `MAX` values, none of which is looked at.
pub(super) struct Pieces<'a, const MAX: usize>(pub(super) Vec<&'a RawValue>);

impl<'de: 'a, 'a, const MAX: usize> Deserialize<'de> for Pieces<'a, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<const MAX: usize>;

        impl<'de, const MAX: usize> Visitor<'de> for List<MAX> {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX} statements")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut pieces = Vec::new();
                while let Some(piece) = seq.next_element()? {
                    if pieces.len() == MAX {
                        return Err(A::Error::custom(format!(
                            "more than {MAX} statements in one list"
                        )));
                    }
                    pieces.push(piece);
                }
                Ok(pieces)
            }
        }

        deserializer.deserialize_seq(List::<MAX>).map(Self)
    }
}

/// The member that tells statements apart.
#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(borrow, default)]
    r#type: Option<&'a RawValue>,
}

impl<'a> Raw<'a> {
    /// Cuts `bytes` into members and checks that they are in canonical form, as far as the embedded
    /// statements are.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, CatalogError> {
        if bytes.len() > SIZE_BYTES_MAX {
            return Err(not_json(JsonError::Size {
                size_bytes: bytes.len(),
                size_bytes_max: SIZE_BYTES_MAX,
            }));
        }
        let typed: Typed<'_> =
            serde_json::from_slice(bytes).map_err(|error| not_json(JsonError::Syntax(error)))?;
        let found = typed.r#type.map_or("", RawValue::get).trim_matches('"');
        if found != TYPE {
            return Err(StatementError::Type {
                expected: TYPE,
                found: found.chars().take(80).collect(),
            }
            .into());
        }
        let raw: Self =
            serde_json::from_slice(bytes).map_err(|source| StatementError::Members {
                expected: TYPE,
                source,
            })?;
        let mut rest = bytes;
        let spelled = raw
            .slices(true)
            .into_iter()
            .all(|slice| match rest.strip_prefix(slice) {
                Some(after) => {
                    rest = after;
                    true
                }
                None => false,
            });
        if !spelled || !rest.is_empty() {
            return Err(not_json(JsonError::NotCanonical));
        }
        Ok(raw)
    }

    /// Returns the proof in canonical form.
    pub(super) fn proof(&self) -> Result<&'a [u8], CatalogError> {
        let proof = self
            .proof
            .ok_or(StatementError::Proof(ProofError::NoProof))?;
        parse(proof)?;
        Ok(proof.get().as_bytes())
    }

    /// Hashes the canonical form without the proof; only valid once every piece was found canonical.
    pub(super) fn document_sha256(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for slice in self.slices(false) {
            hasher.update(slice);
        }
        hasher.finalize().into()
    }

    pub(super) fn created<T: DeserializeOwned>(&self) -> Result<T, CatalogError> {
        member(self.created)
    }

    pub(super) fn expires<T: DeserializeOwned>(&self) -> Result<T, CatalogError> {
        member(self.expires)
    }

    pub(super) fn name<T: DeserializeOwned>(&self) -> Result<T, CatalogError> {
        member(self.name)
    }

    pub(super) fn publisher<T: DeserializeOwned>(&self) -> Result<T, CatalogError> {
        member(self.publisher)
    }

    pub(super) fn seq<T: DeserializeOwned>(&self) -> Result<T, CatalogError> {
        member(self.seq)
    }

    /// Spells the catalog as RFC 8785 does: members in order, nothing in between.
    fn slices(&self, with_proof: bool) -> Vec<&'a [u8]> {
        let mut out: Vec<&'a [u8]> = Vec::new();
        let mut push = |text: &'a str| out.push(text.as_bytes());
        push("{\"created\":");
        push(self.created.get());
        push(",\"expires\":");
        push(self.expires.get());
        push(",\"key_states\":[");
        list(&self.key_states.0, &mut push);
        push("],\"name\":");
        push(self.name.get());
        if let Some(proof) = self.proof.filter(|_| with_proof) {
            push(",\"proof\":");
            push(proof.get());
        }
        push(",\"publisher\":");
        push(self.publisher.get());
        push(",\"releases\":[");
        list(&self.releases.0, &mut push);
        push("],\"seq\":");
        push(self.seq.get());
        push(",\"type\":");
        push(self.r#type.get());
        push("}");
        out
    }
}

fn list<'a>(pieces: &[&'a RawValue], push: &mut impl FnMut(&'a str)) {
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 {
            push(",");
        }
        push(piece.get());
    }
}

fn parse(member: &RawValue) -> Result<Value, CatalogError> {
    json::parse_canonical(member.get().as_bytes(), MEMBER_BYTES_MAX).map_err(not_json)
}

fn member<T: DeserializeOwned>(member: &RawValue) -> Result<T, CatalogError> {
    serde_json::from_value(parse(member)?).map_err(|source| {
        StatementError::Members {
            expected: TYPE,
            source,
        }
        .into()
    })
}

fn not_json(error: JsonError) -> CatalogError {
    StatementError::Proof(ProofError::Json(error)).into()
}
