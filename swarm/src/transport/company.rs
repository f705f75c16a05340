//! The protocol by which nodes that fetch the same blobs find each other: `archy/company/1`.
//!
//! One bidirectional stream per conversation: the asker sends a frame, the other side answers with one, and so
//! on. A frame is its length as four bytes, big-endian, and that many bytes of JSON. Nobody can speak for another:
//! the id of an announced endpoint is the one that the connection proves.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use archy_registry::Blake3Hash;
use archy_registry::release::Endpoint;
use iroh::endpoint::{Connection, RecvStream, SendStream};
use iroh::protocol::{AcceptError, ProtocolHandler};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, broadcast};

use super::from_key;
use crate::ledger::Ledger;
use crate::tracker::{Joins, Tracker};

/// Name of the protocol, with its version.
pub(super) const ALPN: &[u8] = b"archy/company/1";
/// Longest frame in bytes.
const FRAME_BYTES_MAX: usize = 32 * 1024;
/// Most blobs of one announcement.
pub(crate) const BLOBS_MAX: usize = 64;
/// Most addresses of one endpoint.
const ADDRESSES_MAX: usize = 16;
/// Most iroh relays of one endpoint.
const RELAYS_MAX: usize = 4;
/// Longest URL of an iroh relay in bytes.
const RELAY_LEN_MAX: usize = 200;
/// Most questions of one conversation.
const QUESTIONS_MAX: u32 = 100_000;
/// Conversations at the same time; whoever comes when there are so many is sent away.
const CONVERSATIONS_MAX: usize = 512;
/// Shortest time that a question takes: nobody asks faster than that for long.
const QUESTION_TIME: Duration = Duration::from_millis(1);
/// How long a conversation may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Endpoints on their way to the fetches of this node.
const MET_QUEUE: usize = 64;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    /// Who else fetches or has these blobs? With an endpoint: I serve what I get of them, there.
    Announce {
        blobs: Vec<Blake3Hash>,
        endpoint: Option<Endpoint>,
        /// I have all that I want of them.
        #[serde(default, skip_serializing_if = "is_false")]
        rests: bool,
    },
    /// Which bytes of this blob shall I take from you?
    Suggest { blob: Blake3Hash },
    /// I have nothing of these for others any more.
    Leave { blobs: Vec<Blake3Hash> },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// Others who fetch or have them, and how many fetch them now.
    Company { peers: Vec<Endpoint>, crowd: usize },
    /// These bytes; `None` to choose freely.
    Suggestion { bytes: Option<Range<u64>> },
    /// Noted.
    Bye,
}

/// The protocol broke.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompanyError {
    #[error("the conversation broke: {0}")]
    Broken(String),
    #[error("a frame of {0} bytes is too long")]
    TooLong(usize),
    #[error("a frame is not what it should be")]
    Malformed(#[source] serde_json::Error),
}

/// Answers other nodes.
#[derive(Debug, Clone)]
pub(super) struct Host {
    tracker: Arc<Mutex<Tracker>>,
    ledger: Arc<Mutex<Ledger>>,
    met: broadcast::Sender<Met>,
    room: Arc<Semaphore>,
}

/// Somebody said that it fetches blobs.
#[derive(Debug, Clone)]
pub(crate) struct Met {
    pub(crate) blobs: Arc<[Blake3Hash]>,
    pub(crate) endpoint: Endpoint,
    /// Whether somebody else may have said so.
    pub(crate) is_hint: bool,
}

impl Host {
    pub(super) fn new(ledger: Arc<Mutex<Ledger>>, seed: u64) -> Self {
        let (met, _) = broadcast::channel(MET_QUEUE);
        Self {
            tracker: Arc::new(Mutex::new(Tracker::new(seed))),
            ledger,
            met,
            room: Arc::new(Semaphore::new(CONVERSATIONS_MAX)),
        }
    }

    /// Returns what is known of those who fetch from here.
    pub(super) fn tracker(&self) -> Arc<Mutex<Tracker>> {
        self.tracker.clone()
    }

    /// Returns who announces itself here from now on.
    pub(super) fn met(&self) -> broadcast::Receiver<Met> {
        self.met.subscribe()
    }

    /// Passes on to the fetches of this node who has something.
    pub(super) fn meet(&self, met: Met) {
        // Nobody may be fetching.
        self.met.send(met).ok();
    }

