//! The command line's grammar and its help.

use std::net::SocketAddr;
use std::path::PathBuf;

use archy_nostr::RelayUrl;
use archy_registry::release::Platform;
use archy_registry::{Blake3Hash, Did, Slug};
use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;

use crate::app::{AppName, PublisherName};
use crate::publish::source::ImageArgument;

pub mod adopt;
pub mod backup;
pub mod develop;
pub mod registry;
pub mod seeding;
pub mod settings;

use adopt::AdoptCommand;
use backup::BackupCommand;
use develop::{DevInstallArgs, DevListArgs, DevLogsArgs, DevUninstallArgs, TestArgs};
use registry::{CatalogCommand, RegistryCommand};
use seeding::SeedingCommand;
use settings::SettingsArgs;

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  something failed
  2  the command line makes no sense
  3  refused: a signature, a manifest or a policy check said no
  4  the node does not answer
  5  there is no such app, job, image or file

With --json, standard output holds one JSON document: the result, or {kind, error, hints}.";

/// Publish apps, and install and run them on your node.
#[derive(Debug, Parser)]
#[command(name = "archy", version, after_help = AFTER_HELP, propagate_version = true)]
pub struct Cli {
    /// Write results and failures as JSON
    #[arg(long, global = true, help_heading = "For every command")]
    pub json: bool,
    /// The node's socket [default: $XDG_RUNTIME_DIR/archy/archyd.sock]
    #[arg(
        long,
        global = true,
        help_heading = "For every command",
        value_name = "SOCKET",
        env = "ARCHY_NODE",
        hide_env_values = true
    )]
    pub node: Option<PathBuf>,
    /// The folder of your publisher keys [default: ~/.config/archy/identity]
    #[arg(
        long,
        global = true,
        help_heading = "For every command",
        value_name = "FOLDER",
        env = "ARCHY_IDENTITY",
        hide_env_values = true
    )]
    pub identity: Option<PathBuf>,
    /// A file with the passphrase of your keys, if they have one [default: asked on the terminal]
    #[arg(
        long,
        global = true,
        help_heading = "For every command",
        value_name = "FILE",
        env = "ARCHY_PASSPHRASE_FILE",
        hide_env_values = true
    )]
    pub passphrase_file: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make, show, replace or end the keys you publish with
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Start an app, check it, and run it from its folder
    #[command(subcommand)]
    App(AppCommand),
    /// Sign an app, serve it from your node and announce it
    Publish(PublishArgs),
    /// Sign what another of your publisher's keys has signed: a release, or a key state
    Cosign {
        /// The file that waits for signatures
        file: PathBuf,
        /// Your key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Announce what you published again; an announcement lasts 30 days
    Announce(AnnounceArgs),
    /// Find apps
    #[command(subcommand)]
    Store(StoreCommand),
    /// Choose where the node looks for apps and images besides its relays and peers
    #[command(subcommand)]
    Registry(RegistryCommand),
    /// Make a signed catalog of apps, for others to add as a registry
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Install an app
    Install(InstallArgs),
    /// Remove an app; its data stays unless --purge
    Uninstall(UninstallArgs),
    /// Show the node and its apps, or one app
    Status {
        /// Only this app
        app: Option<Slug>,
    },
    /// Start an app
    Start(OperateArgs),
    /// Stop an app
    Stop(OperateArgs),
    /// Stop and start an app
    Restart(OperateArgs),
    /// Replace an app's version by the newest; if that does not come up, the version that ran is back with its data
    Update(UpdateArgs),
    /// Return to the version before the installed one
    Rollback(RollbackArgs),
    /// Make everything of an app anew but its data, settings and secrets
    Reinstall(OperateArgs),
    /// See or set an app's ports, environment and limits
    Settings(SettingsArgs),
    /// Claim containers that run here without archy, and migrate them
    #[command(subcommand)]
    Adopt(AdoptCommand),
    /// Back apps up, put backups in place and prove that they come up
    #[command(subcommand)]
    Backup(BackupCommand),
    /// Show what an app's containers wrote
    Logs(LogsArgs),
    /// Show or cancel what the node is doing
    #[command(subcommand)]
    Job(JobCommand),
    /// See how far the node trusts a publisher and why, and say what you think of it
    #[command(subcommand)]
    Trust(TrustCommand),
    /// See or set what the node may show, install and update by itself
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// See and choose what the node gives away to other nodes, and how fast
    #[command(subcommand)]
    Seeding(SeedingCommand),
    /// See how much room downloads take, and check that they are what they should be
    #[command(subcommand)]
    Storage(StorageCommand),
    /// Set up the node on this machine
    #[command(subcommand)]
    Node(NodeCommand),
}

