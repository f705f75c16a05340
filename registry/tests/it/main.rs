//! Integration tests of archy-registry, through its public API only.

mod common;
mod ed25519;
mod statement;
mod store;
mod store_catalog;
mod vectors_published;
