//! Asks a remote signer to sign (NIP-46): requests and answers are encrypted events that relays pass on.
//!
//! The signer is trusted with the key, not with what is signed: every event that it hands back is compared with
//! the one that it was asked for, and its signature is checked.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use crate::clock::Clock;
use crate::event::{Event, Pubkey};
use crate::filter::Filter;
use crate::key::NostrKey;
use crate::link::{Incoming, Link};
use crate::message::{ClientMessage, RelayMessage, clean};
use crate::publish::EVENT_MESSAGE_BYTES_MAX;
use crate::sdk::{Authentic, Unsigned, authenticate};
use crate::url::RelayUrl;

mod url;

pub use url::{BunkerUrl, BunkerUrlError};

/// Kind of a request and of an answer: ephemeral.
pub const KIND_REMOTE_SIGNING: u16 = 24_133;
/// Largest text that NIP-44 encrypts, in bytes.
const PLAINTEXT_BYTES_MAX: usize = 65_535;
/// Messages of one relay that are read while waiting for an answer.
const MESSAGES_MAX: usize = 500;
const SUBSCRIPTION: &str = "signer";

/// A remote signer did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BunkerError {
    /// No relay brought an answer.
    #[error(
        "the remote signer did not answer {method} within {} s; see that it runs and is connected to {}",
        .patience.as_secs(), .said.join(", ")
    )]
    NoAnswer {
        /// What it was asked.
        method: &'static str,
        /// How long it had.
        patience: Duration,
        /// Its relays, each with what went wrong there, and where it waits for the user to agree.
        said: Vec<String>,
    },
    /// It said no.
    #[error("the remote signer refused {method}: {words}")]
    Refused {
        /// What it was asked.
        method: &'static str,
        /// Its words, on one line.
        words: String,
    },
    /// It answered something that is no answer to the request.
    #[error("the remote signer answered {method} with something else: {why}")]
    Malformed {
        /// What it was asked.
        method: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// It handed back another event than it was asked to sign.
    #[error("the remote signer signed another event than it was asked to; do not use it")]
    Altered,
    /// The event does not fit into a request.
    #[error(
        "the event has {0} bytes, too many for a remote signer; sign it with a key file instead"
    )]
    TooLarge(usize),
    /// The machine's randomness failed.
    #[error("the machine gives no random numbers")]
    Random,
}

/// How to talk to a remote signer.
#[derive(Clone)]
pub struct BunkerOptions {
    /// Time for each answer: a person may have to agree.
    pub patience: Duration,
    /// The time of day.
    pub clock: Clock,
    /// Told an address that the user is to open in a browser to agree, at most once for each request.
    pub approve_at: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for BunkerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BunkerOptions({} s)", self.patience.as_secs())
    }
}

impl BunkerOptions {
    /// Waits two minutes for each answer.
    pub fn new(approve_at: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            patience: Duration::from_secs(120),
            clock: Clock::system(),
            approve_at: Arc::new(approve_at),
        }
    }
}

/// A remote signer that knows this client.
#[derive(Debug)]
pub struct Bunker {
    channel: Channel,
    author: Pubkey,
}

impl Bunker {
    /// Introduces this client, under the key `client`, to a signer that does not know it yet.
    ///
    /// # Errors
    ///
    /// When it does not answer or says no.
    pub async fn connect(
        url: &BunkerUrl,
        client: NostrKey,
        options: BunkerOptions,
    ) -> Result<Self, BunkerError> {
        let channel = Channel::new(url, client, options);
        let secret = url.secret.clone().unwrap_or_default();
        let parameters = vec![url.signer.to_string(), secret, "sign_event".to_owned()];
        let answer = channel.ask("connect", parameters).await?;
        if answer != "ack" && Some(&answer) != url.secret.as_ref() {
            return Err(BunkerError::Malformed {
                method: "connect",
                why: "neither ack nor the secret",
            });
        }
        Self::of(channel).await
    }

    /// Continues with a signer that knows the key `client` already.
    ///
    /// # Errors
    ///
    /// When it does not answer or says no.
    pub async fn resume(
        url: &BunkerUrl,
        client: NostrKey,
        options: BunkerOptions,
    ) -> Result<Self, BunkerError> {
        Self::of(Channel::new(url, client, options)).await
    }

