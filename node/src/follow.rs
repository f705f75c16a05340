//! From an event that was heard to an app in the catalog: verify, admit, fetch the release, verify again.
//!
//! Two loops. [`Follow::hear`] takes statements from relays, cheapest check first, and admits what holds:
//! size, id and Nostr signature were checked by the follower; here come pauses and limits, then the publisher's
//! proof. What waits in the channel is admitted together, so that the disk is waited for once.
//! [`Follow::fetch_missing`] is level-triggered: whatever the catalog names and this node lacks is fetched,
//! with back-off, whether the announcement came now or before a restart. Nothing is published from here.

mod fetch;
mod opinions;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use archy_nostr::{Heard, Message, Subject};
use archy_registry::announcement::{self, Announcement};
use archy_registry::key_state::chain;
use archy_registry::release::Asset;
use archy_registry::store::{Admission, Arrival, BATCH_MAX, KeyStateAdmission, OverQuota, Source};
use archy_registry::{AppId, Blake3Hash, Did, Slug, Store, Verified, trust};
use archy_swarm::Swarm;
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::api::types::{Event, Problem};
use crate::api::{Hub, problem};
use crate::machine::Machine;
use crate::problem as explain;
use crate::refusals::Refusals;
use crate::seeders::Seekers;
use crate::slot::Slot;

/// Follows announcements and keeps the catalog's releases at hand.
pub struct Follow {
    store: Store,
    swarm: Slot<Swarm>,
    machine: Slot<Arc<dyn Machine>>,
    hub: Hub,
    seekers: Seekers,
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

/// An announcement that holds, on its way into the store.
struct Offer<'a> {
    announcement: Verified<Announcement>,
    heard: &'a Heard,
    pubkey: String,
    source: Source,
}

/// Reads whom a statement says it is of; believed only after verification.
fn claimed_publisher(heard: &Heard) -> Option<Did> {
    match heard.subject {
        Subject::KeyState => chain::claimed_publisher(&heard.content),
        Subject::Announcement(_) => announcement::claimed_publisher(&heard.content),
    }
}

/// Tells whether the newest state of a chain is `state`.
fn ends_with(chain: &[u8], state: Blake3Hash) -> bool {
    chain::split(chain)
        .ok()
        .and_then(|states| states.last().map(|newest| Blake3Hash::of(newest)))
        == Some(state)
}

