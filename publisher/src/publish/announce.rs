//! Tells the relays: first which keys speak for the publisher, then what the newest release is.

use archy_nostr::{Draft, NostrKey, NostrSigner, PublishOptions, PublishReport, RelayUrl};
use archy_registry::announcement::Announcement;
use archy_registry::{Did, Verified};
use serde::Serialize;

use crate::failure::Failure;
use crate::identity::Identity;

/// What the relays answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Announced {
    /// The announcement's Nostr event.
    pub event: String,
    /// The Nostr key that signed it.
    pub pubkey: String,
    /// Relays that took the announcement.
    pub accepted: Vec<String>,
    /// Relays that did not, and why.
    pub failed: Vec<RelayFailure>,
}

/// A relay that did not take a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RelayFailure {
    /// Which relay.
    pub relay: String,
    /// Why.
    pub reason: String,
}

/// Chooses the relays: those given, else the node's.
///
/// # Errors
///
/// When there is none, or the node names one that is no relay address.
pub fn relays(given: &[RelayUrl], of_node: &[String]) -> Result<Vec<RelayUrl>, Failure> {
    let relays = if given.is_empty() {
        let parse = |text: &String| {
            text.parse()
                .map_err(|error| Failure::failed("node", format!("the node's relay: {error}")))
        };
        of_node
            .iter()
            .map(parse)
            .collect::<Result<Vec<RelayUrl>, Failure>>()?
    } else {
        given.to_vec()
    };
    if relays.is_empty() {
        return Err(archy_nostr::PublishError::NoRelays.into());
    }
    Ok(relays)
}

/// Announces a release.
///
/// # Errors
///
/// When no relay took the announcement.
pub async fn announce(
    identity: &Identity,
    signer: &NostrSigner,
    announcement: &Verified<Announcement>,
    bytes: &[u8],
    relays: &[RelayUrl],
) -> Result<Announced, Failure> {
    let options = PublishOptions::default();
    let states = Draft::key_states(identity.did(), &identity.chain)?;
    let announcement = Draft::announcement(announcement, bytes)?;
    // A node that hears of the keys first believes the announcement at once; the other order works later.
    archy_nostr::publish(relays, signer, &states, &options).await?;
    let report = archy_nostr::publish(relays, signer, &announcement, &options).await?;
    judge(&report, "announcement")
}

/// Tells the relays which keys speak for a publisher.
///
/// # Errors
///
/// When no relay took it.
pub async fn tell_keys(
    publisher: Did,
    chain: &[u8],
    nostr: &NostrKey,
    relays: &[RelayUrl],
) -> Result<Announced, Failure> {
    let states = Draft::key_states(publisher, chain)?;
    let options = PublishOptions::default();
    let report = archy_nostr::publish(relays, nostr, &states, &options).await?;
    judge(&report, "key states")
}

/// Lists the relays that did not take an event or did not give it back, and why.
pub fn failures(report: &PublishReport) -> Vec<RelayFailure> {
    report
        .refused
        .iter()
        .map(|(relay, words)| (relay, format!("refused: {words}")))
        .chain(
            report
                .unreachable
                .iter()
                .map(|(relay, why)| (relay, why.clone())),
        )
        .chain(
            report
                .unconfirmed
                .iter()
                .map(|(relay, why)| (relay, format!("took it, but {why}"))),
        )
        .map(|(relay, reason)| RelayFailure {
            relay: relay.to_string(),
            reason,
        })
        .collect()
}

fn judge(report: &PublishReport, what: &str) -> Result<Announced, Failure> {
    let failed = failures(report);
    if report.accepted.is_empty() {
        let mut failure = Failure::failed(
            "notAnnounced",
            format!("no relay took the {what}, so nobody will hear of it"),
        )
        .hint("What the node serves stays; publish again, or name another relay with --relay");
        failure.details = failed
            .iter()
            .map(|one| format!("{}: {}", one.relay, one.reason))
            .collect();
        return Err(failure);
    }
    Ok(Announced {
        event: report.event_id.to_string(),
        pubkey: report.pubkey.to_string(),
        accepted: report.accepted.iter().map(ToString::to_string).collect(),
        failed,
    })
}
