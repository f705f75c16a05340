//! Why the orchestrator did not do what it was asked, as problems.

use archy_orchestrator as orchestrator;
use archy_orchestrator::{
    ChangeError, ComeUpError, HookError, InstallError, LoadError, Refusal, SnapshotError,
    StartError, UpdateError,
};
use archy_registry::Slug;

use super::adopt::of_adopt;
use crate::api::problem;
use crate::api::types::Problem;
use crate::machine::MachineError;
use crate::problem as explain;

pub(super) fn not_installed(app: &Slug) -> Problem {
    problem(
        "notInstalled",
        format!("{app} is not installed"),
        "`archy status` lists what is",
    )
}

pub(super) fn of_load(error: &LoadError) -> Problem {
    let (kind, message, hint) = match error {
        LoadError::Differs { .. } => (
            "content",
            "podman made another image of the bytes than the publisher signed",
            "Tell the publisher; nothing was installed",
        ),
        LoadError::Excess { .. } => (
            "content",
            "the app's image hands more down to its containers than this node takes",
            "Tell the publisher; nothing was installed",
        ),
        LoadError::Vanished { .. } => (
            "podman",
            "podman lost the app's image while it was being brought in",
            "Try again; if something prunes podman's images here, have it leave these alone",
        ),
        LoadError::Podman { .. } | LoadError::Unwritten { .. } => (
            "podman",
            "podman could not take the app's image in",
            "Run `archyd doctor`; check the space on the disk",
        ),
    };
    detailed(kind, message.to_owned(), hint, error)
}

pub(super) fn of_install(error: InstallError) -> MachineError {
    let by_machine = |problem| MachineError::Failed {
        problem,
        by_app: false,
    };
    match error {
        InstallError::Cancelled => MachineError::Stopped,
        InstallError::Refused(refusal) => by_machine(of_refusal(&refusal)),
        InstallError::Start(error) => of_start(&error),
        InstallError::ImageMissing { .. } => by_machine(detailed(
            "podman",
            "podman lost an image while the app was installed".to_owned(),
            "Install again",
            &error,
        )),
        InstallError::Hook(error) => of_hook(&error),
        InstallError::Machine(error) => by_machine(of_machine(&error)),
    }
}

pub(super) fn of_change(error: ChangeError) -> MachineError {
    let by_machine = |problem| MachineError::Failed {
        problem,
        by_app: false,
    };
    match error {
        ChangeError::NotInstalled(app) => by_machine(not_installed(&app)),
        ChangeError::Cancelled(_) => MachineError::Stopped,
        ChangeError::Needed { .. } => by_machine(problem(
            "needed",
            error.to_string(),
            "Uninstall those first, or uninstall with force",
        )),
        ChangeError::Start(error) => of_start(&error),
        ChangeError::Purge { .. } => by_machine(detailed(
            "purge",
            "The app's data could not be removed whole".to_owned(),
            "Stop what uses it, then try again",
            &error,
        )),
        ChangeError::Unsettled(error) => of_update(*error),
        ChangeError::Adopted(error) => of_adopt(*error),
        ChangeError::Journal(error) => by_machine(explain::internal("read the journal", &error)),
        ChangeError::Machine(error) => by_machine(of_machine(&error)),
    }
}

