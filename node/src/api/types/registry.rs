//! Registries of apps and of images.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::{AppRef, Problem};

wire! {
    /// Parameters of `registry.add`.
    #[derive(Default)]
    pub struct RegistryAddParams {
        /// `https://…`, an absolute path or `blob:HASH`; of a registry of images `HOST[:PORT][/PATH]`.
        pub url: String,
        /// This node's name for it; made of the location without one.
        #[serde(default)]
        pub name: Option<String>,
        /// The operator's DID. Without one the catalog is fetched now and whoever signed it is pinned.
        #[serde(default)]
        pub operator: Option<String>,
        /// How long a fetched catalog is not asked for again, 60 to 604800. Default 3600.
        #[serde(default)]
        pub ttl_seconds: Option<u32>,
        /// Place in the list, from 1; the end without one.
        #[serde(default)]
        pub position: Option<u32>,
        /// Whether it is a registry of images.
        #[serde(default)]
        pub oci: bool,
        /// Of a registry of images: a file on the node with `USER:PASSWORD`, readable for its owner only.
        #[serde(default)]
        pub credentials_file: Option<String>,
    }

    /// Parameters of `registry.remove`.
    pub struct RegistryRemoveParams {
        /// This node's name for it.
        pub name: String,
        /// Whether it is a registry of images.
        #[serde(default)]
        pub oci: bool,
    }

    /// Parameters of `registry.move`.
    pub struct RegistryMoveParams {
        /// This node's name for it.
        pub name: String,
        /// The new place in the list, from 1.
        pub position: u32,
        /// Whether it is a registry of images.
        #[serde(default)]
        pub oci: bool,
    }

    /// Parameters of `registry.test`: the name of one in the list, or any location.
    #[derive(Default)]
    pub struct RegistryTestParams {
        /// This node's name for it.
        #[serde(default)]
        pub name: Option<String>,
        /// A location as for `registry.add`.
        #[serde(default)]
        pub url: Option<String>,
        /// Whether it is a registry of images.
        #[serde(default)]
        pub oci: bool,
    }

    /// Answer of `registry.list`, and of everything that changes a list; first choice first.
    pub struct RegistryList {
        /// Registries of apps.
        pub registries: Vec<RegistryInfo>,
        /// Registries of images.
        pub oci: Vec<OciRegistryInfo>,
    }

    /// A registry of apps.
    pub struct RegistryInfo {
        /// This node's name for it.
        pub name: String,
        /// Where its catalog is.
        pub url: String,
        /// Who signs it, pinned when it was added.
        pub operator: String,
        /// How long a fetched catalog is not asked for again.
        pub ttl_seconds: u32,
        /// When it was last asked.
        pub last_try: Option<String>,
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
        /// When it was signed.
        pub created: String,
        /// Until when it is news.
        pub expires: String,
        /// Whether that time is over ("no news since").
        pub stale: bool,
        /// Releases in it.
        pub releases: u32,
        /// Of those, how many this node refused.
        pub refused: u32,
    }

    /// A registry of images.
    pub struct OciRegistryInfo {
        /// This node's name for it.
        pub name: String,
        /// `HOST[:PORT][/PATH]`, or the path of a folder in OCI layout.
        pub place: String,
        /// Whether a file of credentials is named.
        pub credentials: bool,
    }

    /// Answer of `registry.test`: what the registry would bring. Nothing is changed by asking.
    pub struct RegistryTest {
        /// Who signed the catalog; absent for registries of images and when there is none.
        pub operator: Option<String>,
        /// The catalog.
        pub catalog: Option<CatalogInfo>,
        /// Releases that would be refused, and why; at most 100.
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
