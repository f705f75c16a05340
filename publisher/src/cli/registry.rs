//! The grammar of `archy catalog …` and `archy registry …`.

use std::path::PathBuf;

use archy_registry::release::Platform;
use archy_registry::{Did, Slug};
use clap::{Args, Subcommand};

use super::{CosignArgs, parse_platform};
use crate::publish::source::ImageArgument;

/// `archy catalog …`
#[derive(Debug, Subcommand)]
pub enum CatalogCommand {
    /// Put releases into a catalog that is not signed yet
    Build(CatalogBuildArgs),
    /// Sign a catalog with your key
    Sign {
        /// What `archy catalog build` wrote
        #[arg(default_value = "catalog.unsigned.json")]
        file: PathBuf,
        /// Where to write the signed catalog
        #[arg(long, value_name = "FILE", default_value = "catalog.json")]
        out: PathBuf,
    },
    /// Check a signed catalog as every node will
    Verify {
        /// The catalog
        #[arg(default_value = "catalog.json")]
        file: PathBuf,
        /// Who must have signed it [default: whoever it says]
        #[arg(long, value_name = "DID")]
        operator: Option<Did>,
    },
}

/// `archy catalog build`
#[derive(Debug, Args)]
pub struct CatalogBuildArgs {
    /// Signed releases and key states of their publishers, as files or folders of .json files
    pub files: Vec<PathBuf>,
    /// What the catalog is called
    #[arg(long)]
    pub name: String,
    /// The folder of an app, or of several, to sign as releases of your own; their images come from registries of
    /// images
    #[arg(long = "app", value_name = "FOLDER")]
    pub apps: Vec<PathBuf>,
    /// A container's image, with one --app, as for `archy publish`
    #[arg(long = "image", value_name = "[CONTAINER=]SOURCE")]
    pub images: Vec<ImageArgument>,
    /// Sign releases for this platform only [default: every platform that all images have]
    #[arg(long = "platform", value_name = "OS/ARCH", value_parser = parse_platform)]
    pub platforms: Vec<Platform>,
    /// Who signs those releases too
    #[command(flatten)]
    pub cosign: CosignArgs,
    /// For how many days it is news
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=90))]
    pub days: u16,
    /// Where to write it
    #[arg(long, value_name = "FILE", default_value = "catalog.unsigned.json")]
    pub out: PathBuf,
}

/// `archy registry …`
#[derive(Debug, Subcommand)]
pub enum RegistryCommand {
    /// List the node's registries, the first choice first
    List,
    /// Add a registry and remember who signs it
    Add(RegistryAddArgs),
    /// Remove a registry; its apps stay known
    Remove {
        /// Its name
        name: Slug,
        /// One of images
        #[arg(long)]
        oci: bool,
    },
    /// Give a registry another place in its list
    Move {
        /// Its name
        name: Slug,
        /// The place, from 1
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        position: u32,
        /// One of images
        #[arg(long)]
        oci: bool,
    },
    /// Say what a registry would bring, and change nothing
    Test {
        /// Its name, or a location that is not in the list
        registry: String,
        /// One of images
        #[arg(long)]
        oci: bool,
    },
}

/// `archy registry add`
#[derive(Debug, Args)]
pub struct RegistryAddArgs {
    /// https://…, a file or blob:HASH; with --oci HOST[:PORT][/PATH], or /DIR or ./DIR in OCI layout
    pub location: String,
    /// The node's name for it [default: made of the location]
    #[arg(long)]
    pub name: Option<Slug>,
    /// Who must sign its catalogs [default: whoever signed the one that is there now]
    #[arg(long, value_name = "DID", conflicts_with = "oci")]
    pub operator: Option<Did>,
    /// For how many seconds a fetched catalog is not asked for again [default: 3600]
    #[arg(long, value_name = "SECONDS", conflicts_with = "oci")]
    pub ttl: Option<u32>,
    /// Its place in the list, from 1 [default: the end]
    #[arg(long)]
    pub position: Option<u32>,
    /// A registry of container images, or a folder of them
    #[arg(long)]
    pub oci: bool,
    /// A file with USER:PASSWORD that only the node's user can read
    #[arg(long, value_name = "FILE", requires = "oci")]
    pub credentials: Option<PathBuf>,
}
