use archy_registry::trust::{self, Recorded};
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::api::types::{Right, RightWeight};

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn reputation(events: Vec<Event>) -> Reputation {
    let publisher = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
    let evidence = Evidence {
        publisher: publisher.parse().unwrap(),
        key_state_seq: 0,
        has_next_keys: false,
        is_revoked: false,
        nostr: Vec::new(),
        sightings: Vec::new(),
        events: (1..)
            .zip(events)
            .map(|(id, event)| Recorded {
                id,
                at: now(),
                event,
            })
            .collect(),
        contradictions: Vec::new(),
        seeds: 0,
        voices: Vec::new(),
    };
    let score = trust::score(&evidence, now());
    Reputation::new(evidence, score)
}

/// A publisher whose apps ran well here for `days` days.
fn used(days: i8) -> Vec<Event> {
    let today = now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let day = |ago: i8| Event::HealthyDay {
        app: "notes".parse().unwrap(),
        day: today - jiff::Span::new().days(i64::from(ago)),
    };
    (0..days).map(day).collect()
}

fn kind(result: Result<(), Problem>) -> String {
    result.map_or_else(|problem| problem.kind, |()| "yes".to_owned())
}

fn gains(texts: &[&str]) -> RightsDiff {
    let right = |text: &&str| Right {
        kind: "network".to_owned(),
        text: (*text).to_owned(),
        weight: RightWeight::Notable,
    };
    RightsDiff {
        gained: texts.iter().map(right).collect(),
        lost: Vec::new(),
    }
}

#[test]
fn the_usual_policy_shows_and_installs_all_but_what_is_refused_and_updates_only_what_is_trusted() {
    let policy = Policy::default();
    let with = |mut events: Vec<Event>, more: &[Event]| {
        events.extend_from_slice(more);
        reputation(events)
    };
    let mut revoked = reputation(Vec::new());
    revoked.evidence.is_revoked = true;
    revoked.score = trust::score(&revoked.evidence, now());
    for (who, standing, show, install, update) in [
        ("new", reputation(Vec::new()), "yes", "yes", "policyScore"),
        ("used", reputation(used(60)), "yes", "yes", "policyScore"),
        (
            "pinned",
            with(Vec::new(), &[Event::Pinned]),
            "yes",
            "yes",
            "yes",
        ),
        (
            "no longer pinned",
            with(Vec::new(), &[Event::Pinned, Event::Unpinned]),
            "yes",
            "yes",
            "policyScore",
        ),
        (
            "blocked",
            with(used(60), &[Event::Pinned, Event::Blocked]),
            "blocked",
            "blocked",
            "blocked",
        ),
        (
            "unblocked",
            with(Vec::new(), &[Event::Blocked, Event::Unblocked]),
            "yes",
            "yes",
            "policyScore",
        ),
        ("revoked", revoked, "yes", "refused", "refused"),
    ] {
        for (action, wished) in [
            (Action::Show, show),
            (Action::Install, install),
            (Action::Update, update),
        ] {
            let decided = decide(&policy, action, &standing, Some(1));
            assert_eq!(kind(decided), wished, "{who}, {action:?}");
        }
    }
}

#[test]
fn a_refusal_says_what_would_change_it() {
    let policy = Policy {
        install_points_min: 50,
        ..Policy::default()
    };
    let refusal = decide(&policy, Action::Install, &reputation(Vec::new()), None).unwrap_err();
    assert_eq!(
        refusal.message,
        "Your policy asks for 50 points to install an app, and this publisher has 0"
    );
    assert!(refusal.hint.unwrap().contains("archy policy set --install"));
    assert!(!refusal.details.is_empty());
}

