//! Apps that nobody signed, as releases under the operator's own DID.
//!
//! Such a release names no origin: nodes take its images from other nodes, or from their owner's registries of
//! images, by the digests that are signed here. An app that did not change keeps the release that it has.

use std::path::{Path, PathBuf};

use archy_registry::release::{self, Origin};
use jiff::Timestamp;

use crate::app::{App, MANIFEST_FILE};
use crate::failure::Failure;
use crate::identity::Identity;
use crate::output::Output;
use crate::publish::kept::Kept;
use crate::publish::ledger::Ledger;
use crate::publish::pack::PackedImage;
use crate::publish::{self, pack};

/// Where an operator's releases and counter are, beside the keys.
pub(super) fn dir(identity_dir: &Path) -> PathBuf {
    identity_dir.join("catalog")
}

/// Lists the folders of apps: the folder itself, or those in it that have a manifest.
///
/// # Errors
///
/// When the folder cannot be read or holds no app.
pub fn folders(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let is_app = |folder: &Path| folder.join(MANIFEST_FILE).is_file();
    if is_app(path) {
        return Ok(vec![path.to_owned()]);
    }
    let read = |error: std::io::Error| Failure::file("read", path, &error);
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(path).map_err(read)? {
        let folder = entry.map_err(read)?.path();
        if is_app(&folder) {
            folders.push(folder);
        }
    }
    if folders.is_empty() {
        let text = format!(
            "there is no {MANIFEST_FILE} in {} or the folders in it",
            path.display()
        );
        return Err(
            Failure::not_found(text).hint("`archy app new` writes a small app to start from")
        );
    }
    folders.sort();
    Ok(folders)
}

/// Packs the images of the app in `request.dir` and returns its signed release: the one that it has, when nothing
/// changed, else the next.
///
/// # Errors
///
/// When a part is missing, or no node would accept the result.
pub async fn release(
    request: &publish::Request<'_>,
    identity: &Identity,
    output: &Output,
    now: Timestamp,
) -> Result<Vec<u8>, Failure> {
    let app = App::open(request.dir)?;
    for warning in &app.warnings {
        output.warning(warning);
    }
    archy_orchestrator::quadlet::preview(&app.manifest)?;
    let slug = &app.manifest.app.id;
    let sources = pack::sources(request, &app.manifest, output).await?;
    let images = pack::all(request, &sources, output).await?;
    let kept = Kept::new(&dir(request.identity_dir));
    if kept.slugs()?.contains(slug) {
        let bytes = kept.release(slug)?;
        if is_unchanged(&bytes, identity, &app, &images, now) {
            return Ok(bytes);
        }
    }
    let seq = Ledger::new(request.identity_dir).take(slug, None)?;
    let (release, signed) = {
        let draft = publish::draft(identity, &app, &images, seq, now, Origin::default());
        publish::sign_release(request, identity, draft, true)?
    };
    kept.keep(slug, &signed.bytes)?;
    output.progress(format_args!(
        "signed {slug} {} as release {seq}",
        release.manifest.app.version
    ));
    Ok(signed.bytes)
}

/// Tells whether a signed release still holds and says the same as the folder.
fn is_unchanged(
    bytes: &[u8],
    identity: &Identity,
    app: &App,
    images: &[PackedImage],
    now: Timestamp,
) -> bool {
    release::verify(bytes, &identity.state, now).is_ok_and(|release| {
        let assets = release.icon.iter().chain(&release.screenshots);
        release.manifest == app.manifest
            && release.images == images.iter().map(PackedImage::image).collect::<Vec<_>>()
            && assets.eq(app.assets().map(|file| &file.asset))
    })
}
