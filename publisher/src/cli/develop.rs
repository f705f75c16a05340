//! The grammar of `archy app install|list|logs|uninstall --dev` and `archy app test`.

use std::path::PathBuf;
use std::str::FromStr;

use archy_registry::Slug;
use clap::Args;

/// Says that an app runs from its folder, apart from those that the node's owner installed.
#[derive(Debug, Args)]
pub struct DevFlag {
    /// From its folder, under a name, ports and a data directory of its own
    #[arg(long, required = true)]
    pub dev: bool,
}

/// What an app that runs from its folder may have of this machine.
#[derive(Debug, Args)]
pub struct MachineArgs {
    /// A directory whose files the app's hooks may copy into its containers, as `copy_from_host` in archyd.toml
    #[arg(long, value_name = "FOLDER")]
    pub copy_from_host: Vec<PathBuf>,
}

/// An app by its folder or its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FolderOrId {
    /// Its folder.
    Folder(PathBuf),
    /// Its id, or the name that an instance has.
    Id(Slug),
}

impl FromStr for FolderOrId {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text
            .parse()
            .map_or_else(|_| Self::Folder(PathBuf::from(text)), Self::Id))
    }
}

/// `archy app install`
#[derive(Debug, Args)]
pub struct DevInstallArgs {
    /// How
    #[command(flatten)]
    pub flag: DevFlag,
    /// The folder with manifest.yml
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// What it may have
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// `archy app uninstall`
#[derive(Debug, Args)]
pub struct DevUninstallArgs {
    /// How
    #[command(flatten)]
    pub flag: DevFlag,
    /// The app's id, or its folder
    #[arg(value_name = "APP")]
    pub app: FolderOrId,
    /// Its data too
    #[arg(long)]
    pub purge: bool,
}

/// `archy app list`
#[derive(Debug, Args)]
pub struct DevListArgs {
    /// How
    #[command(flatten)]
    pub flag: DevFlag,
}

/// `archy app logs`
#[derive(Debug, Args)]
pub struct DevLogsArgs {
    /// How
    #[command(flatten)]
    pub flag: DevFlag,
    /// The app's id, or its folder
    #[arg(value_name = "APP")]
    pub app: FolderOrId,
    /// At most so many lines
    #[arg(short = 'n', long, default_value_t = 100)]
    pub lines: u32,
}

/// `archy app test`
#[derive(Debug, Args)]
pub struct TestArgs {
    /// The folder with manifest.yml
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Leave it where it is in the end, to be looked at
    #[arg(long)]
    pub keep: bool,
    /// What it may have
    #[command(flatten)]
    pub machine: MachineArgs,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{AppCommand, Cli, Command};

    fn parse(words: &[&str]) -> Result<AppCommand, clap::Error> {
        let cli = Cli::try_parse_from([&["archy", "app"], words].concat())?;
        let Command::App(command) = cli.command else {
            panic!("another command");
        };
        Ok(command)
    }

    #[test]
    fn an_app_is_named_by_its_id_or_its_folder() {
        for (text, expected) in [
            ("notes", FolderOrId::Id("notes".parse().unwrap())),
            ("notes-dev", FolderOrId::Id("notes-dev".parse().unwrap())),
            ("./notes", FolderOrId::Folder("./notes".into())),
            (".", FolderOrId::Folder(".".into())),
            ("apps/notes", FolderOrId::Folder("apps/notes".into())),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_from_a_folder_must_not_be_mistaken_for_it() {
        for words in [
            ["install", "notes"].as_slice(),
            &["uninstall", "notes"],
            &["list"],
            &["logs", "notes"],
        ] {
            let error = parse(words).unwrap_err().to_string();
            assert!(error.contains("--dev"), "{error}");
            parse(&[words, &["--dev"]].concat()).unwrap();
        }
        assert!(parse(&["uninstall", "--dev"]).is_err());
        let AppCommand::Install(install) = parse(&["install", "--dev"]).unwrap() else {
            panic!("another command");
        };
        assert_eq!(install.dir, PathBuf::from("."));
        let AppCommand::Test(test) = parse(&["test", "x", "--keep"]).unwrap() else {
            panic!("another command");
        };
        assert!(test.keep && test.dir.ends_with("x"));
    }
}
