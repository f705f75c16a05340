//! `archy publish`: from a folder to an announcement that every relay has, bytes first, announcement last.
//!
//! Each step hands a richer value to the next; nothing is announced that the node was not seen to serve.

use std::path::{Path, PathBuf};

use archy_nostr::{BunkerUrl, RelayUrl};
use archy_orchestrator::quadlet;
use archy_registry::announcement::{self, Announcement};
use archy_registry::release::{
    self, Delta, Draft, Endpoint, Origin, Platform, Release, ReleaseError,
};
use archy_registry::statement::StatementError;
use archy_registry::{AppId, Did, Signed, Slug, Verified, sign};
use archy_swarm::image::delta::Patch;
use jiff::Timestamp;
use serde::Serialize;

use crate::app::App;
use crate::cosign::sign_with;
use crate::failure::Failure;
use crate::identity::change::{Keys, Waiting};
use crate::identity::passphrase::Passphrases;
use crate::identity::{Identity, files};
use crate::node::Node;
use crate::node::types::{AppRef, PublishState};
use crate::output::Output;
use crate::text::{count, size};

pub mod announce;
mod deltas;
pub mod kept;
pub mod ledger;
pub mod list;
pub mod origin;
pub mod pack;
pub mod renew;
pub mod serve;
pub mod signer;
pub mod source;

use announce::Announced;
use list::Listed;
use pack::PackedImage;
use source::ImageArgument;

/// What to publish, and how.
#[derive(Debug)]
pub struct Request<'a> {
    /// The app's folder.
    pub dir: &'a Path,
    /// Where images come from.
    pub images: &'a [ImageArgument],
    /// Builds images whose contexts changed, where nothing else says where they are.
    pub build: bool,
    /// Platforms to publish for; empty means all that every container has.
    pub platforms: &'a [Platform],
    /// Relays instead of the node's.
    pub relays: &'a [RelayUrl],
    /// Addresses of the node's endpoint instead of those that it knows.
    pub origin_addresses: &'a [std::net::SocketAddr],
    /// The folder of the publisher's keys.
    pub identity_dir: &'a Path,
    /// Where the passphrases of the keys come from.
    pub passphrases: &'a Passphrases,
    /// The remote signer of Nostr events, instead of the identity's Nostr key.
    pub nostr_signer: Option<&'a BunkerUrl>,
    /// Lists the release in other Nostr app stores too.
    pub nip82: bool,
    /// Makes deltas from earlier releases.
    pub deltas: bool,
    /// A release that waited until others had signed it, instead of a new one.
    pub release: Option<&'a Path>,
    /// Files of keys that sign the release beside the publisher's own.
    pub cosigners: &'a [PathBuf],
    /// Podman's REST socket.
    pub podman_socket: PathBuf,
    /// For images on their way.
    pub work_dir: PathBuf,
}

/// A release that is signed and would be accepted by every node.
#[derive(Debug)]
pub struct Prepared {
    identity: Identity,
    app: App,
    images: Vec<PackedImage>,
    patches: Vec<Patch>,
    release: Verified<Release>,
    signed: Signed,
    state: PublishState,
}

/// What was published.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// Which app.
    pub app: AppRef,
    /// Its version.
    pub version: String,
    /// The release's counter.
    pub seq: u64,
    /// BLAKE3 of the release.
    pub release: String,
    /// Platforms that it runs on.
    pub platforms: Vec<String>,
    /// Bytes that a machine fetches which has none of them, for the largest platform.
    pub download_size_bytes: u64,
    /// Deltas from earlier releases.
    pub deltas: Vec<PublishedDelta>,
    /// Blobs that the node was seen to serve.
    pub blobs_served: usize,
    /// The endpoint that the release names as its origin.
    pub origin: Endpoint,
    /// What the relays answered; absent after `--dry-run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announced: Option<Announced>,
    /// The events for other Nostr app stores, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed: Option<Listed>,
}

/// A delta of the release.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishedDelta {
    /// The diff ID of the earlier layer.
    pub from: String,
    /// The diff ID of the layer that it makes.
    pub to: String,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// What it is fetched instead of, in bytes.
    pub layer_size_bytes: u64,
}

