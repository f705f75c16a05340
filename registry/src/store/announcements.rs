//! Announcements: which one is news.
//!
//! The highest valid `seq` wins, whatever the dates say. What a `seq` once meant it means for ever.
//! Many are admitted in one transaction: `batch` reads what is known of all of them and writes what they
//! change, `decide` judges them one after the other in between, without I/O.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::quota::OverQuota;
use super::{BEGIN_WRITE, Store, StoreError};
use crate::announcement::Announcement;
use crate::id::Blake3Hash;
use crate::verified::Verified;

mod batch;
mod decide;

/// Announcements that are admitted in one transaction.
pub const BATCH_MAX: usize = 1024;

/// From where an announcement was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The relay's URL, or another name for the way it came.
    pub relay: String,
    /// Id of the Nostr event; empty when it came another way.
    pub event_id: String,
}

/// What became of a valid announcement that was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is the app's newest announcement now.
    Newest,
    /// It was known, or says nothing newer about the same release.
    Known,
    /// A rollback: a newer release was heard before. Kept, not followed.
    Older {
        /// The highest `seq` known of the app.
        highest_seq: u64,
    },
    /// Its `seq` is further ahead than [`SEQ_STEP_MAX`]. Kept, not followed.
    FastForward {
        /// The highest `seq` known of the app.
        highest_seq: u64,
    },
    /// The publisher signed two releases under one `seq`: both are kept, the publisher is frozen.
    Equivocation {
        /// The counter that both carry.
        seq: u64,
        /// The release that was known.
        first: Blake3Hash,
        /// The release that was announced now.
        second: Blake3Hash,
    },
    /// The publisher contradicted itself earlier; nothing of it is followed. Kept.
    Frozen {
        /// When the contradiction was found.
        since: Timestamp,
    },
    /// A limit is reached. Not kept.
    OverQuota(OverQuota),
}

/// A valid announcement, with how it came.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// The announcement.
    pub announcement: &'a Verified<Announcement>,
    /// Its signed bytes.
    pub bytes: &'a [u8],
    /// From where it was heard.
    pub source: &'a Source,
    /// The Nostr key whose event carried it, as 64 hexadecimal digits; `None` when it came another way,
    /// which no limit per key applies to.
    pub pubkey: Option<&'a str>,
}

impl Store {
    /// Decides whether a valid announcement is news, and keeps it unless a limit is reached.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn admit_announcement(
        &self,
        announcement: &Verified<Announcement>,
        bytes: &[u8],
        source: &Source,
        now: Timestamp,
    ) -> Result<Admission, StoreError> {
        let arrival = Arrival {
            announcement,
            bytes,
            source,
            pubkey: None,
        };
        let mut admitted = self.admit_announcements(&[arrival], now).await?;
        Ok(admitted.remove(0))
    }

    /// Admits announcements in their order, up to [`BATCH_MAX`] in one transaction: the disk is waited for
    /// once. Answers for each as [`Store::admit_announcement`] does.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; announcements before the transaction that failed stay admitted.
    pub async fn admit_announcements(
        &self,
        arrivals: &[Arrival<'_>],
        now: Timestamp,
    ) -> Result<Vec<Admission>, StoreError> {
        for arrival in arrivals {
            if Blake3Hash::of(arrival.bytes) != arrival.announcement.hash() {
                return Err(StoreError::OtherBytes(arrival.announcement.hash()));
            }
        }
        let mut admissions = Vec::with_capacity(arrivals.len());
        for arrivals in arrivals.chunks(BATCH_MAX) {
            let mut transaction = self.pool.begin_with(BEGIN_WRITE).await?;
            let decided = admit(self, &mut transaction, arrivals, now).await?;
            transaction.commit().await?;
            for (arrival, admission) in arrivals.iter().zip(decided) {
                if let Admission::OverQuota(refusal) = &admission {
                    let app = arrival.announcement.app();
                    self.tight
                        .note(*refusal, &app, arrival.pubkey, super::quota::day(now));
                }
                admissions.push(admission);
            }
        }
        Ok(admissions)
    }
}

/// Admits at most [`BATCH_MAX`] announcements, or cards of listed releases that are stored already.
pub(super) async fn admit(
    store: &Store,
    connection: &mut SqliteConnection,
    arrivals: &[Arrival<'_>],
    now: Timestamp,
) -> Result<Vec<Admission>, StoreError> {
    let heard = batch::read(store, &mut *connection, arrivals, now).await?;
    let decided = decide::decide(heard, &store.limits, now)?;
    batch::write(connection, &decided, now).await?;
    Ok(decided.admissions)
}
