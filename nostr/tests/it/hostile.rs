//! A relay that answers whatever a test tells it to, however wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use archy_nostr::RelayUrl;
use archy_nostr::event::Event;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::support::loopback;

/// One thing that the relay does.
pub(crate) enum Reply {
    /// A message.
    Json(Value),
    /// A text message whose bytes may be anything.
    Text(Vec<u8>),
    /// Bytes on the connection, below WebSocket.
    Raw(Vec<u8>),
    /// A farewell.
    Close,
    /// Nothing more, for ever, with the connection open.
    Stall,
}

/// What the relay does when a client says something.
pub(crate) type Script = Box<dyn Iterator<Item = Reply> + Send>;

/// A relay that answers as its script says.
pub(crate) struct Hostile {
    pub(crate) url: RelayUrl,
    connections: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

impl Hostile {
    /// Starts one; `script` is asked at each message of a client.
    pub(crate) async fn start(script: impl Fn(&Value) -> Script + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let script = Arc::new(script);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                clients.spawn(serve(stream, Arc::clone(&script)));
            }
        });
        Self {
            url: url.parse().unwrap(),
            connections,
            _server: server,
        }
    }

    /// Answers the first request for stored events with these replies; everything else like an honest, empty relay.
    pub(crate) async fn storing(replies: impl Fn(&str) -> Script + Send + Sync + 'static) -> Self {
        Self::start(move |message| {
            let name = message[1].as_str().unwrap_or_default();
            match (message[0].as_str(), name) {
                (Some("REQ"), "page-0") => replies(name),
                (Some("REQ"), _) => eose(name),
                _ => nothing(),
            }
        })
        .await
    }

    /// Returns how many connections were made to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

pub(crate) fn nothing() -> Script {
    Box::new(std::iter::empty())
}

pub(crate) fn once(reply: Reply) -> Script {
    Box::new(std::iter::once(reply))
}

pub(crate) fn all(replies: Vec<Reply>) -> Script {
    Box::new(replies.into_iter())
}

pub(crate) fn eose(subscription: &str) -> Script {
    once(Reply::Json(json!(["EOSE", subscription])))
}

pub(crate) fn event_reply(subscription: &str, event: &Event) -> Reply {
    Reply::Json(json!(["EVENT", subscription, event]))
}

async fn serve(stream: TcpStream, script: Arc<impl Fn(&Value) -> Script + Send + Sync>) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
        return;
    };
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else {
            continue;
        };
        let message = serde_json::from_str(&text).unwrap_or_default();
        for reply in script(&message) {
            if perform(&mut socket, reply).await.is_err() {
                return;
            }
        }
    }
}

async fn perform(
    socket: &mut WebSocketStream<TcpStream>,
    reply: Reply,
) -> Result<(), tungstenite::Error> {
    match reply {
        Reply::Json(json) => socket.send(Message::text(json.to_string())).await?,
        Reply::Text(bytes) => {
            let frame = Frame::message(bytes, OpCode::Data(Data::Text), true);
            socket.send(Message::Frame(frame)).await?;
        }
        Reply::Raw(bytes) => socket.get_mut().write_all(&bytes).await?,
        Reply::Close => socket.close(None).await?,
        Reply::Stall => std::future::pending().await,
    }
    Ok(())
}