/// Parses, renders, packs, assembles and signs. Sends nothing.
///
/// # Errors
///
/// When a part is missing, or no node would accept the result.
pub async fn prepare(
    request: &Request<'_>,
    node: &Node,
    output: &Output,
    dry_run: bool,
) -> Result<Prepared, Failure> {
    let app = App::open(request.dir)?;
    for warning in &app.warnings {
        output.warning(warning);
    }
    quadlet::preview(&app.manifest)?;
    let identity = Identity::load(request.identity_dir, request.passphrases, Timestamp::now())?;
    let slug = app.manifest.app.id.clone();
    let sources = pack::sources(request, &app.manifest, output).await?;

    let asked = AppRef {
        publisher: identity.did().to_string(),
        slug: slug.to_string(),
    };
    let state: PublishState = node.call("publish.state", &asked).await?;
    let origin = Origin {
        endpoints: vec![origin::endpoint(&state.endpoint, request.origin_addresses)?],
    };

    let images = pack::all(request, &sources, output).await?;
    let node = origin::probe_endpoint(&state.endpoint, request.origin_addresses)?;
    let this = deltas::AppRelease {
        app: AppId {
            publisher: identity.did(),
            slug: slug.clone(),
        },
        images: &images,
    };
    let (patches, release, signed) = match request.release {
        Some(file) => {
            let cosigned = CosignedRelease::read(file, &identity)?;
            let wanted = cosigned.release.deltas.clone();
            let (release, signed) = cosigned.take_up(&identity, &app, &images)?;
            let patches = deltas::make_again(request, &this, &wanted, &node, output).await?;
            (patches, release, signed)
        }
        None => {
            let patches = if request.deltas {
                deltas::make(request, &this, &node, output).await
            } else {
                Vec::new()
            };
            let ledger = ledger::Ledger::new(request.identity_dir);
            let seq = if dry_run {
                ledger.next(&slug, state.highest_seq)?
            } else {
                ledger.take(&slug, state.highest_seq)?
            };
            let mut draft = draft(&identity, &app, &images, seq, Timestamp::now(), origin);
            draft.deltas = patches.iter().map(|patch| patch.delta.clone()).collect();
            let (release, signed) = sign_release(request, &identity, draft, dry_run)?;
            (patches, release, signed)
        }
    };
    output.progress(format_args!(
        "signed {} {} as release {} ({}, release {})",
        slug,
        app.manifest.app.version,
        release.hash(),
        identity.did(),
        release.seq,
    ));
    Ok(Prepared {
        identity,
        app,
        images,
        patches,
        release,
        signed,
        state,
    })
}

impl Prepared {
    /// Hands every blob to the node, proves that it serves them, and announces the release.
    ///
    /// # Errors
    ///
    /// When the node does not serve a blob (then nothing was announced), or no relay took the announcement.
    pub async fn publish(
        &self,
        request: &Request<'_>,
        node: &Node,
        output: &Output,
    ) -> Result<Published, Failure> {
        let relays = announce::relays(request.relays, &self.state.relays)?;
        // First of all, because a person may have to agree.
        let signer = signer::choose(
            request.nostr_signer,
            &self.identity,
            request.identity_dir,
            output,
        )
        .await?;
        let blobs = serve::blobs(
            &self.images,
            &self.patches,
            &self.app,
            &self.signed,
            &self.identity,
        );
        let total: u64 = blobs.iter().map(serve::Blob::size_bytes).sum();
        output.progress(format_args!(
            "handing {} ({}) to the node",
            count(blobs.len(), "blob"),
            size(total)
        ));
        serve::hand_over(node, &blobs, &serve::tag(&self.release)).await?;
        let probed = origin::probe_endpoint(&self.state.endpoint, request.origin_addresses)?;
        serve::prove(&probed, &blobs, &request.work_dir).await?;
        output.progress(format_args!(
            "the node serves {}",
            count(blobs.len(), "blob")
        ));

        // From here on `archy announce` can finish what relays keep from being finished now.
        kept::Kept::new(request.identity_dir)
            .keep(&self.app.manifest.app.id, &self.signed.bytes)?;
        let (announcement, bytes) = self.announcement()?;
        let announced =
            announce::announce(&self.identity, &signer, &announcement, &bytes, &relays).await?;
        ledger::Ledger::new(request.identity_dir).note(&ledger::Noted {
            slug: self.release.manifest.app.id.clone(),
            seq: self.release.seq,
            release: self.release.hash(),
            signed: self.release.created,
        })?;
        let mut published = self.report(blobs.len(), Some(announced));
        if request.nip82 {
            match list::list(&signer, &self.release, &relays).await {
                Ok(listed) => published.listed = Some(listed),
                Err(failure) => output.warning(format_args!(
                    "the release is announced, but not listed in other stores: {}",
                    failure.error
                )),
            }
        }
        Ok(published)
    }

    /// Says what would be published.
    ///
    /// # Errors
    ///
    /// When no node would accept the announcement.
    pub fn dry_run(&self) -> Result<Published, Failure> {
        self.announcement()?;
        Ok(self.report(0, None))
    }

    fn announcement(&self) -> Result<(Verified<Announcement>, Vec<u8>), Failure> {
        announcement(
            &self.identity,
            &self.release,
            self.signed.bytes.len(),
            Timestamp::now(),
        )
    }

    fn report(&self, blobs_served: usize, announced: Option<Announced>) -> Published {
        let app = &self.release.manifest.app;
        let platforms = self.release.platforms();
        let download = |platform| {
            self.release
                .blobs(platform)
                .map(|blob| blob.size_bytes)
                .sum()
        };
        Published {
            app: app_ref(self.identity.did(), &app.id),
            version: app.version.clone(),
            seq: self.release.seq,
            release: self.release.hash().to_string(),
            platforms: platforms.iter().map(pack::platform_text).collect(),
            download_size_bytes: platforms.iter().map(download).max().unwrap_or(0),
            deltas: published_deltas(&self.release),
            blobs_served,
            origin: self
                .release
                .origin
                .endpoints
                .first()
                .cloned()
                .expect("a prepared release names its origin"),
            announced,
            listed: None,
        }
    }
}

