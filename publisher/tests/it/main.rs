//! The program as a person runs it, against a node made of the real swarm and a real relay.

#![expect(
    clippy::unwrap_used,
    reason = "helpers outside test functions fail the test that called them"
)]

mod catalog;
mod cosign;
mod deltas;
mod identity;
mod image;
mod node;
mod owner;
mod person;
mod publish;
mod seeding;
mod shipped;
mod signer;
mod trust;
mod words;
