//! What the tests share: a relay on a free port, statements, a raw client, and waiting with a deadline.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use archy_nostr::event::Event;
use archy_nostr::relay::{self, Relay};
use archy_nostr::sdk::Unsigned;
use archy_nostr::{
    Backoff, Clock, Config, Draft, Follower, MemoryCursors, Message as Handed, NostrKey,
    PublishOptions, PublishReport, RelayStatus, RelayUrl, Subject, publish,
};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

/// Nothing in these tests takes so long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const DID: &str = "did:key:z6MkrJVnaZkeFzdQyMZu1cgjg7k1pZZ6pvBQ7XJPt4swbTQ2";

/// Waits, with a deadline that only a hang reaches.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// A clock that tests set.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(Clock::system().now())))
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let clock = self.clone();
        Clock::from_fn(move || clock.now())
    }
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(crate) fn relay_config(dir: &Path) -> relay::Config {
    relay::Config::new(loopback(), dir.join("relay.db"))
}

pub(crate) async fn start_relay(config: relay::Config) -> Relay {
    relay::start(config, &CancellationToken::new())
        .await
        .unwrap()
}

pub(crate) fn draft(slug: &str, content: &str) -> Draft {
    let subject = Subject::Announcement(slug.parse().unwrap());
    Draft::new(subject, DID.parse().unwrap(), content.as_bytes(), None).unwrap()
}

pub(crate) async fn announce(
    relays: &[RelayUrl],
    key: &NostrKey,
    slug: &str,
    content: &str,
) -> PublishReport {
    let options = PublishOptions::default();
    soon(
        "publishing",
        publish(relays, key, &draft(slug, content), &options),
    )
    .await
    .unwrap()
}

/// Signs an announcement's event with any date.
pub(crate) fn event(key: &NostrKey, slug: &str, content: &str, created_at: u64) -> Event {
    key.sign(draft(slug, content).event(created_at))
        .unwrap()
        .into_inner()
}

pub(crate) fn sign(key: &NostrKey, kind: u16, tags: Vec<Vec<&str>>, created_at: u64) -> Event {
    let tags = tags
        .into_iter()
        .map(|tag| tag.into_iter().map(str::to_owned).collect())
        .collect();
    let content = String::new();
    key.sign(Unsigned {
        created_at,
        kind,
        tags,
        content,
    })
    .unwrap()
    .into_inner()
}

/// Follows with waits that suit tests.
pub(crate) fn follower_config(relays: &[RelayUrl]) -> Config {
    let backoff = Backoff {
        first: Duration::from_millis(20),
        longest: Duration::from_millis(200),
    };
    Config {
        backoff,
        seed: Some(1),
        ..Config::new(relays.to_vec())
    }
}

pub(crate) struct Following {
    pub(crate) follower: Follower,
    pub(crate) heard: mpsc::Receiver<Handed>,
}

impl Following {
    pub(crate) fn start(relays: &[RelayUrl]) -> Self {
        Self::with(follower_config(relays), Arc::default())
    }

    pub(crate) fn with(config: Config, cursors: Arc<MemoryCursors>) -> Self {
        let (follower, heard) = Follower::start(config, cursors, &CancellationToken::new());
        Self { follower, heard }
    }

    /// Waits for the next statement and returns its content.
    pub(crate) async fn next(&mut self) -> String {
        let message = soon("a statement", self.heard.recv()).await.unwrap();
        let statement = message.into_statement().expect("a statement");
        String::from_utf8(statement.content).unwrap()
    }

    /// Waits for so many statements and returns their contents, sorted.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<String> {
        let mut contents = Vec::new();
        for _ in 0..count {
            contents.push(self.next().await);
        }
        contents.sort();
        contents
    }

    /// Waits until the status of a relay meets a condition.
    pub(crate) async fn until(
        &self,
        relay: &RelayUrl,
        what: &str,
        condition: impl Fn(&RelayStatus) -> bool,
    ) -> RelayStatus {
        let mut status = self
            .follower
            .watch()
            .into_iter()
            .find(|status| &status.borrow().relay == relay)
            .unwrap();
        let waiting = status.wait_for(|status| condition(status));
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(status) => status.unwrap().clone(),
            Err(_) => panic!("{relay} is not {what}: {:#?}", self.follower.status()),
        }
    }

    pub(crate) async fn until_live(&self, relay: &RelayUrl) -> RelayStatus {
        self.until(relay, "live", |s| s.state == archy_nostr::RelayState::Live)
            .await
    }
}

/// A client that sends whatever a test wants.
pub(crate) struct RawClient(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl RawClient {
    pub(crate) async fn connect(relay: &RelayUrl) -> Self {
        let (socket, _) = tokio_tungstenite::connect_async(relay.as_str())
            .await
            .unwrap();
        Self(socket)
    }

    pub(crate) async fn send(&mut self, message: Value) {
        self.send_raw(Message::text(message.to_string()))
            .await
            .unwrap();
    }

    pub(crate) async fn send_raw(
        &mut self,
        message: Message,
    ) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        self.0.send(message).await
    }

    /// Waits for the next message; `None` when the connection ended.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            match soon("a message", self.0.next()).await? {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(_) | Err(_) => return None,
            }
        }
    }

    /// Offers an event; returns the relay's verdict and words.
    pub(crate) async fn offer(&mut self, event: &Event) -> (bool, String) {
        self.send(json!(["EVENT", event])).await;
        loop {
            let answer = self.next().await.expect("an answer to the event");
            if answer[0] == "OK" {
                assert_eq!(answer[1], json!(event.id));
                return (
                    answer[2].as_bool().unwrap(),
                    answer[3].as_str().unwrap().to_owned(),
                );
            }
        }
    }

    /// Asks for stored events; returns them in the order of the relay.
    pub(crate) async fn query(&mut self, filter: Value) -> Vec<Event> {
        self.send(json!(["REQ", "query", filter])).await;
        let mut events = Vec::new();
        loop {
            let message = self.next().await.expect("stored events");
            match message[0].as_str().unwrap() {
                "EVENT" => events.push(serde_json::from_value(message[2].clone()).unwrap()),
                "EOSE" => break,
                other => panic!("{other}: {message}"),
            }
        }
        self.send(json!(["CLOSE", "query"])).await;
        events
    }
}
