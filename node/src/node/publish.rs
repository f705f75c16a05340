//! What a publisher on this machine needs: what the node knows of the app, and room for its blobs.

use std::io;

use archy_registry::{AppId, Blake3Hash};
use archy_swarm::{ProvideError as SwarmError, Tag};
use futures_util::TryStreamExt;
use jiff::Timestamp;
use tokio_util::io::StreamReader;

use super::{Node, invalid};
use crate::api::types::{BlobProvided, BlobsMissing, BlobsParams, Problem, PublishState};
use crate::api::{BlobStream, ProvideError, problem};
use crate::problem as explain;
use crate::view;

/// Most hashes of one `publish.missing`.
const BLOBS_MAX: usize = 1000;

impl Node {
    pub(super) async fn publish_state_of(&self, app: &AppId) -> Result<PublishState, Problem> {
        let swarm = self.swarm_ready()?;
        let failed = |error| explain::of_store(&error);
        let entry = self
            .store
            .app(app, Timestamp::now())
            .await
            .map_err(failed)?;
        let kept = self.store.highest_release_seq(app).await.map_err(failed)?;
        let announced = entry.as_ref().map(|entry| entry.announcement.seq);
        let relays = self.publish_on.borrow().clone();
        Ok(PublishState {
            highest_seq: announced.max(kept),
            release: entry.map(|entry| entry.announcement.release.blake3.to_string()),
            relays: relays.iter().map(ToString::to_string).collect(),
            endpoint: view::endpoint(&swarm.endpoint()),
        })
    }

    pub(super) async fn missing_blobs(&self, params: BlobsParams) -> Result<BlobsMissing, Problem> {
        if params.blobs.len() > BLOBS_MAX {
            return Err(problem(
                "invalid",
                format!("ask for at most {BLOBS_MAX} blobs at once"),
                "",
            ));
        }
        let swarm = self.swarm_ready()?;
        let mut missing = Vec::new();
        for text in params.blobs {
            let hash: Blake3Hash = text.parse().map_err(|error| invalid(&error))?;
            let has = swarm.has(hash).await;
            if !has.map_err(|error| explain::internal("look for a blob", &error))? {
                missing.push(text);
            }
        }
        Ok(BlobsMissing { missing })
    }

    pub(super) async fn provide_blob(
        &self,
        hash: Blake3Hash,
        tag: &str,
        body: BlobStream,
    ) -> Result<BlobProvided, ProvideError> {
        let by = |by_sender| move |problem| ProvideError { by_sender, problem };
        let tag: Tag = tag.parse().map_err(|error| by(true)(invalid(&error)))?;
        let swarm = self.swarm_ready().map_err(by(false))?;
        let reader = StreamReader::new(body.map_err(io::Error::other));
        let provided = swarm.provide(&tag, reader, Some(hash)).await;
        let provided = provided.map_err(|error| {
            let (by_sender, kind) = match error {
                SwarmError::WrongHash { .. } => (true, "content"),
                SwarmError::TooLarge { .. } => (true, "tooLarge"),
                SwarmError::Read(_) => (true, "interrupted"),
                SwarmError::Full(_) => (false, "diskFull"),
                SwarmError::Store(_) => (false, "store"),
            };
            by(by_sender)(problem(kind, explain::causes(&error).join(": "), ""))
        })?;
        Ok(BlobProvided {
            hash: provided.blake3.to_string(),
            size_bytes: provided.size_bytes,
        })
    }
}
