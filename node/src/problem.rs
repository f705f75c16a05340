//! Turns the libraries' errors into problems: which check failed, in one sentence, and what to do next.

use std::error::Error;

use archy_registry::announcement::{AnnouncementError, Mismatch};
use archy_registry::key_state::{KeyStateError, Standing, StepError};
use archy_registry::proof::ProofError;
use archy_registry::release::ReleaseError;
use archy_registry::statement::StatementError;
use archy_registry::store::{AdmitKeyStateError, StoreError};
use archy_swarm::FetchError;
use archy_swarm::fetch::ProviderReport;
use archy_swarm::storage::{Bound, Full};
use jiff::Timestamp;

use crate::api::problem as new;
use crate::api::types::Problem;

/// Lists an error and its causes, outermost first.
pub fn causes(error: &dyn Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        cause = error.source();
    }
    texts
}

/// Makes a problem of an error that a person can only look up.
pub fn internal(doing: &str, error: &dyn Error) -> Problem {
    let mut problem = new(
        "internal",
        format!("The node could not {doing}"),
        "Look at the daemon's log: journalctl --user -u archyd",
    );
    problem.details = causes(error);
    problem
}

/// The registry's database failed, or holds a release that is not acceptable any more.
pub fn of_store(error: &StoreError) -> Problem {
    match error {
        StoreError::Release { source, .. } => of_release(source),
        StoreError::Opinion { .. } => malformed("opinion", error),
        StoreError::Open { .. }
        | StoreError::Migrate { .. }
        | StoreError::Query(_)
        | StoreError::KeyState { .. }
        | StoreError::Corrupt { .. }
        | StoreError::Write(_)
        | StoreError::OtherBytes(_) => internal("use its database", error),
    }
}

/// A release is not what its publisher signed, or must not be installed.
pub fn of_release(error: &ReleaseError) -> Problem {
    match error {
        ReleaseError::Statement(error) => of_statement("release", error),
        ReleaseError::Manifest(_) | ReleaseError::Field { .. } => malformed("release", error),
    }
}

/// An announcement is not the publisher's, or says nothing that may be followed.
pub fn of_announcement(error: &AnnouncementError) -> Problem {
    match error {
        AnnouncementError::Statement(error) => of_statement("announcement", error),
        AnnouncementError::Field { .. } => malformed("announcement", error),
        AnnouncementError::BelowFloor { .. } => detailed(
            "rollback",
            "The announced release is older than the oldest that its publisher still stands for",
            "Nothing to do: the newest release stays",
            error,
        ),
    }
}

/// A key state does not hold or does not follow.
pub fn of_key_state(error: &AdmitKeyStateError) -> Problem {
    match error {
        AdmitKeyStateError::Store(error) => of_store(error),
        AdmitKeyStateError::Invalid(KeyStateError::Statement(error)) => {
            of_statement("key state", error)
        }
        AdmitKeyStateError::Invalid(
            error @ (KeyStateError::Field { .. } | KeyStateError::Chain),
        ) => malformed("key state", error),
        AdmitKeyStateError::Invalid(error @ KeyStateError::Step(StepError::Ended { .. })) => {
            detailed(
                "keyChanged",
                "The key state is signed by a key that the publisher had replaced before",
                "Nothing to do: whoever has the old key cannot use it any more",
                error,
            )
        }
        AdmitKeyStateError::Invalid(error @ KeyStateError::Step(_)) => detailed(
            "keyState",
            "The key state does not follow the one that this node knows",
            "Nothing to do: the known keys stay valid",
            error,
        ),
    }
}

/// Writes a date as people do, in UTC: `21 November 2026`.
pub fn day(at: Timestamp) -> String {
    at.strftime("%-d %B %Y").to_string()
}

