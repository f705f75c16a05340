//! Swarm nodes that talk over real UDP sockets on the loopback interface.

#![expect(
    clippy::unwrap_used,
    reason = "helpers outside test functions fail the test that called them"
)]

mod access;
mod claims;
mod company;
mod delta;
mod fetch;
mod finder;
mod gossip;
mod image;
mod lan;
mod layout;
mod oci;
mod oci_clients;
mod resume;
mod storage;
mod streaming;
mod support;
mod uploads;
