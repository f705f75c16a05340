//! A relay that answers whatever a test tells it to, however wrong.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::event::Event;
use crate::url::RelayUrl;

/// One thing that the relay does.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A message.
    Json(Value),
    /// A text message whose bytes may be anything.
    Text(Vec<u8>),
    /// Bytes on the connection, below WebSocket.
    Raw(Vec<u8>),
    /// The same, one byte at a time with this pause after each.
    Trickle(Vec<u8>, Duration),
    /// A farewell.
    Close,
    /// Nothing more, for ever, with the connection open.
    Stall,
}

/// What the relay does when a client says something.
pub type Script = Box<dyn Iterator<Item = Reply> + Send>;

/// A relay on the loopback address that answers as its script says; gone when dropped.
#[derive(Debug)]
pub struct BadRelay {
    url: RelayUrl,
    connections: Arc<AtomicUsize>,
    replies: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

impl BadRelay {
    /// Starts one; `script` is asked at each message of a client.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub async fn start(
        script: impl Fn(&Value) -> Script + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), script).await
    }

    /// The same on any address of this machine.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub async fn start_on(
        address: std::net::IpAddr,
        script: impl Fn(&Value) -> Script + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::new(address, 0)).await?;
        let url = format!("ws://{}/", listener.local_addr()?);
        let url = url.parse().map_err(io::Error::other)?;
        let (connections, replies) = (Arc::default(), Arc::default());
        let client = Client {
            script: Arc::new(script),
            replies: Arc::clone(&replies),
        };
        let counter: Arc<AtomicUsize> = Arc::clone(&connections);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                while clients.try_join_next().is_some() {}
                clients.spawn(client.clone().serve(stream));
            }
        });
        Ok(Self {
            url,
            connections,
            replies,
            _server: server,
        })
    }

    /// Answers the first request for stored events with these replies; everything else like an honest, empty relay.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub async fn storing(
        replies: impl Fn(&str) -> Script + Send + Sync + 'static,
    ) -> io::Result<Self> {
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

    /// Returns its address.
    pub fn url(&self) -> &RelayUrl {
        &self.url
    }

    /// Returns how many connections were made to it.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Returns how many replies were taken off it.
    pub fn replies(&self) -> usize {
        self.replies.load(Ordering::SeqCst)
    }
}

/// Says nothing.
pub fn nothing() -> Script {
    Box::new(std::iter::empty())
}

/// Says one thing.
pub fn once(reply: Reply) -> Script {
    Box::new(std::iter::once(reply))
}

/// Says these things.
pub fn all(replies: Vec<Reply>) -> Script {
    Box::new(replies.into_iter())
}

/// Says that there are no more stored events.
pub fn eose(subscription: &str) -> Script {
    once(Reply::Json(json!(["EOSE", subscription])))
}

/// Hands an event on.
pub fn event_reply(subscription: &str, event: &Event) -> Reply {
    Reply::Json(json!(["EVENT", subscription, event]))
}

struct Client<S> {
    script: Arc<S>,
    replies: Arc<AtomicUsize>,
}

impl<S> Clone for Client<S> {
    fn clone(&self) -> Self {
        Self {
            script: Arc::clone(&self.script),
            replies: Arc::clone(&self.replies),
        }
    }
}

impl<S: Fn(&Value) -> Script> Client<S> {
    async fn serve(self, stream: TcpStream) {
        let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
            return;
        };
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else {
                continue;
            };
            let message = serde_json::from_str(&text).unwrap_or_default();
            for reply in (self.script)(&message) {
                if perform(&mut socket, reply).await.is_err() {
                    return;
                }
                self.replies.fetch_add(1, Ordering::SeqCst);
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
        Reply::Trickle(bytes, pause) => {
            for byte in bytes {
                socket.get_mut().write_all(&[byte]).await?;
                tokio::time::sleep(pause).await;
            }
        }
        Reply::Close => socket.close(None).await?,
        Reply::Stall => std::future::pending().await,
    }
    Ok(())
}
