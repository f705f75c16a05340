//! Talks with a provider about who else fetches the same, and what of it to take from whom.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use archy_registry::Blake3Hash;
use archy_registry::release::Endpoint;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::transport::{Answer, COMPANY_BLOBS_MAX, CompanyError, Question, Transport};

/// Suggestions that are asked for and not yet answered.
const WISHES_MAX: usize = 1;
/// First and longest time between two announcements; a crowd gathers fast.
const ANNOUNCE: Range<Duration> = Duration::from_secs(1)..Duration::from_secs(30);

/// What every suggestion of no use adds to the pause before the next wish, and how long that gets.
const WISH_PAUSE: Duration = Duration::from_millis(1);
const WISH_PAUSE_MAX: Duration = Duration::from_millis(100);

/// A blob, by its position, of which something is to be suggested after a pause.
type Wish = (usize, Duration);

/// Others who fetch or have the blobs.
#[derive(Debug)]
pub(super) struct Company {
    pub(super) peers: Vec<Endpoint>,
    pub(super) crowd: usize,
}

/// What a provider said.
#[derive(Debug)]
pub(super) enum Said {
    Company(Company),
    /// What to take of a blob, by its position.
    Suggested(usize, Option<Range<u64>>),
}

/// The fetch's end of a talk.
#[derive(Debug)]
pub(super) struct Talk {
    wishes: mpsc::Sender<Wish>,
    open: usize,
    /// Whether the provider suggests anything.
    is_mute: bool,
    /// Suggestions in a row that were of no use.
    useless: u32,
    /// How many fetch the same now.
    pub(super) crowd: usize,
}

impl Talk {
    pub(super) fn new() -> (Self, mpsc::Receiver<Wish>) {
        let (wishes, heard) = mpsc::channel(WISHES_MAX);
        let talk = Self {
            wishes,
            open: 0,
            is_mute: false,
            useless: 0,
            crowd: 0,
        };
        (talk, heard)
    }

    /// Tells whether to ask for a suggestion: alone one chooses freely.
    pub(super) fn may_wish(&self) -> bool {
        self.crowd > 1 && !self.is_mute && self.open < WISHES_MAX
    }

    pub(super) fn wish(&mut self, blob: usize) {
        let pause = WISH_PAUSE.saturating_mul(self.useless).min(WISH_PAUSE_MAX);
        if self.wishes.try_send((blob, pause)).is_ok() {
            self.open += 1;
        }
    }

    /// Takes in whether what was suggested is of use; `None` when nothing was.
    pub(super) fn answered(&mut self, is_of_use: Option<bool>) {
        self.open = self.open.saturating_sub(1);
        match is_of_use {
            Some(true) => self.useless = 0,
            Some(false) => self.useless = self.useless.saturating_add(1),
            None => self.is_mute = true,
        }
    }
}

/// The provider's end of a talk.
#[derive(Debug)]
pub(super) struct Talker {
    pub(super) transport: Arc<Transport>,
    pub(super) with: Endpoint,
    pub(super) within: Duration,
    pub(super) blobs: Vec<Blake3Hash>,
    /// Whether this node serves what it gets.
    pub(super) joins: bool,
}

impl Talker {
    /// Announces now and then, and passes wishes on, until the provider hangs up or `tell` says that nobody listens.
    pub(super) async fn talk(&self, wishes: mpsc::Receiver<Wish>, tell: mpsc::Sender<Said>) {
        if let Err(error) = self.converse(wishes, tell).await {
            tracing::debug!(endpoint = %self.with.id, %error, "a provider names no company");
        }
    }

    /// Tells whether others get from here what arrives: its owner may have paused that.
    fn serves(&self) -> bool {
        let store = self.transport.store();
        self.joins && self.blobs.iter().any(|blob| store.serves(blob))
    }

    async fn converse(
        &self,
        mut wishes: mpsc::Receiver<Wish>,
        tell: mpsc::Sender<Said>,
    ) -> Result<(), CompanyError> {
        let mut conversation = self.transport.converse(&self.with, self.within).await?;
        let mut pause = ANNOUNCE.start;
        loop {
            let announce = Question::Announce {
                blobs: self.blobs.iter().take(COMPANY_BLOBS_MAX).copied().collect(),
                endpoint: self.serves().then(|| self.transport.local()),
                rests: false,
            };
            if let Answer::Company { peers, crowd } = conversation.ask(&announce).await? {
                let company = Said::Company(Company { peers, crowd });
                if tell.send(company).await.is_err() {
                    return Ok(());
                }
            }
            let next = Instant::now() + pause;
            pause = (pause * 2).min(ANNOUNCE.end);
            loop {
                let wish = tokio::select! {
                    wish = wishes.recv() => wish,
                    () = tokio::time::sleep_until(next) => break,
                };
                let Some((position, pause)) = wish else {
                    return Ok(());
                };
                tokio::time::sleep(pause).await;
                let blob = self.blobs[position];
                let answer = conversation.ask(&Question::Suggest { blob }).await?;
                let Answer::Suggestion { bytes } = answer else {
                    return Ok(());
                };
                if tell.send(Said::Suggested(position, bytes)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}
