//! How long somebody must wait after wrong tries: per address and for all addresses together. Pure.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

/// Wrong tries from one address before it must wait.
const FREE_PER_ADDRESS: u32 = 5;
/// Wrong tries from all addresses together before everybody must wait.
const FREE_GLOBAL: u32 = 50;
/// Longest wait for one address.
const WAIT_MAX_PER_ADDRESS: Duration = Duration::from_secs(15 * 60);
/// Longest wait for everybody: short, because it also locks the owner out.
const WAIT_MAX_GLOBAL: Duration = Duration::from_secs(10);
/// After so long without a wrong try they are forgotten.
const MEMORY: Duration = Duration::from_secs(60 * 60);
/// Addresses remembered at most.
const ADDRESSES_MAX: usize = 4096;

#[derive(Debug, Clone, Copy)]
struct Tries {
    wrong: u32,
    last: Timestamp,
}

/// Wrong tries so far.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    addresses: HashMap<IpAddr, Tries>,
    global: Option<Tries>,
}

impl Backoff {
    /// Returns how long `from` must still wait, if it must.
    pub(super) fn wait(&self, from: IpAddr, now: Timestamp) -> Option<Duration> {
        let own = self
            .addresses
            .get(&network(from))
            .and_then(|tries| left(*tries, FREE_PER_ADDRESS, WAIT_MAX_PER_ADDRESS, now));
        let global = self
            .global
            .and_then(|tries| left(tries, FREE_GLOBAL, WAIT_MAX_GLOBAL, now));
        own.max(global)
    }

    /// Counts a wrong try.
    pub(super) fn failed(&mut self, from: IpAddr, now: Timestamp) {
        if self.addresses.len() >= ADDRESSES_MAX {
            self.addresses.retain(|_, tries| !forgotten(*tries, now));
        }
        if self.addresses.len() >= ADDRESSES_MAX
            && let Some(oldest) = self
                .addresses
                .iter()
                .min_by_key(|(_, tries)| tries.last)
                .map(|(address, _)| *address)
        {
            self.addresses.remove(&oldest);
        }
        let count = |tries: Option<Tries>| Tries {
            wrong: tries
                .filter(|tries| !forgotten(*tries, now))
                .map_or(0, |tries| tries.wrong)
                .saturating_add(1),
            last: now,
        };
        let address = network(from);
        let own = count(self.addresses.get(&address).copied());
        self.addresses.insert(address, own);
        self.global = Some(count(self.global));
    }

    /// Forgets the address's wrong tries.
    pub(super) fn succeeded(&mut self, from: IpAddr) {
        if let Some(tries) = self.addresses.remove(&network(from))
            && let Some(global) = &mut self.global
        {
            global.wrong = global.wrong.saturating_sub(tries.wrong);
        }
    }
}

fn forgotten(tries: Tries, now: Timestamp) -> bool {
    elapsed(tries.last, now) >= MEMORY
}

fn left(tries: Tries, free: u32, wait_max: Duration, now: Timestamp) -> Option<Duration> {
    let over = tries.wrong.checked_sub(free)?;
    let wait = Duration::from_secs(1 << over.min(20)).min(wait_max);
    wait.checked_sub(elapsed(tries.last, now))
        .filter(|left| !left.is_zero())
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

/// An IPv6 customer usually holds a /64: all of it counts as one address.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => {
                let mut octets = v6.octets();
                octets[8..].fill(0);
                IpAddr::V6(octets.into())
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn waits_double_and_end() {
        let mut backoff = Backoff::default();
        let a: IpAddr = "10.0.0.1".parse().unwrap();
        let b: IpAddr = "10.0.0.2".parse().unwrap();
        for _ in 0..4 {
            backoff.failed(a, at(0));
        }
        assert_eq!(backoff.wait(a, at(0)), None);
        backoff.failed(a, at(0));
        assert_eq!(backoff.wait(a, at(0)), Some(Duration::from_secs(1)));
        backoff.failed(a, at(1));
        assert_eq!(backoff.wait(a, at(1)), Some(Duration::from_secs(2)));
        assert_eq!(backoff.wait(a, at(3)), None);
        assert_eq!(backoff.wait(b, at(1)), None);
        for _ in 0..30 {
            backoff.failed(a, at(3));
        }
        assert_eq!(backoff.wait(a, at(3)), Some(WAIT_MAX_PER_ADDRESS));
        backoff.succeeded(a);
        assert_eq!(backoff.wait(a, at(3)), None);
    }

    #[test]
    fn many_addresses_together_slow_everybody_down_a_little() {
        let mut backoff = Backoff::default();
        for n in 0..70 {
            backoff.failed(IpAddr::from([10, 0, 1, n]), at(0));
        }
        assert_eq!(
            backoff.wait("10.9.9.9".parse().unwrap(), at(0)),
            Some(WAIT_MAX_GLOBAL)
        );
    }

    #[test]
    fn a_customer_network_counts_as_one_address_and_memory_is_bounded() {
        let mut backoff = Backoff::default();
        for n in 0..8u16 {
            let address: IpAddr = format!("2001:db8::{n:x}").parse().unwrap();
            backoff.failed(address, at(0));
        }
        assert!(
            backoff
                .wait("2001:db8::ffff".parse().unwrap(), at(0))
                .is_some()
        );
        for n in 0..10_000u32 {
            backoff.failed(IpAddr::from((n << 8).to_be_bytes()), at(i64::from(n)));
        }
        assert!(backoff.addresses.len() <= ADDRESSES_MAX);
    }
}