    fn answer(&self, question: Question, connection: &Connection) -> Answer {
        let id = from_key(connection.remote_id());
        let mut tracker = self.tracker.lock().unwrap_or_else(PoisonError::into_inner);
        match question {
            Question::Announce {
                mut blobs,
                endpoint,
                rests,
            } => {
                let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
                blobs.truncate(BLOBS_MAX);
                blobs.retain(|blob| ledger.serves(blob));
                drop(ledger);
                let joins = match (&endpoint, rests) {
                    (None, _) => Joins::Not,
                    (Some(_), false) => Joins::Fetching,
                    (Some(_), true) => Joins::Resting,
                };
                let (addresses, relays) = endpoint.map_or_else(
                    || (Vec::new(), Vec::new()),
                    |endpoint| (endpoint.addresses, endpoint.relays),
                );
                let endpoint = modest(Endpoint {
                    id,
                    addresses,
                    relays,
                });
                let company = tracker.announce(&blobs, &endpoint, joins, Instant::now());
                if joins != Joins::Not {
                    let blobs = blobs.into();
                    self.meet(Met {
                        blobs,
                        endpoint,
                        is_hint: false,
                    });
                }
                Answer::Company {
                    peers: company.peers,
                    crowd: company.crowd,
                }
            }
            Question::Suggest { blob } => {
                let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
                let size_bytes = ledger.size(&blob).filter(|_| ledger.serves(&blob));
                drop(ledger);
                Answer::Suggestion {
                    bytes: size_bytes.and_then(|size| tracker.suggest(&blob, size)),
                }
            }
            Question::Leave { blobs } => {
                tracker.leave(&blobs, &id);
                Answer::Bye
            }
        }
    }

    async fn converse(&self, connection: Connection) -> Result<(), CompanyError> {
        let (mut send, mut receive) = connection.accept_bi().await.map_err(broken)?;
        for _ in 0..QUESTIONS_MAX {
            let question = read(&mut receive);
            let Ok(question) = tokio::time::timeout(SILENCE_MAX, question).await else {
                return Ok(());
            };
            let Some(question) = question? else {
                return Ok(());
            };
            let pace = tokio::time::Instant::now() + QUESTION_TIME;
            write(&mut send, &self.answer(question, &connection)).await?;
            tokio::time::sleep_until(pace).await;
        }
        Ok(())
    }
}

impl ProtocolHandler for Host {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let Ok(_room) = self.room.try_acquire() else {
            connection.close(1_u32.into(), b"busy");
            return Ok(());
        };
        if let Err(error) = self.converse(connection.clone()).await {
            tracing::debug!(%error, "a conversation about blobs ended");
        }
        connection.close(0_u32.into(), b"done");
        Ok(())
    }
}

/// One side of a conversation, asking.
#[derive(Debug)]
pub(crate) struct Conversation {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
}

impl Conversation {
    pub(super) async fn open(connection: Connection) -> Result<Self, CompanyError> {
        let (send, receive) = connection.open_bi().await.map_err(broken)?;
        Ok(Self {
            connection,
            send,
            receive,
        })
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&mut self, question: &Question) -> Result<Answer, CompanyError> {
        write(&mut self.send, question).await?;
        match read(&mut self.receive).await? {
            Some(Answer::Company { peers, crowd }) => {
                let peers = peers.into_iter().take(crate::tracker::NAMED_MAX);
                Ok(Answer::Company {
                    peers: peers.map(modest).collect(),
                    crowd,
                })
            }
            Some(answer) => Ok(answer),
            None => Err(CompanyError::Broken("it hung up".to_owned())),
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.connection.close(0_u32.into(), b"done");
    }
}

/// Cuts what an endpoint says of itself to what one needs.
pub(crate) fn modest(mut endpoint: Endpoint) -> Endpoint {
    endpoint.addresses.truncate(ADDRESSES_MAX);
    endpoint.relays.retain(|relay| relay.len() <= RELAY_LEN_MAX);
    endpoint.relays.truncate(RELAYS_MAX);
    endpoint
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes what it may skip by reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

async fn write<T: Serialize>(to: &mut SendStream, message: &T) -> Result<(), CompanyError> {
    let body = serde_json::to_vec(message).map_err(CompanyError::Malformed)?;
    if body.len() > FRAME_BYTES_MAX {
        return Err(CompanyError::TooLong(body.len()));
    }
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    to.write_all(&length).await.map_err(broken)?;
    to.write_all(&body).await.map_err(broken)
}

/// Reads a frame; `None` at the end of the conversation.
async fn read<T: for<'de> Deserialize<'de>>(
    from: &mut RecvStream,
) -> Result<Option<T>, CompanyError> {
    let mut length = [0; 4];
    if from.read_exact(&mut length).await.is_err() {
        return Ok(None);
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Err(CompanyError::TooLong(length));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await.map_err(broken)?;
    serde_json::from_slice(&body)
        .map(Some)
        .map_err(CompanyError::Malformed)
}

fn broken(error: impl std::fmt::Display) -> CompanyError {
    CompanyError::Broken(error.to_string())
}
