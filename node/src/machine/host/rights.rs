//! What an app may do, from the units that its manifest makes.

use archy_orchestrator::RightKind;
use archy_registry::manifest::Manifest;

use crate::api::types::{Right, RightWeight};

/// Lists a manifest's rights; none when it cannot be rendered.
pub(super) fn of(manifest: &Manifest) -> Vec<Right> {
    let rights = archy_orchestrator::rights(manifest).unwrap_or_default();
    rights
        .into_iter()
        .map(|right| Right {
            kind: match right.kind {
                RightKind::Network => "network",
                RightKind::Ports => "ports",
                RightKind::Data => "data",
                RightKind::User => "user",
                RightKind::Capability => "capability",
                RightKind::Device => "device",
            }
            .to_owned(),
            weight: match (right.weighty, right.kind) {
                (true, RightKind::Capability | RightKind::Device) => RightWeight::Far,
                (true, _) => RightWeight::Notable,
                (false, _) => RightWeight::Usual,
            },
            text: right.text,
        })
        .collect()
}