/// Says what a statement's standing with its publisher's keys means; `None` when there is nothing to say.
pub fn of_standing(standing: Standing) -> Option<Problem> {
    let (kind, message, hint) = match standing {
        Standing::Current | Standing::SeenBeforeChange { .. } => return None,
        Standing::KeyChanged { since } => (
            "keyChanged",
            format!(
                "The publisher replaced its keys on {}, and this version was signed by a key from before: \
                 perhaps a stolen one",
                day(since)
            ),
            "Wait for a release that the publisher's new key signs; what runs already goes on running",
        ),
        Standing::Revoked { since } | Standing::SeenBeforeRevocation { since } => (
            "revoked",
            format!(
                "The publisher revoked its keys on {}: perhaps they were stolen",
                day(since)
            ),
            "Look for news of the publisher; what runs already goes on running",
        ),
        Standing::KeysExpired { since } => (
            "keysExpired",
            format!(
                "The publisher's keys were valid until {} and were not renewed",
                day(since)
            ),
            "Wait until the publisher renews its keys; what runs already goes on running",
        ),
    };
    Some(new(kind, message, hint))
}

/// The release is not the one that was announced.
pub fn of_mismatch(error: &Mismatch) -> Problem {
    let seq = |text: &str| text.parse::<u64>().unwrap_or_default();
    let (announced, found) = (&error.announced, &error.found);
    let (kind, message) = match error.field {
        "publisher" => (
            "wrongPublisher",
            format!("The release belongs to another publisher, {found}"),
        ),
        "slug" => (
            "wrongApp",
            format!("{announced} was announced, and the release behind it is of {found}"),
        ),
        "seq" if seq(found) < seq(announced) => (
            "rollback",
            format!("Release {announced} was announced, and an older one, {found}, is behind it"),
        ),
        _ => (
            "notAnnounced",
            "What was fetched is not the release that the publisher announced".to_owned(),
        ),
    };
    detailed(
        kind,
        message,
        "Tell the publisher; nothing was installed",
        error,
    )
}

/// A statement's proof, signer, dates or counter are wrong.
fn of_statement(what: &str, error: &StatementError) -> Problem {
    let (kind, message, hint) = match error {
        StatementError::Proof(ProofError::Signature { .. }) => (
            "signature",
            format!("The signature of the {what} does not match what it says"),
            "Somebody changed it on its way; nothing was installed",
        ),
        StatementError::Unauthorised { signer, .. } => (
            "signature",
            format!("The {what} is signed by {signer}, which does not speak for its publisher"),
            "Do not trust whoever sent it; nothing was installed",
        ),
        StatementError::Publisher { found, .. } => (
            "wrongPublisher",
            format!("The {what} belongs to another publisher, {found}"),
            "Do not trust whoever sent it; nothing was installed",
        ),
        StatementError::Revoked { since, .. } => {
            return detailed_as(of_standing(Standing::Revoked { since: *since }), error);
        }
        StatementError::KeyChanged { since, .. } => {
            return detailed_as(of_standing(Standing::KeyChanged { since: *since }), error);
        }
        StatementError::KeysExpired { expires, .. } => {
            return detailed_as(
                of_standing(Standing::KeysExpired { since: *expires }),
                error,
            );
        }
        StatementError::Proofs { found, required } => (
            "signature",
            format!(
                "{found} of the publisher's keys signed the {what} where {required} must sign together"
            ),
            "Tell the publisher; nothing was installed",
        ),
        StatementError::Expired { expires } => (
            "expired",
            format!("The {what} expired on {}", day(*expires)),
            "Wait until the publisher announces it again",
        ),
        StatementError::Future { .. } | StatementError::Proof(ProofError::Future { .. }) => (
            "future",
            format!("The {what} is dated in the future"),
            "Check this machine's clock",
        ),
        StatementError::Proof(
            ProofError::Json(_)
            | ProofError::NotAnObject
            | ProofError::NoProof
            | ProofError::ProofOrder
            | ProofError::Profile(_)
            | ProofError::Key(_),
        )
        | StatementError::Members { .. }
        | StatementError::Type { .. }
        | StatementError::Seq(_)
        | StatementError::Validity { .. } => return malformed(what, error),
    };
    detailed(kind, message, hint, error)
}

