//! One WebSocket connection to a relay with a limit on everything that the relay could stretch:
//! name look-up, handshake, size of a message, time to take one; it gives no meaning to messages.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use crate::message::{ClientMessage, MessageError, RelayMessage, clean};
use crate::url::RelayUrl;

/// Largest message that is read from a relay, in bytes: the largest statement with every character
/// escaped, and its event around it.
pub(crate) const MESSAGE_BYTES_MAX: usize = 160 * 1024;
/// Time for name look-up, TCP, TLS and WebSocket handshake together.
const OPEN_SECONDS_MAX: Duration = Duration::from_secs(15);
/// Time for the relay to take a message from us.
const SEND_SECONDS_MAX: Duration = Duration::from_secs(10);

/// A connection could not be made or ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("could not connect")]
    Connect(#[source] std::io::Error),
    #[error("did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("no WebSocket there: {0}")]
    Handshake(String),
    #[error("sent a message of more than {MESSAGE_BYTES_MAX} bytes")]
    Oversize,
    #[error("broke the protocol: {0}")]
    Protocol(String),
    #[error("closed the connection{0}")]
    Closed(String),
    #[error("connection lost")]
    Lost(#[source] std::io::Error),
}

impl LinkError {
    /// Returns whether the relay's behaviour is at fault, rather than the network.
    pub(crate) fn is_misconduct(&self) -> bool {
        matches!(self, Self::Oversize | Self::Protocol(_))
    }

    /// Returns the message with its causes, on one line.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Connect(source) | Self::Lost(source) => clean(&format!("{self}: {source}")),
            Self::Timeout(_)
            | Self::Handshake(_)
            | Self::Oversize
            | Self::Protocol(_)
            | Self::Closed(_) => self.to_string(),
        }
    }
}

/// What came from the relay.
#[derive(Debug)]
pub(crate) enum Incoming {
    Message(RelayMessage),
    /// A message that is none of NIP-01's.
    Malformed(MessageError),
    /// A ping or pong: a sign of life.
    Alive,
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Link {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Link {
    pub(crate) async fn open(relay: &RelayUrl) -> Result<Self, LinkError> {
        timeout(OPEN_SECONDS_MAX, Self::open_unbounded(relay))
            .await
            .map_err(|_| LinkError::Timeout(OPEN_SECONDS_MAX))?
    }

    async fn open_unbounded(relay: &RelayUrl) -> Result<Self, LinkError> {
        let host = relay.host().trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, relay.port()))
            .await
            .map_err(LinkError::Connect)?;
        stream.set_nodelay(true).map_err(LinkError::Connect)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(16 * 1024)
            .write_buffer_size(0)
            .max_write_buffer_size(2 * MESSAGE_BYTES_MAX)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let (socket, _response) = client_async_tls_with_config(
            relay.as_str(),
            stream,
            Some(config),
            Some(Connector::Rustls(tls())),
        )
        .await
        .map_err(|error| LinkError::Handshake(clean(&error.to_string())))?;
        Ok(Self { socket })
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: &ClientMessage) -> Result<(), LinkError> {
        self.send_raw(Message::text(message.to_text())).await
    }

    /// Asks the relay for a sign of life.
    pub(crate) async fn ping(&mut self) -> Result<(), LinkError> {
        self.send_raw(Message::Ping(bytes::Bytes::new())).await
    }

    async fn send_raw(&mut self, message: Message) -> Result<(), LinkError> {
        timeout(SEND_SECONDS_MAX, self.socket.send(message))
            .await
            .map_err(|_| LinkError::Timeout(SEND_SECONDS_MAX))?
            .map_err(lost)
    }

    /// Waits for what comes next. Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<Incoming, LinkError> {
        let message = match self.socket.next().await {
            None => return Err(LinkError::Closed(String::new())),
            Some(message) => message.map_err(lost)?,
        };
        match message {
            Message::Text(text) => {
                Ok(RelayMessage::parse(&text).map_or_else(Incoming::Malformed, Incoming::Message))
            }
            Message::Binary(_) => Ok(Incoming::Malformed(MessageError::Shape)),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(Incoming::Alive),
            Message::Close(frame) => {
                let words = frame.map_or_else(String::new, |frame| {
                    format!(": {} {}", u16::from(frame.code), clean(&frame.reason))
                });
                Err(LinkError::Closed(words))
            }
        }
    }

    /// Says good-bye; the answer is not waited for.
    pub(crate) async fn close(mut self) {
        // The connection ends either way: a relay that does not take the farewell loses it.
        let _ = timeout(Duration::from_secs(1), self.socket.close(None)).await;
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other error of the WebSocket library is a broken protocol"
)]
fn lost(error: tungstenite::Error) -> LinkError {
    match error {
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            LinkError::Closed(String::new())
        }
        tungstenite::Error::Protocol(
            tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => LinkError::Closed(" without a farewell".to_owned()),
        tungstenite::Error::Io(source) => LinkError::Lost(source),
        tungstenite::Error::Capacity(_) => LinkError::Oversize,
        other => LinkError::Protocol(clean(&other.to_string())),
    }
}

/// TLS with the roots that browsers trust; *ring* is named because the process may link other providers.
fn tls() -> Arc<rustls::ClientConfig> {
    static TLS: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    let config = TLS.get_or_init(|| {
        let roots = rustls::RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    });
    Arc::clone(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_has_roots_to_trust() {
        assert!(!webpki_roots::TLS_SERVER_ROOTS.is_empty());
        let _ = tls();
    }
}
