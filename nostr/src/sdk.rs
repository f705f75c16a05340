//! Keys, signatures and event ids through nostr-sdk: the only module that names it, so that it can be swapped.
//!
//! Nothing here opens a socket; nostr-sdk's own relay pool is not used (docs/decisions/002-nostr-client.md).

use std::ops::Deref;

use nostr_sdk::nips::nip44;
use nostr_sdk::prelude as upstream;
use upstream::{FromBech32 as _, ToBech32 as _};

use crate::event::{Event, EventId, Pubkey, Signature};

/// An event is not what its author signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// The id is not the hash of the event.
    #[error("its id is not the hash of its content")]
    Id,
    /// The signature is not the author's.
    #[error("its signature is not its author's")]
    Signature,
    /// The author is no point of the curve.
    #[error("its author is no public key")]
    Pubkey,
    /// A tag that cannot be hashed.
    #[error("it has an empty tag")]
    Tag,
}

/// An event whose id and signature were checked. Only [`authenticate`] and signing construct it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentic(Event);

impl Deref for Authentic {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.0
    }
}

impl Authentic {
    /// Gives up the proof and returns the event.
    pub fn into_inner(self) -> Event {
        self.0
    }
}

/// Computes the id that an event with these fields has (NIP-01).
///
/// # Errors
///
/// When a tag is empty.
pub fn compute_id(event: &Event) -> Result<EventId, Forged> {
    let pubkey = upstream::PublicKey::from_byte_array(*event.pubkey.as_bytes());
    let id = upstream::EventId::new(
        &pubkey,
        &upstream::Timestamp::from(event.created_at),
        &upstream::Kind::from(event.kind),
        &tags(&event.tags)?,
        &event.content,
    );
    Ok(EventId::from_bytes(id.to_bytes()))
}

/// Checks that an event has the id that it says and was signed by its author.
///
/// # Errors
///
/// When either is not so.
pub fn authenticate(event: Event) -> Result<Authentic, Forged> {
    if compute_id(&event)? != event.id {
        return Err(Forged::Id);
    }
    let pubkey = upstream::PublicKey::from_byte_array(*event.pubkey.as_bytes());
    pubkey.xonly().map_err(|_| Forged::Pubkey)?;
    let signature = upstream::secp256k1::schnorr::Signature::from_slice(event.sig.as_bytes())
        .map_err(|_| Forged::Signature)?;
    let signed = upstream::Event::new(
        upstream::EventId::from_byte_array(*event.id.as_bytes()),
        pubkey,
        upstream::Timestamp::from(event.created_at),
        upstream::Kind::from(event.kind),
        [],
        "",
        signature,
    );
    // The signature is over the id alone, which was compared with the whole event above.
    if signed.verify_signature() {
        Ok(Authentic(event))
    } else {
        Err(Forged::Signature)
    }
}

fn tags(tags: &[Vec<String>]) -> Result<upstream::Tags, Forged> {
    let tags: Result<Vec<_>, _> = tags.iter().map(upstream::Tag::parse).collect();
    Ok(upstream::Tags::from_list(tags.map_err(|_| Forged::Tag)?))
}

/// The fields of an event before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsigned {
    /// Seconds since 1970.
    pub created_at: u64,
    /// Kind.
    pub kind: u16,
    /// Tags; none may be empty.
    pub tags: Vec<Vec<String>>,
    /// Free text.
    pub content: String,
}

/// A secp256k1 key pair in memory.
#[derive(Clone)]
pub(crate) struct KeyPair(upstream::Keys);

impl KeyPair {
    pub(crate) fn generate() -> Self {
        Self(upstream::Keys::generate())
    }

    /// Reads `nsec1…` (NIP-19) or 64 hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let secret = if text.starts_with("nsec1") {
            upstream::SecretKey::from_bech32(text).ok()?
        } else {
            upstream::SecretKey::from_hex(text).ok()?
        };
        Some(Self(upstream::Keys::new(secret)))
    }

    pub(crate) fn pubkey(&self) -> Pubkey {
        Pubkey::from_bytes(self.0.public_key().to_bytes())
    }

    /// Returns the secret as `nsec1…`.
    pub(crate) fn to_nsec(&self) -> String {
        let Ok(nsec) = self.0.secret_key().to_bech32();
        nsec
    }

    /// Encrypts a text so that only `to` and this key can read it (NIP-44, version 2).
    pub(crate) fn seal(&self, to: &Pubkey, text: &str) -> Option<String> {
        let to = upstream::PublicKey::from_byte_array(*to.as_bytes());
        nip44::encrypt(self.0.secret_key(), &to, text, nip44::Version::V2).ok()
    }

    /// Decrypts what `from` encrypted to this key, or this key to it.
    pub(crate) fn unseal(&self, from: &Pubkey, text: &str) -> Option<String> {
        let from = upstream::PublicKey::from_byte_array(*from.as_bytes());
        nip44::decrypt(self.0.secret_key(), &from, text).ok()
    }

    pub(crate) fn sign(&self, unsigned: Unsigned) -> Result<Authentic, Forged> {
        let mut event = Event {
            id: EventId::from_bytes([0; 32]),
            pubkey: self.pubkey(),
            created_at: unsigned.created_at,
            kind: unsigned.kind,
            tags: unsigned.tags,
            content: unsigned.content,
            sig: Signature::from_bytes([0; 64]),
        };
        event.id = compute_id(&event)?;
        let message = upstream::secp256k1::Message::from_digest(*event.id.as_bytes());
        event.sig = Signature::from_bytes(self.0.sign_schnorr(&message).serialize());
        Ok(Authentic(event))
    }
}

/// Writes a pubkey as `npub1…` (NIP-19), the form that people exchange.
pub fn npub(pubkey: &Pubkey) -> String {
    let Ok(npub) = upstream::PublicKey::from_byte_array(*pubkey.as_bytes()).to_bech32();
    npub
}