/// Signs the announcement of a release of `size_bytes` bytes, and verifies it as every node will.
fn announcement(
    identity: &Identity,
    release: &Verified<Release>,
    size_bytes: usize,
    now: Timestamp,
) -> Result<(Verified<Announcement>, Vec<u8>), Failure> {
    let announcement = Announcement::of(release, size_bytes as u64, now);
    let signed = sign(&announcement, &identity.key, now)?;
    let verified = announcement::verify(&signed.bytes, &identity.state, now)?;
    Ok((verified, signed.bytes))
}

fn published_deltas(release: &Release) -> Vec<PublishedDelta> {
    let layer_size_bytes = |delta: &Delta| {
        let layers = release.images.iter().flat_map(|image| &image.layers);
        let same = layers.filter(|layer| layer.diff_id == Some(delta.to));
        same.map(|layer| layer.size_bytes).min().unwrap_or(0)
    };
    let told = |delta: &Delta| PublishedDelta {
        from: delta.from.to_string(),
        to: delta.to.to_string(),
        size_bytes: delta.size_bytes,
        layer_size_bytes: layer_size_bytes(delta),
    };
    release.deltas.iter().map(told).collect()
}

fn app_ref(publisher: Did, slug: &Slug) -> AppRef {
    AppRef {
        publisher: publisher.to_string(),
        slug: slug.to_string(),
    }
}

/// Puts a release together.
pub(crate) fn draft(
    identity: &Identity,
    app: &App,
    images: &[PackedImage],
    seq: u64,
    created: Timestamp,
    origin: Origin,
) -> Draft {
    let images = images.iter().map(PackedImage::image).collect();
    let manifest = app.manifest.clone();
    let mut draft = Draft::new(identity.did(), seq, created, manifest, images, origin);
    draft.icon = app.icon.as_ref().map(|file| file.asset.clone());
    draft.screenshots = app
        .screenshots
        .iter()
        .map(|file| file.asset.clone())
        .collect();
    draft
}

/// Signs a release and verifies it as every node will. Puts it aside when it takes the keys of others too.
pub(crate) fn sign_release(
    request: &Request<'_>,
    identity: &Identity,
    draft: Draft,
    dry_run: bool,
) -> Result<(Verified<Release>, Signed), Failure> {
    let now = draft.created;
    let keys = Keys {
        passphrases: request.passphrases,
        cosigners: request.cosigners,
    };
    let name = format!("{}-{}.json", draft.manifest.app.id, draft.seq);
    let signed = sign_with(
        &release::assemble(draft)?,
        &identity.key,
        &keys.others()?,
        now,
    )?;
    match release::verify(&signed.bytes, &identity.state, now) {
        Ok(release) => Ok((release, signed)),
        Err(ReleaseError::Statement(StatementError::Proofs { found, required }))
            if found < required && !dry_run =>
        {
            let file = files::write_pending(request.identity_dir, &name, &signed.bytes)?;
            let waiting = Waiting {
                file,
                found,
                required,
            };
            let again = format!("archy publish {} --release", request.dir.display());
            Err(waiting.failure("the release", &again))
        }
        Err(error) => Err(error.into()),
    }
}

/// A release that others have signed too.
struct CosignedRelease<'a> {
    file: &'a Path,
    bytes: Vec<u8>,
    release: Verified<Release>,
}

impl<'a> CosignedRelease<'a> {
    /// Reads it; it must be enough signed.
    fn read(file: &'a Path, identity: &Identity) -> Result<Self, Failure> {
        let bytes = std::fs::read(file).map_err(|error| Failure::file("read", file, &error))?;
        let release = release::verify(&bytes, &identity.state, Timestamp::now())?;
        Ok(Self {
            file,
            bytes,
            release,
        })
    }

    /// Takes it for what would be published now, which it must be.
    fn take_up(
        self,
        identity: &Identity,
        app: &App,
        images: &[PackedImage],
    ) -> Result<(Verified<Release>, Signed), Failure> {
        let release = self.release;
        let expected = Draft {
            expires: release.expires,
            deltas: release.deltas.clone(),
            ..draft(
                identity,
                app,
                images,
                release.seq,
                release.created,
                release.origin.clone(),
            )
        };
        if release::assemble(expected)? != *release {
            return Err(Failure::refused(
                "notThis",
                format!(
                    "the folder or its images are not those that {} was signed for",
                    self.file.display()
                ),
            )
            .hint("Restore them, or have a new release signed: archy publish"));
        }
        let signed = Signed {
            hash: release.hash(),
            bytes: self.bytes,
        };
        Ok((release, signed))
    }
}
