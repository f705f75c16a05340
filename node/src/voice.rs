//! The owner's voice in public: this node's own Nostr key, and opinions signed with it.
//!
//! The key is made when the owner first says something to others; a node that keeps to itself has none.

use std::path::{Path, PathBuf};

use archy_nostr::{
    Draft, NostrKey, PublishOptions, RelayUrl, SeederRecord, publish, withdraw_seeder,
};
use archy_registry::Blake3Hash;

use crate::api::problem;
use crate::api::types::{OpinionPublished, Problem};
use crate::problem as explain;

/// Name of the key's file among the node's keys.
const FILE: &str = "nostr.nsec";

/// Speaks to others for the owner.
#[derive(Debug, Clone)]
pub struct Voice {
    path: PathBuf,
}

impl Voice {
    /// Speaks with the key in `keys_dir`, once there is one.
    pub fn new(keys_dir: &Path) -> Self {
        Self {
            path: keys_dir.join(FILE),
        }
    }

    /// Returns the node's pubkey, if it has spoken before.
    ///
    /// # Errors
    ///
    /// When its key cannot be used.
    pub fn pubkey(&self) -> Result<Option<String>, Problem> {
        if !self.path.exists() {
            return Ok(None);
        }
        let key = NostrKey::load(&self.path).map_err(|error| of_key(&error))?;
        Ok(Some(key.pubkey().to_string()))
    }

    /// Signs an opinion and puts it on every relay.
    ///
    /// # Errors
    ///
    /// When it cannot be signed or no relay takes it.
    pub async fn say(
        &self,
        draft: &Draft,
        relays: &[RelayUrl],
    ) -> Result<OpinionPublished, Problem> {
        let key = self.key()?;
        let options = PublishOptions {
            read_back: false,
            ..PublishOptions::default()
        };
        let report = publish(relays, &key, draft, &options).await;
        let report = report.map_err(|error| {
            let mut failed = problem(
                "notPublished",
                "Your opinion was kept here and could not be sent to others",
                "Look at the node's relays, then say it again",
            );
            failed.details = explain::causes(&error);
            failed
        })?;
        let said_no = report.refused.iter().chain(&report.unreachable);
        let refused: Vec<String> = said_no
            .map(|(relay, why)| format!("{relay}: {why}"))
            .collect();
        if report.accepted.is_empty() {
            let mut failed = problem(
                "notPublished",
                "Your opinion was kept here, and no relay took it",
                "Look at the node's relays, then say it again",
            );
            failed.details = refused;
            return Err(failed);
        }
        Ok(OpinionPublished {
            event_id: report.event_id.to_string(),
            pubkey: report.pubkey.to_string(),
            accepted: report.accepted.iter().map(ToString::to_string).collect(),
            refused,
            note: None,
        })
    }

    /// Says until `expires` (seconds since 1970) that this node serves a release.
    ///
    /// # Errors
    ///
    /// When it cannot be signed or no relay takes it.
    pub async fn seed(
        &self,
        record: &SeederRecord,
        expires: u64,
        relays: &[RelayUrl],
    ) -> Result<(), Problem> {
        let draft = record
            .draft(expires)
            .map_err(|error| explain::internal("write a seeder record", &error))?;
        self.say(&draft, relays).await.map(drop)
    }

    /// Takes back what was said of a release; relays keep that until `expires` (seconds since 1970).
    ///
    /// # Errors
    ///
    /// When it cannot be signed or no relay takes it.
    pub async fn withdraw(
        &self,
        release: &Blake3Hash,
        expires: u64,
        relays: &[RelayUrl],
    ) -> Result<(), Problem> {
        let draft = withdraw_seeder(release, expires);
        self.say(&draft, relays).await.map(drop)
    }

    fn key(&self) -> Result<NostrKey, Problem> {
        if self.path.exists() {
            return NostrKey::load(&self.path).map_err(|error| of_key(&error));
        }
        let key = NostrKey::generate();
        key.save_new(&self.path).map_err(|error| of_key(&error))?;
        Ok(key)
    }
}

fn of_key(error: &archy_nostr::KeyError) -> Problem {
    problem("key", explain::causes(error).join(": "), "")
}
