//! Reviewer lists and votes: which word of a rater is its newest, and how much is kept of whom nobody knows.

use jiff::{SignedDuration, Timestamp};
use sqlx::SqliteConnection;

use super::network::{is_reached, mark_stale, weigh};
use super::{BEGIN_WRITE, Store, StoreError, to_ms};
use crate::trust::opinion::{REVIEWERS_MAX, ReviewerList, Vote, WORDS_BYTES_MAX};

/// How far in the future a date may be.
const AHEAD_MAX: SignedDuration = SignedDuration::from_mins(15);
/// Words that a newer one of the same rater replaced are kept in the log up to this number.
const REPLACED_MAX: u32 = 20;
/// Every how many words heard it is looked whether too many are kept.
const SWEEP_EVERY: i64 = 256;

/// How much is kept of what raters say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpinionQuota {
    /// Bytes of lists, and again of votes, of raters whom no chain of lists connects to a seed. The oldest go first.
    pub unreached_bytes_max: u32,
    /// Votes of one rater, newest and replaced ones together; further ones are not kept.
    pub votes_per_rater_max: u32,
}

impl Default for OpinionQuota {
    fn default() -> Self {
        Self {
            unreached_bytes_max: 64 << 20,
            votes_per_rater_max: 10_000,
        }
    }
}

/// A word's rank among those of its rater on one subject: the youngest counts, of one date the lowest event id.
#[derive(PartialEq, Eq)]
struct Rank {
    created_ms: i64,
    event_id: Vec<u8>,
}

impl Rank {
    fn is_above(&self, other: &Self) -> bool {
        (self.created_ms, &other.event_id) > (other.created_ms, &self.event_id)
    }
}

/// A stored word: date, event id, whether it is the newest.
type WordRow = (i64, Vec<u8>, bool);

/// What a rater said before on one subject.
#[derive(Default)]
struct Known {
    live: Option<Rank>,
    replaced: Vec<Rank>,
}

impl Known {
    fn of(rows: Vec<WordRow>) -> Self {
        let mut known = Self::default();
        for (created_ms, event_id, is_live) in rows {
            let rank = Rank {
                created_ms,
                event_id,
            };
            if is_live {
                known.live = Some(rank);
            } else {
                known.replaced.push(rank);
            }
        }
        known
    }

    fn contains(&self, rank: &Rank) -> bool {
        self.live.as_ref() == Some(rank) || self.replaced.contains(rank)
    }

    fn is_below(&self, rank: &Rank) -> bool {
        self.live.as_ref().is_none_or(|live| rank.is_above(live))
    }
}