/// `archy trust …`; a publisher is named by its DID or by an app of it
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Show the score, its reasons with their evidence, and what would change it
    Show {
        /// did:key:…, did:key:…/app or app
        publisher: PublisherName,
    },
    /// Vouch for a publisher on this node
    Pin {
        /// did:key:…, did:key:…/app or app
        publisher: PublisherName,
    },
    /// Take that back
    Unpin {
        /// did:key:…, did:key:…/app or app
        publisher: PublisherName,
    },
    /// Want nothing of a publisher: its apps are neither listed nor installed
    Block {
        /// did:key:…, did:key:…/app or app
        publisher: PublisherName,
    },
    /// Lift a block
    Unblock {
        /// did:key:…, did:key:…/app or app
        publisher: PublisherName,
    },
    /// Complain about a publisher's app
    Report(ReportArgs),
    /// Say what you think of a publisher
    Vouch(VouchArgs),
    /// Show all that the node saw of a publisher, the newest first
    History {
        /// did:key:…, did:key:…/app or app
        publisher: PublisherName,
        /// At most so many rows
        #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
        limit: u32,
        /// Go on where an earlier page ended
        #[arg(long, value_name = "PLACE")]
        before: Option<String>,
    },
    /// List the reviewers whose word counts here
    Reviewers,
    /// Let a reviewer's word count here
    Reviewer {
        /// Their Nostr pubkey, 64 hexadecimal digits
        pubkey: String,
        /// Let it count no longer
        #[arg(long)]
        remove: bool,
        /// Tell others the whole list as it is then, over the relays
        #[arg(long)]
        public: bool,
    },
}

/// `archy trust report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// did:key:…, did:key:…/app or app
    pub publisher: PublisherName,
    /// In your words
    pub text: Vec<String>,
    /// What is wrong
    #[arg(long, value_parser = ["malware", "broken", "spam", "other"], default_value = "other")]
    pub kind: String,
    /// Tell others as well, over the relays
    #[arg(long)]
    pub public: bool,
}

/// `archy trust vouch`
#[derive(Debug, Args)]
pub struct VouchArgs {
    /// did:key:…, did:key:…/app or app
    pub publisher: PublisherName,
    /// In your words
    pub text: Vec<String>,
    /// What you think
    #[arg(long, value_parser = ["recommend", "caution", "withdrawn"], default_value = "recommend")]
    pub opinion: String,
    /// Tell others as well, over the relays
    #[arg(long)]
    pub public: bool,
}

/// `archy policy …`
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Show it, with the publishers that you pinned and blocked
    Show,
    /// Change what is named, leave the rest
    Set {
        /// Points that a publisher needs for its apps to be listed
        #[arg(long, value_name = "POINTS", value_parser = clap::value_parser!(u32).range(0..=100))]
        show: Option<u32>,
        /// Points that a publisher needs for an app to be installed
        #[arg(long, value_name = "POINTS", value_parser = clap::value_parser!(u32).range(0..=100))]
        install: Option<u32>,
        /// Points that a publisher needs for an app to be updated without asking
        #[arg(long, value_name = "POINTS", value_parser = clap::value_parser!(u32).range(0..=100))]
        update: Option<u32>,
        /// Valid signatures that a release needs
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=16))]
        signatures: Option<u32>,
    },
}

/// `archy storage …`
#[derive(Debug, Subcommand)]
pub enum StorageCommand {
    /// Show it, by what is kept for what
    Show,
    /// Read every download again and compare it with its hash; what is bad of installed apps is fetched again
    Check {
        /// End the check under way instead
        #[arg(long)]
        stop: bool,
    },
}

