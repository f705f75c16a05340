//! Proofs: signing and checking statements with the W3C Data Integrity cryptosuite `eddsa-jcs-2022`.
//!
//! Implements [vc-di-eddsa §3.3](https://www.w3.org/TR/vc-di-eddsa/#eddsa-jcs-2022) for `did:key`, in a
//! profile: no `@context`, strict JSON with integers only, bytes in canonical form. One proof is an object.
//! Several are a [proof set](https://www.w3.org/TR/vc-data-integrity/#proof-sets): an array of 2 to 16 proofs,
//! each over the same document without any proof, ascending by `verificationMethod`, no key twice.
//! Says who signed; whether those keys may speak for a publisher is the caller's question.

use std::borrow::Cow;

use ed25519_dalek::Signer;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::base58;
use crate::did::{Did, DidError};
use crate::id::Blake3Hash;
use crate::json::{self, JsonError, Object};

pub mod key_file;
mod signing_key;

pub use signing_key::{KeyFileError, SigningKey};

/// How far a statement's date may lie ahead of this machine's clock.
pub const CLOCK_SKEW_MAX: SignedDuration = SignedDuration::from_mins(15);

/// Most proofs of one statement.
pub const PROOFS_MAX: usize = 16;

const PROOF_TYPE: &str = "DataIntegrityProof";
const CRYPTOSUITE: &str = "eddsa-jcs-2022";
const PURPOSE: &str = "assertionMethod";

/// A signed statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The canonical JSON including the proof: what is stored, hashed and handed on.
    pub bytes: Vec<u8>,
    /// BLAKE3 of `bytes`.
    pub hash: Blake3Hash,
}

/// A statement could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// Not a JSON object, or a number or nesting beyond the limits.
    #[error("the statement cannot be written as a canonical JSON object")]
    Json(#[source] JsonError),
    /// Not an object, or one that has a `proof` or `@context` already.
    #[error("only a JSON object without proof and @context can be signed")]
    Shape,
    /// The proofs that the statement carries do not hold, so there is nothing to countersign.
    #[error("the statement's proofs do not hold")]
    Proof(#[source] Box<ProofError>),
    /// The key has signed already, or there are 16 proofs.
    #[error("{0} has signed already, or there are {PROOFS_MAX} proofs already")]
    Full(Did),
}

/// A proof does not hold.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The bytes are not acceptable JSON.
    #[error("the statement is not acceptable JSON")]
    Json(#[from] JsonError),
    /// Not a JSON object.
    #[error("the statement is not a JSON object")]
    NotAnObject,
    /// No proof, or something else in its place.
    #[error("the statement must carry one proof, as an object, or 2 to {PROOFS_MAX}, as an array")]
    NoProof,
    /// Several proofs out of order, or two by one key.
    #[error("the proofs must ascend by verificationMethod, no key twice")]
    ProofOrder,
    /// A member of the proof is missing, unknown or not what the profile asks for.
    #[error("the proof does not fit the profile: {0}")]
    Profile(&'static str),
    /// The verification method names no acceptable key.
    #[error("the proof's key is not acceptable")]
    Key(#[source] DidError),
    /// The proof is dated ahead of this machine's clock.
    #[error("the proof is dated {created}, more than 15 minutes ahead of this machine's clock")]
    Future {
        /// The proof's date.
        created: Timestamp,
    },
    /// The signature does not match.
    #[error("the signature of {signer} does not match the statement")]
    Signature {
        /// Who is said to have signed.
        signer: Did,
    },
}

/// A statement whose signature holds, with who made it.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The canonical form of the statement without its proof.
    pub(crate) document: Vec<u8>,
    /// Its `type`, when that is a text; empty otherwise.
    pub(crate) r#type: String,
    /// Who signed: 1 to [`PROOFS_MAX`] different keys.
    pub(crate) signers: Vec<Did>,
    /// BLAKE3 of the bytes.
    pub(crate) hash: Blake3Hash,
}

/// Members in the order of the canonical form.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Proof {
    created: String,
    cryptosuite: String,
    proof_purpose: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proof_value: Option<String>,
    r#type: String,
    verification_method: String,
}

/// Signs a statement, dating the proof `created` (whole seconds).
///
/// # Errors
///
/// [`SignError`] when the statement is not an object that the profile can carry.
pub fn sign<T: Serialize>(
    statement: &T,
    key: &SigningKey,
    created: Timestamp,
) -> Result<Signed, SignError> {
    let bytes = json::canonical(statement).map_err(SignError::Json)?;
    let Value::Object(document) = json::parse(&bytes, usize::MAX).map_err(SignError::Json)? else {
        return Err(SignError::Shape);
    };
    if document.contains_key("proof") || document.contains_key("@context") {
        return Err(SignError::Shape);
    }
    let proof = prove(&document, key, created).map_err(SignError::Json)?;
    finish(document, vec![proof])
}

/// Adds a proof to a signed statement: the k of a k-of-n publisher sign one after the other, in any order.
///
/// # Errors
///
/// [`SignError`]; also when the proofs that are there do not hold, or the key has signed already.
pub fn add_proof(signed: &[u8], key: &SigningKey, created: Timestamp) -> Result<Signed, SignError> {
    let not_held = |error| SignError::Proof(Box::new(error));
    let opened = open(signed, usize::MAX, created).map_err(not_held)?;
    let Ok(Value::Object(document)) = json::parse(&opened.document, usize::MAX) else {
        return Err(SignError::Shape);
    };
    if opened.signers.contains(&key.did()) || opened.signers.len() == PROOFS_MAX {
        return Err(SignError::Full(key.did()));
    }
    let Ok(Value::Object(mut whole)) = json::parse(signed, usize::MAX) else {
        return Err(SignError::Shape);
    };
    let mut proofs = whole
        .remove("proof")
        .ok_or(ProofError::NoProof)
        .and_then(|proof| read_proofs(&json::canonical_value(&proof)?))
        .map_err(not_held)?;
    proofs.push(prove(&document, key, created).map_err(SignError::Json)?);
    proofs.sort_by(|a, b| a.verification_method.cmp(&b.verification_method));
    finish(document, proofs)
}

fn prove(
    document: &Map<String, Value>,
    key: &SigningKey,
    created: Timestamp,
) -> Result<Proof, JsonError> {
    let did = key.did();
    let mut proof = Proof {
        r#type: PROOF_TYPE.to_owned(),
        cryptosuite: CRYPTOSUITE.to_owned(),
        created: whole_seconds(created).to_string(),
        verification_method: format!("{did}#{}", did.multikey()),
        proof_purpose: PURPOSE.to_owned(),
        proof_value: None,
    };
    let to_sign = hash_data(document, &proof)?;
    let signature = key.dalek().sign(&to_sign);
    proof.proof_value = Some(encode_signature(&signature));
    Ok(proof)
}

/// Puts the proofs into the document: one as an object, several as an array.
fn finish(mut document: Map<String, Value>, proofs: Vec<Proof>) -> Result<Signed, SignError> {
    let mut values = proofs
        .into_iter()
        .map(serde_json::to_value)
        .collect::<Result<Vec<Value>, _>>()
        .map_err(|error| SignError::Json(JsonError::Serialize(error)))?;
    let proof = match values.len() {
        1 => values.remove(0),
        _ => Value::Array(values),
    };
    document.insert("proof".to_owned(), proof);
    let bytes = json::canonical(&document).map_err(SignError::Json)?;
    let hash = Blake3Hash::of(&bytes);
    Ok(Signed { bytes, hash })
}

/// Checks the bytes of a statement and its proofs.
pub(crate) fn open(
    bytes: &[u8],
    size_bytes_max: usize,
    now: Timestamp,
) -> Result<Opened, ProofError> {
    let parts = split(bytes, size_bytes_max)?;
    if parts.has_context {
        return Err(ProofError::Profile("@context is not used"));
    }
    let proof = parts.proof.ok_or(ProofError::NoProof)?;
    let hashed = Sha256::digest(&parts.document).into();
    Ok(Opened {
        signers: check(&proof, &hashed, now)?,
        document: parts.document,
        r#type: parts.r#type.unwrap_or_default(),
        hash: Blake3Hash::of(bytes),
    })
}

/// A statement, cut into what is signed and the proof, each in canonical form.
struct Parts<'a> {
    document: Vec<u8>,
    proof: Option<Cow<'a, [u8]>>,
    has_context: bool,
    r#type: Option<String>,
}

