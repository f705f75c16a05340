//! What an app may do, and what a newer release changes about it, in the API's words.

use archy_orchestrator::kept::Setting;
use archy_orchestrator::{self as orchestrator, CompareError, Kept, RightKind};
use archy_registry::manifest::{Manifest, Protocol};

use crate::api::problem;
use crate::api::types::{KeptSetting, Problem, Right, RightWeight, RightsDiff, SettingKind};
use crate::machine::Compared;
use crate::problem as explain;

/// Lists a manifest's rights; none when it cannot be rendered.
pub(super) fn of(manifest: &Manifest) -> Vec<Right> {
    words(orchestrator::rights(manifest).unwrap_or_default())
}

/// Says what a newer release, that of `manifest`, changes.
pub(super) fn of_compared(compared: orchestrator::Compared, manifest: &Manifest) -> Compared {
    let unmet = compared.unmet.iter().map(|(app, needed)| {
        format!(
            "The app {app} needs {} {}, and this is {}. {app} may not work with it until it is updated too.",
            needed.app,
            needed.version.as_deref().unwrap_or("*"),
            manifest.app.version
        )
    });
    Compared {
        notices: unmet.collect(),
        rights: RightsDiff {
            gained: words(compared.rights.gained),
            lost: words(compared.rights.lost),
        },
        kept: compared.kept.into_iter().map(kept).collect(),
    }
}

fn kept(kept: Kept) -> KeptSetting {
    let (kind, name) = match kept.what {
        Setting::Port { port, protocol } => {
            let protocol = match protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
            };
            (SettingKind::Port, Some(format!("{port}/{protocol}")))
        }
        Setting::Variable(name) => (SettingKind::Variable, Some(name)),
        Setting::Memory => (SettingKind::Memory, None),
        Setting::Cpus => (SettingKind::Cpus, None),
        Setting::Pids => (SettingKind::Pids, None),
    };
    KeptSetting {
        container: kept.container.to_string(),
        kind,
        name,
        yours: kept.yours,
        before: kept.before,
        now: kept.now,
        is_used: kept.is_used,
    }
}

/// Says why it is not known what a newer release changes.
pub(super) fn not_compared(error: &CompareError) -> Problem {
    let mut unknown = problem(
        "cannotRun",
        "What the new version may do here cannot be told",
        "Wait for another version; the details say what is in the way",
    );
    unknown.details = explain::causes(error);
    unknown
}

fn words(rights: Vec<orchestrator::Right>) -> Vec<Right> {
    rights.into_iter().map(right).collect()
}

fn right(right: orchestrator::Right) -> Right {
    Right {
        kind: match right.kind {
            RightKind::Network => "network",
            RightKind::Ports => "ports",
            RightKind::Data => "data",
            RightKind::Secret => "secret",
            RightKind::User => "user",
            RightKind::Capability => "capability",
            RightKind::Device => "device",
            RightKind::Limit => "limit",
            RightKind::Container => "container",
            RightKind::Other => "other",
        }
        .to_owned(),
        weight: match (right.weighty, right.kind) {
            (
                true,
                RightKind::Capability | RightKind::Device | RightKind::Data | RightKind::Other,
            ) => RightWeight::Far,
            (true, _) => RightWeight::Notable,
            (false, _) => RightWeight::Usual,
        },
        text: right.text,
    }
}
