//! Integration tests of archy-registry, through its public API only.

#[expect(dead_code, reason = "used by the modules to come")]
mod common;
mod ed25519;
mod vectors_published;
