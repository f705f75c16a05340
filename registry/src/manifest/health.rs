//! When a container counts as healthy, and who waits for it.

use serde::{Deserialize, Serialize};

use super::Span;
use crate::id::Slug;

/// When a container counts as healthy. Runs inside the container's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// How to ask.
    #[serde(rename = "type")]
    pub kind: HealthKind,
    /// Port for `http` and `tcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Path for `http`. Default `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// argv for `exec`; exit code 0 is healthy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Time between checks. Default 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// Time that one check may take. Default 5 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Failures in a row until it counts as unhealthy. Default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Time after the start in which failures do not count. Default 60 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period: Option<Span>,
}

/// How a health check asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthKind {
    /// GET answers with a status from 200 to 399.
    Http,
    /// The port accepts a connection.
    Tcp,
    /// A command exits with 0.
    Exec,
}

/// A container that must be up first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DependsOn {
    /// Its name.
    pub container: Slug,
    /// How far up.
    #[serde(default)]
    pub condition: Condition,
}

/// How far up a container must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Condition {
    Started,
    #[default]
    Healthy,
}
