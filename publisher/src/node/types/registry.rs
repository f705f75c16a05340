//! Registries of apps and of images.

use serde::{Deserialize, Serialize};

use super::{AppRef, Problem};

copies! {
    /// Answer of `registry.list`, and of everything that changes a list; first choice first.
    pub struct RegistryList {
        /// Registries of apps.
        pub registries: Vec<RegistryInfo>,
        /// Registries of images.
        pub oci: Vec<OciRegistryInfo>,
    }

    /// A registry of apps.
    pub struct RegistryInfo {
        /// The node's name for it.
        pub name: String,
        /// Where its catalog is.
        pub url: String,
        /// Who signs it.
        pub operator: String,
        /// When it last answered with a catalog that holds.
        pub last_fetch: Option<String>,
        /// Why the last try failed.
        pub last_error: Option<Problem>,
        /// The catalog that was taken.
        pub catalog: Option<CatalogInfo>,
    }

    /// A signed catalog in short.
    pub struct CatalogInfo {
        /// What its operator calls it.
        pub name: String,
        /// Its counter.
        pub seq: u64,
        /// Until when it is news.
        pub expires: String,
        /// Whether that time is over.
        pub stale: bool,
        /// Releases in it.
        pub releases: u32,
        /// Of those, how many the node refused.
        pub refused: u32,
    }

    /// A registry of images.
    pub struct OciRegistryInfo {
        /// The node's name for it.
        pub name: String,
        /// `HOST[:PORT][/PATH]`, or the path of a folder in OCI layout.
        pub place: String,
        /// Whether a file of credentials is named.
        pub credentials: bool,
    }

    /// Answer of `registry.test`.
    pub struct RegistryTest {
        /// Who signed the catalog.
        pub operator: Option<String>,
        /// The catalog.
        pub catalog: Option<CatalogInfo>,
        /// Releases that would be refused, and why.
        pub refused: Vec<RefusedRelease>,
        /// Why it cannot be used.
        pub problem: Option<Problem>,
    }

    /// A release that is not accepted.
    pub struct RefusedRelease {
        /// Which app it claims to be of.
        pub app: AppRef,
        /// Why.
        pub problem: Problem,
    }
}
