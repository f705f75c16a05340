//! How many requests share the uplink: as few as fill it, found by trying.

use std::time::Duration;

use super::REQUESTS_MAX;

/// Slots at the start, and the fewest: with more, the buffers of a home's router are too small for each to have a share.
const SLOTS_MIN: usize = 4;
/// Part of the rate that a step up must gain to be kept.
const GAIN_MIN: f64 = 0.05;
/// Part of the rate that a step down may cost.
const LOSS_MAX: f64 = 0.02;
/// Time between two tries when the last one gave nothing.
const REST: Duration = Duration::from_secs(20);

/// A step whose effect is watched.
#[derive(Debug, Clone, Copy)]
struct Step {
    from: usize,
    rate_before: f64,
}

#[derive(Debug)]
pub(super) struct Slots {
    open: usize,
    step: Option<Step>,
    rest_until: Duration,
    /// Whether the next try is to do with fewer.
    downwards: bool,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            open: SLOTS_MIN,
            step: None,
            rest_until: Duration::ZERO,
            downwards: false,
        }
    }
}

impl Slots {
    /// Returns how many requests are answered at a time.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Returns how many more may wait.
    pub(super) fn queue(&self) -> usize {
        (self.open / 4).max(2)
    }

    /// Learns from a window: how many bytes per second went out, and whether anybody waited for a slot.
    pub(super) fn learn(&mut self, rate: f64, was_pressed: bool, now: Duration) {
        if !was_pressed {
            // Nothing can be learned from an uplink that nobody waits for.
            if let Some(step) = self.step.take() {
                self.open = step.from;
            }
            return;
        }
        if let Some(Step { from, rate_before }) = self.step.take() {
            let pays = if self.open > from {
                rate > rate_before * (1.0 + GAIN_MIN)
            } else {
                rate >= rate_before * (1.0 - LOSS_MAX)
            };
            if !pays {
                self.open = from;
                self.rest_until = now + REST;
                self.downwards = !self.downwards && self.open > SLOTS_MIN;
                return;
            }
        } else if now < self.rest_until {
            return;
        }
        let from = self.open;
        let stride = (from / 4).max(1);
        self.open = if self.downwards {
            from.saturating_sub(stride).max(SLOTS_MIN)
        } else {
            (from + stride).min(REQUESTS_MAX)
        };
        if self.open == from {
            self.downwards = false;
            self.rest_until = now + REST;
        } else {
            self.step = Some(Step {
                from,
                rate_before: rate,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs ten minutes of windows over a link whose rate depends on the open slots.
    fn settle(rate: impl Fn(usize) -> f64) -> (usize, usize) {
        let mut slots = Slots::default();
        let (mut least, mut most) = (usize::MAX, 0);
        for window in 0..300_u64 {
            slots.learn(rate(slots.open()), true, Duration::from_secs(2 * window));
            if window > 150 {
                least = least.min(slots.open());
                most = most.max(slots.open());
            }
        }
        (least, most)
    }

    #[test]
    fn an_uplink_that_is_full_keeps_few_slots() {
        let (least, most) = settle(|_| 2.5e6);
        assert_eq!(least, SLOTS_MIN);
        assert!(most <= SLOTS_MIN + SLOTS_MIN / 4, "{most}");
    }

    #[test]
    fn an_uplink_that_slow_peers_leave_idle_opens_until_it_is_full() {
        let (least, most) = settle(|open| (open as f64 * 100e3).min(10e6));
        // 100 fill it; tries go a quarter below and above.
        assert!(least >= 70 && most <= 160, "{least} to {most}");
    }

    #[test]
    fn slots_never_exceed_what_is_answered_at_a_time() {
        let (least, most) = settle(|open| open as f64 * 1e6);
        assert!(
            least >= REQUESTS_MAX * 3 / 4 && most <= REQUESTS_MAX,
            "{least} to {most}"
        );
    }

    #[test]
    fn nothing_is_learned_while_nobody_waits() {
        let mut slots = Slots::default();
        for window in 0..100_u64 {
            slots.learn(1e6, false, Duration::from_secs(2 * window));
        }
        assert_eq!(slots.open(), SLOTS_MIN);
    }
}