/// `archy identity …`
#[derive(Debug, Subcommand)]
pub enum IdentityCommand {
    /// Make new keys: your DID, the key that may replace it, and a Nostr key
    New {
        /// Keep the keys behind a passphrase
        #[arg(long)]
        encrypt: bool,
    },
    /// Show who you are
    Show,
    /// Sign your key state again, before it expires
    Renew(CosignArgs),
    /// Replace your key by the next one, and make a new next one
    Rotate(RotateArgs),
    /// End your keys: nobody installs anything of yours until the next key takes over
    Revoke {
        /// Sign with the next key, which a thief of your key cannot overrule
        #[arg(long, value_name = "FILE")]
        next_key: Option<PathBuf>,
        /// Really do it
        #[arg(long)]
        yes: bool,
    },
    /// After a theft: replace your key by the next one, and end what the old one signed
    Recover(RecoverArgs),
    /// Let a Nostr key announce for you, or no longer
    LinkNostr(LinkNostrArgs),
    /// Take up a change of your keys that others have signed too
    Accept {
        /// The file that waited for signatures
        file: PathBuf,
    },
    /// Show the public half of a key file, or make one to sign with others
    Key {
        /// The key file
        file: PathBuf,
        /// Make it
        #[arg(long)]
        new: bool,
        /// Keep it behind a passphrase
        #[arg(long, requires = "new")]
        encrypt: bool,
    },
    /// Copy your public key states into a new folder
    Export {
        /// The folder to make
        to: PathBuf,
        /// The private keys as well, as a backup
        #[arg(long)]
        private: bool,
    },
    /// Tell the relays which keys speak for you
    Publish {
        /// Tell this relay instead of the node's
        #[arg(long = "relay", value_name = "URL")]
        relays: Vec<RelayUrl>,
    },
}

/// Keys of others that sign too.
#[derive(Debug, Args)]
pub struct CosignArgs {
    /// Sign with this key as well, for a publisher of several keys
    #[arg(long = "cosign-with", value_name = "FILE")]
    pub cosigners: Vec<PathBuf>,
}

/// `archy identity rotate`
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// The file of the next key [default: next.key in the folder of your keys]
    #[arg(long, value_name = "FILE")]
    pub next_key: Option<PathBuf>,
    /// A key of somebody else that signs from now on, which your keys committed to before
    #[arg(long = "key", value_name = "DID")]
    pub others: Vec<Did>,
    /// How many of the keys sign a release together
    #[arg(long, value_name = "K")]
    pub threshold: Option<u32>,
    /// A key of somebody else that may take over at the next rotation
    #[arg(long = "commit", value_name = "DID")]
    pub commit: Vec<Did>,
    /// Who signs too
    #[command(flatten)]
    pub cosign: CosignArgs,
}

/// `archy identity recover`
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// The keys
    #[command(flatten)]
    pub rotate: RotateArgs,
    /// Count an app's releases anew from here [default: for every app published from this folder, the number
    /// after its last release]
    #[arg(long = "floor", value_name = "APP=N", value_parser = parse_floor)]
    pub floors: Vec<(Slug, u64)>,
    /// A release from before that stays valid
    #[arg(long = "reaffirm", value_name = "HASH")]
    pub reaffirm: Vec<Blake3Hash>,
    /// Every release that was published from this folder before a date stays valid
    #[arg(long, value_name = "DATE")]
    pub reaffirm_before: Option<Timestamp>,
}

/// `archy identity link-nostr`
#[derive(Debug, Args)]
pub struct LinkNostrArgs {
    /// The key to link: 64 hexadecimal digits, or `own` for nostr.key
    #[arg(
        long,
        value_name = "PUBKEY",
        required_unless_present = "remove",
        conflicts_with = "remove"
    )]
    pub add: Option<String>,
    /// The key to unlink
    #[arg(long, value_name = "PUBKEY")]
    pub remove: Option<String>,
    /// Until when [default: 5 years from now]
    #[arg(long, value_name = "DATE", conflicts_with = "remove")]
    pub expires: Option<Timestamp>,
    /// Who signs too
    #[command(flatten)]
    pub cosign: CosignArgs,
}

