//! Who signs events: a key in a file, or somebody else's program that keeps it (NIP-46).

use std::future::Future;

use crate::bunker::{Bunker, BunkerError};
use crate::event::Pubkey;
use crate::key::NostrKey;
use crate::sdk::{Authentic, Forged, Unsigned};

/// An event could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// It has an empty tag.
    #[error("the event could not be signed")]
    Event(#[from] Forged),
    /// The remote signer did not sign it.
    #[error(transparent)]
    Remote(#[from] BunkerError),
}

/// Signs events as one author.
pub trait Signer: Send + Sync {
    /// Returns the author.
    fn pubkey(&self) -> Pubkey;

    /// Signs an event; it may take as long as a person needs to agree.
    fn sign_event(
        &self,
        unsigned: Unsigned,
    ) -> impl Future<Output = Result<Authentic, SignError>> + Send;
}

impl Signer for NostrKey {
    fn pubkey(&self) -> Pubkey {
        Self::pubkey(self)
    }

    fn sign_event(
        &self,
        unsigned: Unsigned,
    ) -> impl Future<Output = Result<Authentic, SignError>> + Send {
        std::future::ready(self.sign(unsigned).map_err(SignError::from))
    }
}

impl Signer for Bunker {
    fn pubkey(&self) -> Pubkey {
        Self::pubkey(self)
    }

    async fn sign_event(&self, unsigned: Unsigned) -> Result<Authentic, SignError> {
        Ok(self.sign(unsigned).await?)
    }
}

/// Either way of signing.
#[derive(Debug)]
pub enum NostrSigner {
    /// With a key at hand.
    Key(NostrKey),
    /// By a remote signer.
    Bunker(Box<Bunker>),
}

impl Signer for NostrSigner {
    fn pubkey(&self) -> Pubkey {
        match self {
            Self::Key(key) => key.pubkey(),
            Self::Bunker(bunker) => bunker.pubkey(),
        }
    }

    async fn sign_event(&self, unsigned: Unsigned) -> Result<Authentic, SignError> {
        match self {
            Self::Key(key) => key.sign_event(unsigned).await,
            Self::Bunker(bunker) => bunker.sign_event(unsigned).await,
        }
    }
}