impl Store {
    /// Keeps a reviewer list. Returns whether it is the rater's newest now; one that is dated more than 15 minutes
    /// ahead, known, or older than the newest changes nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Opinion`] for one beyond its limits, [`StoreError::Query`].
    pub async fn admit_reviewer_list(
        &self,
        list: &ReviewerList,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if list.trusts.len() > REVIEWERS_MAX {
            return Err(beyond("the number of reviewers", &list.event_id));
        }
        let rank = rank(&list.event_id, list.created)?;
        if list.created > now + AHEAD_MAX {
            return Ok(false);
        }
        let trusts: Vec<u8> = list.trusts.iter().flat_map(|r| *r.as_bytes()).collect();
        let mut transaction = self.pool.begin_with(BEGIN_WRITE).await?;
        let known: Vec<WordRow> =
            sqlx::query_as("SELECT created, event_id, live FROM reviewer_lists WHERE rater = ?")
                .bind(list.rater.as_bytes().as_slice())
                .fetch_all(&mut *transaction)
                .await?;
        let known = Known::of(known);
        if known.contains(&rank) {
            return Ok(false);
        }
        let is_newest = known.is_below(&rank);
        let reached = is_reached(&mut transaction, &list.rater).await?;
        if is_newest {
            sqlx::query("UPDATE reviewer_lists SET live = 0 WHERE rater = ? AND live = 1")
                .bind(list.rater.as_bytes().as_slice())
                .execute(&mut *transaction)
                .await?;
        }
        let id = sqlx::query(
            "INSERT INTO reviewer_lists (rater, trusts, event_id, created, heard_at, live, reached)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(list.rater.as_bytes().as_slice())
        .bind(trusts)
        .bind(rank.event_id)
        .bind(rank.created_ms)
        .bind(to_ms(now))
        .bind(is_newest)
        .bind(reached)
        .execute(&mut *transaction)
        .await?
        .last_insert_rowid();
        if is_newest && reached {
            mark_stale(&mut transaction).await?;
        }
        sqlx::query(
            "DELETE FROM reviewer_lists WHERE id IN
             (SELECT id FROM reviewer_lists WHERE rater = ? AND live = 0
              ORDER BY created DESC, event_id LIMIT -1 OFFSET ?)",
        )
        .bind(list.rater.as_bytes().as_slice())
        .bind(REPLACED_MAX)
        .execute(&mut *transaction)
        .await?;
        self.sweep(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(is_newest)
    }

    /// Keeps a vote. Returns whether it is the rater's newest word on that publisher now; one that is dated more
    /// than 15 minutes ahead, known, older than the newest, or beyond the rater's quota changes nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Opinion`] for one beyond its limits, [`StoreError::Query`].
    pub async fn admit_vote(&self, vote: &Vote, now: Timestamp) -> Result<bool, StoreError> {
        if vote.words.len() > WORDS_BYTES_MAX {
            return Err(beyond("the text", &vote.event_id));
        }
        let rank = rank(&vote.event_id, vote.created)?;
        if vote.created > now + AHEAD_MAX {
            return Ok(false);
        }
        let publisher = vote.publisher.to_string();
        let mut transaction = self.pool.begin_with(BEGIN_WRITE).await?;
        let known: Vec<WordRow> = sqlx::query_as(
            "SELECT created, event_id, live FROM votes
             WHERE publisher = ?1 AND reached IN (0, 1) AND rater = ?2 AND live = 1
             UNION ALL
             SELECT created, event_id, live FROM votes
             WHERE publisher = ?1 AND rater = ?2 AND live = 0",
        )
        .bind(&publisher)
        .bind(vote.rater.as_bytes().as_slice())
        .fetch_all(&mut *transaction)
        .await?;
        let known = Known::of(known);
        if known.contains(&rank) {
            return Ok(false);
        }
        if known.live.is_none() && self.has_said_enough(&mut transaction, vote).await? {
            return Ok(false);
        }
        let is_newest = known.is_below(&rank);
        let reached = is_reached(&mut transaction, &vote.rater).await?;
        if is_newest {
            sqlx::query(
                "UPDATE votes SET live = 0
                 WHERE publisher = ? AND reached IN (0, 1) AND rater = ? AND live = 1",
            )
            .bind(&publisher)
            .bind(vote.rater.as_bytes().as_slice())
            .execute(&mut *transaction)
            .await?;
        }
        let id = sqlx::query(
            "INSERT INTO votes
             (publisher, rater, slug, opinion, words, event_id, created, heard_at, live, reached)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&publisher)
        .bind(vote.rater.as_bytes().as_slice())
        .bind(vote.app.as_ref().map(|app| app.as_str()))
        .bind(vote.opinion.as_str())
        .bind(&vote.words)
        .bind(rank.event_id)
        .bind(rank.created_ms)
        .bind(to_ms(now))
        .bind(is_newest)
        .bind(reached)
        .execute(&mut *transaction)
        .await?
        .last_insert_rowid();
        sqlx::query(
            "DELETE FROM votes WHERE id IN
             (SELECT id FROM votes WHERE publisher = ? AND rater = ? AND live = 0
              ORDER BY created DESC, event_id LIMIT -1 OFFSET ?)",
        )
        .bind(&publisher)
        .bind(vote.rater.as_bytes().as_slice())
        .bind(REPLACED_MAX)
        .execute(&mut *transaction)
        .await?;
        self.sweep(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(is_newest)
    }

    async fn has_said_enough(
        &self,
        connection: &mut SqliteConnection,
        vote: &Vote,
    ) -> Result<bool, StoreError> {
        let votes: u32 = sqlx::query_scalar("SELECT COUNT(*) FROM votes WHERE rater = ?")
            .bind(vote.rater.as_bytes().as_slice())
            .fetch_one(connection)
            .await?;
        Ok(votes >= self.opinion_quota.votes_per_rater_max)
    }

    /// Removes, now and then, what is too much of those whom nobody knows, oldest first.
    async fn sweep(&self, connection: &mut SqliteConnection, id: i64) -> Result<(), StoreError> {
        if id % SWEEP_EVERY != 0 {
            return Ok(());
        }
        // Who is within reach by now must not be taken for a stranger.
        weigh(&mut *connection).await?;
        for delete in [SWEEP_LISTS, SWEEP_VOTES] {
            sqlx::query(delete)
                .bind(self.opinion_quota.unreached_bytes_max)
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}

/// Removes the oldest of the unreached lists that are together longer than ?1; a row's own columns count 200 bytes.
const SWEEP_LISTS: &str = "DELETE FROM reviewer_lists WHERE reached = 0 AND id <=
    (SELECT MAX(id) FROM
     (SELECT id, SUM(length(trusts) + 200) OVER (ORDER BY id DESC) AS bytes
      FROM reviewer_lists WHERE reached = 0)
     WHERE bytes > ?1)";

/// The same for votes; a row's own columns and its places in indexes count 400 bytes.
const SWEEP_VOTES: &str = "DELETE FROM votes WHERE reached = 0 AND id <=
    (SELECT MAX(id) FROM
     (SELECT id, SUM(octet_length(words) + 400) OVER (ORDER BY id DESC) AS bytes
      FROM votes WHERE reached = 0)
     WHERE bytes > ?1)";

fn rank(event_id: &str, created: Timestamp) -> Result<Rank, StoreError> {
    let mut bytes = vec![0; 32];
    hex::decode_to_slice(event_id, &mut bytes).map_err(|_| beyond("the id", event_id))?;
    Ok(Rank {
        created_ms: to_ms(created),
        event_id: bytes,
    })
}

fn beyond(what: &'static str, event_id: &str) -> StoreError {
    StoreError::Opinion {
        what,
        event_id: event_id.chars().take(64).collect(),
    }
}
