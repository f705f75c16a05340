//! What an app may do, and what a newer release changes about it, in the API's words.

use archy_orchestrator::{self as orchestrator, CompareError, RightKind};
use archy_registry::manifest::Manifest;

use crate::api::problem;
use crate::api::types::{Problem, Right, RightWeight, RightsDiff};
use crate::problem as explain;

/// Lists a manifest's rights; none when it cannot be rendered.
pub(super) fn of(manifest: &Manifest) -> Vec<Right> {
    words(orchestrator::rights(manifest).unwrap_or_default())
}

/// Says what a newer release changes.
pub(super) fn of_diff(diff: orchestrator::RightsDiff) -> RightsDiff {
    RightsDiff {
        gained: words(diff.gained),
        lost: words(diff.lost),
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
