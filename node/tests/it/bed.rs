//! A publisher with a real relay and a real swarm, and daemons on machines without podman.

use std::path::Path;
use std::sync::Arc;

use archy_nostr::{Draft as EventDraft, NostrKey, PublishOptions, RelayUrl, Subject, relay};
use archy_registry::announcement::Announcement;
use archy_registry::key_state::{KeyState, chain};
use archy_registry::release::{
    self, Asset, Delta, Descriptor, Draft, Endpoint, Image, Origin, Platform, Release,
};
use archy_registry::{Blake3Hash, Did, OciDigest, SigningKey, Verified, manifest, sign};
use archy_swarm::{Config as SwarmConfig, Discovery, Swarm};
use archyd::api::types::Event;
use archyd::config::{Config, Environment, Flags, Paths};
use archyd::daemon::Daemon;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use crate::http::Request;
use crate::machine::Fake;

pub(crate) const ICON: &[u8] = b"<svg xmlns='http://www.w3.org/2000/svg'/>";

/// The relay everybody uses.
pub(crate) struct Relay {
    _dir: tempfile::TempDir,
    relay: relay::Relay,
}

impl Relay {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config =
            relay::Config::new("127.0.0.1:0".parse().unwrap(), dir.path().join("relay.db"));
        let relay = relay::start(config, &CancellationToken::new())
            .await
            .unwrap();
        Self { _dir: dir, relay }
    }

    pub(crate) fn url(&self) -> RelayUrl {
        self.relay.url().clone()
    }
}

/// Somebody who publishes, with everything in their own hands.
pub(crate) struct Publisher {
    pub(crate) key: SigningKey,
    pub(crate) nostr: NostrKey,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) swarm: Swarm,
}

/// A signed release and how large its bytes are.
pub(crate) struct Signed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) release: Release,
    pub(crate) hash: Blake3Hash,
}

