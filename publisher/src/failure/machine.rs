//! What the orchestrator's errors mean on the command line, for apps that run from their folder.

use archy_orchestrator::{
    ChangeError, ConnectError, HookError, InstallError, MachineError, Refusal, StartError,
    UpdateError,
};

use super::{Failure, chain};

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::failed("machine", chain(&error))
            .hint("ARCHY_DATA_DIR names another place for archy's data")
    }
}

impl From<MachineError> for Failure {
    fn from(error: MachineError) -> Self {
        Self::failed("machine", chain(&error)).hint("`archyd doctor` says what this machine lacks")
    }
}

impl From<Refusal> for Failure {
    fn from(error: Refusal) -> Self {
        let failure = Self::refused("refused", chain(&error));
        match error {
            Refusal::DependencyMissing { .. }
            | Refusal::DependencyVersion { .. }
            | Refusal::ExportMissing { .. } => failure
                .hint("What an app needs here is installed from its folder too: archy app install --dev FOLDER"),
            Refusal::Ports(_) => failure.hint("Stop what uses the port, then try again"),
            Refusal::UserNamespace { .. } => failure.hint(
                "To begin without the data: archy app uninstall --dev APP --purge",
            ),
            Refusal::Render(_)
            | Refusal::SlugTaken { .. }
            | Refusal::DataOfAnother { .. }
            | Refusal::Installed { .. }
            | Refusal::ContainerTaken { .. }
            | Refusal::QuadletFile { .. }
            | Refusal::UnitsTaken { .. }
            | Refusal::Setting(_)
            | Refusal::NameClash { .. }
            | Refusal::Device { .. }
            | Refusal::Disk { .. } => failure,
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let mut failure = Self::failed("start", chain(&error));
        if let StartError::Container { log, .. } = error {
            failure.details = log;
        }
        failure
    }
}

impl From<HookError> for Failure {
    fn from(error: HookError) -> Self {
        let mut failure = Self::failed("hook", chain(&error));
        if let HookError::Failed { output, .. } = error {
            failure.details = output;
        }
        failure
    }
}

impl From<InstallError> for Failure {
    fn from(error: InstallError) -> Self {
        match error {
            InstallError::Refused(error) => error.into(),
            InstallError::Start(error) => error.into(),
            InstallError::Hook(error) => error.into(),
            InstallError::Machine(error) => error.into(),
            InstallError::Cancelled => Self::failed("cancelled", error.to_string()),
            InstallError::ImageMissing { .. } => Self::failed("image", error.to_string()),
        }
    }
}

impl From<UpdateError> for Failure {
    fn from(error: UpdateError) -> Self {
        use archy_orchestrator::ComeUpError;
        let text = chain(&error);
        match error {
            UpdateError::Refused(error) => error.into(),
            UpdateError::Hook(error) => error.into(),
            UpdateError::Machine(error) => error.into(),
            UpdateError::Cancelled => Self::failed("cancelled", text),
            UpdateError::TakenBack { why, .. } => {
                let mut failure = Self::failed("takenBack", text);
                failure.details = match *why {
                    ComeUpError::Start(error) => Self::from(error).details,
                    ComeUpError::Hook(error) => Self::from(error).details,
                    ComeUpError::Snapshot(_)
                    | ComeUpError::Old(_)
                    | ComeUpError::Cancelled
                    | ComeUpError::Machine(_) => Vec::new(),
                };
                failure
            }
            UpdateError::NotInstalled(_)
            | UpdateError::Claimed(_)
            | UpdateError::Adoption(_)
            | UpdateError::NoEarlier(_)
            | UpdateError::ImageMissing { .. }
            | UpdateError::Snapshot(_) => Self::failed("update", text),
        }
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        let text = chain(&error);
        match error {
            ChangeError::NotInstalled(_) => Self::not_found(text)
                .hint("`archy app list --dev` lists what was installed from folders"),
            ChangeError::Needed { .. } => Self::refused("needed", text),
            ChangeError::Start(error) => error.into(),
            ChangeError::Machine(error) => error.into(),
            ChangeError::Cancelled(_) => Self::failed("cancelled", text),
            ChangeError::Purge { .. }
            | ChangeError::Adopted(_)
            | ChangeError::Unsettled(_)
            | ChangeError::Journal(_) => Self::failed("change", text),
        }
    }
}
