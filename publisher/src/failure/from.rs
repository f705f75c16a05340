//! What the errors of the other crates mean on the command line.

use archy_nostr::{BunkerError, DraftError, KeyError, PublishError};
use archy_orchestrator::quadlet::RenderError;
use archy_registry::announcement::AnnouncementError;
use archy_registry::catalog::CatalogError;
use archy_registry::key_state::KeyStateError;
use archy_registry::manifest::ManifestError;
use archy_registry::proof::{KeyFileError, SignError};
use archy_registry::release::ReleaseError;
use archy_swarm::image::PackError;
use archy_swarm::{ProbeError, StartError};

use super::{Class, Failure, chain};
use crate::node::types::Problem;

impl From<ManifestError> for Failure {
    fn from(error: ManifestError) -> Self {
        let mut failure = Self::refused("manifest", chain(&error));
        failure.details = error.faults().iter().map(ToString::to_string).collect();
        failure
    }
}

impl From<RenderError> for Failure {
    fn from(error: RenderError) -> Self {
        Self::refused("render", chain(&error))
            .hint("Change that field of manifest.yml; no node could run it")
    }
}

impl From<ReleaseError> for Failure {
    fn from(error: ReleaseError) -> Self {
        Self::refused("release", chain(&error))
            .hint("No node would accept this release, so nothing was published")
    }
}

impl From<AnnouncementError> for Failure {
    fn from(error: AnnouncementError) -> Self {
        Self::refused("announcement", chain(&error))
            .hint("No node would accept this announcement, so nothing was announced")
    }
}

impl From<CatalogError> for Failure {
    fn from(error: CatalogError) -> Self {
        Self::refused("catalog", chain(&error)).hint("No node would take this catalog as it is")
    }
}

impl From<KeyStateError> for Failure {
    fn from(error: KeyStateError) -> Self {
        Self::refused("keyState", chain(&error))
            .hint("If key-state.json is damaged, put it back from your backup; a second first state cannot be made")
    }
}

impl From<SignError> for Failure {
    fn from(error: SignError) -> Self {
        Self::failed("sign", chain(&error))
    }
}

impl From<KeyFileError> for Failure {
    fn from(error: KeyFileError) -> Self {
        match &error {
            KeyFileError::Passphrase { .. } => Self::refused("passphrase", chain(&error)),
            KeyFileError::Random(_)
            | KeyFileError::Create { .. }
            | KeyFileError::Read { .. }
            | KeyFileError::Exposed { .. }
            | KeyFileError::Encrypted { .. }
            | KeyFileError::Content { .. } => Self::failed("key", chain(&error)),
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::failed("key", chain(&error))
    }
}

impl From<DraftError> for Failure {
    fn from(error: DraftError) -> Self {
        Self::refused("announcement", chain(&error))
            .hint("Name fewer origin addresses with --origin-address")
    }
}

impl From<BunkerError> for Failure {
    fn from(error: BunkerError) -> Self {
        let class = match error {
            BunkerError::NoAnswer { .. } => Class::Unreachable,
            BunkerError::Refused { .. }
            | BunkerError::Malformed { .. }
            | BunkerError::Altered
            | BunkerError::TooLarge(_) => Class::Refused,
            BunkerError::Random => Class::Failed,
        };
        Self::new(class, "signer", chain(&error))
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        let failure = Self::failed("announce", chain(&error));
        match error {
            PublishError::NoRelays => {
                failure.hint("Name one with --relay, or configure relays on the node")
            }
            PublishError::TooLarge(_) | PublishError::Sign(_) | PublishError::Future { .. } => {
                failure
            }
        }
    }
}

impl From<PackError> for Failure {
    fn from(error: PackError) -> Self {
        let text = chain(&error);
        match error {
            PackError::Podman { .. }
            | PackError::Name { .. }
            | PackError::Empty
            | PackError::Platform { .. } => Self::new(Class::NotFound, "image", text),
            PackError::Ambiguous { .. } => Self::usage(text)
                .hint("Add :NAME behind the archive or layout, as in oci-archive:FILE:NAME"),
            PackError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Self::new(Class::NotFound, "image", text)
            }
            PackError::Io { .. }
            | PackError::PodmanSocket { .. }
            | PackError::Registry { .. }
            | PackError::Reference { .. } => Self::failed("image", text),
            PackError::NotALayout { .. }
            | PackError::UnsafeArchive { .. }
            | PackError::Document { .. }
            | PackError::TooMany { .. }
            | PackError::TooLarge { .. }
            | PackError::Excess { .. }
            | PackError::MediaType { .. }
            | PackError::Missing { .. }
            | PackError::Damaged { .. }
            | PackError::DiffId { .. }
            | PackError::LayerCount { .. } => Self::refused("image", text),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::failed("swarm", chain(&error))
    }
}

impl From<ProbeError> for Failure {
    fn from(error: ProbeError) -> Self {
        Self::failed("notServed", format!("nothing was announced: {}", chain(&error)))
            .hint("Publish again once the node can be reached; --origin-address names other addresses of it")
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let class = match problem.kind.as_str() {
            "notFound" | "notInstalled" => Class::NotFound,
            "signature" | "keyChanged" | "keysExpired" | "frozen" | "equivocation"
            | "wrongPublisher" | "wrongApp" | "rollback" | "revoked" | "keyState" | "expired"
            | "future" | "fastForward" | "wrongOperator" | "malformed" | "content" | "refused"
            | "blocked" | "policyScore" | "policySignatures" | "rightsGained" | "architecture"
            | "slugTaken" => Class::Refused,
            _ => Class::Failed,
        };
        Self {
            hints: problem.hint.into_iter().collect(),
            details: problem.details,
            ..Self::new(class, &problem.kind, problem.message)
        }
    }
}
