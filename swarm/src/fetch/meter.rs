//! The rate that a person is shown.

use std::collections::VecDeque;
use std::time::Instant;

/// Reports over which the rate is averaged.
const WINDOW: usize = 12;

/// The rate over the last few reports.
#[derive(Debug, Default)]
pub(super) struct Meter {
    samples: VecDeque<(Instant, u64)>,
}

impl Meter {
    /// Takes in the bytes that are here now; returns bytes per second.
    pub(super) fn observe(&mut self, bytes: u64, now: Instant) -> u64 {
        self.samples.push_back((now, bytes));
        if self.samples.len() > WINDOW {
            self.samples.pop_front();
        }
        match self.samples.front() {
            Some((began, before)) if *began < now => {
                let millis = now.duration_since(*began).as_millis().max(1);
                let millis = u64::try_from(millis).unwrap_or(u64::MAX);
                bytes.saturating_sub(*before).saturating_mul(1000) / millis
            }
            Some(_) | None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_reports() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut meter = Meter::default();
        assert_eq!(meter.observe(0, at(0)), 0);
        assert_eq!(meter.observe(1000, at(500)), 2000);
        for step in 2..40 {
            meter.observe(1000 + (step - 1) * 100, at(step * 500));
        }
        assert_eq!(meter.observe(4900, at(20_000)), 200);
    }
}
