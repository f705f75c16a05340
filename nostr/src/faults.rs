//! Relays that misbehave, and doors to the readers of messages, for tests of whoever follows. Compiled with the
//! feature `faults` only.

mod relay;
mod script;

pub use relay::{BadRelay, Reply, Script, all, eose, event_reply, nothing, once};
pub use script::Fault;

use crate::message::{ClientMessage, RelayMessage};
use crate::sdk::Authentic;
use crate::topic::{self, Message};
use crate::url::RelayUrl;

/// Reads what a relay says and writes it again; `None` when it is no message of a relay.
pub fn relay_message(text: &str) -> Option<String> {
    RelayMessage::parse(text)
        .ok()
        .map(|message| message.to_text())
}

/// Reads what a client says and writes it again; `None` when it is no message of a client.
pub fn client_message(text: &str) -> Option<String> {
    ClientMessage::parse(text)
        .ok()
        .map(|message| message.to_text())
}

/// Judges an event as a follower does at `now` (seconds since 1970); `None` when it hands nothing on.
pub fn handed_on(relay: RelayUrl, event: Authentic, now: u64) -> Option<Message> {
    let wanted = topic::check(&event, now).ok()?;
    Message::new(relay, wanted, event)
}
