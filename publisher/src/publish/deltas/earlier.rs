//! The last releases of an app and their layers, asked of the publisher's node like anybody would.

use archy_registry::json;
use archy_registry::release::{Descriptor, Endpoint, Release, SIZE_BYTES_MAX};
use archy_registry::{Blake3Hash, OciDigest};
use archy_swarm::{
    BlobReader, Class, Config, Discovery, FetchRequest, Role, RoomLimits, Swarm, Tag, Wanted,
};
use tokio_util::sync::CancellationToken;

use super::AppRelease;
use crate::failure::chain;
use crate::output::Output;
use crate::publish::Request;
use crate::publish::ledger::Ledger;

/// Earlier releases, and a place for their layers while patches are made.
pub(super) struct Earlier {
    releases: Vec<Release>,
    swarm: Swarm,
    node: Endpoint,
    _dir: tempfile::TempDir,
}

impl Earlier {
    /// Gets the last releases that were announced from here, the newest first. Tells which are not at hand; `None` when
    /// there is none.
    pub(super) async fn open(
        request: &Request<'_>,
        release: &AppRelease<'_>,
        node: &Endpoint,
        releases_max: usize,
        output: &Output,
    ) -> Option<Self> {
        let slug = &release.app.slug;
        let noted = match Ledger::new(request.identity_dir).noted() {
            Ok(noted) => noted,
            Err(failure) => {
                output.warning(format_args!("no deltas: {}", failure.error));
                return None;
            }
        };
        let mut noted: Vec<_> = noted.into_iter().filter(|one| one.slug == *slug).collect();
        noted.sort_by_key(|one| std::cmp::Reverse(one.seq));
        noted.dedup_by_key(|one| one.release);
        noted.truncate(releases_max);
        if noted.is_empty() {
            return None;
        }
        let (dir, swarm) = match start(request).await {
            Ok(started) => started,
            Err(why) => {
                output.warning(format_args!("no deltas: {why}"));
                return None;
            }
        };
        let mut earlier = Self {
            releases: Vec::new(),
            swarm,
            node: node.clone(),
            _dir: dir,
        };
        for one in noted {
            match earlier.release(&one.release).await {
                Ok(old) if old.app() == release.app => earlier.releases.push(old),
                Ok(_) => {}
                Err(why) => output.warning(format_args!(
                    "no delta from release {}, which is not at hand: {why}",
                    one.seq
                )),
            }
        }
        Some(earlier)
    }

    /// Lists the releases, the newest first.
    pub(super) fn releases(&self) -> &[Release] {
        &self.releases
    }

    /// Finds a layer by its diff ID, with the `seq` of its release.
    pub(super) fn layer(&self, diff_id: &OciDigest) -> Option<(u64, &Descriptor)> {
        self.releases.iter().find_map(|release| {
            let mut layers = release.images.iter().flat_map(|image| &image.layers);
            let layer = layers.find(|layer| layer.diff_id == Some(*diff_id))?;
            Some((release.seq, layer))
        })
    }

    /// Gets the blob of an earlier layer.
    pub(super) async fn open_layer(&self, layer: &Descriptor) -> Result<BlobReader, String> {
        self.fetch(Wanted::from(layer)).await?;
        let opened = self.swarm.open(layer.blake3).await;
        opened.map_err(|error| chain(&error))
    }

    pub(super) async fn close(self) {
        self.swarm.shutdown().await;
    }

    /// Gets a release by the hash that the ledger beside the keys has of it, which says whose it is.
    async fn release(&self, hash: &Blake3Hash) -> Result<Release, String> {
        let probed = self.swarm.probe(&self.node, *hash).await;
        let size_bytes = probed.map_err(|error| chain(&error))?;
        if size_bytes > SIZE_BYTES_MAX as u64 {
            return Err(format!("it has {size_bytes} bytes"));
        }
        let wanted = Wanted {
            blake3: *hash,
            size_bytes,
            role: Role::Entry,
        };
        self.fetch(wanted).await?;
        let bytes = self.swarm.read(*hash, size_bytes).await;
        let bytes = bytes.map_err(|error| chain(&error))?;
        let mut document = json::parse(&bytes, SIZE_BYTES_MAX).map_err(|error| chain(&error))?;
        if let Some(members) = document.as_object_mut() {
            members.remove("proof");
        }
        serde_json::from_value(document).map_err(|error| chain(&error))
    }

    async fn fetch(&self, wanted: Wanted) -> Result<(), String> {
        let request = FetchRequest {
            tag: tag(),
            class: Class::Cache,
            blobs: vec![wanted],
            origin: vec![self.node.clone()],
            peers: Vec::new(),
            share: false,
        };
        let fetched = self
            .swarm
            .fetch(request, &CancellationToken::new())
            .finish()
            .await;
        fetched.map(drop).map_err(|error| chain(&error))
    }
}

fn tag() -> Tag {
    "earlier".parse().expect("a word is a tag")
}

async fn start(request: &Request<'_>) -> Result<(tempfile::TempDir, Swarm), String> {
    let dir = tempfile::Builder::new()
        .prefix("earlier-")
        .tempdir_in(&request.work_dir)
        .map_err(|error| chain(&error))?;
    let mut config = Config::new(dir.path());
    config.discovery = Discovery {
        mdns: false,
        n0: false,
        gossip: false,
    };
    // It lives as long as one command; only the disk is a bound.
    config.room = RoomLimits {
        quota_bytes: Some(u64::MAX),
        ..RoomLimits::default()
    };
    let swarm = Swarm::start(config, CancellationToken::new()).await;
    Ok((dir, swarm.map_err(|error| chain(&error))?))
}
