//! What an operator sees of a relay.

use std::time::Duration;

use jiff::Timestamp;

use crate::url::RelayUrl;

/// Where following a relay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayState {
    /// A connection is being made.
    Connecting,
    /// Connected; the stored events are being read.
    CatchingUp,
    /// Connected; new events come as they are published.
    Live,
    /// Not connected; the next attempt comes later.
    Waiting,
    /// The follower has stopped.
    Stopped,
}

/// How a relay is doing. Counts are since the follower started.
#[derive(Debug, Clone, PartialEq)]
pub struct RelayStatus {
    /// Its address.
    pub relay: RelayUrl,
    /// Where following it stands.
    pub state: RelayState,
    /// Since when it is connected.
    pub connected_since: Option<Timestamp>,
    /// When the next attempt to connect comes.
    pub next_attempt: Option<Timestamp>,
    /// When it last handed on an authentic event.
    pub last_event: Option<Timestamp>,
    /// What went wrong last, and when.
    pub last_error: Option<(Timestamp, String)>,
    /// What it last said to people, on one line (`NOTICE`).
    pub last_notice: Option<String>,
    /// How long after the first relay it handed on the last event that came live.
    pub lag: Option<Duration>,
    /// Up to when everything that it had was handed on.
    pub cursor: Option<Timestamp>,
    /// Failures to connect or stay connected since it last worked.
    pub failures: u32,
    /// Events that it sent.
    pub received: u64,
    /// Events that it was the first to hand on.
    pub handed_on: u64,
    /// Authentic events that another relay, or itself, had handed on before.
    pub duplicates: u64,
    /// Events that are not handed on although the relay may be honest: expired, future, too large.
    pub unwanted: u64,
    /// Messages that no honest relay sends: forged, altered, malformed, not asked for.
    pub invalid: u64,
}

impl RelayStatus {
    pub(super) fn new(relay: RelayUrl) -> Self {
        Self {
            relay,
            state: RelayState::Connecting,
            connected_since: None,
            next_attempt: None,
            last_event: None,
            last_error: None,
            last_notice: None,
            lag: None,
            cursor: None,
            failures: 0,
            received: 0,
            handed_on: 0,
            duplicates: 0,
            unwanted: 0,
            invalid: 0,
        }
    }

    /// Returns the part of what it sent that no honest relay sends, from 0 to 1.
    pub fn invalid_ratio(&self) -> f64 {
        let sent = self.handed_on + self.duplicates + self.unwanted + self.invalid;
        if sent == 0 {
            return 0.0;
        }
        self.invalid as f64 / sent as f64
    }

    /// Returns whether it is connected.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, RelayState::CatchingUp | RelayState::Live)
    }
}
