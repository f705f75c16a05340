//! Integration tests of archy-registry, through its public API only.

mod common;
mod ed25519;
mod manifest;
mod manifest_roundtrip;
mod statement;
mod store;
mod store_catalog;
mod trust;
mod vectors_published;
