//! Makes the machine match the wish: Quadlet units, secrets, health, reconcile.
//!
//! [`quadlet`] turns a verified release into units, purely; [`Orchestrator`] installs, starts, stops, removes and keeps
//! apps as wished on this machine. It knows no publishers, peers or bytes: images come in through
//! [`Orchestrator::load_image`].

pub mod adopt;
pub mod backup;
mod bulletin;
pub mod change;
pub mod compare;
pub mod config;
mod data;
pub mod desired;
mod devices;
pub mod diagnose;
mod disk;
mod helpers;
pub mod hooks;
pub mod install;
pub mod instance;
pub mod kept;
mod lasting;
pub mod lifecycle;
mod live;
mod loading;
mod memory;
pub mod names;
mod neighbours;
mod orchestrator;
pub mod plan;
mod ports;
pub mod preflight;
mod probe;
pub mod quadlet;
mod reconcile;
mod remains;
pub mod rights;
mod room;
pub mod runtime;
#[cfg(test)]
mod samples;
mod secrets;
pub mod settings;
pub mod setup;
mod shadow;
mod sight;
pub mod snapshot;
pub mod start;
pub mod surroundings;
mod takedown;
pub mod values;

pub use adopt::{
    AdoptError, Adopted, Effect, Foreign, MigrationItem, MigrationPlan, Origin, Topic,
};
pub use backup::{
    Backup, BackupError, BackupId, EngineError, Every, Keep, Papers, Plan, Proof, Rehearse,
    RehearseError, RestoreError, Schedule, Shelf, TornError, Unrehearsed, newest_backup,
};
pub use change::{ComeUpError, Copy, RollbackData, UpdateError};
pub use compare::{CompareError, Compared};
pub use config::Config;
pub use desired::{Desired, FailedChange, Stage, Wish};
pub use diagnose::Failure;
pub use hooks::{CopyError, HookError, Moment};
pub use install::{InstallError, MachineError, Phase, ProgressSink};
pub use instance::{ContainerState, ContainerStatus, Earlier, Instance, InstanceState, Observed};
pub use kept::Kept;
pub use lifecycle::{ChangeError, LogQuery};
pub use orchestrator::{ConnectError, LoadError, Orchestrator};
pub use preflight::Refusal;
pub use rights::{Granted, Right, RightKind, RightsDiff, diff, rights};
pub use runtime::journal::{LogLine, LogSource, LogStream};
pub use secrets::SecretError;
pub use settings::{ContainerEdit, EditError, PortBinding, Settings, SettingsEdit};
pub use setup::{Check, can_confine, netns_unit, node_unit, pause_unit};
pub use shadow::name as shadow_name;
pub use snapshot::{Snapshot, SnapshotError, SnapshotId};
pub use start::StartError;

/// Writes an error with its causes, for people.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
