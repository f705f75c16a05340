//! How a relay behaves on one connection, and when that is enough: pure.

use std::time::{Duration, Instant};

use crate::bucket::{Bucket, Rate};

/// Messages that an honest relay does not send, before the connection is ended.
const INVALID: Rate = Rate {
    burst: 50,
    per_second: 0.1,
};
/// Messages beside events: `NOTICE`, `CLOSED`, `AUTH`, pings.
const CONTROL: Rate = Rate {
    burst: 100,
    per_second: 1.0,
};
/// Events; beyond it the connection is read no faster.
const EVENTS: Rate = Rate {
    burst: 5_000,
    per_second: 500.0,
};

/// A relay did what no honest relay does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misconduct {
    #[error("sent too many invalid messages, the last: {0}")]
    Invalid(String),
    #[error("sent too many messages that carry no event")]
    Chatter,
}

#[derive(Debug)]
pub(crate) struct Conduct {
    invalid: Bucket,
    control: Bucket,
    events: Bucket,
}

impl Conduct {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            invalid: Bucket::new(INVALID, now),
            control: Bucket::new(CONTROL, now),
            events: Bucket::new(EVENTS, now),
        }
    }

    /// Notes an event; returns how long to leave the connection unread.
    pub(crate) fn event(&mut self, now: Instant) -> Duration {
        self.events.take(now).err().unwrap_or_default()
    }

    /// Notes a message that an honest relay does not send.
    pub(crate) fn invalid(&mut self, why: &str, now: Instant) -> Result<(), Misconduct> {
        self.invalid
            .take(now)
            .map_err(|_| Misconduct::Invalid(why.to_owned()))
    }

    /// Notes a message without an event.
    pub(crate) fn control(&mut self, now: Instant) -> Result<(), Misconduct> {
        self.control.take(now).map_err(|_| Misconduct::Chatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends() {
        let now = Instant::now();
        let mut conduct = Conduct::new(now);
        assert_eq!(
            (0..100)
                .take_while(|_| conduct.invalid("x", now).is_ok())
                .count(),
            50
        );
        assert_eq!(
            (0..200)
                .take_while(|_| conduct.control(now).is_ok())
                .count(),
            100
        );
        assert_eq!(
            (0..9000)
                .take_while(|_| conduct.event(now).is_zero())
                .count(),
            5000
        );
    }
}
