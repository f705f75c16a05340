//! What tests begin with: releases and installed apps that nobody signed.

use std::collections::BTreeMap;

use archy_registry::manifest;
use archy_registry::release::{Origin, Release, TYPE};
use archy_registry::{AppId, Blake3Hash};
use jiff::Timestamp;

use crate::desired::{Desired, Stage, Wish};
use crate::quadlet::UnitSet;
use crate::settings::Settings;

/// Who publishes them.
pub(crate) const PUBLISHER: &str = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";

/// A release of version 1.2.0, given the lines of the manifest from the first container on.
pub(crate) fn release(slug: &str, rest: &str) -> Release {
    let yaml = format!(
        "app: {{id: {slug}, name: A, version: 1.2.0, tagline: A, category: other}}\ncontainers:\n{rest}"
    );
    let parsed = manifest::parse(&yaml).unwrap_or_else(|error| panic!("{error}"));
    Release {
        r#type: TYPE.to_owned(),
        publisher: PUBLISHER.parse().unwrap(),
        seq: 1,
        created: Timestamp::UNIX_EPOCH,
        expires: Timestamp::UNIX_EPOCH,
        manifest: parsed.manifest,
        images: Vec::new(),
        icon: None,
        screenshots: Vec::new(),
        deltas: Vec::new(),
        origin: Origin::default(),
    }
}

/// An app whose install has ended, without units.
pub(crate) fn installed(release: Release, wish: Wish) -> Desired {
    let app = AppId {
        publisher: release.publisher,
        slug: release.manifest.app.id.clone(),
    };
    let units = UnitSet {
        app: app.slug.clone(),
        units: BTreeMap::new(),
    };
    let (hash, settings) = (Blake3Hash::of(b"release"), Settings::default());
    let mut desired = Desired::shadow(app, hash, release, settings, &units, Timestamp::UNIX_EPOCH);
    desired.wish = wish;
    desired.stage = Stage::Installed;
    desired
}
