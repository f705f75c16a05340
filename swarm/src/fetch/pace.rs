//! Judges from byte counts and time whether a provider is still worth waiting for.

use std::time::{Duration, Instant};

use crate::config::Patience;

/// What to do about a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// Nothing verified arrived for the time allowed.
    Stalled,
    /// Something arrives, but slower than the floor.
    Slow {
        bytes_per_second: u64,
    },
}

/// The pace of one request.
#[derive(Debug)]
pub(super) struct Pace {
    patience: Patience,
    bytes: u64,
    changed_at: Instant,
    window_began: Instant,
    window_bytes: u64,
}

impl Pace {
    pub(super) fn new(patience: Patience, now: Instant) -> Self {
        Self {
            patience,
            bytes: 0,
            changed_at: now,
            window_began: now,
            window_bytes: 0,
        }
    }

    /// Takes in the number of verified bytes so far.
    pub(super) fn observe(&mut self, bytes: u64, now: Instant) -> Verdict {
        if bytes > self.bytes {
            self.changed_at = now;
            self.window_bytes += bytes - self.bytes;
            self.bytes = bytes;
        }
        if now.duration_since(self.changed_at) >= self.patience.stall {
            return Verdict::Stalled;
        }
        let window = now.duration_since(self.window_began);
        if window < self.patience.slow {
            return Verdict::Fine;
        }
        let bytes_per_second = rate(self.window_bytes, window);
        self.window_began = now;
        self.window_bytes = 0;
        if bytes_per_second < self.patience.slow_bytes_per_second {
            Verdict::Slow { bytes_per_second }
        } else {
            Verdict::Fine
        }
    }
}

/// Bytes per second, rounded down.
pub(super) fn rate(bytes: u64, over: Duration) -> u64 {
    let millis = u64::try_from(over.as_millis()).unwrap_or(u64::MAX).max(1);
    bytes.saturating_mul(1000) / millis
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience() -> Patience {
        Patience {
            stall: Duration::from_secs(3),
            slow: Duration::from_secs(10),
            slow_bytes_per_second: 1000,
            ..Patience::default()
        }
    }

    #[test]
    fn silence_is_a_stall_and_a_trickle_is_slow() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::new(patience(), start);
        assert_eq!(pace.observe(0, at(2)), Verdict::Fine);
        assert_eq!(pace.observe(16, at(2)), Verdict::Fine);
        assert_eq!(pace.observe(16, at(4)), Verdict::Fine);
        assert_eq!(pace.observe(16, at(5)), Verdict::Stalled);

        let mut pace = Pace::new(patience(), start);
        for second in 1..10 {
            assert_eq!(pace.observe(second * 100, at(second)), Verdict::Fine);
        }
        assert_eq!(
            pace.observe(1000, at(10)),
            Verdict::Slow {
                bytes_per_second: 100
            }
        );
    }

    #[test]
    fn a_steady_provider_is_never_given_up() {
        let start = Instant::now();
        let mut pace = Pace::new(patience(), start);
        for second in 1..100 {
            let verdict = pace.observe(second * 1000, start + Duration::from_secs(second));
            assert_eq!(verdict, Verdict::Fine);
        }
    }
}
