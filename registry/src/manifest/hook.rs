//! Steps round install, update and uninstall.

use serde::{Deserialize, Serialize};

use super::Span;
use crate::id::Slug;

/// Steps round install, update and uninstall.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// After the first healthy start, once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_install: Vec<Hook>,
    /// Before an update stops the app.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre_update: Vec<Hook>,
    /// After an updated app is healthy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_update: Vec<Hook>,
    /// Before the app is stopped for good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre_uninstall: Vec<Hook>,
}

impl Hooks {
    /// Tells whether there is no hook at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Hook {
    /// Returns the container that the step is about.
    pub fn container(&self) -> &Slug {
        match self {
            Self::Exec { container, .. } | Self::CopyFromHost { container, .. } => container,
        }
    }
}

/// One step of a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Hook {
    /// Runs a command in a running container.
    Exec {
        /// The container.
        container: Slug,
        /// argv.
        command: Vec<String>,
        /// How long it may take. Default 5 min.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout: Option<Span>,
    },
    /// Copies a file that the node allows into a container.
    CopyFromHost {
        /// Path on the node.
        from: String,
        /// The container.
        container: Slug,
        /// Absolute path inside it.
        to: String,
    },
}
