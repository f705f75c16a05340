//! The ways in which a relay misbehaves, each by name.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::relay::{BadRelay, Reply, Script, all, event_reply, nothing, once};
use crate::event::{Event, EventId, Signature};
use crate::filter::Filter;

/// The pause of a relay that sends one byte per second.
const TRICKLE: Duration = Duration::from_secs(1);
/// Size of the frame of a relay that sends too much at once, in bytes: beyond what any client takes.
const OVERSIZE_BYTES: usize = 1024 * 1024;

/// What a relay does wrong with the events that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it hands on what it has and is asked for, newest first. The control.
    None,
    /// It says that it has nothing.
    Withholds,
    /// It sends each event so many times, and all of them again whenever it is asked for anything.
    Replays(usize),
    /// It sends the oldest first.
    Reorders,
    /// It sends each event under an id that is not its hash.
    BadId,
    /// It sends each event with a signature that is not its author's.
    BadSignature,
    /// It sends each event as it is and then once more, with other content under the known id.
    Alters,
    /// It sends each event under subscriptions that nobody made.
    WrongSubscription,
    /// It never says that there are no more stored events.
    NeverEnds,
    /// It asks for authentication without end.
    AuthStorm,
    /// It sends its events round and round, so many in all.
    Floods(usize),
    /// It sends so many events that nobody signed, each with another id.
    FloodsForged(usize),
    /// It sends a frame that is larger than any client takes.
    Oversize,
    /// It sends text that is not UTF-8.
    NotUtf8,
    /// It sends its answer one byte per second.
    Trickles,
    /// It hangs up on whoever asks for anything.
    HangsUp,
}

impl Fault {
    /// Every fault, with floods of so many events.
    pub fn all(flood: usize) -> [Self; 15] {
        [
            Self::Withholds,
            Self::Replays(3),
            Self::Reorders,
            Self::BadId,
            Self::BadSignature,
            Self::Alters,
            Self::WrongSubscription,
            Self::NeverEnds,
            Self::AuthStorm,
            Self::Floods(flood),
            Self::FloodsForged(flood),
            Self::Oversize,
            Self::NotUtf8,
            Self::Trickles,
            Self::HangsUp,
        ]
    }

    /// Starts a relay on the loopback address that has these events and misbehaves so; it accepts what it is
    /// offered and forgets it.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub async fn relay(self, events: Vec<Event>) -> std::io::Result<BadRelay> {
        let events = Arc::new(events);
        BadRelay::start(move |message| self.answer(message, &events)).await
    }

    /// Returns what such a relay answers to a message of a client.
    pub fn answer(self, message: &Value, events: &Arc<Vec<Event>>) -> Script {
        let name = message[1].as_str().unwrap_or_default().to_owned();
        match message[0].as_str() {
            Some("EVENT") => once(Reply::Json(json!(["OK", message[1]["id"], true, ""]))),
            Some("REQ") => {
                let filter = Filter::from_json(&message[2]).unwrap_or_default();
                let mut asked_for: Vec<Event> = events
                    .iter()
                    .filter(|event| filter.matches(event))
                    .cloned()
                    .collect();
                asked_for.sort_by_key(|event| std::cmp::Reverse(event.created_at));
                asked_for.truncate(filter.limit.unwrap_or(usize::MAX));
                self.stored(name, asked_for, events)
            }
            _ => nothing(),
        }
    }

    fn stored(self, name: String, asked_for: Vec<Event>, events: &Arc<Vec<Event>>) -> Script {
        let end = Reply::Json(json!(["EOSE", name]));
        let each = |change: &dyn Fn(&mut Event)| -> Script {
            let mut replies: Vec<Reply> = asked_for
                .iter()
                .map(|event| {
                    let mut event = event.clone();
                    change(&mut event);
                    event_reply(&name, &event)
                })
                .collect();
            replies.push(end.clone());
            all(replies)
        };
        match self {
            Self::None => each(&|_| {}),
            Self::Withholds => once(end),
            Self::Replays(times) => {
                let replies = events.iter().map(|event| event_reply(&name, event));
                let mut replies: Vec<Reply> = replies
                    .flat_map(|reply| std::iter::repeat_n(reply, times))
                    .collect();
                replies.push(end);
                all(replies)
            }
            Self::Reorders => {
                let mut replies: Vec<Reply> = asked_for
                    .iter()
                    .rev()
                    .map(|event| event_reply(&name, event))
                    .collect();
                replies.push(end);
                all(replies)
            }
            Self::BadId => each(&|event| event.id = flipped(&event.id)),
            Self::BadSignature => each(&|event| event.sig = Signature::from_bytes([7; 64])),
            Self::Alters => {
                let altered = |event: &Event| Event {
                    content: format!("{} ", event.content),
                    ..event.clone()
                };
                let pairs = asked_for.iter().flat_map(|event| {
                    [
                        event_reply(&name, event),
                        event_reply(&name, &altered(event)),
                    ]
                });
                all(pairs.chain([end]).collect())
            }
            Self::WrongSubscription => {
                let foreign = asked_for.iter().flat_map(|event| {
                    [event_reply("other", event), event_reply("page-9999", event)]
                });
                all(foreign.chain([end]).collect())
            }
            Self::NeverEnds => all(asked_for
                .iter()
                .map(|event| event_reply(&name, event))
                .collect()),
            Self::AuthStorm => {
                Box::new((0_u64..).map(|n| Reply::Json(json!(["AUTH", n.to_string()]))))
            }
            Self::Floods(count) => {
                let events = Arc::clone(events);
                let round = move |n: usize| event_reply(&name, &events[n % events.len()]);
                Box::new((0..count).map(round).chain([end]))
            }
            Self::FloodsForged(count) => {
                let Some(event) = events.first().cloned() else {
                    return once(end);
                };
                let forged = move |n: usize| {
                    let mut id = [0; 32];
                    id[..8].copy_from_slice(&n.to_be_bytes());
                    let id = EventId::from_bytes(id);
                    event_reply(
                        &name,
                        &Event {
                            id,
                            ..event.clone()
                        },
                    )
                };
                Box::new((0..count).map(forged).chain([end]))
            }
            Self::Oversize => once(Reply::Text(vec![b' '; OVERSIZE_BYTES])),
            Self::NotUtf8 => once(Reply::Text(b"[\"NOTICE\",\"\xff\xfe\"]".to_vec())),
            Self::Trickles => {
                // The head of a text frame of 125 bytes, and then its text.
                let mut frame = vec![0x81, 125];
                frame.extend([b' '; 125]);
                once(Reply::Trickle(frame, TRICKLE))
            }
            Self::HangsUp => once(Reply::Close),
        }
    }
}

fn flipped(id: &EventId) -> EventId {
    let mut bytes = *id.as_bytes();
    bytes[0] ^= 1;
    EventId::from_bytes(bytes)
}
