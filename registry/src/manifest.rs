//! `manifest.yml`: the packaging contract between an app and every node that runs it.
//!
//! These types are the normal form: shorthands are expanded, every list is explicit. [`parse`] reads YAML
//! and expands shorthands, [`Manifest::check`] checks what the types alone cannot; nothing here renders units.

use serde::{Deserialize, Serialize};

mod app;
mod check;
mod container;
mod health;
mod hook;
mod parse;
pub mod quantity;
mod secret;
mod surface;
pub mod template;

pub use app::{App, Category, CategoryError};
pub use check::{CAPABILITIES, Problem};
pub use container::{
    Container, Port, Protocol, PullPolicy, Resources, Source, Tmpfs, UserNamespace, Volume,
};
pub use health::{Condition, DependsOn, HealthCheck, HealthKind};
pub use hook::{Hook, Hooks};
pub use parse::{Fault, ManifestError, Parsed, SIZE_BYTES_MAX, Warning, parse};
pub use quantity::{Cpus, RelativePath, Size, Span};
pub use secret::{GeneratedSecret, SecretKind};
pub use surface::{
    Backup, Dependency, Export, Extensions, Interface, InterfaceKind, NetworkPolicy,
};

/// A whole `manifest.yml` in normal form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What the shop window shows.
    pub app: App,
    /// The containers; at least one. A single-container app may write `container:`.
    pub containers: Vec<Container>,
    /// Secrets made once at install.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generated_secrets: Vec<GeneratedSecret>,
    /// Other apps that must be installed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Dependency>,
    /// What apps that depend on this one are told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<Export>,
    /// How far the app's containers reach.
    #[serde(default)]
    pub network_policy: NetworkPolicy,
    /// Steps round install, update and uninstall.
    #[serde(default, skip_serializing_if = "Hooks::is_empty")]
    pub hooks: Hooks,
    /// What a person or another program can open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// What a backup leaves out.
    #[serde(default, skip_serializing_if = "Backup::is_empty")]
    pub backup: Backup,
    /// Extensions by name.
    #[serde(default, skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}
