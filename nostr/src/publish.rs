//! Puts an event on every relay at once and reports what each one answered.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use crate::clock::{Clock, FUTURE_SECONDS_MAX};
use crate::draft::Draft;
use crate::event::{Event, EventId, Pubkey, Signature};
use crate::filter::Filter;
use crate::link::{Incoming, Link};
use crate::message::{ClientMessage, RelayMessage};
use crate::sdk::{Authentic, Unsigned, authenticate};
use crate::signer::{SignError, Signer};
use crate::url::RelayUrl;

/// Largest event message that is sent, in bytes: what common relays take.
pub(crate) const EVENT_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Answers that are read while waiting for one; a relay that chatters beyond it is given up.
const MESSAGES_MAX: usize = 200;

/// How to publish.
#[derive(Debug, Clone)]
pub struct PublishOptions {
    /// Time for each relay to tell the current version and, again, to answer.
    pub patience: Duration,
    /// Asks every relay that accepted for the event again.
    pub read_back: bool,
    /// The time of day.
    pub clock: Clock,
}

impl Default for PublishOptions {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(20),
            read_back: true,
            clock: Clock::system(),
        }
    }
}

/// Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// There is nobody to send it to.
    #[error("no relay is configured; name at least one")]
    NoRelays,
    /// The event is larger than relays take.
    #[error(
        "the event has {0} bytes, common relays take at most {EVENT_MESSAGE_BYTES_MAX}; shorten the statement"
    )]
    TooLarge(usize),
    /// The event could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// A relay has a version from the future that no later event can replace yet.
    #[error(
        "{relay} has a version dated {seconds} s in the future; set this machine's clock, or wait that long"
    )]
    Future {
        /// Which relay.
        relay: RelayUrl,
        /// How far.
        seconds: u64,
    },
}

/// What the relays answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishReport {
    /// The event that was sent.
    pub event_id: EventId,
    /// Its author.
    pub pubkey: Pubkey,
    /// Its date in seconds since 1970.
    pub created_at: u64,
    /// Relays that took it.
    pub accepted: Vec<RelayUrl>,
    /// Relays that refused it, with their words.
    pub refused: Vec<(RelayUrl, String)>,
    /// Relays that could not be asked or did not answer, and why.
    pub unreachable: Vec<(RelayUrl, String)>,
    /// Relays that took it but did not give it back when asked, and why. Empty without `read_back`.
    pub unconfirmed: Vec<(RelayUrl, String)>,
}

/// Signs an event and sends it to every relay.
///
/// It is dated now, or one second after the newest one that it replaces and a relay has: of two in one second
/// the one with the lower id counts, not the later one.
///
/// # Errors
///
/// When nothing was sent. What relays answered, also when none accepted, is in the report.
pub async fn publish(
    relays: &[RelayUrl],
    signer: &impl Signer,
    draft: &Draft,
    options: &PublishOptions,
) -> Result<PublishReport, PublishError> {
    // Each once, told in the order in which they were named.
    let mut named = BTreeSet::new();
    let relays: Vec<&RelayUrl> = relays.iter().filter(|relay| named.insert(*relay)).collect();
    if relays.is_empty() {
        return Err(PublishError::NoRelays);
    }
    let now = options.clock.now();
    check_size(signer.pubkey(), draft.event(now))?;

    let current = draft.replaced(signer.pubkey());
    let mut peers = join_all(
        relays
            .into_iter()
            .map(|relay| Peer::open(relay.clone(), current.as_ref(), options.patience)),
    )
    .await;
    let created_at = date(&peers, now)?;
    let event = signer.sign_event(draft.event(created_at)).await?;
    let sends = peers.iter_mut().map(|peer| peer.offer(&event, options));
    join_all(sends).await;
    let closes = peers.iter_mut().filter_map(|peer| peer.link.take());
    join_all(closes.map(Link::close)).await;
    Ok(report(&event, peers))
}

/// Checks the size of the message that carries an event, before anybody is asked to sign it.
fn check_size(author: Pubkey, unsigned: Unsigned) -> Result<(), PublishError> {
    let event = Event {
        id: EventId::from_bytes([0; 32]),
        pubkey: author,
        created_at: unsigned.created_at,
        kind: unsigned.kind,
        tags: unsigned.tags,
        content: unsigned.content,
        sig: Signature::from_bytes([0; 64]),
    };
    let size_bytes = ClientMessage::Event(event).to_text().len();
    if size_bytes > EVENT_MESSAGE_BYTES_MAX {
        return Err(PublishError::TooLarge(size_bytes));
    }
    Ok(())
}

/// Decides the date: later than every version that a relay has.
fn date(peers: &[Peer], now: u64) -> Result<u64, PublishError> {
    let newest = peers
        .iter()
        .filter(|peer| peer.newest.is_some())
        .max_by_key(|peer| peer.newest);
    let Some((peer, newest)) = newest.and_then(|peer| Some((peer, peer.newest?))) else {
        return Ok(now);
    };
    let created_at = now.max(newest + 1);
    // Followers drop what is dated further ahead.
    if created_at > now + FUTURE_SECONDS_MAX {
        return Err(PublishError::Future {
            relay: peer.relay.clone(),
            seconds: newest - now,
        });
    }
    Ok(created_at)
}

fn report(event: &Authentic, peers: Vec<Peer>) -> PublishReport {
    let mut report = PublishReport {
        event_id: event.id,
        pubkey: event.pubkey,
        created_at: event.created_at,
        accepted: Vec::new(),
        refused: Vec::new(),
        unreachable: Vec::new(),
        unconfirmed: Vec::new(),
    };
    for peer in peers {
        match peer.answer {
            Answer::None(why) => report.unreachable.push((peer.relay, why)),
            Answer::Refused(words) => report.refused.push((peer.relay, words)),
            Answer::Accepted { unconfirmed } => {
                if let Some(why) = unconfirmed {
                    report.unconfirmed.push((peer.relay.clone(), why));
                }
                report.accepted.push(peer.relay);
            }
        }
    }
    report
}