    async fn of(channel: Channel) -> Result<Self, BunkerError> {
        let answer = channel.ask("get_public_key", Vec::new()).await?;
        let author = answer.parse().map_err(|_| BunkerError::Malformed {
            method: "get_public_key",
            why: "no pubkey",
        })?;
        Ok(Self { channel, author })
    }

    /// Returns the key that it signs with.
    pub fn pubkey(&self) -> Pubkey {
        self.author
    }

    /// Has an event signed.
    ///
    /// # Errors
    ///
    /// When the signer does not answer, says no, or hands back another event.
    pub async fn sign(&self, unsigned: Unsigned) -> Result<Authentic, BunkerError> {
        const METHOD: &str = "sign_event";
        let request = json!({
            "pubkey": self.author,
            "created_at": unsigned.created_at,
            "kind": unsigned.kind,
            "tags": unsigned.tags,
            "content": unsigned.content,
        });
        let answer = self.channel.ask(METHOD, vec![request.to_string()]).await?;
        let malformed = |why| BunkerError::Malformed {
            method: METHOD,
            why,
        };
        let raw = serde_json::from_str(&answer).map_err(|_| malformed("no JSON"))?;
        let event = Event::from_json(raw).map_err(|_| malformed("no event"))?;
        let same = event.pubkey == self.author
            && event.created_at == unsigned.created_at
            && event.kind == unsigned.kind
            && event.tags == unsigned.tags
            && event.content == unsigned.content;
        if !same {
            return Err(BunkerError::Altered);
        }
        authenticate(event).map_err(|_| malformed("an event that is not signed"))
    }
}

#[derive(Serialize)]
struct Request<'a> {
    id: &'a str,
    method: &'a str,
    params: Vec<String>,
}

#[derive(Deserialize)]
struct Answer {
    id: String,
    #[serde(default)]
    result: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

/// Requests to one signer from one client.
#[derive(Debug)]
struct Channel {
    signer: Pubkey,
    relays: Vec<RelayUrl>,
    client: NostrKey,
    options: BunkerOptions,
}

impl Channel {
    fn new(url: &BunkerUrl, client: NostrKey, options: BunkerOptions) -> Self {
        Self {
            signer: url.signer,
            relays: url.relays.clone(),
            client,
            options,
        }
    }

    /// Asks over every relay at once and returns the first answer.
    async fn ask(&self, method: &'static str, params: Vec<String>) -> Result<String, BunkerError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|_| BunkerError::Random)?;
        let id = hex::encode(id);
        let request = Request {
            id: &id,
            method,
            params,
        };
        let text = serde_json::to_string(&request).expect("a request is plain data");
        let event = self.seal(&text)?;
        let deadline = Instant::now() + self.options.patience;
        let told = OnceLock::new();
        let (event, id, told) = (&event, id.as_str(), &told);
        let mut asked: FuturesUnordered<_> = self
            .relays
            .iter()
            .map(|relay| async move {
                let answer = self.ask_over(relay, event, id, told, deadline).await;
                (relay, answer)
            })
            .collect();
        let mut said = Vec::new();
        while let Some((relay, answer)) = asked.next().await {
            match answer {
                Ok(Ok(result)) => return Ok(result),
                Ok(Err(words)) => return Err(BunkerError::Refused { method, words }),
                Err(why) => said.push(format!("{relay} ({why})")),
            }
        }
        said.extend(
            told.get()
                .map(|address| format!("it waits for you at {address}")),
        );
        Err(BunkerError::NoAnswer {
            method,
            patience: self.options.patience,
            said,
        })
    }

    fn seal(&self, text: &str) -> Result<Event, BunkerError> {
        if text.len() > PLAINTEXT_BYTES_MAX {
            return Err(BunkerError::TooLarge(text.len()));
        }
        let content = self
            .client
            .seal(&self.signer, text)
            .ok_or(BunkerError::TooLarge(text.len()))?;
        let unsigned = Unsigned {
            created_at: self.options.clock.now(),
            kind: KIND_REMOTE_SIGNING,
            tags: vec![vec!["p".to_owned(), self.signer.to_string()]],
            content,
        };
        let event = self
            .client
            .sign(unsigned)
            .expect("its tags are not empty")
            .into_inner();
        let size_bytes = ClientMessage::Event(event.clone()).to_text().len();
        if size_bytes > EVENT_MESSAGE_BYTES_MAX {
            return Err(BunkerError::TooLarge(text.len()));
        }
        Ok(event)
    }

