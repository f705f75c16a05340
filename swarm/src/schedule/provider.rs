//! What is known of one provider.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;

use super::meter::Meter;
use super::pieces::Pieces;
use super::{RequestId, Settings};

/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// First pause after an answer that says "busy", and how often it doubles: the few who ask a peer come back soon, all
/// the world asks an origin.
const BUSY_PAUSE: Duration = Duration::from_millis(200);
const BUSY_DOUBLINGS: [u32; 2] = [2, 5];

/// Why a provider is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// It was found on the local network.
    Lan,
    /// The release names it as its origin.
    Origin,
    /// It is configured, or somebody named it.
    Peer,
}

impl std::fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Lan => "LAN node",
            Self::Origin => "origin",
            Self::Peer => "peer",
        })
    }
}

/// Whether a provider is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// Not connected; to be dialled when its pause is over.
    Down,
    Dialling,
    Up,
}

/// Whether an origin says what to take of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advice {
    /// It has not said anything yet.
    None,
    /// It has; with the time since which something of use is waited for.
    Given { waits_since: Option<Duration> },
    /// Nothing of use came for too long: it is asked for what is missing until something does.
    Lapsed,
}

#[derive(Debug)]
pub(super) struct Provider {
    pub(super) kind: ProviderKind,
    pub(super) line: Line,
    /// Pieces that it claims, here or not.
    pub(super) has: Pieces,
    /// How often it broke off at a piece.
    denied: BTreeMap<u32, u32>,
    pub(super) meter: Meter,
    /// Time from a request to its first verified bytes, averaged.
    pub(super) first_byte: Duration,
    pub(super) in_flight: Vec<RequestId>,
    /// Failures since the last verified byte or the last answer.
    pub(super) strikes: u32,
    pub(super) busy_strikes: u32,
    pub(super) not_before: Duration,
    /// Whether it is connected and waits for `not_before`.
    pub(super) pausing: bool,
    pub(super) is_out: bool,
    pub(super) lied: bool,
    pub(super) bytes: u64,
    pub(super) suggested: VecDeque<u32>,
    pub(super) advice: Advice,
}

impl Provider {
    pub(super) fn new(kind: ProviderKind, has: Pieces, now: Duration) -> Self {
        Self {
            kind,
            line: Line::Down,
            has,
            denied: BTreeMap::new(),
            meter: Meter::default(),
            first_byte: Duration::ZERO,
            in_flight: Vec::new(),
            strikes: 0,
            busy_strikes: 0,
            not_before: now,
            pausing: false,
            is_out: false,
            lied: false,
            bytes: 0,
            suggested: VecDeque::new(),
            advice: Advice::None,
        }
    }

    /// Tells whether its claims make a piece less rare: origins have everything, and words are cheap.
    pub(super) fn counts(&self) -> bool {
        self.kind != ProviderKind::Origin && self.bytes > 0
    }

    /// Tells whether it can be asked now or soon.
    pub(super) fn is_usable(&self) -> bool {
        self.line == Line::Up && !self.is_out
    }

    /// Notes a failure: a pause, and after too many in a row the end.
    pub(super) fn strike(&mut self, settings: &Settings, now: Duration) {
        let pause = settings.retry * 2_u32.pow(self.strikes.min(6));
        self.strikes += 1;
        self.pause(now + pause.min(PAUSE_MAX));
        if self.strikes >= settings.attempts_max {
            self.is_out = true;
        }
    }

    /// Notes that it has too much to do: a pause by chance, so that not all come back at once.
    pub(super) fn busy(&mut self, settings: &Settings, rng: &mut fastrand::Rng, now: Duration) {
        let doublings = BUSY_DOUBLINGS[usize::from(self.kind == ProviderKind::Origin)];
        let pause = BUSY_PAUSE.min(settings.retry) * 2_u32.pow(self.busy_strikes.min(doublings));
        self.busy_strikes += 1;
        // When it has room, others will have what it suggests now.
        self.suggested.clear();
        // Whoever says so is alive.
        self.strikes = 0;
        self.pause(now + pause.mul_f64(0.5 + rng.f64()));
    }

    fn pause(&mut self, until: Duration) {
        self.not_before = until;
        self.pausing = true;
    }

    pub(super) fn heard_after(&mut self, waited: Duration) {
        self.first_byte = if self.first_byte.is_zero() {
            waited
        } else {
            (self.first_byte * 3 + waited) / 4
        };
    }

    pub(super) fn deny(&mut self, piece: u32) {
        *self.denied.entry(piece).or_default() += 1;
    }

    pub(super) fn denials(&self, piece: u32) -> u32 {
        self.denied.get(&piece).copied().unwrap_or(0)
    }
}
