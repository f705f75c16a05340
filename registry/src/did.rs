//! `did:key` identifiers for Ed25519 keys.
//!
//! Implements the [did:key method](https://w3c-ccg.github.io/did-key-spec/) for multicodec `ed25519-pub`
//! (`0xed01`, base58btc multibase) and nothing else.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};

use crate::id::string_serde;

/// A publisher: a `did:key` whose Ed25519 key is canonical and not of small order.
///
/// Holds the 32 bytes only: a decompressed key is six times as large, and DIDs are everywhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Did([u8; 32]);

/// A text is not a DID that archy accepts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DidError {
    /// Not of the form `did:key:z…`.
    #[error("{0:?} is not a did:key: expected did:key:z6Mk…")]
    Syntax(String),
    /// Another key type than Ed25519.
    #[error("did:key of another key type than Ed25519")]
    KeyType,
    /// The key does not decode to a point, is not canonically encoded, or is of small order.
    #[error("did:key holds a weak or non-canonical Ed25519 key")]
    WeakKey,
}

const ED25519_PUB: [u8; 2] = [0xed, 0x01];

impl Did {
    /// Names the holder of `key`.
    ///
    /// # Errors
    ///
    /// [`DidError::WeakKey`] for keys of small order or with a non-canonical encoding.
    pub fn from_key(key: VerifyingKey) -> Result<Self, DidError> {
        // The points of which the sign can be written in two ways are weak.
        if key.is_weak() || !is_below_prime(key.as_bytes()) {
            return Err(DidError::WeakKey);
        }
        Ok(Self(key.to_bytes()))
    }

    /// Returns the key that the DID consists of.
    pub fn key(&self) -> VerifyingKey {
        if let Some(last) = LAST.with_borrow(|last| {
            let last = last.as_ref().filter(|last| last.did == *self);
            last.map(|last| last.key)
        }) {
            return last;
        }
        VerifyingKey::from_bytes(&self.0)
            .expect("the bytes were those of a key when the DID was made")
    }

    /// Returns the multibase text after `did:key:` (`z6Mk…`).
    pub fn multikey(&self) -> String {
        let mut bytes = ED25519_PUB.to_vec();
        bytes.extend_from_slice(&self.0);
        format!("z{}", bs58::encode(bytes).into_string())
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "did:key:{}", self.multikey())
    }
}

impl fmt::Debug for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Did {
    type Err = DidError;

    fn from_str(text: &str) -> Result<Self, DidError> {
        let syntax = || DidError::Syntax(text.chars().take(80).collect());
        let encoded = text.strip_prefix("did:key:z").ok_or_else(syntax)?;
        if encoded.len() > 64 {
            return Err(syntax());
        }
        if let Some(did) = LAST.with_borrow(|last| {
            let last = last.as_ref().filter(|last| last.text == text);
            last.map(|last| last.did)
        }) {
            return Ok(did);
        }
        let bytes = bs58::decode(encoded).into_vec().map_err(|_| syntax())?;
        let key = bytes.strip_prefix(&ED25519_PUB).ok_or(DidError::KeyType)?;
        let key: [u8; 32] = key.try_into().map_err(|_| syntax())?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| DidError::WeakKey)?;
        let did = Self::from_key(key)?;
        LAST.set(Some(Parsed {
            text: text.to_owned(),
            did,
            key,
        }));
        Ok(did)
    }
}
string_serde!(Did);

/// A text that was parsed.
struct Parsed {
    text: String,
    did: Did,
    key: VerifyingKey,
}

thread_local! {
    /// The DID that was parsed last: a statement names its publisher several times, and finding the point that
    /// a key stands for costs a good part of a signature check.
    static LAST: std::cell::RefCell<Option<Parsed>> = const { std::cell::RefCell::new(None) };
}

/// Tells whether the 255 bits of a y coordinate are below 2^255 − 19, so that they are its only spelling
/// (RFC 8032 §5.1.3).
fn is_below_prime(key: &[u8; 32]) -> bool {
    let highest = key[31] & 0x7f;
    !(highest == 0x7f && key[1..31].iter().all(|byte| *byte == 0xff) && key[0] >= 0xed)
}
