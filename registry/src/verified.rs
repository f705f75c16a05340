//! The proof, as a type, that a statement passed every check of its `verify` function.

use std::ops::Deref;

use crate::did::Did;
use crate::id::Blake3Hash;

/// A statement whose signature, signer, dates and shape were checked.
///
/// Only this crate constructs it. Installing, rendering and starting functions take
/// `Verified<Release>`, so that an unchecked release cannot reach them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    statement: T,
    hash: Blake3Hash,
    signers: Vec<Did>,
}

impl<T> Verified<T> {
    pub(crate) fn new(statement: T, hash: Blake3Hash, signers: Vec<Did>) -> Self {
        Self {
            statement,
            hash,
            signers,
        }
    }

    /// Returns the different keys whose signatures it carries, all of them checked; none for a key state that
    /// follows from a DID alone.
    pub fn signers(&self) -> &[Did] {
        &self.signers
    }

    /// Returns the BLAKE3 hash of the signed bytes (the JCS form including the proof).
    pub fn hash(&self) -> Blake3Hash {
        self.hash
    }

    /// Gives up the proof and returns the statement.
    pub fn into_inner(self) -> T {
        self.statement
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.statement
    }
}