impl Follow {
    /// Follows into `store`.
    pub fn new(
        store: Store,
        swarm: Slot<Swarm>,
        machine: Slot<Arc<dyn Machine>>,
        hub: Hub,
        seekers: Seekers,
    ) -> Self {
        Self {
            store,
            swarm,
            machine,
            hub,
            seekers,
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
        let mut waiting = Vec::with_capacity(BATCH_MAX);
        loop {
            let taken = tokio::select! {
                () = stop.cancelled() => return,
                taken = heard.recv_many(&mut waiting, BATCH_MAX) => taken,
            };
            if taken == 0 {
                return;
            }
            let now = Timestamp::now();
            let mut statements = Vec::with_capacity(taken);
            for message in waiting.drain(..) {
                match message {
                    Message::Statement(statement) => statements.push(statement),
                    Message::Reviewers(list) => self.reviewers(&list, now).await,
                    Message::Vote(vote) => self.vote(&vote, now).await,
                }
            }
            self.hear(&statements, now).await;
        }
    }

    /// Judges statements in their order.
    pub async fn hear(&self, heard: &[Heard], now: Timestamp) {
        let mut offers = Vec::new();
        for statement in heard {
            let relay = statement.relay.as_str();
            let pubkey = statement.pubkey.to_string();
            if self.refusals.is_paused(relay, &pubkey, now) {
                continue;
            }
            let Some(publisher) = claimed_publisher(statement) else {
                let refusal = problem("malformed", "The statement names no publisher", "");
                self.refusals.add(relay, &pubkey, None, &refusal, now);
                continue;
            };
            match &statement.subject {
                Subject::KeyState => {
                    // It decides about what comes after it, not about what came before.
                    self.admit(std::mem::take(&mut offers), now).await;
                    if let Err(refusal) = self.key_state(&publisher, statement, now).await {
                        self.refuse(statement, &publisher, None, &refusal, now);
                    }
                }
                Subject::Announcement(slug) => {
                    let app = AppId {
                        publisher,
                        slug: slug.clone(),
                    };
                    match self.check(&app, statement, &pubkey, now).await {
                        Ok(announcement) => offers.push(Offer {
                            announcement,
                            heard: statement,
                            pubkey,
                            source: Source {
                                relay: relay.to_owned(),
                                event_id: statement.event_id.to_string(),
                            },
                        }),
                        Err(refusal) => {
                            self.refuse(statement, &publisher, Some(app), &refusal, now);
                        }
                    }
                }
            }
        }
        self.admit(offers, now).await;
    }

    fn refuse(
        &self,
        heard: &Heard,
        publisher: &Did,
        app: Option<AppId>,
        refusal: &Problem,
        now: Timestamp,
    ) {
        let (relay, pubkey) = (heard.relay.as_str(), heard.pubkey.to_string());
        tracing::info!(
            relay, pubkey, %publisher, kind = %refusal.kind, details = ?refusal.details,
            "refused what was heard: {}", refusal.message
        );
        self.refusals.add(relay, &pubkey, app, refusal, now);
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
        if ends_with(&heard.content, state.hash()) && state.binds_nostr(&pubkey, now) {
            let linked = trust::Event::NostrLinked { pubkey };
            let recorded = self.store.record(publisher, &linked, now).await;
            if recorded
                .map_err(|error| explain::of_store(&error))?
                .is_some()
            {
                self.hub.send(Event::Catalog);
            }
        }
        Ok(())
    }

    /// Checks an announcement, the limits first: they cost less than a signature.
    async fn check(
        &self,
        app: &AppId,
        heard: &Heard,
        pubkey: &str,
        now: Timestamp,
    ) -> Result<Verified<Announcement>, Problem> {
        let refused = self
            .store
            .over_quota(app, Some(pubkey), now)
            .await
            .map_err(|error| explain::of_store(&error))?;
        if let Some(refused) = refused {
            return Err(over_quota(refused));
        }
        let keys = self
            .store
            .key_history(&app.publisher)
            .await
            .map_err(|error| explain::of_store(&error))?;
        // With the whole history, so that a refusal tells a key of the past from a stranger's.
        let (announcement, _) = announcement::verify_seen(&heard.content, &keys, None, now)
            .map_err(|error| explain::of_announcement(&error))?;
        check_label(&announcement, &app.slug)?;
        Ok(announcement)
    }

    /// Admits announcements that hold.
    async fn admit(&self, offers: Vec<Offer<'_>>, now: Timestamp) {
        let arrivals: Vec<Arrival<'_>> = offers
            .iter()
            .map(|offer| Arrival {
                announcement: &offer.announcement,
                bytes: &offer.heard.content,
                source: &offer.source,
                pubkey: Some(&offer.pubkey),
            })
            .collect();
        if arrivals.is_empty() {
            return;
        }
        let admitted = match self.store.admit_announcements(&arrivals, now).await {
            Ok(admitted) => admitted,
            Err(error) => {
                let refusal = explain::of_store(&error);
                for offer in &offers {
                    let app = offer.announcement.app();
                    self.refuse(
                        offer.heard,
                        &app.publisher,
                        Some(app.clone()),
                        &refusal,
                        now,
                    );
                }
                return;
            }
        };
        let mut is_news = false;
        for (offer, admission) in offers.iter().zip(admitted) {
            is_news |= matches!(
                admission,
                Admission::Newest | Admission::Equivocation { .. }
            );
            if let Err(refusal) = judged(offer, admission) {
                let app = offer.announcement.app();
                self.refuse(
                    offer.heard,
                    &app.publisher,
                    Some(app.clone()),
                    &refusal,
                    now,
                );
            }
        }
        if is_news {
            self.catalog_changed();
        }
    }

    /// Looks for what the catalog names and this node lacks, and tells clients.
    pub fn catalog_changed(&self) {
        self.wanted.notify_one();
        self.hub.send(Event::Catalog);
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

/// Says what became of an announcement.
fn judged(offer: &Offer<'_>, admission: Admission) -> Result<(), Problem> {
    let announcement = &offer.announcement;
    if judge(admission, announcement.seq)? {
        tracing::info!(
            app = %announcement.app(), seq = announcement.seq, version = %announcement.version,
            release.hash = %announcement.release.blake3, relay = %offer.heard.relay,
            "heard of a release"
        );
    }
    Ok(())
}

/// Says whether what was heard of a release is news, or why it is refused.
///
/// # Errors
///
/// Says why the release is not followed.
pub fn judge(admission: Admission, seq: u64) -> Result<bool, Problem> {
    match admission {
        Admission::Newest => Ok(true),
        Admission::Known => Ok(false),
        Admission::Older { highest_seq } => Err(rollback(seq, highest_seq)),
        Admission::FastForward { highest_seq } => Err(problem(
            "fastForward",
            format!("Release {seq} of the app jumps too far ahead of release {highest_seq}"),
            "Nothing to do: the newest believable release stays",
        )),
        Admission::Equivocation { seq, first, second } => {
            Err(contradiction("releases", seq, first, second))
        }
        Admission::Frozen { since } => Err(problem(
            "frozen",
            format!(
                "The publisher contradicted itself on {}; nothing of it is followed",
                explain::day(since)
            ),
            "Look for news of the publisher; what runs already goes on running",
        )),
        Admission::OverQuota(refused) => Err(over_quota(refused)),
    }
}

/// Says that a limit of what this node keeps is reached.
fn over_quota(refused: OverQuota) -> Problem {
    problem("quota", format!("Not kept: {refused}"), refused.advice())
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