fn split(bytes: &[u8], size_bytes_max: usize) -> Result<Parts<'_>, ProofError> {
    const PROOF: &str = "proof";
    const CONTEXT: &str = "@context";
    const TYPE: &str = "type";
    if bytes.len() <= size_bytes_max
        && let Some(object) = Object::read(bytes)
    {
        let r#type = object.value(TYPE);
        return Ok(Parts {
            document: object.without(PROOF).concat(),
            proof: object.value(PROOF).map(Cow::Borrowed),
            has_context: object.value(CONTEXT).is_some(),
            r#type: r#type.and_then(|text| serde_json::from_slice(text).ok()),
        });
    }
    let Value::Object(mut document) = json::parse_canonical(bytes, size_bytes_max)? else {
        return Err(ProofError::NotAnObject);
    };
    let proof = document.remove(PROOF);
    let proof = proof.as_ref().map(json::canonical_value).transpose()?;
    let r#type = document.get(TYPE).and_then(Value::as_str);
    Ok(Parts {
        document: json::canonical_object(&document)?,
        proof: proof.map(Cow::Owned),
        has_context: document.contains_key(CONTEXT),
        r#type: r#type.map(str::to_owned),
    })
}

/// Checks proofs in canonical form over a document of which only the SHA-256 of its canonical form is at hand;
/// returns who signed.
pub(crate) fn check(
    proofs: &[u8],
    document_sha256: &[u8; 32],
    now: Timestamp,
) -> Result<Vec<Did>, ProofError> {
    read_proofs(proofs)?
        .into_iter()
        .map(|proof| check_proof(document_sha256, proof, now))
        .collect()
}

