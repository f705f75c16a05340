//! `GET /events`: server-sent events. A client that cannot keep up is told to refetch and dropped.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use jiff::Timestamp;
use tokio::sync::{broadcast, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::guard::Caller;
use super::types::Event;
use super::{Api, Backend};

/// Events that a client may lag behind.
const LAG_MAX: usize = 256;
/// A comment keeps proxies and clients from giving up on a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A client reconnects after so long.
const RETRY: Duration = Duration::from_secs(2);
/// How often a stream looks whether its session has expired.
const SESSION_CHECK: Duration = Duration::from_secs(60);

/// Where what happened is announced.
#[derive(Debug, Clone)]
pub struct Hub(broadcast::Sender<Event>);

impl Default for Hub {
    fn default() -> Self {
        Self(broadcast::Sender::new(LAG_MAX))
    }
}

impl Hub {
    /// Tells every client.
    pub fn send(&self, event: Event) {
        // Nobody listening is no failure.
        let _ = self.0.send(event);
    }

    /// Listens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}

struct Listener<B> {
    api: Arc<Api<B>>,
    events: broadcast::Receiver<Event>,
    caller: Option<Caller>,
    sessions: watch::Receiver<()>,
    check: Interval,
    first: bool,
    over: bool,
}

/// Streams events until the client leaves, its session ends or the daemon stops.
pub(super) async fn stream<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    request: Request,
) -> Response {
    let mut check = interval(SESSION_CHECK);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let listener = Listener {
        events: api.hub.subscribe(),
        caller: request.extensions().get::<Caller>().cloned(),
        sessions: api.auth.sessions().ended(),
        check,
        first: true,
        over: false,
        api,
    };
    let events = stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    Sse::new(events)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response()
}

impl<B: Backend> Listener<B> {
    async fn next(&mut self) -> Option<sse::Event> {
        if self.over {
            return None;
        }
        if self.first {
            self.first = false;
            // Says that the stream is open before anything happens.
            return Some(sse::Event::default().retry(RETRY).comment("connected"));
        }
        loop {
            tokio::select! {
                () = self.api.stop.cancelled() => return None,
                event = self.events.recv() => return match event {
                    Ok(event) => encode(&event),
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        self.over = true;
                        encode(&Event::Refetch)
                    }
                    Err(broadcast::error::RecvError::Closed) => None,
                },
                changed = self.sessions.changed() => {
                    changed.ok()?;
                    self.still_open().await?;
                }
                _ = self.check.tick() => self.still_open().await?,
            }
        }
    }

    async fn still_open(&self) -> Option<()> {
        let Some(caller) = &self.caller else {
            return Some(());
        };
        let open = self
            .api
            .auth
            .sessions()
            .is_open(&caller.token, caller.from, Timestamp::now())
            .await;
        open.is_ok_and(|open| open).then_some(())
    }
}

fn encode(event: &Event) -> Option<sse::Event> {
    let name = match event {
        Event::Job(_) => "job",
        Event::Instances(_) => "instances",
        Event::Catalog => "catalog",
        Event::Node(_) => "node",
        Event::Refetch => "refetch",
    };
    sse::Event::default().event(name).json_data(event).ok()
}
