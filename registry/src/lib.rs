//! What exists and who vouches for it: manifests, DID signatures, releases, trust, SQLite.
//!
//! Everything that decides whether an app may be installed lives here, as pure functions of bytes,
//! key state and time. Nothing here opens a socket, spawns a process or knows how bytes arrive.

pub mod announcement;
mod base58;
pub mod catalog;
pub mod did;
pub mod id;
pub mod json;
pub mod key_state;
pub mod manifest;
pub mod proof;
pub mod release;
pub mod statement;
#[cfg(feature = "store")]
pub mod store;
mod text;
pub mod trust;
mod verified;

pub use did::Did;
pub use id::{AppId, Blake3Hash, OciDigest, Slug};
pub use proof::{Signed, SigningKey, add_proof, sign};
#[cfg(feature = "store")]
pub use store::Store;
pub use verified::Verified;
