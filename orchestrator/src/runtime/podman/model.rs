//! What podman answers, as far as it is read.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use archy_registry::OciDigest;
use archy_registry::release::Baggage;
use serde::Deserialize;

/// A container in podman's list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    /// Its id; a restarted unit has a new one.
    pub id: String,
    /// Its names.
    #[serde(default)]
    pub names: Vec<String>,
    /// `running`, `exited`, `created`, `stopping`, …
    pub state: String,
    /// `healthy`, `unhealthy` or `starting` of a container with a health check; otherwise free text.
    #[serde(default)]
    pub status: String,
    /// Labels.
    #[serde(default)]
    pub labels: Option<HashMap<String, String>>,
    /// Seconds since 1970.
    #[serde(default)]
    pub started_at: i64,
    /// Image id.
    #[serde(default, rename = "ImageID")]
    pub image_id: String,
    /// Published ports.
    #[serde(default)]
    pub ports: Option<Vec<PublishedPort>>,
    /// Names of the networks that it is in.
    #[serde(default)]
    pub networks: Option<Vec<String>>,
    /// Whether it only holds a pod's namespaces.
    #[serde(default)]
    pub is_infra: bool,
    /// The pod that it is in; empty outside of any.
    #[serde(default)]
    pub pod: String,
}

impl Container {
    /// Returns a label's value.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.as_ref()?.get(name).map(String::as_str)
    }
}

/// A published port of a container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PublishedPort {
    /// Port inside the container.
    #[serde(default)]
    pub container_port: u16,
    /// Port on the node.
    pub host_port: u16,
    /// Ports in a row.
    #[serde(default)]
    pub range: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

/// The last checks of a container's health.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthLog {
    /// `starting`, `healthy`, `unhealthy`.
    #[serde(default)]
    pub status: String,
    /// Failures in a row.
    #[serde(default)]
    pub failing_streak: u32,
    /// The last checks, oldest first.
    #[serde(default)]
    pub log: Option<Vec<HealthCheckRun>>,
}

/// One run of a health check.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthCheckRun {
    /// 0 is healthy.
    pub exit_code: i32,
    /// What it printed.
    #[serde(default)]
    pub output: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspected {
    pub(super) state: InspectedState,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InspectedState {
    #[serde(default)]
    pub(super) health: Option<HealthLog>,
}

/// An image in podman's store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Image {
    /// Image id: the digest of its configuration, without `sha256:`.
    pub id: String,
    /// Digest of its manifest.
    pub digest: String,
    /// All manifests that it is known by.
    #[serde(default)]
    pub repo_digests: Option<Vec<String>>,
    /// Names with tags.
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    /// How its containers run.
    #[serde(default)]
    pub config: Option<ImageConfig>,
}

/// An image's configuration, as far as it is read (OCI image-spec, "Image Configuration").
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageConfig {
    /// Directories that should outlive a container.
    #[serde(default)]
    pub volumes: Option<BTreeMap<String, serde_json::Value>>,
    /// Variables that its containers are given, as `NAME=value`.
    #[serde(default)]
    pub env: Option<Vec<String>>,
    /// The command that its containers run.
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    /// Arguments of that command, or the command.
    #[serde(default)]
    pub cmd: Option<Vec<String>>,
    /// Whom its containers run as; the administrator when empty.
    #[serde(default)]
    pub user: Option<String>,
}

/// An image, as far as its containers get it handed down.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HandedDown {
    #[serde(default)]
    config: serde_json::Value,
    #[serde(default)]
    annotations: serde_json::Value,
    /// What images in Docker's form have beside their configuration.
    #[serde(default)]
    healthcheck: serde_json::Value,
}

impl HandedDown {
    pub(super) fn baggage(mut self) -> Baggage {
        if let Some(config) = self.config.as_object_mut() {
            config.insert("Healthcheck".to_owned(), self.healthcheck);
        }
        Baggage::of(&self.config, &self.annotations)
    }
}

/// What podman tells of itself.
#[derive(Debug, Deserialize)]
pub(super) struct Info {
    pub(super) store: Store,
}

/// Where podman keeps what it has.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Store {
    pub(super) graph_root: PathBuf,
}

#[derive(Debug, Deserialize)]
pub(super) struct Named {
    #[serde(alias = "Name")]
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedSecret {
    #[serde(default, rename = "ID")]
    pub(super) id: String,
    #[serde(default)]
    pub(super) updated_at: String,
    pub(super) spec: ListedSecretSpec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedSecretSpec {
    pub(super) name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InspectedSecret {
    #[serde(default)]
    pub(super) secret_data: String,
}

/// A line of a pull's progress.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PullLine {
    /// What podman is doing.
    #[serde(default)]
    pub stream: String,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<String>,
    /// The image's id, at the end.
    #[serde(default)]
    pub id: Option<String>,
}

/// Something that happened to a container, network, volume or image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// `container`, `network`, `volume`, `image`, …
    #[serde(rename = "Type", default)]
    pub kind: String,
    /// `start`, `died`, `remove`, `health_status`, …
    #[serde(rename = "Action", alias = "Status", default)]
    pub action: String,
    /// The id of whom it happened to.
    #[serde(default)]
    pub id: String,
    /// What a health check found.
    #[serde(rename = "HealthStatus", default)]
    pub health: String,
    /// Whom it happened to.
    #[serde(rename = "Actor", default)]
    pub actor: Actor,
}

/// Whom an event happened to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Actor {
    /// Labels and more; `name` is the name.
    #[serde(rename = "Attributes", default)]
    pub attributes: HashMap<String, String>,
}

/// podman's version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Version {
    /// As in `5.4.2`.
    pub version: String,
}

/// Tells whether an image is exactly the one that was pulled: by the manifest's digest in `reference`, and by the
/// configuration, whose digest is its ID.
pub fn is_exactly(image: &Image, reference: &str, config: &OciDigest) -> bool {
    let Some((_, manifest)) = reference.rsplit_once('@') else {
        return false;
    };
    let by_digest = image.digest == manifest
        || image
            .repo_digests
            .iter()
            .flatten()
            .any(|name| name.rsplit('@').next() == Some(manifest));
    by_digest && image.id == config.to_hex()
}