impl Publisher {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let swarm = Swarm::start(swarm_config(dir.path()), CancellationToken::new())
            .await
            .unwrap();
        Self {
            key: SigningKey::generate().unwrap(),
            nostr: NostrKey::generate(),
            dir,
            swarm,
        }
    }

    pub(crate) fn did(&self) -> Did {
        self.key.did()
    }

    /// Provides an image of one plain layer, the icon and the release, and signs it.
    pub(crate) async fn release(
        &self,
        slug: &str,
        seq: u64,
        layer: &[u8],
        signer: &SigningKey,
    ) -> Signed {
        let layer = self.layer(layer).await;
        self.release_of(slug, seq, layer, Vec::new(), signer).await
    }

    /// Provides a plain layer.
    pub(crate) async fn layer(&self, tar: &[u8]) -> Descriptor {
        let blob = self
            .blob("application/vnd.oci.image.layer.v1.tar", tar)
            .await;
        Descriptor {
            diff_id: Some(blob.digest),
            ..blob
        }
    }

    /// Provides a layer as one Zstandard frame of its bytes as they are (RFC 8878 §3.1.1).
    pub(crate) async fn zstd_layer(&self, tar: &[u8]) -> Descriptor {
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x58];
        let count = tar.len().div_ceil(100_000);
        for (number, block) in (1..).zip(tar.chunks(100_000)) {
            let header = (block.len() << 3) | usize::from(number == count);
            frame.extend_from_slice(&header.to_le_bytes()[..3]);
            frame.extend_from_slice(block);
        }
        let blob = self
            .blob("application/vnd.oci.image.layer.v1.tar+zstd", &frame)
            .await;
        Descriptor {
            diff_id: Some(sha256(tar)),
            ..blob
        }
    }

    /// Provides an image of a layer that is provided, the icon and the release, and signs it.
    pub(crate) async fn release_of(
        &self,
        slug: &str,
        seq: u64,
        layer: Descriptor,
        deltas: Vec<Delta>,
        signer: &SigningKey,
    ) -> Signed {
        self.release_changed(slug, seq, layer, deltas, signer, |_, _| {})
            .await
    }

    /// The same; `change` may spoil the image's configuration and manifest before they are signed.
    pub(crate) async fn release_changed(
        &self,
        slug: &str,
        seq: u64,
        layer: Descriptor,
        deltas: Vec<Delta>,
        signer: &SigningKey,
        change: impl FnOnce(&mut Value, &mut Value),
    ) -> Signed {
        let manifest = manifest::parse(&format!(
            "app:\n  id: {slug}\n  name: Notes {seq}\n  version: 1.{seq}.0\n  tagline: Keeps notes\n  description: \"# Notes\"\n  category: files\n\
             container:\n  image: localhost/notes:1\n  ports: [{{container: 8080}}]\n\
             interfaces: [{{name: Notes, port: 8080, type: ui}}]\n"
        ));
        let manifest = manifest.unwrap_or_else(|error| panic!("{error}")).manifest;
        let container = manifest.containers[0].name.clone();
        let mut config = json!({
            "os": "linux",
            "architecture": Platform::host().architecture,
            "config": {"Labels": {"release": format!("{slug} {seq}")}},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
        });
        let described = |blob: &Descriptor| json!({"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size_bytes});
        let mut image_manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": null,
            "layers": [described(&layer)],
        });
        change(&mut config, &mut image_manifest);
        let config = self
            .blob(
                "application/vnd.oci.image.config.v1+json",
                config.to_string().as_bytes(),
            )
            .await;
        image_manifest["config"] = described(&config);
        let image = Image {
            container,
            platform: Platform::host(),
            manifest: self
                .blob(
                    "application/vnd.oci.image.manifest.v1+json",
                    image_manifest.to_string().as_bytes(),
                )
                .await,
            config,
            layers: vec![layer],
        };
        self.provide(ICON).await;
        let origin = Origin {
            endpoints: vec![self.endpoint()],
        };
        let mut draft = Draft::new(
            self.did(),
            seq,
            Timestamp::now(),
            manifest,
            vec![image],
            origin,
        );
        draft.deltas = deltas;
        draft.icon = Some(Asset {
            blake3: Blake3Hash::of(ICON),
            size_bytes: ICON.len() as u64,
            media_type: "image/svg+xml".to_owned(),
        });
        let release = release::assemble(draft).unwrap();
        let signed = sign(&release, signer, release.created).unwrap();
        self.provide(&signed.bytes).await;
        Signed {
            hash: signed.hash,
            bytes: signed.bytes,
            release,
        }
    }

    /// The card that names a release, dated `later` than now would be.
    pub(crate) fn announcement(&self, signed: &Signed) -> Announcement {
        let created = Timestamp::now();
        let release = &signed.release;
        Announcement {
            r#type: archy_registry::announcement::TYPE.to_owned(),
            publisher: release.publisher,
            slug: release.manifest.app.id.clone(),
            version: release.manifest.app.version.clone(),
            seq: release.seq,
            created: Timestamp::from_second(created.as_second()).unwrap(),
            expires: Timestamp::from_second(created.as_second() + 86_400).unwrap(),
            release: archy_registry::announcement::ReleaseRef {
                blake3: signed.hash,
                size_bytes: signed.bytes.len() as u64,
            },
            card: archy_registry::announcement::Card::of(release),
            origin: release.origin.clone(),
        }
    }

    /// Signs any statement and puts it on the relay under the announcement label of `slug`.
    pub(crate) async fn announce<T: Serialize>(
        &self,
        relay: &Relay,
        slug: &str,
        statement: &T,
        signer: &SigningKey,
    ) {
        let signed = sign(statement, signer, Timestamp::now()).unwrap();
        let subject = Subject::Announcement(slug.parse().unwrap());
        let expires = Timestamp::now() + SignedDuration::from_hours(24);
        let draft = EventDraft::new(subject, self.did(), &signed.bytes, Some(expires)).unwrap();
        let options = PublishOptions::default();
        let report = archy_nostr::publish(&[relay.url()], &self.nostr, &draft, &options)
            .await
            .unwrap();
        assert_eq!(report.accepted.len(), 1, "{report:?}");
    }

    /// Publishes an app the honest way.
    pub(crate) async fn publish(
        &self,
        relay: &Relay,
        slug: &str,
        seq: u64,
        layer: &[u8],
    ) -> Signed {
        let signed = self.release(slug, seq, layer, &self.key).await;
        self.announce_release(relay, slug, &signed).await;
        signed
    }

    /// Publishes an app with a layer that is provided, and deltas to it.
    pub(crate) async fn publish_of(
        &self,
        relay: &Relay,
        slug: &str,
        layer: Descriptor,
        deltas: Vec<Delta>,
    ) {
        let signed = self.release_of(slug, 1, layer, deltas, &self.key).await;
        self.announce_release(relay, slug, &signed).await;
    }

    pub(crate) async fn announce_release(&self, relay: &Relay, slug: &str, signed: &Signed) {
        let verified: Verified<Release> = release::verify(
            &signed.bytes,
            &KeyState::implicit(self.did()),
            Timestamp::now(),
        )
        .unwrap();
        let announcement = Announcement::of(&verified, signed.bytes.len() as u64, Timestamp::now());
        self.announce(relay, slug, &announcement, &self.key).await;
    }

    /// Publishes key states, the newest last, each signed by one key.
    pub(crate) async fn publish_keys(&self, relay: &Relay, states: &[(&KeyState, &SigningKey)]) {
        let signed = states.iter().map(|(state, key)| {
            let signed = sign(*state, key, state.created).unwrap();
            signed.bytes
        });
        let chain = chain::join(&signed.collect::<Vec<_>>());
        let draft = EventDraft::key_states(self.did(), &chain).unwrap();
        let options = PublishOptions::default();
        let report = archy_nostr::publish(&[relay.url()], &self.nostr, &draft, &options).await;
        assert_eq!(report.unwrap().accepted.len(), 1);
    }

    /// The first key state: the publisher's own key and Nostr account, committing to `next`.
    pub(crate) fn first_keys(&self, next: &SigningKey) -> KeyState {
        let now = Timestamp::now();
        let expires = now + SignedDuration::from_hours(24 * 365);
        let account = archy_registry::key_state::NostrKey {
            pubkey: self.nostr.pubkey().to_string(),
            expires,
        };
        KeyState::first(self.did(), &[next.did()], vec![account], now, expires)
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.swarm.endpoint()
    }

    pub(crate) async fn provide(&self, bytes: &[u8]) {
        self.swarm
            .provide(&"test".parse().unwrap(), bytes, None)
            .await
            .unwrap();
    }

    async fn blob(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        self.provide(bytes).await;
        Descriptor {
            media_type: media_type.to_owned(),
            digest: sha256(bytes),
            size_bytes: bytes.len() as u64,
            blake3: Blake3Hash::of(bytes),
            diff_id: None,
        }
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> OciDigest {
    OciDigest::from_sha256(Sha256::digest(bytes).into())
}

pub(crate) fn swarm_config(dir: &Path) -> SwarmConfig {
    let mut config = SwarmConfig::new(dir);
    config.bind = vec!["127.0.0.1:0".parse().unwrap()];
    config.discovery = Discovery {
        mdns: false,
        n0: false,
        gossip: true,
    };
    config
}

/// A relay, a publisher, a node that hears them, and the publisher's app `notes`, of which nothing is published yet.
pub(crate) async fn scene() -> (Relay, Publisher, Node, Value) {
    let relay = Relay::start().await;
    let publisher = Publisher::start().await;
    let node = Node::start(&relay, &[]).await;
    let notes = app(&publisher, "notes");
    (relay, publisher, node, notes)
}

/// The same, with the first release of `notes` in the node's catalog; its layer is `layer("one")`.
pub(crate) async fn scene_with_notes() -> (Relay, Publisher, Node, Value) {
    let (relay, publisher, node, notes) = scene().await;
    publisher.publish(&relay, "notes", 1, &layer("one")).await;
    node.has_release(&notes).await;
    (relay, publisher, node, notes)
}

/// A daemon, its machine and its disk.
pub(crate) struct Node {
    pub(crate) dir: Arc<tempfile::TempDir>,
    pub(crate) daemon: Daemon,
    pub(crate) machine: Arc<Fake>,
    settings: Vec<String>,
}

impl Node {
    /// Starts a daemon that follows `relay` and knows `peers`.
    pub(crate) async fn start(relay: &Relay, peers: &[Endpoint]) -> Self {
        Self::start_with(relay, peers, &[]).await
    }

    /// Starts it with further settings, `section.key=value`.
    pub(crate) async fn start_with(relay: &Relay, peers: &[Endpoint], more: &[String]) -> Self {
        Self::following(&[relay.url()], peers, more).await
    }

    /// Starts a daemon that follows these relays, knows `peers` and has further settings.
    pub(crate) async fn following(
        relays: &[RelayUrl],
        peers: &[Endpoint],
        more: &[String],
    ) -> Self {
        let relays: Vec<&str> = relays.iter().map(RelayUrl::as_str).collect();
        let peers: Vec<String> = peers
            .iter()
            .map(|peer| {
                let addresses: Vec<String> =
                    peer.addresses.iter().map(ToString::to_string).collect();
                format!("{}@{}", peer.id, addresses.join("+"))
            })
            .collect();
        let mut settings = vec![
            "api.listen=127.0.0.1:0".to_owned(),
            "swarm.listen=127.0.0.1:0".to_owned(),
            "swarm.mdns=false".to_owned(),
            format!("nostr.relays={}", relays.join(",")),
            format!("swarm.peers={}", peers.join(",")),
        ];
        settings.extend_from_slice(more);
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::boot(dir, Arc::new(Fake::new()), settings).await
    }

    /// Stops it in order and starts it again on the same disk.
    pub(crate) async fn restart(self) -> Self {
        self.daemon.stop().await;
        Self::boot(self.dir, self.machine, self.settings).await
    }

    /// Stops it, changes something on its disk, and starts it again.
    pub(crate) async fn restart_after(self, change: impl FnOnce(&Path)) -> Self {
        self.daemon.stop().await;
        change(self.dir.path());
        Self::boot(self.dir, self.machine, self.settings).await
    }

    async fn boot(dir: Arc<tempfile::TempDir>, machine: Arc<Fake>, settings: Vec<String>) -> Self {
        let root = dir.path();
        let environment: Environment = [
            ("HOME", root.join("home")),
            ("XDG_RUNTIME_DIR", root.join("run")),
        ]
        .map(|(name, path)| (name.to_owned(), path.to_str().unwrap().to_owned()))
        .into();
        let paths = Paths::discover(&environment, None).unwrap();
        let flags = Flags {
            set: settings.clone(),
            ..Flags::default()
        };
        let config = Config::load(&flags, &environment, &paths).unwrap();
        let daemon = Daemon::start(config, paths, Some(machine.clone()))
            .await
            .unwrap();
        Self {
            dir,
            daemon,
            machine,
            settings,
        }
    }

    /// Calls a method over the Unix socket; the error's data is the problem.
    pub(crate) async fn rpc(&self, method: &str, params: Value) -> Result<Value, Value> {
        let socket = self.dir.path().join("run/archy/archyd.sock");
        let stream = UnixStream::connect(socket).await.unwrap();
        let answer = Request::rpc(method, &params)
            .exchange(stream, "archyd")
            .await
            .json();
        match answer.get("result") {
            Some(result) => Ok(result.clone()),
            None => Err(answer["error"]["data"].clone()),
        }
    }

    /// Waits until the app's page is as wished.
    pub(crate) async fn page(&self, app: &Value, wished: impl Fn(&Value) -> bool) -> Value {
        let mut events = self.daemon.node.follow.hub().subscribe();
        let mut refusals = self.daemon.node.follow.refusals.changed();
        loop {
            let page = self
                .rpc("store.show", app.clone())
                .await
                .unwrap_or_else(|problem| problem);
            if wished(&page) {
                return page;
            }
            tokio::select! {
                _ = events.recv() => {}
                _ = refusals.changed() => {}
            }
        }
    }

    /// Waits until a release of the app was fetched and verified.
    pub(crate) async fn has_release(&self, app: &Value) -> Value {
        self.page(app, |page| page["release"].is_object()).await
    }

    /// Waits until what is known of the publisher is as wished.
    pub(crate) async fn trust(
        &self,
        publisher: &Publisher,
        wished: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut events = self.daemon.node.follow.hub().subscribe();
        loop {
            let params = json!({"publisher": publisher.did().to_string()});
            let page = self.rpc("trust.show", params).await.unwrap();
            if wished(&page) {
                return page;
            }
            // Having missed some is a reason to look as well.
            let _ = events.recv().await;
        }
    }

    /// Waits until the node's status is as wished.
    pub(crate) async fn status(&self, wished: impl Fn(&Value) -> bool) -> Value {
        let mut events = self.daemon.node.follow.hub().subscribe();
        loop {
            let status = self.rpc("node.status", json!({})).await.unwrap();
            if wished(&status) {
                return status;
            }
            events.recv().await.unwrap();
        }
    }

    /// Waits for the reason why something of the app was refused.
    pub(crate) async fn refusal(&self, kind: &str) -> Value {
        let mut refusals = self.daemon.node.follow.refusals.changed();
        loop {
            let status = self.rpc("node.status", json!({})).await.unwrap();
            let refused = status["refused"].as_array().unwrap().iter();
            let found = refused
                .map(|refused| &refused["problem"])
                .find(|problem| problem["kind"] == kind);
            if let Some(problem) = found {
                return problem.clone();
            }
            refusals.changed().await.unwrap();
        }
    }

    /// Starts an install and returns its job's id, once the daemon takes jobs.
    pub(crate) async fn begin(&self, params: Value) -> String {
        self.daemon.node.jobs.ready().await;
        let job = self.rpc("package.install", params).await.unwrap();
        job["job"].as_str().unwrap().to_owned()
    }

    /// Waits for a job's end.
    pub(crate) async fn ended(&self, job: &str) -> Value {
        let mut events = self.daemon.node.follow.hub().subscribe();
        self.daemon.node.jobs.ready().await;
        loop {
            let shown = self.rpc("job.show", json!({"job": job})).await.unwrap();
            if shown["phase"] == "done" {
                return shown;
            }
            while !matches!(events.recv().await, Ok(Event::Job(_)) | Err(_)) {}
        }
    }

    /// Submits a job and waits for its end.
    pub(crate) async fn done(&self, method: &str, params: Value) -> Value {
        self.daemon.node.jobs.ready().await;
        let job = self.rpc(method, params).await.unwrap();
        self.ended(job["job"].as_str().unwrap()).await
    }

    pub(crate) async fn install(&self, app: &Value) -> Value {
        let job = self.begin(json!({"app": app})).await;
        self.ended(&job).await
    }

    /// Tags under which the swarm holds installed apps.
    pub(crate) async fn app_tags(&self) -> Vec<String> {
        let swarm = self.daemon.node.swarm.ready().await;
        let tags = swarm.tags().into_iter().map(|usage| usage.tag.to_string());
        tags.filter(|tag| tag.starts_with("app/")).collect()
    }
}

/// Names an app in the API's way.
pub(crate) fn app(publisher: &Publisher, slug: &str) -> Value {
    json!({"publisher": publisher.did().to_string(), "slug": slug})
}

/// Content that no two calls share and that is stored as a file of its own.
pub(crate) fn layer(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(200_000).collect()
}
