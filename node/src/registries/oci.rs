//! Registries of container images, and folders of them: the last resort for bytes that neither the swarm nor the
//! origin has.
//!
//! An image is always asked for by the digest that its publisher signed, and every blob is compared with the
//! release before it is kept; a registry of images can be slow or lack one, and cannot change any.

use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use archy_registry::manifest::{Container, Source};
use archy_registry::release::{Descriptor, Image, Release};
use archy_registry::{OciDigest, Slug};
use archy_swarm::image::{self, ImageSource, Login, PackError, Packed};
use archy_swarm::{ProvideError, Role, Swarm, Tag};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;
use tokio::net::TcpStream;

use super::layout::{self, LayoutError};
use super::list::Named;
use crate::api::problem;
use crate::api::types::Problem;
use crate::problem as explain;

/// Largest file of credentials, in bytes.
const CREDENTIALS_BYTES_MAX: u64 = 8 * 1024;
/// Longest path of a folder of images, in bytes.
const PLACE_BYTES_MAX: usize = 2048;

/// A registry of images, or a folder that stands in for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OciRegistry {
    /// This node's name for it.
    pub(super) name: Slug,
    /// Where it is; `host` in lists from before there were folders.
    #[serde(alias = "host")]
    pub(super) place: OciPlace,
    /// A file with `USER:PASSWORD` in one line, readable for its owner only.
    #[serde(default)]
    pub(super) credentials_file: Option<PathBuf>,
}

impl Named for OciRegistry {
    fn name(&self) -> &Slug {
        &self.name
    }

    fn place(&self) -> String {
        self.place.to_string()
    }
}

/// Where images are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) enum OciPlace {
    /// A registry.
    Host(OciHost),
    /// A folder in OCI layout, by its absolute path.
    Layout(PathBuf),
}

impl std::str::FromStr for OciPlace {
    type Err = OciPlaceError;

    fn from_str(text: &str) -> Result<Self, OciPlaceError> {
        if !text.starts_with('/') {
            return text.parse().map(Self::Host);
        }
        if text.len() > PLACE_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(OciPlaceError::new(text));
        }
        Ok(Self::Layout(PathBuf::from(text)))
    }
}

impl std::fmt::Display for OciPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(host) => f.write_str(&host.0),
            Self::Layout(dir) => write!(f, "{}", dir.display()),
        }
    }
}

impl TryFrom<String> for OciPlace {
    type Error = OciPlaceError;

    fn try_from(text: String) -> Result<Self, OciPlaceError> {
        text.parse()
    }
}

impl From<OciPlace> for String {
    fn from(place: OciPlace) -> Self {
        place.to_string()
    }
}

/// A text is no place of images.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no registry of images: write HOST, HOST:PORT or HOST/PATH, without https://, or the absolute path of a \
     folder in OCI layout"
)]
pub(super) struct OciPlaceError(String);

impl OciPlaceError {
    fn new(text: &str) -> Self {
        Self(text.chars().take(200).collect())
    }
}

/// `HOST[:PORT][/PATH]` of a registry of images, put before an image's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OciHost(String);

impl OciHost {
    /// `HOST[:PORT]`
    fn authority(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// A registry on this machine speaks HTTP, as for podman and docker.
    fn is_plain_http(&self) -> bool {
        let authority = self.authority();
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            Some(_) | None => authority,
        };
        ["localhost", "127.0.0.1", "[::1]"].contains(&host)
    }
}

impl std::str::FromStr for OciHost {
    type Err = OciPlaceError;

    fn from_str(text: &str) -> Result<Self, OciPlaceError> {
        let error = || OciPlaceError::new(text);
        let (authority, path) = match text.split_once('/') {
            Some((authority, path)) => (authority, Some(path)),
            None => (text, None),
        };
        let parsed: url::Url = format!("https://{authority}/")
            .parse()
            .map_err(|_| error())?;
        let plain = text.len() <= 255
            && text.is_ascii()
            && parsed.username().is_empty()
            && parsed.password().is_none()
            && parsed.path() == "/"
            && parsed.query().is_none()
            && parsed.fragment().is_none()
            && parsed
                .host_str()
                .is_some_and(|host| authority.starts_with(host))
            && (authority.contains(['.', ':']) || authority == "localhost");
        if !plain || !path.is_none_or(is_repository) {
            return Err(error());
        }
        Ok(Self(text.to_owned()))
    }
}

/// OCI distribution-spec `name`: lower-case words between slashes.
fn is_repository(path: &str) -> bool {
    path.split('/').all(|word| {
        let alphanumeric =
            |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = word.as_bytes();
        alphanumeric(bytes.first())
            && alphanumeric(bytes.last())
            && bytes
                .iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(b))
    })
}

