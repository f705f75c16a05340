//! Performs what `session` decides on one relay's connection, again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::Shared;
use super::conduct::{Conduct, Misconduct};
use super::session::{Action, Place, Session};
use super::status::{RelayState, RelayStatus};
use crate::cursor::CursorStore;
use crate::event::Event;
use crate::link::{Incoming, Link, LinkError};
use crate::message::RelayMessage;
use crate::sdk::{authenticate, compute_id};
use crate::statement::timestamp;
use crate::topic::{self, Message, Unwanted};
use crate::url::RelayUrl;

/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often a cursor that moved is saved while all is well.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// A connection that lasted so long counts as working: the next wait is the first again.
const WORKED_AFTER: Duration = Duration::from_secs(60);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("stopped")]
    Stopped,
    #[error("{}", .0.describe())]
    Link(#[from] LinkError),
    #[error(transparent)]
    Misconduct(#[from] Misconduct),
    #[error("gave no sign of life for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("ended the subscription: {0}")]
    Refused(String),
}

impl Ended {
    /// Returns whether the longer waits apply.
    fn is_misconduct(&self) -> bool {
        match self {
            Self::Misconduct(_) | Self::Refused(_) => true,
            Self::Link(error) => error.is_misconduct(),
            Self::Stopped | Self::Silent(_) => false,
        }
    }
}

pub(super) async fn run<C: CursorStore>(
    shared: Arc<Shared<C>>,
    relay: RelayUrl,
    index: usize,
    status: watch::Sender<RelayStatus>,
) {
    let mut reader = Reader {
        cursor: None,
        saved: None,
        full_read: None,
        read_again: shared.read_again.clone(),
        relay,
        status,
        shared,
    };
    reader.load_cursor().await;
    let seed = reader.shared.seed.wrapping_add(index as u64);
    let mut failures = 0_u32;
    loop {
        let began = Instant::now();
        let ended = reader.connect_and_follow().await;
        reader.save_cursor().await;
        if matches!(ended, Ended::Stopped) {
            break;
        }
        failures = if began.elapsed() >= WORKED_AFTER {
            1
        } else {
            failures.saturating_add(1)
        };
        let config = &reader.shared.config;
        let backoff = if ended.is_misconduct() {
            config.misconduct_backoff
        } else {
            config.backoff
        };
        let delay = backoff.delay(failures, seed);
        reader.note_end(&ended, failures, delay);
        let wait = tokio::time::sleep(delay);
        if reader
            .shared
            .cancel
            .run_until_cancelled(wait)
            .await
            .is_none()
        {
            break;
        }
    }
    reader.status.send_modify(|status| {
        status.state = RelayState::Stopped;
        status.connected_since = None;
        status.next_attempt = None;
    });
}

struct Reader<C> {
    relay: RelayUrl,
    shared: Arc<Shared<C>>,
    status: watch::Sender<RelayStatus>,
    read_again: watch::Receiver<u64>,
    /// Up to when everything was handed on, in seconds since 1970.
    cursor: Option<u64>,
    saved: Option<(u64, Instant)>,
    /// When the relay was last read from its beginning.
    full_read: Option<Instant>,
}

impl<C: CursorStore> Reader<C> {
    async fn connect_and_follow(&mut self) -> Ended {
        self.status.send_modify(|status| {
            status.state = RelayState::Connecting;
            status.next_attempt = None;
        });
        let cancel = self.shared.cancel.clone();
        let mut link = match cancel.run_until_cancelled(Link::open(&self.relay)).await {
            None => return Ended::Stopped,
            Some(Err(error)) => return error.into(),
            Some(Ok(link)) => link,
        };
        tracing::debug!(relay = %self.relay, "connected");
        let ended = match cancel.run_until_cancelled(self.follow(&mut link)).await {
            None => Ended::Stopped,
            Some(Err(ended)) => ended,
            Some(Ok(never)) => match never {},
        };
        link.close().await;
        ended
    }

    async fn follow(&mut self, link: &mut Link) -> Result<std::convert::Infallible, Ended> {
        let clock = self.shared.config.clock.clone();
        let idle = self.shared.config.idle;
        let now = Instant::now();
        let mut conduct = Conduct::new(now);
        let (mut session, actions) = Session::start(self.since(now), clock.now(), now);
        self.read_again.mark_unchanged();
        self.note_connected(clock.now());
        self.perform(link, actions, now).await?;

        let mut heard_last = now;
        let mut pinged = false;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let actions = tokio::select! {
                incoming = link.next() => {
                    let now = Instant::now();
                    heard_last = now;
                    pinged = false;
                    if session.is_caught_up() {
                        self.cursor = self.cursor.max(Some(clock.now()));
                    }
                    match incoming? {
                        Incoming::Alive => {
                            conduct.control(now)?;
                            Vec::new()
                        }
                        Incoming::Malformed(error) => {
                            self.note_invalid(&mut conduct, &error.to_string(), now)?;
                            Vec::new()
                        }
                        Incoming::Message(message) => {
                            self.message(&mut session, &mut conduct, message, now).await?
                        }
                    }
                }
                _ = ticks.tick() => {
                    let now = Instant::now();
                    let silent = now.saturating_duration_since(heard_last);
                    if silent >= 2 * idle {
                        return Err(Ended::Silent(silent));
                    }
                    if silent >= idle && !pinged {
                        pinged = true;
                        link.ping().await?;
                    }
                    self.save_cursor_if_due(now).await;
                    if session.is_caught_up() && self.is_full_read_due(now) {
                        session.walk(None, clock.now(), now)
                    } else {
                        session.tick(self.since(now), clock.now(), now)
                    }
                }
                Ok(()) = self.read_again.changed() => {
                    let now = Instant::now();
                    session.restart(clock.now(), now)
                }
            };
            self.perform(link, actions, Instant::now()).await?;
        }
    }

    async fn message(
        &mut self,
        session: &mut Session,
        conduct: &mut Conduct,
        message: RelayMessage,
        now: Instant,
    ) -> Result<Vec<Action>, Ended> {
        match &message {
            RelayMessage::Event { .. } => {}
            RelayMessage::Notice { words } => {
                conduct.control(now)?;
                let words = words.clone();
                self.status
                    .send_modify(|status| status.last_notice = Some(words));
            }
            RelayMessage::Closed {
                subscription,
                words,
            } => {
                conduct.control(now)?;
                if Session::is_live(subscription) {
                    return Err(Ended::Refused(words.clone()));
                }
            }
            RelayMessage::Eose { .. } if session.expects(&message) => {}
            RelayMessage::Ok { .. } | RelayMessage::Eose { .. } | RelayMessage::Auth => {
                conduct.control(now)?;
            }
        }
        let RelayMessage::Event {
            subscription,
            event,
        } = message
        else {
            return Ok(session.message(&message, self.shared.config.clock.now(), now));
        };
        self.status.send_modify(|status| status.received += 1);
        let place = session.place(&subscription, &event);
        self.event(session, conduct, place, event, now).await?;
        let pause = conduct.event(now);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Ok(Vec::new())
    }

    async fn event(
        &mut self,
        session: &mut Session,
        conduct: &mut Conduct,
        place: Place,
        event: Event,
        now: Instant,
    ) -> Result<(), Ended> {
        if place == Place::Foreign {
            return self.note_invalid(conduct, "an event that no subscription asked for", now);
        }
        let unix = self.shared.config.clock.now();
        let wanted = match topic::check(&event, unix) {
            Ok(wanted) => wanted,
            Err(error @ Unwanted::NotAskedFor) => {
                return self.note_invalid(conduct, &error.to_string(), now);
            }
            Err(_) => {
                self.status.send_modify(|status| status.unwanted += 1);
                if place == Place::Stored && compute_id(&event) == Ok(event.id) {
                    session.stored(&event, now);
                }
                return Ok(());
            }
        };
        // A known id proves nothing about this event: it must be the hash of what came.
        match compute_id(&event) {
            Ok(id) if id == event.id => {}
            Ok(_) => return self.note_invalid(conduct, "an event whose id is not its hash", now),
            Err(error) => return self.note_invalid(conduct, &error.to_string(), now),
        }
        let first_heard = self.shared.seen().first_heard(&event.id);
        if let Some(first) = first_heard {
            self.note_duplicate(place, now.saturating_duration_since(first));
            if place == Place::Stored {
                session.stored(&event, now);
            }
            return Ok(());
        }
        let event = match authenticate(event) {
            Ok(event) => event,
            Err(error) => return self.note_invalid(conduct, &error.to_string(), now),
        };
        if place == Place::Stored {
            session.stored(&event, now);
        }
        let id = event.id;
        let Some(message) = Message::new(self.relay.clone(), wanted, event) else {
            return self.note_invalid(conduct, "an impossible date", now);
        };
        // Two relays may come here with one event: only the first that enters it hands it on. The place in
        // the channel is taken first, so that an event that was entered is handed on.
        let Ok(permit) = self.shared.heard.reserve().await else {
            return Err(Ended::Stopped);
        };
        if !self.shared.seen().insert(id, now) {
            drop(permit);
            self.note_duplicate(place, Duration::ZERO);
            return Ok(());
        }
        permit.send(message);
        self.status.send_modify(|status| {
            status.handed_on += 1;
            status.last_event = timestamp(unix);
            if place == Place::Live {
                status.lag = Some(Duration::ZERO);
            }
        });
        Ok(())
    }

    async fn perform(
        &mut self,
        link: &mut Link,
        actions: Vec<Action>,
        now: Instant,
    ) -> Result<(), Ended> {
        for action in actions {
            match action {
                Action::Send(message) => link.send(&message).await?,
                Action::CaughtUp { full, began } => {
                    if full {
                        self.full_read = Some(now);
                    }
                    self.cursor = self.cursor.max(Some(began));
                    self.save_cursor().await;
                    let cursor = self.cursor.and_then(timestamp);
                    self.status.send_modify(|status| {
                        status.state = RelayState::Live;
                        status.cursor = cursor;
                        status.failures = 0;
                    });
                }
                Action::GaveUp(why) => {
                    tracing::warn!(relay = %self.relay, why, "could not read all stored events");
                    self.note_error(why.to_owned());
                    self.status
                        .send_modify(|status| status.state = RelayState::Live);
                }
            }
        }
        Ok(())
    }

    /// Returns from when on the relay is to be read, `None` for its beginning.
    fn since(&self, now: Instant) -> Option<u64> {
        if self.full_read.is_some() && self.is_full_read_due(now) {
            return None;
        }
        let overlap = self.shared.config.overlap.as_secs();
        self.cursor.map(|cursor| cursor.saturating_sub(overlap))
    }

    fn is_full_read_due(&self, now: Instant) -> bool {
        let every = self.shared.config.full_read_every;
        self.full_read
            .is_none_or(|last| now.saturating_duration_since(last) >= every)
    }
}

