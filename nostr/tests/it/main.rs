//! Integration tests: our client, our relay, relays that lie, and one that we did not write.

mod client_and_relay;
mod support;
