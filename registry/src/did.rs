//! `did:key` identifiers for Ed25519 keys.
//!
//! Implements the [did:key method](https://w3c-ccg.github.io/did-key-spec/) for multicodec `ed25519-pub`
//! (`0xed01`, base58btc multibase) and nothing else.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::base58;
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
        known(&self.0).unwrap_or_else(|| {
            VerifyingKey::from_bytes(&self.0)
                .expect("the bytes were those of a key when the DID was made")
        })
    }

    /// Tells whether the key signed `message`: answers as [`VerifyingKey::verify_strict`] does, without looking for
    /// the point that the signature's first half stands for.
    ///
    /// That half is compared with the one spelling of a point that is computed, so of the points of small order
    /// it can only be the one spelling too. The key is of none, or it would be no DID.
    pub fn has_signed(&self, message: &[u8], signature: &Signature) -> bool {
        !SMALL_ORDER.contains(signature.r_bytes()) && self.key().verify(message, signature).is_ok()
    }

    /// Returns the multibase text after `did:key:` (`z6Mk…`).
    pub fn multikey(&self) -> String {
        let mut bytes = [0; 34];
        bytes[..2].copy_from_slice(&ED25519_PUB);
        bytes[2..].copy_from_slice(&self.0);
        format!("z{}", base58::encode(&bytes))
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
        let bytes: Vec<u8> = match base58::decode::<34>(encoded) {
            Some(bytes) => bytes.to_vec(),
            None => bs58::decode(encoded).into_vec().map_err(|_| syntax())?,
        };
        let key = bytes.strip_prefix(&ED25519_PUB).ok_or(DidError::KeyType)?;
        let key: [u8; 32] = key.try_into().map_err(|_| syntax())?;
        if known(&key).is_some() {
            return Ok(Self(key));
        }
        let key = VerifyingKey::from_bytes(&key).map_err(|_| DidError::WeakKey)?;
        let did = Self::from_key(key)?;
        let mut keys = keys();
        if keys.len() >= KEYS_MAX {
            keys.clear();
        }
        keys.insert(did.0, key);
        Ok(did)
    }
}
string_serde!(Did);

/// Keys that are remembered, 224 bytes each; beyond it all are forgotten.
const KEYS_MAX: usize = 4096;

/// Keys of DIDs that were read: publishers recur, every statement names its own several times, and finding the point
/// that a key stands for costs a good part of a signature check.
static KEYS: LazyLock<Mutex<HashMap<[u8; 32], VerifyingKey>>> = LazyLock::new(Mutex::default);

fn keys() -> MutexGuard<'static, HashMap<[u8; 32], VerifyingKey>> {
    KEYS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the key of a DID that was read before.
fn known(bytes: &[u8; 32]) -> Option<VerifyingKey> {
    keys().get(bytes).copied()
}

/// Tells whether the 255 bits of a y coordinate are below 2^255 − 19, so that they are its only spelling
/// (RFC 8032 §5.1.3).
fn is_below_prime(key: &[u8; 32]) -> bool {
    let highest = key[31] & 0x7f;
    !(highest == 0x7f && key[1..31].iter().all(|byte| *byte == 0xff) && key[0] >= 0xed)
}

/// The canonical spellings of the eight points of small order: no honest signature begins with one.
const SMALL_ORDER: [[u8; 32]; 8] = {
    const ORDER_8: [u8; 32] = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ];
    const OTHER_ORDER_8: [u8; 32] = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ];
    let mut spellings = [[0; 32]; 8];
    // The identity, and the points of order 2 and 4.
    spellings[0][0] = 1;
    spellings[1] = [0xff; 32];
    spellings[1][0] = 0xec;
    spellings[1][31] = 0x7f;
    spellings[3][31] = 0x80;
    spellings[4] = ORDER_8;
    spellings[5] = negative(ORDER_8);
    spellings[6] = OTHER_ORDER_8;
    spellings[7] = negative(OTHER_ORDER_8);
    spellings
};

const fn negative(mut point: [u8; 32]) -> [u8; 32] {
    point[31] |= 0x80;
    point
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::SigningKey;

    #[test]
    fn keys_that_were_forgotten_are_found_again() {
        let did = |number: usize| {
            let mut seed = [5; 32];
            seed[..8].copy_from_slice(&number.to_be_bytes());
            SigningKey::from_seed(&seed).did()
        };
        for number in 0..KEYS_MAX + 8 {
            let text = did(number).to_string();
            assert_eq!(text.parse(), Ok(did(number)));
        }
        assert!(keys().len() <= KEYS_MAX);
        for number in [0, KEYS_MAX - 1, KEYS_MAX + 7] {
            assert_eq!(Did::from_key(did(number).key()), Ok(did(number)));
            assert_eq!(did(number).to_string().parse(), Ok(did(number)));
        }
    }
}
