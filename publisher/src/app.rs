//! An app's folder: its manifest and the files that the manifest names. Reads, never writes.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use archy_registry::manifest::{self, Manifest, RelativePath, Warning};
use archy_registry::release::Asset;
use archy_registry::{AppId, Blake3Hash, Did, Slug};

use crate::failure::Failure;

pub mod scaffold;

/// The file that holds the packaging contract.
pub const MANIFEST_FILE: &str = "manifest.yml";
/// Largest icon or screenshot in bytes: what a release may carry.
const ASSET_SIZE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// An app as an owner names it: in full, or by its slug alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppName {
    /// `did:key:…/slug`
    Full(AppId),
    /// `slug`
    Short(Slug),
}

impl FromStr for AppName {
    type Err = archy_registry::id::IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('/') {
            text.parse().map(Self::Full)
        } else {
            text.parse().map(Self::Short)
        }
    }
}

/// A publisher as an owner names it: by its DID, or by an app of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublisherName {
    /// `did:key:…`
    Did(Did),
    /// An app.
    App(AppName),
}

impl FromStr for PublisherName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("did:") && !text.contains('/') {
            let did = text.parse().map(Self::Did);
            return did.map_err(|error: archy_registry::did::DidError| error.to_string());
        }
        let app = text.parse().map(Self::App);
        app.map_err(|error: archy_registry::id::IdError| error.to_string())
    }
}

/// An app's folder whose manifest is sound and whose files are there.
#[derive(Debug)]
pub struct App {
    /// The packaging contract in normal form.
    pub manifest: Manifest,
    /// What works but should be written otherwise.
    pub warnings: Vec<Warning>,
    /// The icon.
    pub icon: Option<AssetFile>,
    /// Screenshots in the order to show them.
    pub screenshots: Vec<AssetFile>,
}

/// An icon or screenshot, read and named.
#[derive(Debug, Clone)]
pub struct AssetFile {
    /// How a release names it.
    pub asset: Asset,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl App {
    /// Reads the folder `dir`.
    ///
    /// # Errors
    ///
    /// When there is no sound manifest, or a file that it names is missing, too large or no picture.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join(MANIFEST_FILE);
        let yaml = std::fs::read_to_string(&path).map_err(|error| {
            Failure::file("read", &path, &error)
                .hint("Name the folder of an app; `archy app new` writes one")
        })?;
        let parsed = manifest::parse(&yaml)?;
        let app = &parsed.manifest.app;
        let icon = app.icon.as_ref().map(|path| asset(dir, path)).transpose()?;
        let screenshots = app
            .screenshots
            .iter()
            .map(|path| asset(dir, path))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            manifest: parsed.manifest,
            warnings: parsed.warnings,
            icon,
            screenshots,
        })
    }

    /// Lists icon and screenshots.
    pub fn assets(&self) -> impl Iterator<Item = &AssetFile> {
        self.icon.iter().chain(&self.screenshots)
    }
}

fn asset(dir: &Path, path: &RelativePath) -> Result<AssetFile, Failure> {
    let path = inside("asset", dir, &dir.join(path.to_string()))?;
    let metadata = path
        .metadata()
        .map_err(|error| Failure::file("read", &path, &error))?;
    if !metadata.is_file() || metadata.len() > ASSET_SIZE_BYTES_MAX {
        let text = format!(
            "{} must be a file of at most {ASSET_SIZE_BYTES_MAX} bytes",
            path.display()
        );
        return Err(Failure::refused("asset", text));
    }
    let bytes = std::fs::read(&path).map_err(|error| Failure::file("read", &path, &error))?;
    let media_type = media_type(&bytes).ok_or_else(|| {
        Failure::refused(
            "asset",
            format!("{} is not a PNG, JPEG, WebP or SVG picture", path.display()),
        )
    })?;
    Ok(AssetFile {
        asset: Asset {
            blake3: Blake3Hash::of(&bytes),
            size_bytes: bytes.len() as u64,
            media_type: media_type.to_owned(),
        },
        bytes,
    })
}

/// Follows links and refuses to leave the folder: whoever made it may be somebody else, and what is published can be read by
/// everybody.
///
/// # Errors
///
/// When there is nothing, or it is elsewhere; the failure's kind is then `kind`.
pub(crate) fn inside(kind: &str, dir: &Path, path: &Path) -> Result<PathBuf, Failure> {
    let real = |path: &Path| {
        path.canonicalize()
            .map_err(|error| Failure::file("read", path, &error))
    };
    let (dir, target) = (real(dir)?, real(path)?);
    if target.starts_with(&dir) {
        return Ok(target);
    }
    let text = format!(
        "{} leads out of the app's folder, to {}",
        path.display(),
        target.display()
    );
    Err(Failure::refused(kind, text).hint("Copy it into the folder"))
}

/// Tells a picture's type by its first bytes.
fn media_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some("image/webp"),
        _ => {
            let text = std::str::from_utf8(bytes)
                .ok()?
                .trim_start_matches('\u{feff}')
                .trim_start();
            (text.starts_with('<') && text.contains("<svg")).then_some("image/svg+xml")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_told_by_their_content() {
        assert_eq!(media_type(b"\x89PNG\r\n\x1a\n...."), Some("image/png"));
        assert_eq!(media_type(b"RIFF\0\0\0\0WEBPVP8 "), Some("image/webp"));
        assert_eq!(
            media_type(b"<?xml version=\"1.0\"?>\n<svg xmlns=\"x\"/>"),
            Some("image/svg+xml")
        );
        assert_eq!(media_type(b"<html></html>"), None);
        assert_eq!(media_type(b"-----BEGIN OPENSSH PRIVATE KEY-----"), None);
    }

    #[test]
    fn a_link_out_of_the_folder_is_refused() {
        let outside = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret.svg"), "<svg/>").unwrap();
        std::os::unix::fs::symlink(
            outside.path().join("secret.svg"),
            dir.path().join("icon.svg"),
        )
        .unwrap();
        let failure = asset(dir.path(), &"icon.svg".parse().unwrap()).unwrap_err();
        assert_eq!(failure.kind, "asset");
        assert!(
            failure.error.contains("leads out of the app's folder"),
            "{}",
            failure.error
        );
    }

    #[test]
    fn an_app_is_named_in_full_or_in_short() {
        assert!(matches!("radicale".parse(), Ok(AppName::Short(_))));
        let full = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK/radicale";
        assert!(matches!(full.parse(), Ok(AppName::Full(_))));
        assert!("did:web:x/radicale".parse::<AppName>().is_err());
        assert!("Radicale".parse::<AppName>().is_err());
    }
}