impl<C: CursorStore> Reader<C> {
    async fn load_cursor(&mut self) {
        match self.shared.cursors.load(&self.relay).await {
            Ok(cursor) => {
                // A cursor from a clock that was ahead must not skip what came meanwhile.
                let now = self.shared.config.clock.now();
                self.cursor = cursor
                    .and_then(|cursor| u64::try_from(cursor.as_second()).ok())
                    .map(|cursor| cursor.min(now));
                self.status.send_modify(|status| status.cursor = cursor);
            }
            Err(error) => {
                tracing::warn!(relay = %self.relay, error, "could not read the cursor; reading all");
            }
        }
        // With a cursor the first full read waits its turn, so that a restart is cheap.
        self.full_read = self.cursor.map(|_| Instant::now());
    }

    async fn save_cursor_if_due(&mut self, now: Instant) {
        let due = self
            .saved
            .is_none_or(|(_, at)| now.saturating_duration_since(at) >= SAVE_EVERY);
        if due {
            self.save_cursor().await;
        }
    }

    async fn save_cursor(&mut self) {
        let Some(cursor) = self.cursor else { return };
        if self.saved.is_some_and(|(saved, _)| saved == cursor) {
            return;
        }
        let Some(at) = timestamp(cursor) else { return };
        match self.shared.cursors.save(&self.relay, at).await {
            Ok(()) => {
                self.saved = Some((cursor, Instant::now()));
                self.status.send_modify(|status| status.cursor = Some(at));
            }
            Err(error) => tracing::warn!(relay = %self.relay, error, "could not save the cursor"),
        }
    }

