//! The grammar of `archy adopt …`.

use std::str::FromStr;

use archy_registry::Slug;
use clap::{Args, Subcommand};

use super::OperateArgs;
use crate::app::AppName;

/// `archy adopt …`
#[derive(Debug, Subcommand)]
pub enum AdoptCommand {
    /// List the containers that run here without archy, and which known apps could claim them
    List,
    /// Make containers that run here an app's, exactly as they are
    Claim(AdoptClaimArgs),
    /// Replace claimed containers by archy's, on a copy of their data; shows first what would change
    Migrate(AdoptMigrateArgs),
    /// Bring the containers from before a migration back
    Undo(OperateArgs),
    /// Remove the containers from before a migration; their volumes stay
    Finish(OperateArgs),
}

/// `archy adopt claim`
#[derive(Debug, Args)]
pub struct AdoptClaimArgs {
    /// The app: its name in the store, or DID/name
    pub app: AppName,
    /// Which container here is which of the app's, where the names do not tell: CONTAINER=NAME
    #[arg(long = "container", value_name = "CONTAINER=NAME")]
    pub containers: Vec<Chosen>,
    /// A certain release by its hash instead of the newest
    #[arg(long, value_name = "HASH")]
    pub release: Option<String>,
    /// Return as soon as the node has taken the job
    #[arg(long)]
    pub no_wait: bool,
}

/// `archy adopt migrate`
#[derive(Debug, Args)]
pub struct AdoptMigrateArgs {
    /// The claimed app
    pub app: Slug,
    /// Only show what would stay, change and be lost
    #[arg(long)]
    pub plan: bool,
    /// Something that may be lost, as the plan names it
    #[arg(long, value_name = "ID")]
    pub accept: Vec<String>,
    /// Return as soon as the node has taken the job
    #[arg(long)]
    pub no_wait: bool,
}

/// A container of the app and the one on this node that is to be it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The app's container.
    pub container: Slug,
    /// The name or id of the one here.
    pub name: String,
}

impl FromStr for Chosen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write CONTAINER=NAME, as in web=my-web";
        let (container, name) = text.split_once('=').ok_or(wrong)?;
        if name.is_empty() {
            return Err(wrong);
        }
        Ok(Self {
            container: container.parse().map_err(|_| wrong)?,
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read() {
        let chosen: Chosen = "web=my=web".parse().unwrap();
        assert_eq!(
            (chosen.container.as_str(), chosen.name.as_str()),
            ("web", "my=web")
        );
        for text in ["", "web", "web=", "=x", "Web!=x"] {
            assert!(text.parse::<Chosen>().is_err(), "{text}");
        }
    }
}
