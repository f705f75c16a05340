//! What happens when, for a clock that only goes forward.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Nanoseconds since the start.
pub(crate) type Time = u64;

/// Events in the order of their time; those of the same time in an order that is always the same.
#[derive(Debug)]
pub(crate) struct Clock<E> {
    /// How long a message takes.
    latency: Time,
    /// Messages: they all take as long, so they come in the order in which they were sent.
    messages: VecDeque<(Time, E)>,
    others: BinaryHeap<Reverse<(Time, u64, E)>>,
    next_event: u64,
    timers: Vec<Timer>,
    /// When to look at which timer.
    looks: BinaryHeap<Reverse<(Time, u32)>>,
}

/// A moment of which there is one at a time, and which is moved more often than it comes.
#[derive(Debug, Clone, Copy)]
struct Timer {
    due: Time,
    /// The first look at it, no later than `due`.
    look: Time,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Tick<E> {
    Event(E),
    Timer(usize),
}

impl<E: Ord> Clock<E> {
    pub(crate) fn new(timers: usize, latency: Time) -> Self {
        let never = Timer {
            due: Time::MAX,
            look: Time::MAX,
        };
        Self {
            latency,
            messages: VecDeque::new(),
            others: BinaryHeap::new(),
            next_event: 0,
            timers: vec![never; timers],
            looks: BinaryHeap::new(),
        }
    }

    /// Has a message arrive.
    pub(crate) fn send(&mut self, now: Time, message: E) {
        self.messages.push_back((now + self.latency, message));
    }

    pub(crate) fn at(&mut self, at: Time, event: E) {
        self.next_event += 1;
        self.others.push(Reverse((at, self.next_event, event)));
    }

    /// Sets a timer, wherever it stood before.
    pub(crate) fn set(&mut self, timer: usize, due: Time) {
        let state = &mut self.timers[timer];
        state.due = due;
        if due < state.look {
            state.look = due;
            self.looks.push(Reverse((due, timer as u32)));
        }
    }

    /// Returns what comes next and when; a timer that goes off is no longer set.
    pub(crate) fn next(&mut self) -> Option<(Time, Tick<E>)> {
        loop {
            let message = self.messages.front().map_or(Time::MAX, |(at, _)| *at);
            let other = self.others.peek().map_or(Time::MAX, |next| next.0.0);
            let look = self.looks.peek().map_or(Time::MAX, |next| next.0.0);
            if look < message && look < other {
                let Reverse((at, timer)) = self.looks.pop()?;
                let state = &mut self.timers[timer as usize];
                if state.look != at {
                    continue;
                }
                state.look = Time::MAX;
                if state.due == at {
                    state.due = Time::MAX;
                    return Some((at, Tick::Timer(timer as usize)));
                }
                let due = state.due;
                if due < Time::MAX {
                    self.set(timer as usize, due);
                }
            } else if other < message {
                let Reverse((at, _, event)) = self.others.pop()?;
                return Some((at, Tick::Event(event)));
            } else {
                let (at, event) = self.messages.pop_front()?;
                return Some((at, Tick::Event(event)));
            }
        }
    }
}