    /// Asks over one relay: the outer error is the way's, the inner the signer's words.
    async fn ask_over(
        &self,
        relay: &RelayUrl,
        request: &Event,
        id: &str,
        told: &OnceLock<String>,
        deadline: Instant,
    ) -> Result<Result<String, String>, String> {
        const LATE: &str = "no answer in time";
        let mut link = timeout_at(deadline, Link::open(relay))
            .await
            .map_err(|_| LATE.to_owned())?
            .map_err(|error| error.describe())?;
        let outcome = timeout_at(deadline, self.converse(&mut link, request, id, told)).await;
        link.close().await;
        outcome.unwrap_or_else(|_| Err(LATE.to_owned()))
    }

    async fn converse(
        &self,
        link: &mut Link,
        request: &Event,
        id: &str,
        told: &OnceLock<String>,
    ) -> Result<Result<String, String>, String> {
        let filter = Filter {
            kinds: Some(vec![KIND_REMOTE_SIGNING]),
            authors: Some(vec![self.signer]),
            tags: [('p', vec![self.client.pubkey().to_string()])].into(),
            ..Filter::default()
        };
        let subscribe = ClientMessage::Request {
            subscription: SUBSCRIPTION.to_owned(),
            filters: vec![filter.clone()],
        };
        let lost = |error: crate::link::LinkError| error.describe();
        link.send(&subscribe).await.map_err(lost)?;
        let mut asked = false;
        for _ in 0..MESSAGES_MAX {
            let message = match link.next().await.map_err(lost)? {
                Incoming::Message(message) => message,
                Incoming::Malformed(_) | Incoming::Alive => continue,
            };
            match message {
                // The relay passes nothing on before it knows the subscription, so the request waits for that.
                RelayMessage::Eose { subscription } if subscription == SUBSCRIPTION && !asked => {
                    asked = true;
                    let event = ClientMessage::Event(request.clone());
                    link.send(&event).await.map_err(lost)?;
                }
                RelayMessage::Closed {
                    subscription,
                    words,
                } if subscription == SUBSCRIPTION => {
                    return Err(format!("ended the subscription: {words}"));
                }
                RelayMessage::Ok {
                    id,
                    accepted: false,
                    words,
                } if id == request.id => return Err(format!("refused the request: {words}")),
                RelayMessage::Event { event, .. } if filter.matches(&event) => {
                    if let Some(answer) = self.open(event, id, told) {
                        return Ok(answer);
                    }
                }
                RelayMessage::Event { .. }
                | RelayMessage::Eose { .. }
                | RelayMessage::Closed { .. }
                | RelayMessage::Ok { .. }
                | RelayMessage::Notice { .. }
                | RelayMessage::Auth => {}
            }
        }
        Err(format!("sent {MESSAGES_MAX} messages without an answer"))
    }

    /// Reads an answer; `None` when it is to another request, or only tells where the user is to agree.
    fn open(
        &self,
        event: Event,
        id: &str,
        told: &OnceLock<String>,
    ) -> Option<Result<String, String>> {
        let event = authenticate(event).ok()?;
        let text = self.client.unseal(&self.signer, &event.content)?;
        let answer: Answer = serde_json::from_str(&text).ok()?;
        if answer.id != id {
            return None;
        }
        match (answer.result, answer.error) {
            (Some(result), Some(address)) if result == "auth_url" => {
                let address = clean(&address);
                if told.set(address.clone()).is_ok() {
                    (self.options.approve_at)(&address);
                }
                None
            }
            (_, Some(words)) if !words.is_empty() => Some(Err(clean(&words))),
            (Some(result), _) => Some(Ok(result)),
            (None, _) => Some(Err("no reason given".to_owned())),
        }
    }
}
