//! Integration tests of archy-registry, through its public API only.
#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

mod catalog;
mod common;
mod corpus;
mod deltas;
mod ed25519;
mod key_history;
mod key_properties;
mod manifest;
mod manifest_roundtrip;
mod properties;
mod search;
mod statement;
mod store;
mod store_catalog;
mod store_keys;
mod store_listings;
mod store_migration;
mod store_quota;
mod store_trust;
mod trust;
mod trust_network;
mod trust_outcomes;
mod vectors_published;
