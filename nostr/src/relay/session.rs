//! One client's connection: its subscriptions, its limits and the answers it gets.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::policy;
use super::server::Hub;
use super::store::Insertion;
use crate::bucket::Bucket;
use crate::event::{Class, Event};
use crate::filter::Filter;
use crate::message::{ClientMessage, MessageError, RelayMessage};
use crate::sdk::authenticate;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Messages that are none of NIP-01's, before the connection is ended.
const MALFORMED_MAX: u32 = 20;
/// Messages beyond the rate, before the connection is ended: each is answered until then.
const HURRIED_MAX: u32 = 500;

/// The connection ends.
struct End(Option<(CloseCode, &'static str)>);

const GONE: End = End(None);

/// Serves a client until it goes, misbehaves or the relay stops.
pub(super) async fn run(hub: Arc<Hub>, socket: Socket, address: IpAddr) {
    let mut session = Session {
        bucket: Bucket::new(hub.config.limits.messages, Instant::now()),
        subscriptions: HashMap::new(),
        malformed: 0,
        hurried: 0,
        address,
        socket,
        hub,
    };
    let cancel = session.hub.cancel.clone();
    let end = match cancel.run_until_cancelled(session.serve()).await {
        None => End(Some((CloseCode::Away, "the relay stops"))),
        Some(Err(end)) => end,
        Some(Ok(never)) => match never {},
    };
    let End(Some((code, reason))) = end else {
        return;
    };
    let frame = CloseFrame {
        code,
        reason: reason.into(),
    };
    // The connection ends either way.
    let farewell = session.socket.close(Some(frame));
    let _ = timeout(std::time::Duration::from_secs(1), farewell).await;
}

struct Session {
    hub: Arc<Hub>,
    socket: Socket,
    address: IpAddr,
    bucket: Bucket,
    subscriptions: HashMap<String, Vec<Filter>>,
    malformed: u32,
    hurried: u32,
}

impl Session {
    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        let mut fresh = self.hub.fresh.subscribe();
        let idle = self.hub.config.limits.idle;
        let mut ticks = interval(idle);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        let mut silent_ticks = 0;
        loop {
            tokio::select! {
                message = self.socket.next() => {
                    silent_ticks = 0;
                    self.incoming(message).await?;
                }
                event = fresh.recv() => match event {
                    Ok(event) => self.publish(&event).await?,
                    Err(RecvError::Lagged(_)) => {
                        return Err(End(Some((CloseCode::Policy, "too slow for this relay"))));
                    }
                    Err(RecvError::Closed) => return Err(GONE),
                },
                _ = ticks.tick() => {
                    silent_ticks += 1;
                    if silent_ticks >= 2 {
                        return Err(End(Some((CloseCode::Policy, "no sign of life"))));
                    }
                    self.send(Message::Ping(bytes::Bytes::new())).await?;
                }
            }
        }
    }

    async fn incoming(&mut self, message: Option<Result<Message, Error>>) -> Result<(), End> {
        let message = match message {
            None => return Err(GONE),
            Some(Err(Error::Capacity(_))) => {
                return Err(End(Some((CloseCode::Size, "message too large"))));
            }
            Some(Err(Error::Utf8(_))) => return Err(End(Some((CloseCode::Invalid, "not UTF-8")))),
            Some(Err(_)) => return Err(GONE),
            Some(Ok(message)) => message,
        };
        let hurried = self.bucket.take(Instant::now()).is_err();
        if hurried {
            self.hurried += 1;
            if self.hurried > HURRIED_MAX {
                return Err(End(Some((
                    CloseCode::Policy,
                    "rate-limited: too many messages",
                ))));
            }
        }
        match message {
            Message::Text(text) => match ClientMessage::parse(&text) {
                Ok(message) => self.message(message, hurried).await,
                Err(error) => self.malformed(error).await,
            },
            Message::Binary(_) => self.malformed(MessageError::Shape).await,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(()),
            Message::Close(_) => Err(GONE),
        }
    }

    async fn malformed(&mut self, error: MessageError) -> Result<(), End> {
        if let MessageError::Filter {
            subscription,
            error,
        } = error
        {
            let words = format!("unsupported: {error}");
            self.subscriptions.remove(&subscription);
            return self
                .say(RelayMessage::Closed {
                    subscription,
                    words,
                })
                .await;
        }
        self.malformed += 1;
        if self.malformed > MALFORMED_MAX {
            return Err(End(Some((
                CloseCode::Policy,
                "too many malformed messages",
            ))));
        }
        let words = format!("invalid: {error}");
        self.say(RelayMessage::Notice { words }).await
    }

    async fn message(&mut self, message: ClientMessage, hurried: bool) -> Result<(), End> {
        match message {
            ClientMessage::Event(event) => {
                let id = event.id;
                let answer = take(&self.hub, self.address, event, hurried).await;
                let accepted = answer.is_ok();
                let words = answer.unwrap_or_else(|words| words);
                self.say(RelayMessage::Ok {
                    id,
                    accepted,
                    words,
                })
                .await
            }
            ClientMessage::Request {
                subscription,
                filters,
            } => self.request(subscription, filters, hurried).await,
            ClientMessage::Close { subscription } => {
                self.subscriptions.remove(&subscription);
                Ok(())
            }
        }
    }

    async fn request(
        &mut self,
        subscription: String,
        filters: Vec<Filter>,
        hurried: bool,
    ) -> Result<(), End> {
        let limits = &self.hub.config.limits;
        let known = self.subscriptions.contains_key(&subscription);
        let refusal = if hurried {
            Some("rate-limited: slow down".to_owned())
        } else if filters.len() > limits.filters_max {
            Some(format!(
                "restricted: more than {} filters",
                limits.filters_max
            ))
        } else if !known && self.subscriptions.len() >= limits.subscriptions_max {
            Some(format!(
                "restricted: more than {} subscriptions",
                limits.subscriptions_max
            ))
        } else {
            None
        };
        if let Some(words) = refusal {
            return self
                .say(RelayMessage::Closed {
                    subscription,
                    words,
                })
                .await;
        }
        self.subscriptions
            .insert(subscription.clone(), filters.clone());
        let now = self.hub.config.clock.now();
        let events = match self.hub.store.query(&filters, now).await {
            Ok(events) => events,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "relay could not read events"
                );
                self.subscriptions.remove(&subscription);
                let words = "error: the relay could not read its events".to_owned();
                return self
                    .say(RelayMessage::Closed {
                        subscription,
                        words,
                    })
                    .await;
            }
        };
        let name = serde_json::Value::from(subscription.as_str()).to_string();
        for event in events {
            let text = format!("[\"EVENT\",{name},{}]", event.json);
            self.send(Message::text(text)).await?;
        }
        self.say(RelayMessage::Eose { subscription }).await
    }

    /// Sends a new event to the subscriptions that it meets.
    async fn publish(&mut self, event: &Event) -> Result<(), End> {
        let subscriptions: Vec<_> = self
            .subscriptions
            .iter()
            .filter(|(_, filters)| filters.iter().any(|filter| filter.matches(event)))
            .map(|(subscription, _)| subscription.clone())
            .collect();
        for subscription in subscriptions {
            let event = event.clone();
            self.say(RelayMessage::Event {
                subscription,
                event,
            })
            .await?;
        }
        Ok(())
    }

    async fn say(&mut self, message: RelayMessage) -> Result<(), End> {
        self.send(Message::text(message.to_text())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        let patience = self.hub.config.limits.send_patience;
        match timeout(patience, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(GONE),
            Err(_) => Err(GONE),
        }
    }
}

