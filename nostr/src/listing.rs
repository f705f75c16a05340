//! A release as other Nostr app stores list it: application, assets and release of NIP-82, which is a draft
//! that its repository has not merged; tags and names here follow its text of 2026.
//!
//! Nodes do not read these events: what they show and
//! install comes from signed statements alone.

use archy_registry::Verified;
use archy_registry::release::{Image, Platform, Release};

use crate::draft::{Draft, tag};
use crate::event::EventId;
use crate::topic::TOPIC;

/// Kind of an application.
pub const KIND_APPLICATION: u16 = 32_267;
/// Kind of a release of an application.
pub const KIND_RELEASE: u16 = 30_063;
/// Kind of a file of a release.
pub const KIND_ASSET: u16 = 3063;

/// The channel of every release.
const CHANNEL: &str = "main";

/// The events that list one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    id: String,
    version: String,
    notes: String,
    application: Draft,
    assets: Vec<Draft>,
}

impl Listing {
    /// Lists a release: the application under its full name (`did:key:…/slug`), and every image for a platform
    /// that the draft names as an asset.
    pub fn of(release: &Verified<Release>) -> Self {
        let id = release.app().to_string();
        let version = release.manifest.app.version.clone();
        let assets = release
            .images
            .iter()
            .filter_map(|image| asset(&id, &version, image))
            .collect();
        Self {
            application: application(&id, release),
            notes: release
                .manifest
                .app
                .release_notes
                .clone()
                .unwrap_or_default(),
            id,
            version,
            assets,
        }
    }

    /// Returns the application.
    pub fn application(&self) -> &Draft {
        &self.application
    }

    /// Returns the images; the release names their events.
    pub fn assets(&self) -> &[Draft] {
        &self.assets
    }

    /// Returns the release, which names the events of its images.
    pub fn release(&self, assets: &[EventId]) -> Draft {
        let mut tags = vec![
            tag(["d", &format!("{}@{}", self.id, self.version)]),
            tag(["i", &self.id]),
            tag(["version", &self.version]),
            tag(["c", CHANNEL]),
        ];
        tags.extend(assets.iter().map(|asset| tag(["e", &asset.to_string()])));
        Draft::of_kind(KIND_RELEASE, tags, self.notes.clone())
    }
}

fn application(id: &str, release: &Release) -> Draft {
    let app = &release.manifest.app;
    let mut tags = vec![
        tag(["d", id]),
        tag(["name", &app.name]),
        tag(["summary", &app.tagline]),
        tag(["t", &app.category.to_string()]),
        tag(["t", TOPIC]),
    ];
    let optional = [
        ("url", &app.website),
        ("repository", &app.source),
        ("license", &app.license),
    ];
    for (name, value) in optional {
        tags.extend(value.as_ref().map(|value| tag([name, value])));
    }
    let platforms = release.platforms();
    let platforms = platforms.iter().filter_map(platform_id);
    tags.extend(platforms.map(|platform| tag(["f", platform])));
    Draft::of_kind(KIND_APPLICATION, tags, app.description.clone())
}

/// An image is the file that its OCI manifest describes; `None` for a platform that the draft has no name for.
fn asset(id: &str, version: &str, image: &Image) -> Option<Draft> {
    let platform = platform_id(&image.platform)?;
    let manifest = &image.manifest;
    let sha256 = hex::encode(manifest.digest.as_bytes());
    let tags = vec![
        tag(["i", id]),
        tag(["m", &manifest.media_type]),
        tag(["x", &sha256]),
        tag(["size", &manifest.size_bytes.to_string()]),
        tag(["version", version]),
        tag(["f", platform]),
        tag(["variant", image.container.as_str()]),
    ];
    Some(Draft::of_kind(KIND_ASSET, tags, String::new()))
}

/// The draft's names of platforms (its appendix A); it allows no others.
fn platform_id(platform: &Platform) -> Option<&'static str> {
    match (platform.os.as_str(), platform.architecture.as_str()) {
        ("linux", "amd64") => Some("linux-x86_64"),
        ("linux", "arm64") => Some("linux-aarch64"),
        _ => None,
    }
}
