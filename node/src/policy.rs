//! What the owner lets this node show, install and update by itself: one pure decision for all of them.
//!
//! How far a publisher is trusted is the registry's to say; here is only what follows from it. What the registry
//! refuses outright (a block, revoked keys, a contradiction) no policy lifts.

mod file;

use archy_registry::trust::{Band, Event, Evidence, POINT, Score};

use crate::api::problem;
use crate::api::types::{Policy, Problem, RightsDiff};

pub use file::{Decided, Policies, PolicyError};

/// Below this many points an install is preceded by a warning: so far nobody whom the owner trusts has any good
/// experience with the publisher, or too little of it to outweigh doubt.
pub const WARN_POINTS: u32 = 35;
/// Most points.
const POINTS_MAX: u32 = 100;
/// Most signatures that can be asked for; a key state names no more keys.
const SIGNATURES_MAX: u32 = 16;
/// Sentences on what would change a refusal.
const CHANGES_MAX: usize = 3;

/// Every publisher begins at 0, so a node that asked for points would show an empty store and could install nothing
/// on its first day: nothing but what is refused outright is kept from the owner, and below [`WARN_POINTS`] a warning
/// says so. An update by itself is another matter, because nobody looks: it asks for some trust.
impl Default for Policy {
    fn default() -> Self {
        Self {
            show_points_min: 0,
            install_points_min: 0,
            update_points_min: WARN_POINTS,
            signatures_min: 1,
        }
    }
}

/// What is to be done with an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// List it in the store.
    Show,
    /// Install it because the owner asks.
    Install,
    /// Update it without asking.
    Update,
}

/// What this node knows of the publisher whom a decision is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Reputation {
    /// All evidence.
    pub evidence: Evidence,
    /// What it amounts to.
    pub score: Score,
    /// Whether the owner vouches for the publisher.
    pub pinned: bool,
    /// Whether the owner wants nothing of the publisher.
    pub blocked: bool,
}

impl Reputation {
    /// Reads the owner's own word off the evidence.
    pub fn new(evidence: Evidence, score: Score) -> Self {
        let last = |yes: Event, no: Event| {
            let marks = evidence.events.iter();
            let newest = marks
                .filter(|recorded| recorded.event == yes || recorded.event == no)
                .max_by_key(|recorded| recorded.id);
            newest.is_some_and(|recorded| recorded.event == yes)
        };
        Self {
            pinned: last(Event::Pinned, Event::Unpinned),
            blocked: last(Event::Blocked, Event::Unblocked),
            evidence,
            score,
        }
    }
}

/// Checks that a policy asks for something that can be.
///
/// # Errors
///
/// With the kind `invalid`.
pub fn check(policy: &Policy) -> Result<(), Problem> {
    let points = [
        ("showPointsMin", policy.show_points_min),
        ("installPointsMin", policy.install_points_min),
        ("updatePointsMin", policy.update_points_min),
    ];
    if let Some((name, points)) = points.into_iter().find(|(_, points)| *points > POINTS_MAX) {
        return Err(problem(
            "invalid",
            format!("{name} is {points}; a score has 0 to {POINTS_MAX} points"),
            "",
        ));
    }
    if !(1..=SIGNATURES_MAX).contains(&policy.signatures_min) {
        return Err(problem(
            "invalid",
            format!(
                "signaturesMin is {}; write 1 to {SIGNATURES_MAX}",
                policy.signatures_min
            ),
            "",
        ));
    }
    Ok(())
}