/// `archy app …`
#[derive(Debug, Subcommand)]
pub enum AppCommand {
    /// Write a small app to start from
    New {
        /// Its id: lower-case letters, digits and hyphens
        id: Slug,
        /// Where to write it [default: a folder named like the app]
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
    /// Check an app as every node will
    Validate {
        /// The folder with manifest.yml
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Show the systemd units that nodes will run
    Render {
        /// The folder with manifest.yml
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Write the units into this folder instead
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
    /// Run an app from its folder beside what is installed here, or run it as it is now
    Install(DevInstallArgs),
    /// Remove an app that runs from its folder; its data stays unless --purge
    Uninstall(DevUninstallArgs),
    /// List what runs from folders
    List(DevListArgs),
    /// Show what such an app's containers wrote
    Logs(DevLogsArgs),
    /// Take an app from its folder through its states, once, and remove it again
    Test(TestArgs),
}

/// `archy publish`
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// The folder with manifest.yml
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// A container's image: containers-storage:NAME (local podman), oci:DIR, oci-archive:FILE or docker://REF;
    /// without CONTAINER= for an app of one container [default: local podman, by the manifest's image or tag, built
    /// there if its context changed]
    #[arg(long = "image", value_name = "[CONTAINER=]SOURCE")]
    pub images: Vec<ImageArgument>,
    /// Build nothing: take the images that podman has
    #[arg(long)]
    pub no_build: bool,
    /// Publish for this platform only, e.g. linux/arm64 [default: every platform that all images have]
    #[arg(long = "platform", value_name = "OS/ARCH", value_parser = parse_platform)]
    pub platforms: Vec<Platform>,
    /// Announce on this relay instead of the node's
    #[arg(long = "relay", value_name = "URL")]
    pub relays: Vec<RelayUrl>,
    /// An address at which the node's peer port is reached from outside, instead of those it knows
    #[arg(long = "origin-address", value_name = "IP:PORT")]
    pub origin_addresses: Vec<SocketAddr>,
    /// Who signs the Nostr events
    #[command(flatten)]
    pub signer: SignerArgs,
    /// List the app in other Nostr app stores too (NIP-82)
    #[arg(long)]
    pub nip82: bool,
    /// Make no deltas, by which updates fetch only what changed since your last three releases
    #[arg(long)]
    pub no_deltas: bool,
    /// Publish this release, which waited until others had signed it
    #[arg(long, value_name = "FILE", conflicts_with = "cosigners")]
    pub release: Option<PathBuf>,
    /// Who signs too
    #[command(flatten)]
    pub cosign: CosignArgs,
    /// Do everything up to signing, send nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Who signs the Nostr events.
#[derive(Debug, Args)]
pub struct SignerArgs {
    // Text, because the parser of the command line would show a malformed address with its secret.
    /// Have the Nostr events signed by this remote signer, bunker://… (NIP-46)
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "ARCHY_NOSTR_SIGNER",
        hide_env_values = true
    )]
    pub nostr_signer: Option<String>,
}

/// `archy announce`
#[derive(Debug, Args)]
pub struct AnnounceArgs {
    /// Only these apps [default: all that you published from this machine]
    pub apps: Vec<Slug>,
    /// Announce on this relay instead of the node's
    #[arg(long = "relay", value_name = "URL")]
    pub relays: Vec<RelayUrl>,
    /// An address at which the node's peer port is reached from outside, instead of those it knows
    #[arg(long = "origin-address", value_name = "IP:PORT")]
    pub origin_addresses: Vec<SocketAddr>,
    /// Who signs the Nostr events
    #[command(flatten)]
    pub signer: SignerArgs,
}

/// `archy store …`
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Search the node's catalog
    Search(SearchArgs),
    /// Show an app, its publisher and what it may do
    Show {
        /// did:key:…/app, or just app where only one publisher has it
        app: AppName,
    },
}

/// `archy store search`
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// Words to look for; none lists everything
    pub words: Vec<String>,
    /// Only this category
    #[arg(long)]
    pub category: Option<String>,
    /// Only apps for machines of this kind, such as arm64
    #[arg(long, value_name = "NAME")]
    pub architecture: Option<String>,
    /// Only publishers with at least so many points
    #[arg(long, value_name = "POINTS", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub points: Option<u32>,
    /// Only apps that need no such right; may be given several times
    #[arg(long, value_name = "RIGHT", value_parser = ["network", "device", "capability"])]
    pub without: Vec<String>,
    /// In which order
    #[arg(long, value_parser = ["relevance", "name", "newest", "score"], default_value = "relevance")]
    pub sort: String,
}

