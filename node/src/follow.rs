//! From an event that was heard to an app in the catalog: verify, admit, fetch the release, verify again.
//!
//! Two loops. [`Follow::hear`] takes statements from relays, cheapest check first, and admits what holds.
//! [`Follow::fetch_missing`] is level-triggered: whatever the catalog names and this node lacks is fetched,
//! with back-off, whether the announcement came now or before a restart. Nothing is published from here.

mod fetch;

use std::collections::HashMap;
use std::sync::Mutex;

use archy_nostr::{Heard, Message, Subject};
use archy_registry::announcement::{self, Announcement};
use archy_registry::release::Asset;
use archy_registry::store::{Admission, KeyStateAdmission, Source};
use archy_registry::trust::opinion::{ReviewerList, Vote};
use archy_registry::{AppId, Blake3Hash, Did, Slug, Store, Verified, trust};
use archy_swarm::Swarm;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::api::types::{Event, Problem};
use crate::api::{Hub, problem};
use crate::problem as explain;
use crate::refusals::Refusals;
use crate::slot::Slot;

/// Follows announcements and keeps the catalog's releases at hand.
pub struct Follow {
    store: Store,
    swarm: Slot<Swarm>,
    hub: Hub,
    /// What was refused.
    pub refusals: Refusals,
    /// Releases that can never be accepted as they are, and why.
    bad: Mutex<HashMap<Blake3Hash, Problem>>,
    /// Icons and screenshots that verified statements name.
    assets: Mutex<HashMap<Blake3Hash, Asset>>,
    /// The catalog names something new.
    wanted: Notify,
    /// Statements that were refused may hold now, because a key state came.
    pub read_again: Notify,
}

/// Whom a statement says it is of; believed only after verification.
#[derive(Deserialize)]
struct Claimed {
    publisher: Did,
}

impl Follow {
    /// Follows into `store`.
    pub fn new(store: Store, swarm: Slot<Swarm>, hub: Hub) -> Self {
        Self {
            store,
            swarm,
            hub,
            refusals: Refusals::default(),
            bad: Mutex::default(),
            assets: Mutex::default(),
            wanted: Notify::new(),
            read_again: Notify::new(),
        }
    }