pub(super) fn of_update(error: UpdateError) -> MachineError {
    let by_machine = |problem| MachineError::Failed {
        problem,
        by_app: false,
    };
    match error {
        UpdateError::Cancelled => MachineError::Stopped,
        UpdateError::NotInstalled(app) => by_machine(not_installed(&app)),
        UpdateError::NoEarlier(_) => by_machine(problem(
            "noEarlier",
            error.to_string(),
            "Only the version before the installed one is kept, from an update on",
        )),
        UpdateError::Refused(refusal) => by_machine(of_refusal(&refusal)),
        UpdateError::ImageMissing { .. } => by_machine(detailed(
            "podman",
            "podman lost an image while the app was changed".to_owned(),
            "Try again",
            &error,
        )),
        UpdateError::Snapshot(error) => by_machine(of_snapshot(&error)),
        UpdateError::Hook(error) => of_hook(&error),
        UpdateError::TakenBack { ref why, .. } => {
            let (details, by_app) = match &**why {
                ComeUpError::Cancelled => return MachineError::Stopped,
                ComeUpError::Start(start) => of_start(start).details(),
                ComeUpError::Hook(hook) => of_hook(hook).details(),
                ComeUpError::Snapshot(_) | ComeUpError::Machine(_) | ComeUpError::Old(_) => {
                    (explain::causes(&**why), false)
                }
            };
            let mut taken_back = problem(
                "takenBack",
                error.to_string(),
                "It runs as before; its last log lines are in the details, for the publisher",
            );
            taken_back.details = details;
            MachineError::Failed {
                problem: taken_back,
                by_app,
            }
        }
        UpdateError::Claimed(_) => by_machine(problem(
            "claimed",
            error.to_string(),
            "`archy adopt migrate --plan` shows what a migration would change",
        )),
        UpdateError::Adoption(error) => of_adopt(*error),
        UpdateError::Machine(error) => by_machine(of_machine(&error)),
    }
}

pub(super) fn of_snapshot(error: &SnapshotError) -> Problem {
    let (kind, hint) = match error {
        SnapshotError::Room { .. } => ("diskFull", "Make room on the disk, then try again"),
        SnapshotError::Missing(_) => (
            "noSnapshot",
            "Go back with the data as it is, or restore a backup",
        ),
        SnapshotError::Copy(_) | SnapshotError::Io { .. } => (
            "snapshot",
            "Run `archyd doctor`; the app runs as it did before",
        ),
    };
    detailed(kind, error.to_string(), hint, error)
}

pub(super) fn of_start(error: &StartError) -> MachineError {
    match error {
        StartError::Container { failure, log, .. } => {
            let (kind, by_app) = match failure {
                orchestrator::Failure::PortTaken { .. } => ("portTaken", false),
                orchestrator::Failure::NeverHealthy { .. } | orchestrator::Failure::Timeout => {
                    ("neverHealthy", true)
                }
                orchestrator::Failure::NotRunnable
                | orchestrator::Failure::OutOfMemory
                | orchestrator::Failure::Exited { .. }
                | orchestrator::Failure::Killed { .. }
                | orchestrator::Failure::Unknown { .. } => ("notRunning", true),
                orchestrator::Failure::ImageMissing
                // What a container waits for besides containers is podman's to make.
                | orchestrator::Failure::Dependency { .. }
                | orchestrator::Failure::FewSubIds { .. }
                | orchestrator::Failure::SecretMissing
                | orchestrator::Failure::DataMissing => ("notRunning", false),
            };
            let mut failed = problem(
                kind,
                error.to_string(),
                match kind {
                    "portTaken" => "Stop what uses the port, then try again",
                    _ if matches!(failure, orchestrator::Failure::FewSubIds { .. }) => {
                        "Do that, then try again; `archyd doctor` shows what else this machine lacks"
                    }
                    _ => "Its last log lines are in the details; tell the publisher",
                },
            );
            failed.details = log.clone();
            MachineError::Failed {
                problem: failed,
                by_app,
            }
        }
        StartError::Podman(error) => MachineError::Failed {
            problem: detailed(
                "podman",
                "podman did not answer".to_owned(),
                "Run `archyd doctor`",
                error,
            ),
            by_app: false,
        },
        StartError::Systemd(error) => MachineError::Failed {
            problem: detailed(
                "systemd",
                "systemd did not answer".to_owned(),
                "Run `archyd doctor`",
                error,
            ),
            by_app: false,
        },
    }
}

/// A step that the app asks for failed: by itself, or because this machine would not do it.
pub(super) fn of_hook(error: &HookError) -> MachineError {
    let (kind, hint, by_app) = match error {
        HookError::Failed { .. } | HookError::TimedOut { .. } => (
            "hookFailed",
            "The last lines that it wrote are in the details; tell the publisher",
            true,
        ),
        HookError::Copy { .. } => (
            "hookRefused",
            "Allow the directory in archyd.toml if you want the app to have the file",
            false,
        ),
        HookError::Podman { .. } | HookError::Markers { .. } => (
            "machine",
            "Run `archyd doctor`; the details say what failed",
            false,
        ),
    };
    let mut problem = problem(kind, explain::causes(error).join(": "), hint);
    if let HookError::Failed { output, .. } = error {
        problem.details.clone_from(output);
    }
    MachineError::Failed { problem, by_app }
}

