//! The grammar of `archy backup`.

use archy_registry::Slug;
use clap::{Args, Subcommand, ValueEnum};

/// `archy backup …`
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Back an app up now; it stands still for a moment
    Create {
        /// The installed app
        app: Slug,
        /// Return as soon as the node has taken the job
        #[arg(long)]
        no_wait: bool,
    },
    /// List backups, the newest first
    List {
        /// Only of this app
        app: Option<Slug>,
        /// Ask the repository instead of telling what is known
        #[arg(long)]
        refresh: bool,
    },
    /// Put a backup in place of an app's data, settings and version, whether or not the app is installed
    Restore {
        /// The backup: the first eight or more digits of its name
        backup: String,
        /// Return as soon as the node has taken the job
        #[arg(long)]
        no_wait: bool,
    },
    /// Check the repository, and start a backup apart from everything to see whether it comes up
    Verify {
        /// The newest backup of this app
        #[arg(required_unless_present = "backup")]
        app: Option<Slug>,
        /// This backup: the first eight or more digits of its name
        #[arg(long, conflicts_with = "app")]
        backup: Option<String>,
        /// Return as soon as the node has taken the job
        #[arg(long)]
        no_wait: bool,
    },
    /// Remove a backup for good
    Remove {
        /// The backup: the first eight or more digits of its name
        backup: String,
        /// Really do it
        #[arg(long)]
        yes: bool,
    },
    /// See or set when an app is backed up by itself
    Schedule(ScheduleArgs),
    /// Tell where the backups and their password are
    Key,
}

/// `archy backup schedule`
#[derive(Debug, Args)]
pub struct ScheduleArgs {
    /// The installed app
    pub app: Slug,
    /// How often
    #[arg(long)]
    pub every: Option<Every>,
    /// At what time of the node [default: 03:30]
    #[arg(long, value_name = "HH:MM")]
    pub at: Option<String>,
    /// How many of the newest are kept [default: 3]
    #[arg(long, value_name = "COUNT")]
    pub keep_last: Option<u16>,
    /// For how many days one is kept [default: 7]
    #[arg(long, value_name = "COUNT")]
    pub keep_daily: Option<u16>,
    /// For how many weeks one is kept [default: 4]
    #[arg(long, value_name = "COUNT")]
    pub keep_weekly: Option<u16>,
    /// For how many months one is kept [default: 6]
    #[arg(long, value_name = "COUNT")]
    pub keep_monthly: Option<u16>,
    /// How often a backup is started apart, to see whether it comes up [default: monthly]
    #[arg(long)]
    pub rehearse: Option<RehearseEvery>,
}

impl ScheduleArgs {
    /// Tells whether anything is to be changed.
    pub fn changes(&self) -> bool {
        let counts = [
            self.keep_last,
            self.keep_daily,
            self.keep_weekly,
            self.keep_monthly,
        ];
        self.every.is_some()
            || self.at.is_some()
            || self.rehearse.is_some()
            || counts.iter().any(Option::is_some)
    }
}

/// How often an app is backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Every {
    /// Never by itself
    Off,
    /// Every day
    Daily,
    /// On Sundays
    Weekly,
}

/// How often a backup is rehearsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RehearseEvery {
    /// Never by itself
    Off,
    /// When the last proof is a month old
    Monthly,
    /// Each backup
    Each,
}
