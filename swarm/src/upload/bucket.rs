//! A token bucket that may be overdrawn by one request.

use std::num::NonZeroU64;
use std::time::Duration;

/// Time after which an unused bucket holds no more.
const FULL_AFTER: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Bucket {
    /// Bytes per second; nothing is ever missing without.
    rate: Option<f64>,
    /// Bytes at `at`; below zero is debt.
    level: f64,
    at: Duration,
}

impl Bucket {
    pub(super) fn new(rate: Option<NonZeroU64>, now: Duration) -> Self {
        Self {
            rate: rate.map(|rate| rate.get() as f64),
            level: 0.0,
            at: now,
        }
    }

    /// Returns when no debt is left.
    pub(super) fn ready_at(&self) -> Duration {
        match self.rate {
            Some(rate) if self.level < 0.0 => self.at + Duration::from_secs_f64(-self.level / rate),
            Some(_) | None => Duration::ZERO,
        }
    }

    pub(super) fn take(&mut self, bytes: u64, now: Duration) {
        self.level = self.level_at(now) - bytes as f64;
        self.at = now;
    }

    pub(super) fn give_back(&mut self, bytes: u64) {
        self.level += bytes as f64;
    }

    /// Tells whether a new bucket would be no worse.
    pub(super) fn is_full(&self, now: Duration) -> bool {
        self.rate.is_none() || self.level_at(now) >= 0.0
    }

    fn level_at(&self, now: Duration) -> f64 {
        let Some(rate) = self.rate else {
            return 0.0;
        };
        let since = now.saturating_sub(self.at).as_secs_f64();
        (self.level + rate * since).min(rate * FULL_AFTER.as_secs_f64())
    }
}