/// The file of credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialsError {
    /// It cannot be read.
    #[error("cannot read the credentials in {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others can read it, or it belongs to somebody else.
    #[error("others can read {0}; run: chmod 600 {0}")]
    Open(PathBuf),
    /// It holds something else.
    #[error("{0} must hold one line, USER:PASSWORD")]
    Form(PathBuf),
}

/// Reads `USER:PASSWORD` from a file that only its owner can read.
pub(super) fn login(path: &Path) -> Result<Login, CredentialsError> {
    let read = |source| CredentialsError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(path)
        .map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    if metadata.mode() & 0o077 != 0 || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(CredentialsError::Open(path.to_owned()));
    }
    let form = || CredentialsError::Form(path.to_owned());
    if !metadata.is_file() || metadata.len() > CREDENTIALS_BYTES_MAX {
        return Err(form());
    }
    let mut text = String::new();
    file.take(CREDENTIALS_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(read)?;
    let (user, password) = text.trim_end().split_once(':').ok_or_else(form)?;
    if user.is_empty() || password.is_empty() || text.trim_end().contains('\n') {
        return Err(form());
    }
    Ok(Login {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

/// One registry's or folder's copy of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OciSource {
    /// The registry.
    pub(super) registry: Slug,
    /// Where in it.
    pub(super) copy: OciCopy,
}

/// Where a copy of an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OciCopy {
    /// In a registry, by digest.
    Registry {
        /// `HOST/REPOSITORY@DIGEST`.
        reference: String,
        /// Whether it speaks HTTP.
        plain_http: bool,
        /// Where the credentials are.
        credentials_file: Option<PathBuf>,
    },
    /// In a folder, whatever it is called there.
    Layout(PathBuf),
}

/// Lists where an image may be, in the owner's order.
pub(super) fn sources(
    registries: &[OciRegistry],
    container: &Container,
    digest: &OciDigest,
) -> Vec<OciSource> {
    let repository = repository(container);
    let copy = |registry: &OciRegistry| match &registry.place {
        OciPlace::Layout(dir) => Some(OciCopy::Layout(dir.clone())),
        OciPlace::Host(host) => repository.as_ref().map(|repository| OciCopy::Registry {
            reference: format!("{}/{repository}@{digest}", host.0),
            plain_http: host.is_plain_http(),
            credentials_file: registry.credentials_file.clone(),
        }),
    };
    registries
        .iter()
        .filter_map(|registry| {
            Some(OciSource {
                registry: registry.name.clone(),
                copy: copy(registry)?,
            })
        })
        .collect()
}

/// Returns the repository that a container's manifest names, without registry, tag and digest.
fn repository(container: &Container) -> Option<String> {
    let named = match &container.source {
        Source::Pull { image, .. } => image,
        Source::Build { tag, .. } => tag.as_ref()?,
    };
    let named = named.split('@').next().unwrap_or_default();
    let (first, rest) = named.split_once('/').unwrap_or(("", named));
    let is_host = first.contains(['.', ':']) || first == "localhost";
    let path = match (is_host, first) {
        (true, _) => rest.to_owned(),
        // As podman and docker read it: a bare name is an official image.
        (false, "") => format!("library/{rest}"),
        (false, first) => format!("{first}/{rest}"),
    };
    let last = path.rfind('/').map_or(0, |slash| slash + 1);
    let end = path[last..]
        .find(':')
        .map_or(path.len(), |colon| last + colon);
    Some(path[..end].to_owned()).filter(|path| is_repository(path))
}

/// An image was not taken from a registry.
#[derive(Debug, thiserror::Error)]
pub(super) enum PullError {
    /// The credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The registry, or what it sent.
    #[error("{reference} was not taken")]
    Pull {
        /// The image.
        reference: String,
        /// Why.
        #[source]
        source: Box<PackError>,
    },
    /// Under the right digest, a blob that the release does not name.
    #[error("{reference} does not have the blobs that the publisher signed")]
    Other {
        /// The image.
        reference: String,
    },
    /// The folder.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A blob has changed since somebody put it there.
    #[error("{digest} is there, and is not what the publisher signed; copy the image there again")]
    Changed {
        /// Which.
        digest: OciDigest,
    },
    /// A blob could not be kept.
    #[error("{digest} could not be kept")]
    Keep {
        /// Which.
        digest: OciDigest,
        /// Why.
        #[source]
        source: ProvideError,
    },
}

/// A copy of an image that is the one that the publisher signed, as far as can be told without its bytes.
enum Found {
    Packed(Box<Packed>),
    Layout(PathBuf),
}

impl Found {
    async fn find(copy: &OciCopy, image: &Image, work_dir: &Path) -> Result<Self, PullError> {
        let (reference, plain_http, credentials_file) = match copy {
            OciCopy::Layout(dir) => {
                layout::check(dir, image).await?;
                return Ok(Self::Layout(dir.clone()));
            }
            OciCopy::Registry {
                reference,
                plain_http,
                credentials_file,
            } => (reference.clone(), *plain_http, credentials_file),
        };
        let from = ImageSource::Registry {
            reference: reference.clone(),
            login: credentials_file.as_deref().map(login).transpose()?,
            plain_http,
        };
        match image::pack(&from, &image.platform, work_dir).await {
            Ok(packed) if is_same(&packed, image) => Ok(Self::Packed(Box::new(packed))),
            Ok(_) => Err(PullError::Other { reference }),
            Err(error) => Err(PullError::Pull {
                reference,
                source: Box::new(error),
            }),
        }
    }

    async fn open(&self, blob: &Descriptor) -> io::Result<Box<dyn AsyncRead + Send + Unpin>> {
        Ok(match self {
            Self::Packed(packed) => Box::new(packed.open(blob).await?),
            Self::Layout(dir) => Box::new(layout::open(dir, blob).await?),
        })
    }
}

/// Takes one image by digest and keeps its blobs under `tag`; each is what the release names.
pub(super) async fn pull(
    source: &OciSource,
    image: &Image,
    swarm: &Swarm,
    tag: &Tag,
    work_dir: &Path,
) -> Result<(), PullError> {
    let found = Found::find(&source.copy, image, work_dir).await?;
    for blob in image.descriptors() {
        let keep = |source| {
            let digest = blob.digest;
            if matches!(source, ProvideError::WrongHash { .. }) {
                PullError::Changed { digest }
            } else {
                PullError::Keep { digest, source }
            }
        };
        let opened = found.open(blob).await;
        let bytes = opened.map_err(|error| keep(ProvideError::Read(error)))?;
        let role = Some(Role::from(blob));
        let provided = swarm.provide_as(tag, role, bytes, Some(blob.blake3));
        provided.await.map_err(keep)?;
    }
    Ok(())
}

fn is_same(packed: &Packed, image: &Image) -> bool {
    let names = |blob: &Descriptor| (blob.digest, blob.blake3, blob.size_bytes);
    packed
        .descriptors()
        .map(names)
        .eq(image.descriptors().map(names))
}

/// Checks a registry's credentials and that something answers at its address.
pub(super) async fn test(registry: &OciRegistry, time_max: Duration) -> Result<(), Problem> {
    if let Some(path) = &registry.credentials_file {
        login(path).map_err(|error| of_credentials(&error))?;
    }
    let host = match &registry.place {
        OciPlace::Host(host) => host,
        OciPlace::Layout(dir) => {
            let tested = layout::test(dir).await;
            return tested.map_err(|error| of_layout(&error));
        }
    };
    let authority = host.authority();
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let address = if has_port {
        authority.to_owned()
    } else if host.is_plain_http() {
        format!("{authority}:80")
    } else {
        format!("{authority}:443")
    };
    let connected = tokio::time::timeout(time_max, TcpStream::connect(&address)).await;
    let why = match connected {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    let mut refusal = problem(
        "unreachable",
        format!("The registry of images {authority} cannot be reached"),
        "Check the address and the network",
    );
    refusal.details.push(why);
    Err(refusal)
}

/// Says what to do about credentials.
pub(super) fn of_credentials(error: &CredentialsError) -> Problem {
    let mut refusal = problem(
        "credentials",
        error.to_string(),
        "Write USER:PASSWORD into a file of the daemon's user, with mode 0600",
    );
    refusal.details = explain::causes(error);
    refusal
}

/// Says what to do about a folder of images.
fn of_layout(error: &LayoutError) -> Problem {
    let mut refusal = problem(
        "unreachable",
        error.to_string(),
        "Make one with: skopeo copy --preserve-digests docker://IMAGE oci:DIR:NAME; the daemon's user must be able to read it",
    );
    refusal.details = explain::causes(error);
    refusal
}

/// Finds the container whose image this is.
pub(super) fn container<'a>(release: &'a Release, image: &Image) -> Option<&'a Container> {
    release
        .manifest
        .containers
        .iter()
        .find(|container| container.name == image.container)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn container(image: &str) -> Container {
        let manifest = format!(
            "app: {{id: a, name: A, version: 1.0.0, tagline: T, category: other}}\ncontainer: {{image: '{image}'}}\n"
        );
        archy_registry::manifest::parse(&manifest)
            .unwrap_or_else(|error| panic!("{error}"))
            .manifest
            .containers
            .remove(0)
    }

    fn registry(name: &str, host: &str) -> OciRegistry {
        OciRegistry {
            name: name.parse().unwrap(),
            place: host.parse().unwrap(),
            credentials_file: None,
        }
    }

    #[test]
    fn images_are_looked_for_by_digest_in_the_owners_order() {
        let registries = [
            registry("lan", "10.0.0.5:5000/mirror"),
            registry("hub", "docker.io"),
            registry("own", "localhost:5000"),
        ];
        let digest = OciDigest::from_sha256([7; 32]);
        let references = |image: &str| -> Vec<String> {
            sources(&registries, &container(image), &digest)
                .into_iter()
                .filter_map(|source| match source.copy {
                    OciCopy::Registry { reference, .. } => Some(reference),
                    OciCopy::Layout(_) => None,
                })
                .collect()
        };
        assert_eq!(
            references("docker.io/library/busybox:1.37"),
            ["10.0.0.5:5000/mirror", "docker.io", "localhost:5000"]
                .map(|host| format!("{host}/library/busybox@{digest}"))
        );
        assert_eq!(
            references("busybox")[1],
            format!("docker.io/library/busybox@{digest}")
        );
        assert_eq!(
            references("localhost/hello-web:latest")[2],
            format!("localhost:5000/hello-web@{digest}")
        );
        assert_eq!(
            references("ghcr.io/a/b:1")[0],
            format!("10.0.0.5:5000/mirror/a/b@{digest}")
        );
        let plain: Vec<bool> = sources(&registries, &container("busybox"), &digest)
            .iter()
            .map(|source| {
                matches!(
                    source.copy,
                    OciCopy::Registry {
                        plain_http: true,
                        ..
                    }
                )
            })
            .collect();
        assert_eq!(plain, [false, false, true]);
    }

    #[test]
    fn hosts_are_hosts() {
        for text in [
            "docker.io",
            "10.0.0.5:5000",
            "[::1]:5000",
            "localhost",
            "reg.lan/team/mirror",
        ] {
            let place = text.parse::<OciPlace>().unwrap();
            assert!(matches!(&place, OciPlace::Host(_)), "{text}");
            assert_eq!(place.to_string(), text);
        }
        for text in [
            "",
            "https://docker.io",
            "docker.io/",
            "a b.io",
            "user@host.io",
            "u:p@host.io",
            "host.io/UP",
            "host.io/../x",
            "host.io?x=1",
            "host.io#x",
            "word",
        ] {
            assert!(text.parse::<OciPlace>().is_err(), "{text:?}");
        }
        for text in ["/srv/images", "/media/usb/a b"] {
            let place = text.parse::<OciPlace>().unwrap();
            assert_eq!(place, OciPlace::Layout(PathBuf::from(text)));
        }
        assert!("/srv\n/x".parse::<OciPlace>().is_err());
        assert!(
            format!("/{}", "x".repeat(3000))
                .parse::<OciPlace>()
                .is_err()
        );
    }

    #[test]
    fn a_list_of_before_there_were_folders_is_read() {
        let kept = r#"{"name":"hub","host":"docker.io","credentialsFile":null}"#;
        let read: OciRegistry = serde_json::from_str(kept).unwrap();
        assert_eq!(read, registry("hub", "docker.io"));
    }

    #[test]
    fn credentials_that_others_can_read_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hub");
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            login(&path)
        };
        let taken = write("ann:s:ecret\n", 0o600).unwrap();
        assert_eq!(
            (taken.user.as_str(), taken.password.as_str()),
            ("ann", "s:ecret")
        );
        assert!(!format!("{taken:?}").contains("ecret"));
        for mode in [0o640, 0o604, 0o660] {
            assert!(matches!(
                write("ann:secret", mode),
                Err(CredentialsError::Open(_))
            ));
        }
        for text in ["", "ann", ":x", "ann:", "a:b\nc:d"] {
            let error = write(text, 0o600).unwrap_err();
            assert!(
                matches!(error, CredentialsError::Form(_)) && !error.to_string().contains("b\n")
            );
        }
        assert!(matches!(
            login(&dir.path().join("none")),
            Err(CredentialsError::Read { .. })
        ));
    }
}