/// Reads one proof as an object, or several in their one order.
fn read_proofs(bytes: &[u8]) -> Result<Vec<Proof>, ProofError> {
    let proofs: Vec<&RawValue> = match bytes.first() {
        Some(b'{') => serde_json::from_slice(bytes).map(|proof| vec![proof]),
        Some(b'[') => serde_json::from_slice(bytes),
        Some(_) | None => return Err(ProofError::NoProof),
    }
    .map_err(|error| ProofError::Json(JsonError::Syntax(error)))?;
    let is_set = bytes.first() == Some(&b'[');
    if is_set && !(2..=PROOFS_MAX).contains(&proofs.len()) {
        return Err(ProofError::NoProof);
    }
    let members = |_| {
        ProofError::Profile(
            "its members must be type, cryptosuite, created, verificationMethod, proofPurpose and \
             proofValue, all texts",
        )
    };
    let proofs = proofs
        .into_iter()
        .map(|proof| serde_json::from_str(proof.get()).map_err(members))
        .collect::<Result<Vec<Proof>, ProofError>>()?;
    let ascends = |pair: &[Proof]| pair[0].verification_method < pair[1].verification_method;
    if !proofs.windows(2).all(ascends) {
        return Err(ProofError::ProofOrder);
    }
    Ok(proofs)
}

fn check_proof(
    document_hash: &[u8; 32],
    mut proof: Proof,
    now: Timestamp,
) -> Result<Did, ProofError> {
    let created = check_profile(&proof)?;
    let signer = signer(&proof.verification_method)?;
    if created > latest(now) {
        return Err(ProofError::Future { created });
    }
    let signature = proof
        .proof_value
        .take()
        .as_deref()
        .and_then(decode_signature)
        .ok_or(ProofError::Profile(
            "proofValue must be z and the base58btc form of 64 bytes",
        ))?;
    // Texts in the order of the canonical form.
    let options = serde_json::to_vec(&proof).map_err(JsonError::Serialize)?;
    let signed = join_hashes(document_hash, &options);
    if signer.has_signed(&signed, &signature) {
        Ok(signer)
    } else {
        Err(ProofError::Signature { signer })
    }
}

/// Returns the latest date that a statement may carry at `now`.
pub(crate) fn latest(now: Timestamp) -> Timestamp {
    now.checked_add(CLOCK_SKEW_MAX).unwrap_or(Timestamp::MAX)
}

/// Cuts a date to whole seconds, the precision that statements carry.
pub fn whole_seconds(date: Timestamp) -> Timestamp {
    Timestamp::from_second(date.as_second()).unwrap_or(date)
}

/// vc-di-eddsa §3.3.4: SHA-256 of the canonical proof options, then SHA-256 of the canonical document.
fn hash_data<D: Serialize, O: Serialize>(document: &D, options: &O) -> Result<[u8; 64], JsonError> {
    let document = Sha256::digest(json::canonical(document)?);
    Ok(join_hashes(&document.into(), &json::canonical(options)?))
}

fn join_hashes(document: &[u8; 32], options: &[u8]) -> [u8; 64] {
    let mut data = [0; 64];
    data[..32].copy_from_slice(&Sha256::digest(options));
    data[32..].copy_from_slice(document);
    data
}

fn check_profile(proof: &Proof) -> Result<Timestamp, ProofError> {
    if proof.r#type != PROOF_TYPE {
        return Err(ProofError::Profile("type must be DataIntegrityProof"));
    }
    if proof.cryptosuite != CRYPTOSUITE {
        return Err(ProofError::Profile("cryptosuite must be eddsa-jcs-2022"));
    }
    if proof.proof_purpose != PURPOSE {
        return Err(ProofError::Profile("proofPurpose must be assertionMethod"));
    }
    let date = ProofError::Profile("created must be a UTC date such as 2026-01-31T12:00:00Z");
    match proof.created.parse::<Timestamp>() {
        Ok(created) if created.subsec_nanosecond() == 0 && created.to_string() == proof.created => {
            Ok(created)
        }
        Ok(_) | Err(_) => Err(date),
    }
}

/// Reads `did:key:X#X`.
fn signer(method: &str) -> Result<Did, ProofError> {
    let shape = ProofError::Profile("verificationMethod must be did:key:X#X");
    let Some((did, fragment)) = method.split_once('#') else {
        return Err(shape);
    };
    // A DID has one spelling, so that the texts can be compared.
    let multikey = did.strip_prefix("did:key:");
    let did: Did = did.parse().map_err(ProofError::Key)?;
    if multikey != Some(fragment) {
        return Err(shape);
    }
    Ok(did)
}

fn encode_signature(signature: &ed25519_dalek::Signature) -> String {
    format!("z{}", bs58::encode(signature.to_bytes()).into_string())
}

fn decode_signature(text: &str) -> Option<ed25519_dalek::Signature> {
    let encoded = text.strip_prefix('z').filter(|text| text.len() <= 90)?;
    base58::decode(encoded).map(|bytes| ed25519_dalek::Signature::from_bytes(&bytes))
}

#[cfg(test)]
mod tests;
