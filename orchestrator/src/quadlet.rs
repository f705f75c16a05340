//! Turns a release into Quadlet units: pure, and the same for every app.
//!
//! Nothing here reads the machine or writes to it; [`validate`] is the edge that asks the real generator.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use archy_registry::manifest::Manifest;
use archy_registry::release::{Platform, Release};
use archy_registry::{AppId, Blake3Hash, OciDigest, Slug, Verified};

use crate::settings::Settings;

mod compose;
mod field;
mod health;
mod section;
pub mod unit;
pub mod validate;
mod version;

use compose::{Identity, render_manifest};
pub(crate) use field::{KEEP_GROUPS, OWN_IDS, own_id};
pub(crate) use section::{HOLD, MARKER};
pub use section::{NETNS_UNIT, PAUSE_UNIT};
use unit::{TextError, Unit};
pub use version::PodmanVersion;

use crate::desired::Desired;
use crate::surroundings;
use crate::values::ValueError;

/// Where the probe for `http` and `tcp` health checks is found inside every container that has a health check.
pub const PROBE_PATH: &str = "/.archy/probe";
/// Label with the app's full id.
pub const LABEL_APP: &str = "io.archy.app";
/// Label with the container's name in the manifest.
pub const LABEL_CONTAINER: &str = "io.archy.container";
/// Label with the release's hash.
pub const LABEL_RELEASE: &str = "io.archy.release";
/// Label that tells the nodes of one user apart; see [`Facts::root`].
pub const LABEL_ROOT: &str = "io.archy.root";

/// Label with the hash of the unit that a container was started by.
pub const LABEL_UNIT: &str = "io.archy.unit";

/// What rendering needs to know of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Directory that holds a directory per app.
    pub apps_dir: PathBuf,
    /// The probe on the node.
    pub probe: PathBuf,
    /// Names the data directory, so that two nodes of one user never touch each other's apps.
    pub root: String,
    /// The platform whose images run here.
    pub platform: Platform,
    /// What can be limited here. podman refuses to start a container with a limit that it cannot set.
    pub limits: Limits,
    /// Which podman will read the units.
    pub podman: PodmanVersion,
}

/// Which limits the user's systemd may set: its control group controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory.
    pub memory: bool,
    /// Processor time.
    pub cpu: bool,
    /// Processes and threads.
    pub pids: bool,
}

impl Limits {
    /// All of them, as on any ordinary machine.
    pub const ALL: Self = Self {
        memory: true,
        cpu: true,
        pids: true,
    };

    /// Reads the content of a `cgroup.controllers` file (cgroups(7)).
    pub fn from_controllers(controllers: &str) -> Self {
        let has = |name: &str| {
            controllers
                .split_ascii_whitespace()
                .any(|found| found == name)
        };
        Self {
            memory: has("memory"),
            cpu: has("cpu"),
            pids: has("pids"),
        }
    }
}

/// The unit files of one app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitSet {
    /// The app's slug, and the name of the directory that holds the files.
    pub app: Slug,
    /// The units by file name.
    pub units: BTreeMap<String, Unit>,
}

impl UnitSet {
    /// Writes every file: name and text.
    pub fn files(&self) -> BTreeMap<String, String> {
        let files = self.units.iter();
        files
            .map(|(name, unit)| (name.clone(), unit.text()))
            .collect()
    }
}

/// An app cannot be expressed as units.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A field holds what a unit cannot carry.
    #[error("{field} cannot be used: {source}")]
    Text {
        /// Where in the manifest.
        field: String,
        /// What is wrong.
        source: TextError,
    },
    /// A field is out of its allow-list.
    #[error("{field} is {value:?}: {allowed}")]
    NotAllowed {
        /// Where in the manifest.
        field: String,
        /// What it says.
        value: String,
        /// What it may say.
        allowed: &'static str,
    },
    /// A reference to something that the manifest does not define.
    #[error("{field} names {name:?}, which the manifest does not define")]
    Unknown {
        /// Where in the manifest.
        field: String,
        /// The name.
        name: String,
    },
    /// A value that the node should fill in has none.
    #[error("{field} cannot be filled in: {source}")]
    Value {
        /// Where in the manifest.
        field: String,
        /// What is missing.
        source: ValueError,
    },
    /// This machine's podman cannot do it.
    #[error(
        "the app needs {feature}, which podman {needed} can do and this machine's podman {found} cannot; update podman"
    )]
    Podman {
        /// What it needs.
        feature: String,
        /// The first version that can do it.
        needed: PodmanVersion,
        /// The version found.
        found: PodmanVersion,
    },
    /// The node has not decided on a port yet.
    #[error("container {container} has no port on the node for its port {port}")]
    PortUnassigned {
        /// The container.
        container: Slug,
        /// Its port.
        port: u16,
    },
    /// The release has no image for this machine.
    #[error("the release has no image of container {container} for {platform}")]
    NoImage {
        /// The container.
        container: Slug,
        /// The machine's platform, `os/architecture`.
        platform: String,
    },
    /// A directory of the node cannot be named in a unit.
    #[error("the path {path} cannot be named in a unit: {source}")]
    NodePath {
        /// The path.
        path: PathBuf,
        /// What is wrong.
        source: TextError,
    },
}

