//! Decides which provider to ask next; pure, with time as an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use archy_registry::Blake3Hash;
use archy_registry::release::Endpoint;

use super::report::ProviderReport;
use super::{PROVIDERS_MAX, ProviderKind, ProviderProgress};
use crate::config::Patience;
use crate::transport::GetFailure;

/// Distinct failures that are remembered per provider.
const FAILURES_MAX: usize = 8;
/// Weight of the newest measurement in a provider's rate, in percent.
const RATE_WEIGHT_PERCENT: u64 = 40;

/// Position of a provider in [`Sources`].
pub(super) type Index = usize;

/// Whom to ask next for a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    /// Ask this one.
    Use(Index),
    /// Nobody right now; look again when something changes, at the latest then.
    Wait(Option<Instant>),
    /// Nobody is left.
    Exhausted,
}

/// What became of a provider taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    /// It is new and must be dialled.
    New(Index),
    /// It is known and must be dialled again.
    Again(Index),
    /// It is known.
    Known,
    /// There are too many.
    Full,
}

/// Whether a provider is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Dialling,
    Up,
    Down,
}

/// How a provider stands with one blob.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    /// It will not give this blob in this fetch.
    out: bool,
    failures: u32,
    /// Failures since the last verified byte.
    strikes: u32,
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Source {
    endpoint: Endpoint,
    kind: ProviderKind,
    line: Line,
    dial_strikes: u32,
    dial_not_before: Option<Instant>,
    banned: bool,
    damaged: bool,
    slow: bool,
    in_flight: u32,
    bytes_per_second: Option<u64>,
    bytes: u64,
    failures: Vec<String>,
    blobs: HashMap<Blake3Hash, Standing>,
}

/// The providers of one fetch.
#[derive(Debug)]
pub(super) struct Sources {
    patience: Patience,
    sources: Vec<Source>,
}

impl Sources {
    pub(super) fn new(patience: Patience) -> Self {
        Self {
            patience,
            sources: Vec::new(),
        }
    }