/// Decides whether something may be done with an app of a publisher.
///
/// `signatures` is the number of valid proofs on its release; `None` where there is no release to ask about yet. The
/// owner's pin stands in for the points that are asked for, never for signatures.
///
/// # Errors
///
/// `blocked`, `refused`, `policyScore` or `policySignatures`, each with what would change it.
pub fn decide(
    policy: &Policy,
    action: Action,
    reputation: &Reputation,
    signatures: Option<u32>,
) -> Result<(), Problem> {
    if reputation.blocked {
        return Err(with_reasons(
            problem(
                "blocked",
                "You blocked this publisher",
                "Lift the block on the publisher's page, or with `archy trust unblock`",
            ),
            &reputation.score,
        ));
    }
    let min = match action {
        // What is refused outright is still shown, with the reasons: a person who looks for it shall find out why.
        Action::Show if reputation.score.band == Band::Refused => return Ok(()),
        Action::Show => policy.show_points_min,
        Action::Install => policy.install_points_min,
        Action::Update => policy.update_points_min,
    };
    if reputation.score.band == Band::Refused {
        return Err(with_reasons(
            problem(
                "refused",
                "Nothing of this publisher is installed here",
                "The app's page says why, and what would change it",
            ),
            &reputation.score,
        ));
    }
    if !reputation.pinned && reputation.score.micro_points < i64::from(min) * POINT {
        return Err(too_few_points(action, min, &reputation.score));
    }
    if let Some(signatures) = signatures.filter(|_| action != Action::Show)
        && signatures < policy.signatures_min
    {
        let valid = if signatures == 1 { "is" } else { "are" };
        return Err(problem(
            "policySignatures",
            format!(
                "Your policy asks for {} valid signatures on a release, and there {valid} {signatures}",
                policy.signatures_min
            ),
            "Wait for a release that more of the publisher's keys sign, or ask for fewer signatures in the settings or with `archy policy set --signatures`",
        ));
    }
    Ok(())
}

fn too_few_points(action: Action, min: u32, score: &Score) -> Problem {
    let (doing, flag) = match action {
        Action::Show => ("to show an app", "show"),
        Action::Install => ("to install an app", "install"),
        Action::Update => ("to update an app by itself", "update"),
    };
    let mut refused = problem(
        "policyScore",
        format!(
            "Your policy asks for {min} points {doing}, and this publisher has {}",
            score.micro_points / POINT
        ),
        &format!(
            "Vouch for the publisher, or lower the minimum in the settings or with `archy policy set --{flag}`"
        ),
    );
    refused.details = score
        .would_change
        .iter()
        .take(CHANGES_MAX)
        .cloned()
        .collect();
    refused
}

fn with_reasons(mut refused: Problem, score: &Score) -> Problem {
    let reasons = score.reasons.iter().map(|reason| reason.text.clone());
    refused.details = reasons.collect();
    refused
}

/// Says what the owner should know before an install that is allowed.
pub fn warning(reputation: &Reputation) -> Option<Problem> {
    let low = reputation.score.micro_points < i64::from(WARN_POINTS) * POINT;
    if reputation.pinned || reputation.score.band == Band::Refused || !low {
        return None;
    }
    let mut warning = problem(
        "unproven",
        "Nobody you trust has good experience with this publisher yet",
        "Read what the app may do, and install it only if you know where it comes from",
    );
    warning.details = reputation
        .score
        .would_change
        .iter()
        .take(CHANGES_MAX)
        .cloned()
        .collect();
    Some(warning)
}

/// Decides whether an installed app may be updated without asking: only when nothing is gained and the policy holds.
///
/// `diff` is what the update changes about the app's rights, or why that is not known, which counts as a gain.
///
/// # Errors
///
/// Everything for which the update waits: `rightsGained` with the gains in words, and what [`decide`] says.
pub fn may_update_by_itself(
    diff: Result<&RightsDiff, &Problem>,
    policy: &Policy,
    reputation: &Reputation,
    signatures: u32,
) -> Result<(), Vec<Problem>> {
    let mut waits = Vec::new();
    match diff {
        Ok(diff) if diff.gained.is_empty() => {}
        Ok(diff) => {
            let mut gained = problem(
                "rightsGained",
                match diff.gained.len() {
                    1 => "The new version may do something that this one may not".to_owned(),
                    more => format!("The new version may do {more} things that this one may not"),
                },
                "Read what it would gain, then decide yourself",
            );
            gained.details = diff.gained.iter().map(|right| right.text.clone()).collect();
            waits.push(gained);
        }
        Err(unknown) => waits.push(unknown.clone()),
    }
    let decided = decide(policy, Action::Update, reputation, Some(signatures));
    waits.extend(decided.err());
    if waits.is_empty() { Ok(()) } else { Err(waits) }
}

#[cfg(test)]
mod tests;