    /// Returns where changes are announced.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Takes what relays hand on until the channel or the daemon ends.
    pub async fn hear_all(&self, mut heard: mpsc::Receiver<Message>, stop: &CancellationToken) {
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => return,
                next = heard.recv() => next,
            };
            match next {
                None => return,
                Some(Message::Statement(statement)) => {
                    self.hear(&statement, Timestamp::now()).await;
                }
                Some(Message::Reviewers(list)) => opinion(&Said::Reviewers(list)),
                Some(Message::Vote(vote)) => opinion(&Said::Vote(vote)),
            }
        }
    }

    /// Judges one statement.
    pub async fn hear(&self, heard: &Heard, now: Timestamp) {
        let relay = heard.relay.as_str();
        let pubkey = heard.pubkey.to_string();
        if self.refusals.is_paused(relay, &pubkey, now) {
            return;
        }
        let claimed: Claimed = match serde_json::from_slice(&heard.content) {
            Ok(claimed) => claimed,
            Err(error) => {
                let mut refusal = problem("malformed", "The statement names no publisher", "");
                refusal.details.push(error.to_string());
                self.refusals.add(relay, &pubkey, None, &refusal, now);
                return;
            }
        };
        let publisher = claimed.publisher;
        let (app, judged) = match &heard.subject {
            Subject::KeyState => (None, self.key_state(&publisher, heard, now).await),
            Subject::Announcement(slug) => {
                let app = AppId {
                    publisher,
                    slug: slug.clone(),
                };
                let judged = self.announcement(&app, heard, now).await;
                (Some(app), judged)
            }
        };
        if let Err(refusal) = judged {
            tracing::info!(
                relay, pubkey, %publisher, kind = %refusal.kind, details = ?refusal.details,
                "refused what was heard: {}", refusal.message
            );
            self.refusals.add(relay, &pubkey, app, &refusal, now);
        }
    }

    async fn key_state(
        &self,
        publisher: &Did,
        heard: &Heard,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let admitted = self
            .store
            .admit_key_state(publisher, &heard.content, now)
            .await
            .map_err(|error| explain::of_key_state(&error))?;
        match admitted {
            KeyStateAdmission::Newest(state) => {
                tracing::info!(%publisher, seq = state.seq, "heard a publisher's key state");
                self.forget_bad();
                self.read_again.notify_one();
                self.wanted.notify_one();
                self.hub.send(Event::Catalog);
            }
            KeyStateAdmission::Known => {}
            KeyStateAdmission::Equivocation { seq, first, second } => {
                self.hub.send(Event::Catalog);
                return Err(contradiction("key states", seq, first, second));
            }
        }
        // Both directions: the key state names the Nostr key, and that key carried the key state.
        let state = self
            .store
            .key_state(publisher)
            .await
            .map_err(|error| explain::of_store(&error))?;
        let pubkey = heard.pubkey.to_string();
        if state.hash() == Blake3Hash::of(&heard.content) && state.binds_nostr(&pubkey, now) {
            let linked = trust::Event::NostrLinked { pubkey };
            self.store
                .record(publisher, &linked, now)
                .await
                .map_err(|error| explain::of_store(&error))?;
        }
        Ok(())
    }

    async fn announcement(
        &self,
        app: &AppId,
        heard: &Heard,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let state = self
            .store
            .key_state(&app.publisher)
            .await
            .map_err(|error| explain::of_store(&error))?;
        let announcement = announcement::verify(&heard.content, &state, now)
            .map_err(|error| explain::of_announcement(&error))?;
        check_label(&announcement, &app.slug)?;
        let source = Source {
            relay: heard.relay.to_string(),
            event_id: heard.event_id.to_string(),
        };
        let admitted = self
            .store
            .admit_announcement(&announcement, &heard.content, &source, now)
            .await
            .map_err(|error| explain::of_store(&error))?;
        match admitted {
            Admission::Newest => {
                tracing::info!(
                    %app, seq = announcement.seq, version = %announcement.version,
                    release.hash = %announcement.release.blake3, relay = %heard.relay,
                    "heard of a release"
                );
                self.wanted.notify_one();
                self.hub.send(Event::Catalog);
                Ok(())
            }
            Admission::Known => Ok(()),
            Admission::Older { highest_seq } => Err(rollback(announcement.seq, highest_seq)),
            Admission::FastForward { highest_seq } => Err(problem(
                "fastForward",
                format!(
                    "Release {} of the app jumps too far ahead of release {highest_seq}",
                    announcement.seq
                ),
                "Nothing to do: the newest believable release stays",
            )),
            Admission::Equivocation { seq, first, second } => {
                self.hub.send(Event::Catalog);
                Err(contradiction("releases", seq, first, second))
            }
            Admission::Frozen { since } => Err(problem(
                "frozen",
                format!("The publisher contradicted itself on {since}; nothing of it is followed"),
                "Look for news of the publisher; what runs already goes on running",
            )),
        }
    }

    /// Returns why an announced release can never be installed as it is.
    pub fn is_bad(&self, release: &Blake3Hash) -> Option<Problem> {
        self.lock_bad().get(release).cloned()
    }

    /// Returns an icon or screenshot that a verified statement names.
    pub fn asset(&self, hash: &Blake3Hash) -> Option<Asset> {
        let assets = self
            .assets
            .lock()
            .expect("nothing panics while it holds the lock");
        assets.get(hash).cloned()
    }

    fn forget_bad(&self) {
        self.lock_bad().clear();
    }

    fn lock_bad(&self) -> std::sync::MutexGuard<'_, HashMap<Blake3Hash, Problem>> {
        self.bad
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

/// What somebody says of publishers or reviewers.
enum Said {
    Reviewers(ReviewerList),
    Vote(Vote),
}

/// Takes an opinion. Nothing keeps opinions yet, so they are noted and dropped; relays keep them.
fn opinion(said: &Said) {
    match said {
        Said::Reviewers(list) => tracing::debug!(
            rater = %list.rater, event = list.event_id, reviewers = list.trusts.len(),
            "heard whom somebody trusts as reviewers"
        ),
        Said::Vote(vote) => tracing::debug!(
            rater = %vote.rater, event = vote.event_id, publisher = %vote.publisher, opinion = ?vote.opinion,
            "heard what somebody says of a publisher"
        ),
    }
}

/// The event's label must name the app that the statement inside is about.
fn check_label(announcement: &Verified<Announcement>, label: &Slug) -> Result<(), Problem> {
    if announcement.slug == *label {
        return Ok(());
    }
    Err(problem(
        "wrongApp",
        format!(
            "The event is labelled {label}, the announcement inside is of {}",
            announcement.slug
        ),
        "Nothing to do: somebody relabelled it",
    ))
}

/// Says that something older than what is known was offered.
pub fn rollback(seq: u64, highest_seq: u64) -> Problem {
    problem(
        "rollback",
        format!(
            "Release {seq} of the app is older than release {highest_seq}, which this node has seen"
        ),
        "Nothing to do: the newest release stays",
    )
}

fn contradiction(what: &str, seq: u64, first: Blake3Hash, second: Blake3Hash) -> Problem {
    let mut refusal = problem(
        "equivocation",
        format!("The publisher signed two different {what} under the same number {seq}"),
        "Nothing more of this publisher is followed or installed; what runs already goes on running",
    );
    refusal.details = vec![format!("first {first}"), format!("second {second}")];
    refusal
}
