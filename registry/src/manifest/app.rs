//! What the shop window shows of an app.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::RelativePath;
use crate::id::Slug;

/// What the shop window shows of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// The slug.
    pub id: Slug,
    /// Display name, 1–60 characters.
    pub name: String,
    /// The version as its developers write it, 1–40 characters.
    pub version: String,
    /// One line, at most 120 characters.
    pub tagline: String,
    /// Markdown, at most 16 KiB.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// One of the store's categories.
    pub category: Category,
    /// Path of the icon, relative to the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon: Option<RelativePath>,
    /// Paths of screenshots, relative to the manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub screenshots: Vec<RelativePath>,
    /// `https://…`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub website: Option<String>,
    /// Where the source code lives, `https://…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// SPDX expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Markdown, at most 16 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_notes: Option<String>,
}

/// The store's shelves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Category {
    Bitcoin,
    Communication,
    Developer,
    Files,
    Finance,
    Home,
    Media,
    Network,
    Productivity,
    Publishing,
    Security,
    Social,
    Other,
}

/// A text names no shelf of the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a category")]
pub struct CategoryError(String);

impl Category {
    /// Every category, in alphabetical order but for the last.
    pub const ALL: [Self; 13] = [
        Self::Bitcoin,
        Self::Communication,
        Self::Developer,
        Self::Files,
        Self::Finance,
        Self::Home,
        Self::Media,
        Self::Network,
        Self::Productivity,
        Self::Publishing,
        Self::Security,
        Self::Social,
        Self::Other,
    ];

    /// Returns the name that manifests and announcements use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bitcoin => "bitcoin",
            Self::Communication => "communication",
            Self::Developer => "developer",
            Self::Files => "files",
            Self::Finance => "finance",
            Self::Home => "home",
            Self::Media => "media",
            Self::Network => "network",
            Self::Productivity => "productivity",
            Self::Publishing => "publishing",
            Self::Security => "security",
            Self::Social => "social",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Category {
    type Err = CategoryError;

    fn from_str(text: &str) -> Result<Self, CategoryError> {
        Self::ALL
            .into_iter()
            .find(|category| category.as_str() == text)
            .ok_or_else(|| CategoryError(text.chars().take(40).collect()))
    }
}
