//! Integration tests: our client, our relay, relays that lie, and one that we did not write.
#![expect(
    clippy::unwrap_used,
    reason = "what tests share fails like the tests themselves"
)]

mod bunker;
mod client_and_relay;
mod corpus;
mod example;
mod interop;
mod lies;
mod listing;
mod opinions;
mod properties;
mod protocol;
mod relay;
mod seeders;
mod support;
