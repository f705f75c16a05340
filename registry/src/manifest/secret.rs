//! Secrets that the node makes at install.

use serde::{Deserialize, Serialize};

use crate::id::Slug;

/// A secret made once at install and never shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratedSecret {
    /// Name within the app.
    pub name: Slug,
    /// How it is made.
    pub kind: SecretKind,
    /// For `bcrypt`: the secret whose hash this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Slug>,
}

/// How a secret is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretKind {
    /// 16 random bytes in hexadecimal.
    Hex16,
    /// 32 random bytes in hexadecimal.
    Hex32,
    /// 32 random bytes in base64.
    Base64,
    /// The bcrypt hash of another secret.
    Bcrypt,
    /// A random UUID (RFC 9562 version 4).
    Uuid,
}
