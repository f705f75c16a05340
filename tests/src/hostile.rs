//! The other side, as parts that any test can put together: publishers, relays and peers that lie, withhold, stall and
//! flood. What each protocol's fakes do wrong is listed where the protocol lives.

mod publisher;

/// Relays that misbehave: scripted message by message, or by the name of the fault.
pub use archy_nostr::faults as relay;
/// Providers of blobs that misbehave.
pub use archy_swarm::faults as peer;
pub use publisher::HostilePublisher;