    fn note_connected(&self, unix: u64) {
        self.status.send_modify(|status| {
            status.state = RelayState::CatchingUp;
            status.connected_since = timestamp(unix);
        });
    }

    fn note_end(&self, ended: &Ended, failures: u32, delay: Duration) {
        let words = ended.to_string();
        tracing::info!(relay = %self.relay, error = words, retry_ms = delay.as_millis() as u64, "relay lost");
        self.note_error(words);
        let next = timestamp(self.shared.config.clock.now() + delay.as_secs());
        self.status.send_modify(|status| {
            status.state = RelayState::Waiting;
            status.connected_since = None;
            status.next_attempt = next;
            status.failures = failures;
        });
    }

    fn note_error(&self, words: String) {
        if let Some(now) = timestamp(self.shared.config.clock.now()) {
            self.status
                .send_modify(|status| status.last_error = Some((now, words)));
        }
    }

    fn note_duplicate(&self, place: Place, lag: Duration) {
        let now = timestamp(self.shared.config.clock.now());
        self.status.send_modify(|status| {
            status.duplicates += 1;
            status.last_event = now;
            if place == Place::Live {
                status.lag = Some(lag);
            }
        });
    }

    fn note_invalid(&self, conduct: &mut Conduct, why: &str, now: Instant) -> Result<(), Ended> {
        tracing::debug!(relay = %self.relay, why, "invalid message");
        self.status.send_modify(|status| status.invalid += 1);
        Ok(conduct.invalid(why, now)?)
    }
}