pub(super) fn of_refusal(refusal: &Refusal) -> Problem {
    let (kind, hint) = match refusal {
        Refusal::DependencyMissing { .. } => {
            ("dependencyMissing", "Install that app first, then this one")
        }
        Refusal::DependencyVersion { .. } | Refusal::ExportMissing { .. } => {
            ("dependencyVersion", "Update that app first, then try again")
        }
        Refusal::NameClash { .. } => (
            "nameTaken",
            "Tell the publishers; one of the two has to rename its container",
        ),
        Refusal::Device { .. } => (
            "device",
            "Nothing was installed; try again once the device can be used",
        ),
        Refusal::Render(_) => ("cannotRun", "Tell the publisher; nothing was installed"),
        Refusal::UserNamespace { .. } => (
            "cannotRun",
            "Tell the publisher; nothing has changed. To begin without the data, uninstall and purge the app first",
        ),
        Refusal::SlugTaken { .. } => (
            "slugTaken",
            "Keep the app that you have, or uninstall and purge it first",
        ),
        Refusal::DataOfAnother { .. } => (
            "slugTaken",
            "Purge the kept data first if you no longer need it",
        ),
        Refusal::Installed { .. } => ("installed", "To change to the announced version, update it"),
        Refusal::ContainerTaken { .. } => ("nameTaken", "Remove or rename that container first"),
        Refusal::QuadletFile { .. } => (
            "nameTaken",
            "Remove or rename that file, then `systemctl --user daemon-reload`; or adopt its container",
        ),
        Refusal::UnitsTaken { .. } => (
            "nameTaken",
            "Uninstall what has that name; `archy app list --dev` lists what developers run",
        ),
        Refusal::Setting(_) => ("invalid", "Look at what the app has with its settings"),
        Refusal::Ports(_) => ("portTaken", "Stop what uses the port, then try again"),
        Refusal::Disk { .. } => ("diskFull", "Make room on the disk, then try again"),
    };
    let texts = explain::causes(refusal);
    let mut refused = problem(kind, texts.join(": "), hint);
    if texts.len() > 1 {
        refused.details = texts;
    }
    refused
}

pub(super) fn of_machine(error: &orchestrator::MachineError) -> Problem {
    match error {
        orchestrator::MachineError::DataGone { .. } => detailed(
            "dataGone",
            error.to_string(),
            "Nothing was changed; put the data back, then try again, or restore a backup",
            error,
        ),
        orchestrator::MachineError::Desired(_)
        | orchestrator::MachineError::Podman(_)
        | orchestrator::MachineError::Systemd(_)
        | orchestrator::MachineError::Secret(_)
        | orchestrator::MachineError::Units(_)
        | orchestrator::MachineError::Render(_)
        | orchestrator::MachineError::KeptUp(_)
        | orchestrator::MachineError::Io { .. } => detailed(
            "machine",
            "podman, systemd or the disk did not do its part".to_owned(),
            "Run `archyd doctor`; the details say what failed",
            error,
        ),
    }
}

pub(super) fn detailed(
    kind: &str,
    message: String,
    hint: &str,
    error: &dyn std::error::Error,
) -> Problem {
    let mut failed = problem(kind, message, hint);
    failed.details = explain::causes(error);
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_podman_lost_is_tried_again_and_nobody_is_blamed() {
        let container: Slug = "web".parse().unwrap();
        let vanished = LoadError::Vanished {
            container: container.clone(),
        };
        let problem = of_load(&vanished);
        assert_eq!(problem.kind, "podman", "only `content` stays wrong");
        assert!(!problem.hint.is_some_and(|hint| hint.contains("publisher")));
        let differs = LoadError::Differs {
            container,
            expected: "sha256:1".to_owned(),
            found: "sha256:2".to_owned(),
        };
        assert_eq!(of_load(&differs).kind, "content");
    }
}
