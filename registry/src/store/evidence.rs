//! The evidence log: what happened on this node, and all that is known of a publisher.
//!
//! What others say is counted as far as the network of reviewers reaches; see [`super::network`].

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::key_states::{contradictions, history};
use super::{Store, StoreError, from_db, from_ms, parse, rater, to_ms};
use crate::did::Did;
use crate::trust::{Contradiction, Event, Evidence, Recorded, Sighting, Voice};

/// Most events of one publisher that are read; the newest ones count.
const EVENTS_MAX: u32 = 20_000;

impl Store {
    /// Adds an event to the log. Events that count once (a day of an app, a bad delta, a Nostr link) are added
    /// once.
    ///
    /// Returns the event's number, or `None` when it was there already.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn record(
        &self,
        publisher: &Did,
        event: &Event,
        now: Timestamp,
    ) -> Result<Option<i64>, StoreError> {
        let json = serde_json::to_string(event).map_err(|error| StoreError::Corrupt {
            what: "event",
            value: error.to_string(),
        })?;
        let result = sqlx::query(
            "INSERT INTO evidence (publisher, event, once, at) VALUES (?, ?, ?, ?)
             ON CONFLICT (once) DO NOTHING",
        )
        .bind(publisher.to_string())
        .bind(json)
        .bind(once(publisher, event))
        .bind(to_ms(now))
        .execute(&self.pool)
        .await?;
        Ok((result.rows_affected() == 1).then(|| result.last_insert_rowid()))
    }

    /// Returns all that this node knows of a publisher.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn evidence(&self, publisher: &Did) -> Result<Evidence, StoreError> {
        self.weigh_if_stale().await?;
        let mut transaction = self.pool.begin().await?;
        let name = publisher.to_string();
        let history = history(&mut transaction, publisher).await?;
        let state = history.newest();
        let sightings: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT slug, seq, first_seen_at FROM app_ids CROSS JOIN first_seen ON app = app_ids.id
             WHERE publisher = ? ORDER BY first_seen_at, slug, seq",
        )
        .bind(&name)
        .fetch_all(&mut *transaction)
        .await?;
        let events: Vec<(i64, i64, String)> = sqlx::query_as(
            "SELECT id, at, event FROM evidence WHERE publisher = ? ORDER BY id DESC LIMIT ?",
        )
        .bind(&name)
        .bind(EVENTS_MAX)
        .fetch_all(&mut *transaction)
        .await?;
        let contradictions = contradictions(&mut transaction, &history).await?;
        let seeds: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM seeds")
            .fetch_one(&mut *transaction)
            .await?;
        let voices = voices(&mut transaction, &name).await?;
        Ok(Evidence {
            publisher: *publisher,
            key_state_seq: state.seq,
            has_next_keys: !state.next.is_empty(),
            is_revoked: state.is_revoked(),
            nostr: state
                .nostr
                .iter()
                .map(|key| (key.pubkey.clone(), key.expires))
                .collect(),
            sightings: sightings
                .into_iter()
                .map(|(app, seq, at)| {
                    Ok(Sighting {
                        app: parse("slug", &app)?,
                        seq: from_db(seq)?,
                        at: from_ms(at)?,
                    })
                })
                .collect::<Result<_, StoreError>>()?,
            events: events
                .into_iter()
                .rev()
                .map(|(id, at, event)| {
                    Ok(Recorded {
                        id,
                        at: from_ms(at)?,
                        event: read(&event)?,
                    })
                })
                .collect::<Result<_, StoreError>>()?,
            contradictions: contradictions
                .into_iter()
                .map(|standing| Contradiction {
                    id: standing.id,
                    subject: standing.subject,
                    seq: standing.seq,
                    at: standing.found,
                })
                .collect(),
            seeds: from_db(seeds)?,
            voices,
        })
    }

    /// Lists every publisher that has an app in the catalog or an event in the log.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn publishers(&self) -> Result<Vec<Did>, StoreError> {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT publisher FROM apps UNION SELECT publisher FROM evidence ORDER BY 1",
        )
        .fetch_all(&self.pool)
        .await?;
        names.iter().map(|name| parse("publisher", name)).collect()
    }
}

/// What a vote's row says of it: rater, opinion, event id, date, weight, introducer.
type VoiceRow = (Vec<u8>, String, Vec<u8>, i64, i64, Vec<u8>);

/// Returns the newest word of every rater within reach.
async fn voices(
    connection: &mut SqliteConnection,
    publisher: &str,
) -> Result<Vec<Voice>, StoreError> {
    // CROSS JOIN: the votes come first, of which a publisher has few.
    let rows: Vec<VoiceRow> = sqlx::query_as(
        "SELECT votes.rater, opinion, event_id, created, weight, introducer
         FROM votes CROSS JOIN standings ON standings.rater = votes.rater
         WHERE publisher = ? AND reached = 1 AND live = 1 ORDER BY votes.rater",
    )
    .bind(publisher)
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|(by, opinion, event_id, created, weight, introducer)| {
            Ok(Voice {
                rater: rater(&by)?,
                opinion: parse("opinion", &opinion)?,
                event_id: hex::encode(event_id),
                created: from_ms(created)?,
                weight: from_db(weight)?,
                introducer: rater(&introducer)?,
            })
        })
        .collect()
}

fn read(json: &str) -> Result<Event, StoreError> {
    serde_json::from_str(json).map_err(|_| StoreError::Corrupt {
        what: "event",
        value: json.chars().take(200).collect(),
    })
}

/// Returns what makes an event one that counts once.
fn once(publisher: &Did, event: &Event) -> Option<String> {
    match event {
        Event::HealthyDay { app, day } => Some(format!("healthy {publisher}/{app} {day}")),
        Event::UnhealthyDay { app, day } => Some(format!("unhealthy {publisher}/{app} {day}")),
        Event::BadDelta { release, delta, .. } => {
            Some(format!("bad delta {publisher} {release} {delta}"))
        }
        Event::NostrLinked { pubkey } => Some(format!("linked {publisher} {pubkey}")),
        Event::Installed { .. }
        | Event::InstallFailed { .. }
        | Event::DomainLinked { .. }
        | Event::DomainUnlinked { .. }
        | Event::Complaint { .. }
        | Event::Pinned
        | Event::Unpinned
        | Event::Blocked
        | Event::Unblocked => None,
    }
}
