//! Lists a release in other Nostr app stores (NIP-82). Nothing depends on it: what fails is told, not fatal.

use archy_nostr::listing::Listing;
use archy_nostr::{Draft, NostrSigner, PublishOptions, PublishReport, RelayUrl};
use archy_registry::Verified;
use archy_registry::release::Release;
use serde::Serialize;

use super::announce::{RelayFailure, failures};
use crate::failure::Failure;

/// The events that list a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// The application's event.
    pub application: String,
    /// The release's event.
    pub release: String,
    /// The events of its images.
    pub assets: Vec<String>,
    /// Relays that did not take all of them, and why.
    pub failed: Vec<RelayFailure>,
}

/// Lists a release on these relays.
///
/// # Errors
///
/// When an event cannot be signed, or is too large for every relay.
pub async fn list(
    signer: &NostrSigner,
    release: &Verified<Release>,
    relays: &[RelayUrl],
) -> Result<Listed, Failure> {
    let listing = Listing::of(release);
    let options = PublishOptions::default();
    let mut failed = Vec::new();
    let mut note = |report: PublishReport| {
        for failure in failures(&report) {
            if !failed.contains(&failure) {
                failed.push(failure);
            }
        }
        report.event_id
    };
    let publish = async |draft: &Draft| -> Result<PublishReport, Failure> {
        Ok(archy_nostr::publish(relays, signer, draft, &options).await?)
    };
    // What is named comes before what names it.
    let mut assets = Vec::new();
    for asset in listing.assets() {
        assets.push(note(publish(asset).await?));
    }
    let release = note(publish(&listing.release(&assets)).await?);
    let application = note(publish(listing.application()).await?);
    Ok(Listed {
        application: application.to_string(),
        release: release.to_string(),
        assets: assets.iter().map(ToString::to_string).collect(),
        failed,
    })
}