    /// Takes in a provider. A known one that is seen on the local network gains addresses, and
    /// another try when it could not be reached.
    pub(super) fn add(&mut self, endpoint: Endpoint, kind: ProviderKind) -> Added {
        let known = self
            .sources
            .iter()
            .position(|source| source.endpoint.id == endpoint.id);
        if let Some(index) = known {
            let source = &mut self.sources[index];
            let before = source.endpoint.addresses.len();
            for address in endpoint.addresses {
                if !source.endpoint.addresses.contains(&address) {
                    source.endpoint.addresses.push(address);
                }
            }
            let learned = source.endpoint.addresses.len() > before;
            if kind == ProviderKind::Lan && learned && source.line == Line::Down {
                source.line = Line::Dialling;
                source.dial_strikes = 0;
                return Added::Again(index);
            }
            return Added::Known;
        }
        if self.sources.len() >= PROVIDERS_MAX {
            return Added::Full;
        }
        self.sources.push(Source {
            endpoint,
            kind,
            line: Line::Dialling,
            dial_strikes: 0,
            dial_not_before: None,
            banned: false,
            damaged: false,
            slow: false,
            in_flight: 0,
            bytes_per_second: None,
            bytes: 0,
            failures: Vec::new(),
            blobs: HashMap::new(),
        });
        Added::New(self.sources.len() - 1)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    pub(super) fn endpoint(&self, index: Index) -> Endpoint {
        self.sources[index].endpoint.clone()
    }

    /// Chooses the provider that promises the earliest end.
    pub(super) fn pick(&self, blob: &Blake3Hash, now: Instant) -> Pick {
        let mut best: Option<(Rank, Index)> = None;
        let mut dialling = false;
        let mut until: Option<Instant> = None;
        for (index, source) in self.sources.iter().enumerate() {
            let standing = source.blobs.get(blob).copied().unwrap_or_default();
            let given_up =
                source.line == Line::Down && source.dial_strikes >= self.patience.attempts_max;
            if source.banned || standing.out || given_up {
                continue;
            }
            if source.line == Line::Dialling {
                dialling = true;
                continue;
            }
            let not_before = match source.line {
                Line::Down => source.dial_not_before.max(standing.not_before),
                Line::Up | Line::Dialling => standing.not_before,
            };
            if let Some(not_before) = not_before.filter(|not_before| *not_before > now) {
                until = Some(until.map_or(not_before, |until| until.min(not_before)));
                continue;
            }
            let rank = rank(source, standing);
            if best.is_none_or(|(other, _)| rank < other) {
                best = Some((rank, index));
            }
        }
        match best {
            // Whoever failed before is asked again only when nobody is about to answer.
            Some((rank, _)) if rank.is_doubtful() && dialling => Pick::Wait(until),
            Some((_, index)) => Pick::Use(index),
            None if dialling || until.is_some() => Pick::Wait(until),
            None => Pick::Exhausted,
        }
    }

    /// Says whether someone else, connected and without a failure, could give the blob.
    pub(super) fn has_better(&self, than: Index, blob: &Blake3Hash) -> bool {
        self.sources.iter().enumerate().any(|(index, source)| {
            let standing = source.blobs.get(blob).copied().unwrap_or_default();
            index != than
                && source.line == Line::Up
                && !source.banned
                && !source.slow
                && !standing.out
                && standing.failures == 0
        })
    }

    pub(super) fn dialling(&mut self, index: Index) {
        self.sources[index].line = Line::Dialling;
    }

    pub(super) fn connected(&mut self, index: Index) {
        self.sources[index].line = Line::Up;
    }

    pub(super) fn unreachable(&mut self, index: Index, reason: &str, now: Instant) {
        let pause = pause(&self.patience, self.sources[index].dial_strikes);
        let source = &mut self.sources[index];
        source.line = Line::Down;
        source.dial_strikes += 1;
        source.dial_not_before = Some(now + pause);
        remember(&mut source.failures, format!("cannot be reached: {reason}"));
    }

    pub(super) fn began(&mut self, index: Index) {
        self.sources[index].in_flight += 1;
    }

    /// Records verified bytes as they arrive.
    pub(super) fn received(&mut self, index: Index, bytes: u64) {
        self.sources[index].bytes += bytes;
    }

    /// Records the end of a request that brought `bytes` at `bytes_per_second`.
    pub(super) fn ended(
        &mut self,
        index: Index,
        blob: &Blake3Hash,
        (bytes, bytes_per_second): (u64, u64),
        outcome: Result<(), &GetFailure>,
        now: Instant,
    ) {
        let patience = self.patience;
        let source = &mut self.sources[index];
        source.in_flight = source.in_flight.saturating_sub(1);
        if bytes > 0 {
            source.dial_strikes = 0;
            source.bytes_per_second =
                Some(source.bytes_per_second.map_or(bytes_per_second, |old| {
                    (old * (100 - RATE_WEIGHT_PERCENT) + bytes_per_second * RATE_WEIGHT_PERCENT)
                        / 100
                }));
        }
        let standing = source.blobs.entry(*blob).or_default();
        if bytes > 0 {
            standing.strikes = 0;
        }
        let Err(failure) = outcome else {
            return;
        };
        standing.failures += 1;
        standing.strikes += 1;
        standing.not_before = Some(now + pause(&patience, standing.strikes - 1));
        match failure {
            GetFailure::NotServed | GetFailure::WrongSize { .. } => standing.out = true,
            GetFailure::WrongData => source.banned = true,
            GetFailure::Slow { .. } => source.slow = true,
            GetFailure::Damaged
            | GetFailure::Busy
            | GetFailure::BrokeOff(_)
            | GetFailure::Stalled { .. } => {
                source.damaged |= *failure == GetFailure::Damaged;
                standing.out = standing.strikes >= patience.attempts_max;
            }
            GetFailure::Local(_) => {}
        }
        remember(&mut source.failures, failure.to_string());
    }

    /// Records that an established connection is gone.
    pub(super) fn lost(&mut self, index: Index) {
        self.sources[index].line = Line::Down;
        self.sources[index].dial_not_before = None;
    }

    /// Lists what each provider did.
    pub(super) fn reports(&self) -> Vec<ProviderReport> {
        self.sources
            .iter()
            .map(|source| ProviderReport {
                id: source.endpoint.id,
                kind: source.kind,
                bytes: source.bytes,
                lied: source.banned,
                damaged: source.damaged,
                failures: source.failures.clone(),
            })
            .collect()
    }

    /// Lists the providers that sent something, most first.
    pub(super) fn progress(&self) -> Vec<ProviderProgress> {
        let mut list: Vec<ProviderProgress> = self
            .sources
            .iter()
            .filter(|source| source.bytes > 0)
            .map(|source| ProviderProgress {
                id: source.endpoint.id,
                kind: source.kind,
                bytes: source.bytes,
            })
            .collect();
        list.sort_by_key(|provider| std::cmp::Reverse(provider.bytes));
        list
    }
}

/// Order of preference, smallest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    failures: u32,
    slow: bool,
    line_down: bool,
    /// Negated share of its rate that one more request would get; unmeasured providers count as
    /// fast, so that each is tried.
    share: std::cmp::Reverse<u64>,
    in_flight: u32,
    kind: ProviderKind,
}

impl Rank {
    fn is_doubtful(&self) -> bool {
        self.failures > 0 || self.slow || self.line_down
    }
}

fn rank(source: &Source, standing: Standing) -> Rank {
    let rate = source.bytes_per_second.unwrap_or(u64::MAX);
    Rank {
        failures: standing.failures,
        slow: source.slow,
        line_down: source.line == Line::Down,
        share: std::cmp::Reverse(rate / u64::from(source.in_flight + 1)),
        in_flight: source.in_flight,
        kind: source.kind,
    }
}

/// The pause before another attempt: doubles, up to 32 times the first.
fn pause(patience: &Patience, strikes: u32) -> Duration {
    patience.retry * 2u32.pow(strikes.min(5))
}

fn remember(failures: &mut Vec<String>, failure: String) {
    if failures.len() < FAILURES_MAX && !failures.contains(&failure) {
        failures.push(failure);
    }
}

#[cfg(test)]
mod tests;
