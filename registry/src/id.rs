//! Names for apps, blobs and OCI content, parsed once and safe to use in paths, units and URLs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::did::Did;

/// Longest slug in bytes: it names directories, units, containers and DNS labels (63, RFC 1035 §2.3.4),
/// with room for a suffix.
pub const SLUG_LEN_MAX: usize = 40;

/// A name failed its grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a slug.
    #[error(
        "{0:?} is not a slug: use 1 to 40 of a-z, 0-9 and single inner hyphens, starting with a letter"
    )]
    Slug(String),
    /// Not a BLAKE3 hash.
    #[error("{0:?} is not a BLAKE3 hash: expected 64 lower-case hexadecimal digits")]
    Hash(String),
    /// Not an OCI digest.
    #[error("{0:?} is not an OCI digest: expected sha256: and 64 lower-case hexadecimal digits")]
    Digest(String),
    /// Not an endpoint id.
    #[error("{0:?} is not an endpoint id: expected 64 lower-case hexadecimal digits")]
    Endpoint(String),
    /// Not an app id.
    #[error("{0:?} is not an app id: expected did:key:…/slug")]
    App(String),
}

macro_rules! string_serde {
    ($name:ty) => {
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use string_serde;

/// An app's or container's short name: `[a-z][a-z0-9]*(-[a-z0-9]+)*`, at most [`SLUG_LEN_MAX`] bytes.
///
/// Safe as a file name, unit name, container name and DNS label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slug(String);

impl Slug {
    /// Returns the slug as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Slug {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let part = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let starts_with_letter = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if text.len() <= SLUG_LEN_MAX && starts_with_letter && text.split('-').all(part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::Slug(text.chars().take(80).collect()))
        }
    }
}
string_serde!(Slug);

/// An app: the origin DID that publishes it and the slug it chose. Written `did:key:…/slug`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppId {
    /// The publisher's origin DID.
    pub publisher: Did,
    /// The app's name among that publisher's apps.
    pub slug: Slug,
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.publisher, self.slug)
    }
}

impl FromStr for AppId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let invalid = || IdError::App(text.chars().take(160).collect());
        let (publisher, slug) = text.rsplit_once('/').ok_or_else(invalid)?;
        Ok(Self {
            publisher: publisher.parse().map_err(|_| invalid())?,
            slug: slug.parse()?,
        })
    }
}
string_serde!(AppId);

/// The BLAKE3 hash that names a blob; written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Blake3Hash([u8; 32]);

impl Blake3Hash {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Hashes all that `bytes` gives, without holding it in memory.
    ///
    /// # Errors
    ///
    /// When reading fails.
    pub fn of_reader(bytes: impl std::io::Read) -> std::io::Result<Self> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(bytes)?;
        Ok(Self(*hasher.finalize().as_bytes()))
    }

    /// Wraps an already computed hash.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Blake3Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Blake3Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blake3Hash({self})")
    }
}

impl FromStr for Blake3Hash {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        decode_hex(text)
            .map(Self)
            .ok_or_else(|| IdError::Hash(text.chars().take(80).collect()))
    }
}
string_serde!(Blake3Hash);

/// An OCI content digest (`sha256:…`), OCI image-spec `descriptor.md#digests`; only SHA-256 is used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OciDigest([u8; 32]);

impl OciDigest {
    /// Wraps an already computed SHA-256.
    pub const fn from_sha256(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the digest without its `sha256:` prefix, as 64 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Returns the 32 bytes of the SHA-256.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for OciDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for OciDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OciDigest({self})")
    }
}

impl FromStr for OciDigest {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.strip_prefix("sha256:")
            .and_then(decode_hex)
            .map(Self)
            .ok_or_else(|| IdError::Digest(text.chars().take(80).collect()))
    }
}
string_serde!(OciDigest);

/// An iroh endpoint's public key; written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId([u8; 32]);

impl EndpointId {
    /// Wraps the 32 bytes of an endpoint's Ed25519 public key.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndpointId({self})")
    }
}

impl FromStr for EndpointId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        decode_hex(text)
            .map(Self)
            .ok_or_else(|| IdError::Endpoint(text.chars().take(80).collect()))
    }
}
string_serde!(EndpointId);

/// Decodes exactly 64 lower-case hexadecimal digits.
fn decode_hex(text: &str) -> Option<[u8; 32]> {
    let canonical =
        text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !canonical {
        return None;
    }
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}
