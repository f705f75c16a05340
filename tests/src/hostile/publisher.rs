//! A publisher on the host that announces what it likes: the counterpart of the refusal tests.
//!
//! Built of the real registry, swarm and relay client, so that only its statements are wrong, never its protocol.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use archy_nostr::{Draft as EventDraft, NostrKey, PublishOptions, RelayUrl};
use archy_registry::announcement::{self, Announcement};
use archy_registry::key_state::KeyState;
use archy_registry::manifest::{self, Manifest};
use archy_registry::proof::{self, Signed, SigningKey};
use archy_registry::release::{self, Draft, Image, Origin, Platform, Release};
use archy_registry::{Did, Verified};
use archy_swarm::faults::{BadPeer, Fault};
use archy_swarm::image::{self, ImageSource, Packed};
use archy_swarm::{Config, Discovery, Swarm, Tag};
use archyd::api::types::AppRef;
use jiff::Timestamp;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

use crate::stage::{HELLO, app_images, repository};

/// Position in an answer at which a [liar](HostilePublisher::liar) flips a bit.
const FLIPPED_BYTE: usize = 20_000;

/// A publisher with keys, a swarm endpoint and a relay of its choice.
#[derive(Debug)]
pub struct HostilePublisher {
    key: SigningKey,
    nostr: NostrKey,
    relay: RelayUrl,
    swarm: Swarm,
    packed: Packed,
    _folder: tempfile::TempDir,
}

impl HostilePublisher {
    /// Makes keys, starts an endpoint and packs the image of the smallest shipped app, ready to be served.
    ///
    /// # Errors
    ///
    /// When the image is not built (`make apps`) or the endpoint cannot listen.
    pub async fn start(relay: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("making a folder for the publisher")?;
        let mut config = Config::new(folder.path());
        config.discovery = Discovery {
            mdns: false,
            n0: false,
            gossip: true,
        };
        let swarm = Swarm::start(config, CancellationToken::new()).await?;
        let file = app_images().join(HELLO.slug).join("web.oci.tar");
        ensure!(
            file.is_file(),
            "{} is missing: run make apps",
            file.display()
        );
        let source = ImageSource::OciArchive { file, name: None };
        let packed = image::pack(&source, &Platform::host(), folder.path()).await?;
        let publisher = Self {
            key: SigningKey::generate()?,
            nostr: NostrKey::generate(),
            relay: relay.parse()?,
            swarm,
            packed,
            _folder: folder,
        };
        for descriptor in publisher.packed.descriptors() {
            let bytes = publisher.packed.open(descriptor).await?;
            publisher
                .swarm
                .provide(&tag("image")?, bytes, Some(descriptor.blake3))
                .await?;
        }
        Ok(publisher)
    }

    /// Returns the publisher's name.
    pub fn did(&self) -> Did {
        self.key.did()
    }

    /// Returns its app, which has the slug of a shipped one.
    pub fn app(&self) -> AppRef {
        AppRef {
            publisher: self.did().to_string(),
            slug: HELLO.slug.to_owned(),
        }
    }

    /// Makes a well-formed release of the shipped app by this publisher.
    ///
    /// # Errors
    ///
    /// When the manifest in `apps/` is broken.
    pub fn release(&self, seq: u64) -> anyhow::Result<Release> {
        let manifest = shipped_manifest()?;
        let image = Image {
            container: manifest.containers[0].name.clone(),
            platform: self.packed.platform.clone(),
            manifest: self.packed.manifest.clone(),
            config: self.packed.config.clone(),
            layers: self.packed.layers.clone(),
        };
        let origin = Origin {
            endpoints: vec![self.swarm.endpoint()],
        };
        let draft = Draft::new(
            self.did(),
            seq,
            Timestamp::now(),
            manifest,
            vec![image],
            origin,
        );
        Ok(release::assemble(draft)?)
    }

    /// Signs a release with this publisher's key, whoever it is said to be of, and serves it.
    ///
    /// # Errors
    ///
    /// When the blob store fails.
    pub async fn serve(&self, release: &Release) -> anyhow::Result<Signed> {
        let signed = proof::sign(release, &self.key, release.created)?;
        self.swarm
            .provide(&tag("release")?, signed.bytes.as_slice(), Some(signed.hash))
            .await?;
        Ok(signed)
    }

    /// Verifies a release as its own signer would, to be able to announce it.
    ///
    /// # Errors
    ///
    /// When it is not even valid for its signer.
    pub fn own(&self, signed: &Signed) -> anyhow::Result<Verified<Release>> {
        let state = KeyState::implicit(self.did());
        Ok(release::verify(&signed.bytes, &state, Timestamp::now())?)
    }

    /// Signs an announcement and puts it on the relay. `change` may turn it into anything.
    ///
    /// # Errors
    ///
    /// When the announcement is not valid as a statement or the relay does not take it.
    pub async fn announce(
        &self,
        release: &Verified<Release>,
        size_bytes: usize,
        change: impl FnOnce(&mut Announcement),
    ) -> anyhow::Result<()> {
        let now = Timestamp::now();
        let mut announcement = Announcement::of(release, size_bytes as u64, now);
        change(&mut announcement);
        let signed = proof::sign(&announcement, &self.key, now)?;
        let verified = announcement::verify(&signed.bytes, &KeyState::implicit(self.did()), now)?;
        let event = EventDraft::announcement(&verified, &signed.bytes)?;
        let options = PublishOptions::default();
        let report = archy_nostr::publish(
            std::slice::from_ref(&self.relay),
            &self.nostr,
            &event,
            &options,
        )
        .await?;
        ensure!(
            report.accepted.len() == 1,
            "the relay did not take the announcement: {report:?}"
        );
        Ok(())
    }

    /// Starts a peer that serves the image with one bit flipped in every blob that is long enough, as a lying node would.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub async fn liar(&self) -> anyhow::Result<BadPeer> {
        let mut blobs = Vec::new();
        for descriptor in self.packed.descriptors() {
            let mut bytes = Vec::new();
            self.packed
                .open(descriptor)
                .await?
                .read_to_end(&mut bytes)
                .await
                .context("reading the image")?;
            blobs.push(bytes);
        }
        let blobs: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Ok(BadPeer::start(everywhere, &blobs, Fault::Lies(FLIPPED_BYTE)).await?)
    }

    /// Returns where the publisher itself serves its releases.
    pub fn release_endpoints(&self) -> Vec<release::Endpoint> {
        vec![self.swarm.endpoint()]
    }

    /// Leaves the swarm.
    pub async fn leave(self) {
        self.swarm.shutdown().await;
    }
}

fn shipped_manifest() -> anyhow::Result<Manifest> {
    let file = repository()
        .join("apps")
        .join(HELLO.slug)
        .join("manifest.yml");
    let yaml =
        std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let mut manifest = manifest::parse(&yaml)?.manifest;
    manifest.app.icon = None;
    manifest.app.screenshots.clear();
    Ok(manifest)
}

fn tag(name: &str) -> anyhow::Result<Tag> {
    Ok(name.parse()?)
}