/// `archy install`
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// did:key:…/app, or just app where only one publisher has it
    pub app: AppName,
    /// A certain release by its hash instead of the newest
    #[arg(long, value_name = "HASH")]
    pub release: Option<String>,
    /// Return as soon as the node has taken the job
    #[arg(long)]
    pub no_wait: bool,
}

/// `archy uninstall`
#[derive(Debug, Args)]
pub struct UninstallArgs {
    /// The installed app
    pub app: Slug,
    /// Remove its data for good as well
    #[arg(long)]
    pub purge: bool,
    /// Remove it though other apps need it
    #[arg(long)]
    pub force: bool,
    /// Return as soon as the node has taken the job
    #[arg(long)]
    pub no_wait: bool,
}

/// `archy update`
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// The installed app
    pub app: Slug,
    /// A certain release by its hash instead of the newest
    #[arg(long, value_name = "HASH")]
    pub release: Option<String>,
    /// Do not copy its data first: what a version that fails did to it stays
    #[arg(long)]
    pub without_copy: bool,
    /// Return as soon as the node has taken the job
    #[arg(long)]
    pub no_wait: bool,
}

/// `archy rollback`
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The installed app
    pub app: Slug,
    /// Keep its data as it is, instead of what it was when that version was replaced
    #[arg(long)]
    pub keep_data: bool,
    /// Return as soon as the node has taken the job
    #[arg(long)]
    pub no_wait: bool,
}

/// `archy start`, `stop`, `restart`, `reinstall`
#[derive(Debug, Args)]
pub struct OperateArgs {
    /// The installed app
    pub app: Slug,
    /// Return as soon as the node has taken the job
    #[arg(long)]
    pub no_wait: bool,
}

/// `archy logs`
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The installed app
    pub app: Slug,
    /// Only this container
    #[arg(long)]
    pub container: Option<Slug>,
    /// How many lines
    #[arg(short = 'n', long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub lines: u32,
    /// Go on with new lines until interrupted
    #[arg(short, long)]
    pub follow: bool,
}

/// `archy job …`
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// List jobs, the newest first
    List {
        /// Only those that have not ended
        #[arg(long)]
        active: bool,
    },
    /// Show a job
    Show {
        /// Its id
        job: String,
    },
    /// Wait until a job ends
    Wait {
        /// Its id
        job: String,
    },
    /// Cancel a job
    Cancel {
        /// Its id
        job: String,
    },
}

/// `archy node …`
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Install archyd as a service of this user: the same as `archyd setup`
    Setup {
        /// What `archyd setup` is told
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Tell what this machine has and lacks for running apps: the same as `archyd doctor`
    Doctor {
        /// What `archyd doctor` is told
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Gather what somebody who helps needs to know of this node, without secrets: the same as `archyd diagnostics`
    Diagnostics {
        /// What `archyd diagnostics` is told, such as the file to write
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn parse_floor(text: &str) -> Result<(Slug, u64), String> {
    let (slug, floor) = text.split_once('=').ok_or("write it like notes=12")?;
    let slug: Slug = slug.parse().map_err(|error| format!("{error}"))?;
    match floor.parse() {
        Ok(floor) if floor > 0 => Ok((slug, floor)),
        Ok(_) | Err(_) => Err("the number must be 1 or more".to_owned()),
    }
}

fn parse_platform(text: &str) -> Result<Platform, String> {
    match text.split_once('/') {
        Some(("linux", architecture))
            if !architecture.is_empty() && !architecture.contains('/') =>
        {
            Ok(Platform {
                os: "linux".to_owned(),
                architecture: architecture.to_owned(),
            })
        }
        _ => Err("write it like linux/amd64".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn platforms_are_linux_and_an_architecture() {
        assert_eq!(parse_platform("linux/arm64").unwrap().architecture, "arm64");
        for text in ["", "amd64", "linux/", "windows/amd64", "linux/arm/v7"] {
            assert!(parse_platform(text).is_err(), "{text}");
        }
    }
}