/// Blobs could not be fetched.
pub fn of_fetch(error: &FetchError) -> Problem {
    let has_wrong_bytes = |provider: &&ProviderReport| provider.lied || provider.damaged;
    let liars: Vec<String> = error
        .providers()
        .iter()
        .filter(has_wrong_bytes)
        .map(|provider| format!("{} {}", provider.kind, provider.id))
        .collect();
    let (kind, message, hint) = match error {
        FetchError::Exhausted { .. } if !liars.is_empty() => (
            "content",
            format!(
                "What {} has is not what the publisher signed",
                liars.join(" and ")
            ),
            "They were thrown away; install again when another node offers the app",
        ),
        FetchError::Exhausted { providers, .. } if providers.is_empty() => no_provider(),
        FetchError::Exhausted { .. } => (
            "noProvider",
            "No node that has the app could be reached, or none has all of it".to_owned(),
            "Try again when the publisher or another node with the app is online",
        ),
        FetchError::NoProviders { .. } => no_provider(),
        FetchError::WrongSize { .. } => (
            "content",
            "The release names a size that its bytes do not have".to_owned(),
            "Tell the publisher; nothing was installed",
        ),
        FetchError::Full(full) => {
            let (message, hint) = of_full(full);
            ("diskFull", message, hint)
        }
        FetchError::Store { .. } => (
            "store",
            "The node cannot store what it fetches".to_owned(),
            "Check the permissions of the data directory; the daemon's log says more: journalctl --user -u archyd",
        ),
        FetchError::Cancelled => (
            "interrupted",
            "The fetch was stopped".to_owned(),
            "Try again; what arrived is kept",
        ),
        FetchError::Request { .. } => return internal("fetch the app", error),
    };
    let mut problem = new(kind, message, hint);
    problem.details = match error {
        FetchError::Exhausted {
            blake3, providers, ..
        } => {
            let reports = providers.iter().map(ToString::to_string);
            [format!("blob {blake3}")]
                .into_iter()
                .chain(reports)
                .collect()
        }
        FetchError::NoProviders { .. }
        | FetchError::WrongSize { .. }
        | FetchError::Request { .. }
        | FetchError::Store { .. }
        | FetchError::Full(_)
        | FetchError::Cancelled => causes(error),
    };
    problem
}

/// There is no room: how much there would have to be, and what to do.
fn of_full(full: &Full) -> (String, &'static str) {
    let [needed, room, freeable] =
        [full.needed_bytes, full.room_bytes, full.freeable_bytes].map(megabytes);
    match &full.bound {
        Bound::Quota { quota_bytes } => (
            format!(
                "There is no room for it: it needs {needed}; {room} are free of the {} that downloads may take, and {freeable} \
                 more could be freed",
                megabytes(*quota_bytes)
            ),
            "Uninstall something, or raise swarm.quota in archyd.toml, then try again; what arrived is kept",
        ),
        Bound::Disk { dir, kept_bytes } => (
            format!(
                "There is no room for it: it needs {needed}; {room} are free under {} ({} stay free for others), and \
                 {freeable} more could be freed",
                dir.display(),
                megabytes(*kept_bytes)
            ),
            "Uninstall something, or delete other files on that disk, then try again; what arrived is kept",
        ),
    }
}

/// Decimal megabytes, with one digit below ten.
pub fn megabytes(bytes: u64) -> String {
    let megabytes = bytes as f64 / 1e6;
    if megabytes < 10.0 {
        format!("{megabytes:.1} MB")
    } else {
        format!("{megabytes:.0} MB")
    }
}

fn no_provider() -> (&'static str, String, &'static str) {
    (
        "noProvider",
        "No node is known that has the app".to_owned(),
        "Connect this node to the publisher's network, or add a peer to swarm.peers",
    )
}

/// What somebody sent, or put into a folder, is not of its form.
pub fn malformed(what: &str, error: &dyn Error) -> Problem {
    detailed(
        "malformed",
        format!("The {what} is not well formed"),
        "Tell the publisher; nothing was installed",
        error,
    )
}

fn detailed_as(problem: Option<Problem>, error: &dyn Error) -> Problem {
    let mut problem = problem.unwrap_or_else(|| internal("judge a statement", error));
    problem.details = causes(error);
    problem
}

fn detailed(kind: &str, message: impl Into<String>, hint: &str, error: &dyn Error) -> Problem {
    let mut problem = new(kind, message, hint);
    problem.details = causes(error);
    problem
}