#[test]
fn signatures_are_asked_for_even_of_pinned_publishers() {
    let policy = Policy {
        signatures_min: 2,
        ..Policy::default()
    };
    let pinned = reputation(vec![Event::Pinned]);
    let decide = |action, signatures| kind(decide(&policy, action, &pinned, signatures));
    assert_eq!(decide(Action::Install, Some(1)), "policySignatures");
    assert_eq!(decide(Action::Update, Some(1)), "policySignatures");
    assert_eq!(decide(Action::Install, Some(2)), "yes");
    // What is not fetched yet has no signatures to count.
    assert_eq!(decide(Action::Install, None), "yes");
    assert_eq!(decide(Action::Show, Some(1)), "yes");
}

#[test]
fn an_update_that_gains_anything_waits_with_the_gain_in_words() {
    let policy = Policy::default();
    let pinned = reputation(vec![Event::Pinned]);
    assert!(may_update_by_itself(Ok(&gains(&[])), &policy, &pinned, 1).is_ok());
    let diff = gains(&["Can reach the internet."]);
    let waits = may_update_by_itself(Ok(&diff), &policy, &pinned, 1).unwrap_err();
    assert_eq!(waits.len(), 1);
    assert_eq!(waits[0].kind, "rightsGained");
    assert_eq!(waits[0].details, ["Can reach the internet."]);
    let new = reputation(Vec::new());
    let waits = may_update_by_itself(Ok(&diff), &policy, &new, 0).unwrap_err();
    let kinds: Vec<&str> = waits.iter().map(|problem| problem.kind.as_str()).collect();
    assert_eq!(kinds, ["rightsGained", "policyScore"]);
    let unknown = problem("notFetched", "not here yet", "");
    let waits = may_update_by_itself(Err(&unknown), &policy, &pinned, 1).unwrap_err();
    assert_eq!(waits, [unknown]);
}

#[test]
fn a_policy_that_cannot_be_met_is_no_policy() {
    for (change, ok) in [
        (
            Policy {
                show_points_min: 101,
                ..Policy::default()
            },
            false,
        ),
        (
            Policy {
                signatures_min: 0,
                ..Policy::default()
            },
            false,
        ),
        (
            Policy {
                signatures_min: 17,
                ..Policy::default()
            },
            false,
        ),
        (
            Policy {
                update_points_min: 100,
                ..Policy::default()
            },
            true,
        ),
    ] {
        assert_eq!(check(&change).is_ok(), ok, "{change:?}");
    }
}

#[test]
fn the_policy_survives_and_a_damaged_one_is_not_replaced_by_a_laxer_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.json");
    let policies = Policies::open(&path).unwrap();
    assert_eq!(policies.now(), Policy::default());
    let strict = Policy {
        install_points_min: 65,
        ..Policy::default()
    };
    policies.set(strict.clone()).unwrap();
    let senseless = Policy {
        install_points_min: 101,
        ..Policy::default()
    };
    assert_eq!(policies.set(senseless).unwrap_err().kind, "invalid");
    assert_eq!(Policies::<Policy>::open(&path).unwrap().now(), strict);
    for text in [
        "{",
        "{}",
        r#"{"showPointsMin":0,"installPointsMin":0,"updatePointsMin":35,"signaturesMin":0}"#,
    ] {
        std::fs::write(&path, text).unwrap();
        assert!(Policies::<Policy>::open(&path).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn a_stricter_policy_never_allows_more(
        points in 0_u32..=100, more in 0_u32..=100, signatures in 1_u32..4, days in 0_i8..100, pinned: bool,
    ) {
        let mut events = used(days);
        events.extend(pinned.then_some(Event::Pinned));
        let standing = reputation(events);
        let policy = |points: u32| Policy {
            show_points_min: points,
            install_points_min: points,
            update_points_min: points,
            signatures_min: signatures,
        };
        let (lax, strict) = (policy(points), policy((points + more).min(100)));
        for action in [Action::Show, Action::Install, Action::Update] {
            if decide(&strict, action, &standing, Some(2)).is_ok() {
                prop_assert!(decide(&lax, action, &standing, Some(2)).is_ok());
            }
        }
    }
}
