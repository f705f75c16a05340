//! `archy announce`: announces the newest releases again, before their announcements expire.
//!
//! Nothing new is signed but the dates: the release is the one that was published, byte for byte, and the node
//! is asked once more whether it still serves it.

use std::path::Path;

use archy_nostr::{BunkerUrl, NostrSigner, RelayUrl};
use archy_registry::{Slug, release};
use jiff::Timestamp;
use serde::Serialize;

use super::announce::{self, Announced};
use super::kept::Kept;
use super::{announcement, app_ref, origin, serve, signer};
use crate::failure::Failure;
use crate::identity::Identity;
use crate::identity::passphrase::Passphrases;
use crate::node::Node;
use crate::node::types::{AppRef, PublishState};
use crate::output::Output;

/// What to announce again, and how.
#[derive(Debug)]
pub struct Request<'a> {
    /// Only these apps; empty means all that were published with these keys.
    pub apps: &'a [Slug],
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
    /// For the proof that the node serves the releases.
    pub work_dir: &'a Path,
}

/// Who announces.
#[derive(Debug)]
pub struct Publisher {
    identity: Identity,
    signer: NostrSigner,
}

impl Publisher {
    /// Reads the keys, once for all apps.
    ///
    /// # Errors
    ///
    /// When a key cannot be read, or a remote signer does not answer.
    pub async fn load(request: &Request<'_>, output: &Output) -> Result<Self, Failure> {
        let dir = request.identity_dir;
        let identity = Identity::load(dir, request.passphrases, Timestamp::now())?;
        let signer = signer::choose(request.nostr_signer, &identity, dir, output).await?;
        Ok(Self { identity, signer })
    }
}

/// An app that was announced again.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Renewed {
    /// Which app.
    pub app: AppRef,
    /// The release's version.
    pub version: String,
    /// The release's counter.
    pub seq: u64,
    /// Until when nodes count the announcement as news.
    pub expires: Timestamp,
    /// What the relays answered.
    pub announced: Announced,
}

/// Lists the apps that a request is about.
///
/// # Errors
///
/// When none was ever published with these keys.
pub fn apps(request: &Request<'_>) -> Result<Vec<Slug>, Failure> {
    if !request.apps.is_empty() {
        return Ok(request.apps.to_vec());
    }
    let apps = Kept::new(request.identity_dir).slugs()?;
    if apps.is_empty() {
        return Err(
            Failure::not_found("nothing was published from this machine with these keys")
                .hint("`archy publish` publishes an app; --identity names other keys"),
        );
    }
    Ok(apps)
}

/// Announces an app's newest release again.
///
/// # Errors
///
/// When it was not published from this machine, its time is over, the node does not serve it any more, or no
/// relay took the announcement.
pub async fn renew(
    request: &Request<'_>,
    publisher: &Publisher,
    slug: &Slug,
    node: &Node,
) -> Result<Renewed, Failure> {
    let now = Timestamp::now();
    let Publisher { identity, signer } = publisher;
    let bytes = Kept::new(request.identity_dir).release(slug)?;
    let release = release::verify(&bytes, &identity.state, now)?;
    let app = app_ref(identity.did(), slug);
    let state: PublishState = node.call("publish.state", &app).await?;
    if let Some(seen) = state.highest_seq.filter(|seen| *seen > release.seq) {
        return Err(Failure::refused(
            "rollback",
            format!(
                "release {} of {slug} is the newest on this machine, but the node has heard of release {seen}",
                release.seq
            ),
        )
        .hint(format!(
            "Announce from the machine that published release {seen}, or publish again from this one"
        )));
    }
    let relays = announce::relays(request.relays, &state.relays)?;
    let endpoint = origin::probe_endpoint(&state.endpoint, request.origin_addresses)?;
    let blob = serve::Blob::Small(release.hash(), &bytes);
    serve::prove(&endpoint, &[blob], request.work_dir).await?;
    let (announcement, signed) = announcement(identity, &release, bytes.len(), now)?;
    let announced = announce::announce(identity, signer, &announcement, &signed, &relays).await?;
    Ok(Renewed {
        app,
        version: announcement.version.clone(),
        seq: announcement.seq,
        expires: announcement.expires,
        announced,
    })
}