/// Takes an event, or says why not.
async fn take(hub: &Hub, address: IpAddr, event: Event, hurried: bool) -> Result<String, String> {
    // The signature is the costly part: limits by connection and address come before it, the author's
    // after it, or anyone could use up somebody else's.
    if hurried || !hub.address_may_write(address) {
        return Err("rate-limited: slow down".to_owned());
    }
    let config = &hub.config;
    policy::check(&event, &config.accept, &config.limits, config.clock.now())?;
    let event = authenticate(event).map_err(|error| format!("invalid: {error}"))?;
    if !hub.author_may_write(event.pubkey) {
        return Err("rate-limited: too many events of this author".to_owned());
    }
    if Class::of(event.kind) != Class::Ephemeral {
        let insertion = hub.store.insert(&event).await.map_err(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "relay could not keep an event"
            );
            "error: the relay could not keep it".to_owned()
        })?;
        match insertion {
            Insertion::Kept => {}
            Insertion::Duplicate => return Ok("duplicate: already have this event".to_owned()),
            Insertion::Outdated => return Err("replaced: have a newer version".to_owned()),
            Insertion::Deleted => return Err("deleted: its author asked for that".to_owned()),
            Insertion::AuthorFull => {
                return Err("restricted: this author has too many events here".to_owned());
            }
            Insertion::RelayFull => return Err("error: the relay is full".to_owned()),
        }
    }
    // Nobody listening is no failure.
    let _ = hub.fresh.send(Arc::new(event.into_inner()));
    Ok(String::new())
}
