//! The rate at which a provider delivers, measured only while something is asked of it.

use std::time::Duration;

/// Time constant of the average.
const WINDOW: Duration = Duration::from_millis(1000);
/// Shortest stretch of time that is measured.
const STEP: Duration = Duration::from_millis(50);

/// Bytes per second of one provider, averaged over its busy time.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter {
    bytes_per_second: Option<f64>,
    /// Since when the bytes in `pending` are counted.
    since: Duration,
    pending: u64,
    /// Busy time that went into the average.
    measured: Duration,
}

impl Meter {
    /// Says that from now on, after nothing was asked, something is.
    pub(super) fn resume(&mut self, now: Duration) {
        self.since = now;
        self.pending = 0;
    }

    /// Takes in verified bytes.
    pub(super) fn count(&mut self, bytes: u64, now: Duration) {
        self.pending += bytes;
        let span = now.saturating_sub(self.since);
        if span >= STEP {
            self.fold(span);
            self.since = now;
            self.pending = 0;
        }
    }

    /// Takes in what was counted since the last look, because nothing more will come.
    pub(super) fn pause(&mut self, now: Duration) {
        let span = now.saturating_sub(self.since);
        if self.pending > 0 && !span.is_zero() {
            self.fold(span);
        }
        self.since = now;
        self.pending = 0;
    }

    fn fold(&mut self, span: Duration) {
        let rate = self.pending as f64 / span.as_secs_f64();
        self.measured += span;
        // The first measurements count by their length alone: an average of nothing is no average.
        let weight = span.as_secs_f64() / self.measured.min(WINDOW).as_secs_f64();
        let weight = weight.min(1.0);
        self.bytes_per_second = Some(match self.bytes_per_second {
            Some(old) => old + (rate - old) * weight,
            None => rate,
        });
    }

    /// Returns the average, once something was measured.
    pub(super) fn bytes_per_second(&self) -> Option<f64> {
        self.bytes_per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn follows_the_rate_and_leaves_idle_time_out() {
        let mut meter = Meter::default();
        assert_eq!(meter.bytes_per_second(), None);
        meter.resume(ms(0));
        for step in 1..=20 {
            meter.count(1000, ms(step * 100));
        }
        let rate = meter.bytes_per_second().unwrap();
        assert!((9_900.0..10_100.0).contains(&rate), "{rate}");
        meter.pause(ms(2000));
        meter.resume(ms(60_000));
        for step in 1..=40 {
            meter.count(3000, ms(60_000 + step * 100));
        }
        let rate = meter.bytes_per_second().unwrap();
        assert!((29_000.0..30_100.0).contains(&rate), "{rate}");
    }
}