/// Renders the units of a verified release.
///
/// # Errors
///
/// [`RenderError`] names the field that cannot be expressed, or the missing image.
pub fn render(
    release: &Verified<Release>,
    settings: &Settings,
    facts: &Facts,
) -> Result<UnitSet, RenderError> {
    render_as(release, release.app(), release.hash(), settings, facts)
}

/// Renders an app that is installed, whose release was verified then, with other settings.
pub(crate) fn render_installed(desired: &Desired, facts: &Facts) -> Result<UnitSet, RenderError> {
    let app = desired.app.clone();
    let hash = desired.release_hash;
    render_as(&desired.release, app, hash, &desired.settings, facts)
}

/// Renders a release, which was verified, as an instance of any name.
pub(crate) fn render_as(
    release: &Release,
    app: AppId,
    hash: Blake3Hash,
    settings: &Settings,
    facts: &Facts,
) -> Result<UnitSet, RenderError> {
    let identity = Identity {
        app: app.to_string(),
        release: hash.to_string(),
    };
    let image = |container: &Slug| {
        let image = release
            .images
            .iter()
            .find(|image| &image.container == container && image.platform == facts.platform);
        image
            .map(|image| image.config.digest)
            .ok_or_else(|| RenderError::NoImage {
                container: container.clone(),
                platform: format!("{}/{}", facts.platform.os, facts.platform.architecture),
            })
    };
    let manifest = settings.applied_to(&release.manifest);
    render_manifest(&manifest, &identity, &image, settings, facts)
}

/// Renders a manifest that is not published yet, with an all-zero image digest and the wished ports.
///
/// # Errors
///
/// [`RenderError`] names the field that cannot be expressed.
pub fn preview(manifest: &Manifest) -> Result<UnitSet, RenderError> {
    let settings = Settings::assign(manifest, &Settings::default(), |_, _| true);
    let mut settings = settings.map_err(|error| RenderError::NotAllowed {
        field: "containers[].ports".to_owned(),
        value: error.to_string(),
        allowed: "every port once",
    })?;
    settings.surroundings = surroundings::placeholders(manifest);
    let facts = Facts {
        apps_dir: PathBuf::from("/home/archy/.local/share/archy/apps"),
        probe: PathBuf::from("/home/archy/.local/share/archy/bin/probe"),
        root: "preview".to_owned(),
        platform: Platform::host(),
        limits: Limits::ALL,
        podman: PodmanVersion::new(5, 4),
    };
    let identity = Identity {
        app: format!("preview/{}", manifest.app.id),
        release: "preview".to_owned(),
    };
    let image = |_: &Slug| Ok(OciDigest::from_sha256([0; 32]));
    render_manifest(manifest, &identity, &image, &settings, &facts)
}

/// The directory of one app below the directory of all apps.
pub fn app_dir(apps_dir: &Path, app: &Slug) -> PathBuf {
    apps_dir.join(app.as_str())
}

/// The directory with all of an app's data.
pub fn data_dir(apps_dir: &Path, app: &Slug) -> PathBuf {
    app_dir(apps_dir, app).join("data")
}

/// The directory with a volume's data.
pub fn volume_dir(apps_dir: &Path, app: &Slug, volume: &Slug) -> PathBuf {
    data_dir(apps_dir, app).join(volume.as_str())
}

/// The file that exists while the app should run; its units start only then.
pub fn wanted_file(apps_dir: &Path, app: &Slug) -> PathBuf {
    app_dir(apps_dir, app).join("wanted")
}

#[cfg(test)]
pub(crate) fn tests_facts() -> Facts {
    Facts {
        apps_dir: PathBuf::from("/data/apps"),
        probe: PathBuf::from("/data/bin/probe"),
        root: "root".to_owned(),
        platform: Platform::host(),
        limits: Limits::ALL,
        podman: PodmanVersion::new(5, 4),
    }
}