#[derive(Debug)]
enum Answer {
    None(String),
    Refused(String),
    Accepted { unconfirmed: Option<String> },
}

#[derive(Debug)]
struct Peer {
    relay: RelayUrl,
    link: Option<Link>,
    newest: Option<u64>,
    answer: Answer,
}

impl Peer {
    async fn open(relay: RelayUrl, current: Option<&Filter>, patience: Duration) -> Self {
        let deadline = Instant::now() + patience;
        let mut peer = Self {
            relay,
            link: None,
            newest: None,
            answer: Answer::None(String::new()),
        };
        match timeout_at(deadline, Link::open(&peer.relay)).await {
            Err(_) => peer.answer = Answer::None("did not answer in time".to_owned()),
            Ok(Err(error)) => peer.answer = Answer::None(error.describe()),
            Ok(Ok(mut link)) => {
                // A relay that does not tell what it has is still offered the event.
                if let Some(current) = current {
                    match read(&mut link, "current", current, deadline).await {
                        Ok(events) => {
                            peer.newest = events.iter().map(|event| event.created_at).max();
                        }
                        Err(why) => {
                            tracing::debug!(relay = %peer.relay, why, "did not tell its version");
                        }
                    }
                }
                peer.link = Some(link);
            }
        }
        peer
    }

    async fn offer(&mut self, event: &Authentic, options: &PublishOptions) {
        let Some(link) = &mut self.link else { return };
        let deadline = Instant::now() + options.patience;
        self.answer = match send(link, event, deadline).await {
            Err(why) => Answer::None(why),
            Ok(Err(words)) => Answer::Refused(words),
            Ok(Ok(())) if options.read_back => {
                let filter = Filter {
                    ids: Some(vec![event.id]),
                    ..Filter::default()
                };
                let back = read(link, "back", &filter, deadline).await;
                let unconfirmed = match back {
                    Ok(events) if events.is_empty() => Some("did not give it back".to_owned()),
                    Ok(_) => None,
                    Err(why) => Some(why),
                };
                Answer::Accepted { unconfirmed }
            }
            Ok(Ok(())) => Answer::Accepted { unconfirmed: None },
        };
    }
}

/// Sends the event and waits for the answer: the outer error is the connection's, the inner the relay's words.
async fn send(
    link: &mut Link,
    event: &Authentic,
    deadline: Instant,
) -> Result<Result<(), String>, String> {
    link.send(&ClientMessage::Event(Event::clone(event)))
        .await
        .map_err(|error| error.describe())?;
    let mut said = String::new();
    for _ in 0..MESSAGES_MAX {
        match next(link, deadline, &said).await? {
            RelayMessage::Ok {
                id,
                accepted,
                words,
            } if id == event.id => {
                return Ok(if accepted { Ok(()) } else { Err(words) });
            }
            RelayMessage::Notice { words } => said = format!("; it said: {words}"),
            RelayMessage::Auth => "; it asks for authentication".clone_into(&mut said),
            RelayMessage::Ok { .. }
            | RelayMessage::Event { .. }
            | RelayMessage::Eose { .. }
            | RelayMessage::Closed { .. } => {}
        }
    }
    Err(format!(
        "sent {MESSAGES_MAX} messages without an answer{said}"
    ))
}

/// Reads the stored events that meet the filter; only authentic ones count.
pub(crate) async fn read(
    link: &mut Link,
    name: &str,
    filter: &Filter,
    deadline: Instant,
) -> Result<Vec<Authentic>, String> {
    let request = ClientMessage::Request {
        subscription: name.to_owned(),
        filters: vec![filter.clone()],
    };
    link.send(&request)
        .await
        .map_err(|error| error.describe())?;
    let mut events = Vec::new();
    for _ in 0..MESSAGES_MAX {
        match next(link, deadline, "").await? {
            RelayMessage::Event {
                subscription,
                event,
            } if subscription == name => {
                if filter.matches(&event)
                    && let Ok(event) = authenticate(event)
                {
                    events.push(event);
                }
            }
            RelayMessage::Eose { subscription } if subscription == name => {
                let close = ClientMessage::Close { subscription };
                link.send(&close).await.map_err(|error| error.describe())?;
                return Ok(events);
            }
            RelayMessage::Closed {
                subscription,
                words,
            } if subscription == name => {
                return Err(format!("ended the subscription: {words}"));
            }
            RelayMessage::Event { .. }
            | RelayMessage::Eose { .. }
            | RelayMessage::Closed { .. }
            | RelayMessage::Ok { .. }
            | RelayMessage::Notice { .. }
            | RelayMessage::Auth => {}
        }
    }
    Err(format!("sent {MESSAGES_MAX} messages without an end"))
}

async fn next(link: &mut Link, deadline: Instant, said: &str) -> Result<RelayMessage, String> {
    for _ in 0..MESSAGES_MAX {
        match timeout_at(deadline, link.next()).await {
            Err(_) => return Err(format!("did not answer in time{said}")),
            Ok(Err(error)) => return Err(format!("{}{said}", error.describe())),
            Ok(Ok(Incoming::Message(message))) => return Ok(message),
            Ok(Ok(Incoming::Alive | Incoming::Malformed(_))) => {}
        }
    }
    Err(format!(
        "sent {MESSAGES_MAX} messages that say nothing{said}"
    ))
}
