//! How long to wait before the next attempt, as a pure function of the attempts so far and a seed.

use std::time::Duration;

/// The waits between attempts: they double from `first` to `longest`, each spread over its upper half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Wait after the first failure.
    pub first: Duration,
    /// No wait is longer.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(300),
        }
    }
}

impl Backoff {
    /// Returns the wait after `failures` failures in a row (from 1), between half and all of the doubled wait.
    ///
    /// The same seed and count give the same wait; seeds that differ spread nodes that lost the same
    /// relay at the same moment.
    pub fn delay(&self, failures: u32, seed: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.longest);
        let part = mix(seed ^ u64::from(failures)) >> 11;
        let jitter = part as f64 / (1_u64 << 53) as f64;
        whole.mul_f64(0.5 + jitter / 2.0)
    }
}

/// The finaliser of SplitMix64: spreads neighbouring seeds over all 64 bits.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_double_within_their_bounds(failures in 1_u32..1000, seed: u64) {
            let backoff = Backoff::default();
            let whole = Duration::from_secs(1 << (failures - 1).min(20)).min(backoff.longest);
            let delay = backoff.delay(failures, seed);
            prop_assert!(delay >= whole / 2 && delay <= whole, "{delay:?} of {whole:?}");
            prop_assert_eq!(delay, backoff.delay(failures, seed));
        }
    }

    #[test]
    fn seeds_spread_the_waits() {
        let delays: std::collections::BTreeSet<_> = (0..100)
            .map(|seed| Backoff::default().delay(5, seed))
            .collect();
        assert!(delays.len() > 95);
    }
}
