//! Scores: the numbers that were meant, and the properties that must hold for any evidence.

use archy_registry::trust::{
    self, Band, CAP_UNPROVEN, Contradiction, Event, Evidence, POINT, ReasonCode, Recorded, Score,
    Sighting,
};
use jiff::civil::Date;
use proptest::prelude::*;

use crate::common::{hours_later, key, now};

const PUBKEY: &str = "abababababababababababababababababababababababababababababababab";

pub(crate) fn nobody() -> Evidence {
    Evidence {
        publisher: key(1).did(),
        key_state_seq: 0,
        has_next_keys: false,
        is_revoked: false,
        nostr: Vec::new(),
        sightings: Vec::new(),
        events: Vec::new(),
        contradictions: Vec::new(),
        seeds: 0,
        voices: Vec::new(),
    }
}

pub(crate) fn record(evidence: &mut Evidence, event: Event) {
    let id = i64::try_from(evidence.events.len()).unwrap() + 1;
    evidence.events.push(Recorded {
        id,
        at: now(),
        event,
    });
}

fn day(days_ago: i64) -> Date {
    let today: Date = "2026-11-21".parse().unwrap();
    today.saturating_sub(jiff::Span::new().days(days_ago))
}

pub(crate) fn healthy(evidence: &mut Evidence, days: std::ops::Range<i64>) {
    for days_ago in days {
        let app = "site".parse().unwrap();
        record(
            evidence,
            Event::HealthyDay {
                app,
                day: day(days_ago),
            },
        );
    }
}

fn seen(evidence: &mut Evidence, seq: u64, days_ago: i64) {
    evidence.sightings.push(Sighting {
        app: "site".parse().unwrap(),
        seq,
        at: hours_later(-24 * days_ago),
    });
}

/// A publisher with Nostr link and committed keys, known for a year with twelve releases.
fn known() -> Evidence {
    let mut evidence = Evidence {
        key_state_seq: 1,
        has_next_keys: true,
        nostr: vec![(PUBKEY.to_owned(), hours_later(1))],
        ..nobody()
    };
    record(
        &mut evidence,
        Event::NostrLinked {
            pubkey: PUBKEY.to_owned(),
        },
    );
    for seq in 0..12 {
        seen(
            &mut evidence,
            seq + 1,
            365 - 30 * i64::try_from(seq).unwrap(),
        );
    }
    evidence
}

pub(crate) fn score(evidence: &Evidence) -> Score {
    let score = trust::score(evidence, now());
    let sum: i64 = score.reasons.iter().map(|reason| reason.micro_points).sum();
    assert_eq!(sum, score.micro_points, "{score:#?}");
    assert!((0..=100 * POINT).contains(&score.micro_points));
    score
}

fn points(evidence: &Evidence) -> (i64, Band) {
    let score = score(evidence);
    (score.micro_points, score.band)
}

#[test]
fn scores_are_those_that_were_meant() {
    assert_eq!(points(&nobody()), (0, Band::New));

    // 4 + 3 for identity, 8(1-2^(-365/180)) + 7(1-2^(-12/5)) for history.
    assert_eq!(points(&known()), (18_711_887, Band::Unproven));

    let mut used = known();
    healthy(&mut used, 1..61);
    let (used_points, band) = points(&used);
    assert_eq!(band, Band::SomeTrust);
    // 25 r/(r+2) with r = 60 faded thirds.
    assert!((used_points - 41_189_599).abs() <= 1, "{used_points}");
}

#[test]
fn every_part_has_a_reason_and_every_reason_its_rows() {
    let mut evidence = known();
    healthy(&mut evidence, 1..4);
    record(
        &mut evidence,
        Event::Complaint {
            app: "site".parse().unwrap(),
            text: "ads".to_owned(),
        },
    );
    insta::assert_json_snapshot!(score(&evidence));
}

#[test]
fn a_link_counts_while_the_key_state_binds_the_account() {
    let linked = |score: &Score| {
        score
            .reasons
            .iter()
            .any(|reason| reason.code == ReasonCode::Linked)
    };
    let mut evidence = known();
    assert!(linked(&score(&evidence)));
    evidence.nostr[0].1 = now();
    assert!(!linked(&score(&evidence)), "the binding has ended");
    evidence.nostr.clear();
    assert!(!linked(&score(&evidence)), "the account alone says it");
}

#[test]
fn releases_of_one_day_count_once() {
    let mut evidence = nobody();
    for seq in 1..=50 {
        seen(&mut evidence, seq, 10);
    }
    let one_day = points(&evidence).0;
    let mut single = nobody();
    seen(&mut single, 1, 10);
    assert_eq!(one_day, points(&single).0);
    seen(&mut evidence, 51, 9);
    assert!(points(&evidence).0 > one_day);
}

#[test]
fn the_cap_holds_until_own_good_experience_or_the_owners_word() {
    assert_eq!(score(&nobody()).cap.unwrap().micro_points, CAP_UNPROVEN);
    let mut evidence = known();
    healthy(&mut evidence, 0..4);
    assert!(score(&evidence).cap.is_none());
    let mut fading = known();
    healthy(&mut fading, 0..3);
    assert!(
        score(&fading).cap.is_some(),
        "three days make one vote, but two of them have begun to fade"
    );
    record(&mut fading, Event::Pinned);
    assert!(score(&fading).cap.is_none());
    record(&mut fading, Event::Unpinned);
    assert!(score(&fading).cap.is_some());
}

#[test]
fn what_voids_a_score_leaves_nothing_and_says_why() {
    let mut good = known();
    healthy(&mut good, 0..60);
    let mut blocked = good.clone();
    record(&mut blocked, Event::Blocked);
    let revoked = Evidence {
        is_revoked: true,
        ..good.clone()
    };
    let mut contradicted = good.clone();
    contradicted.contradictions.push(Contradiction {
        id: 1,
        subject: "release".to_owned(),
        seq: 7,
        at: now(),
    });
    record(&mut contradicted, Event::Pinned);
    for (evidence, code) in [
        (&blocked, ReasonCode::Blocked),
        (&revoked, ReasonCode::Revoked),
        (&contradicted, ReasonCode::Contradiction),
    ] {
        let score = score(evidence);
        assert_eq!((score.micro_points, score.band), (0, Band::Refused));
        assert_eq!(score.reasons.last().unwrap().code, code);
    }
    for (subject, what, advice) in [
        (
            "release",
            "two different releases",
            "takes the app's releases back",
        ),
        (
            "key_state",
            "two different key states",
            "which keys are its own",
        ),
        ("rotation", "two different key states", "start anew"),
    ] {
        contradicted.contradictions[0].subject = subject.to_owned();
        let score = score(&contradicted);
        assert!(score.reasons.last().unwrap().text.contains(what));
        let [change] = &score.would_change[..] else {
            panic!("{:?}", score.would_change);
        };
        assert!(change.contains(advice), "{change}");
    }
    let mut all = Evidence {
        is_revoked: true,
        ..contradicted
    };
    record(&mut all, Event::Blocked);
    assert_eq!(points(&all), (0, Band::Refused));
    record(&mut blocked, Event::Unblocked);
    assert_eq!(points(&blocked), points(&good));
}

#[test]
fn complaints_outweigh_what_they_meet_but_never_go_below_nothing() {
    let mut evidence = nobody();
    for _ in 0..9 {
        record(
            &mut evidence,
            Event::InstallFailed {
                app: "site".parse().unwrap(),
                release: archy_registry::Blake3Hash::of(b""),
                reason: "never healthy".to_owned(),
                publishers_fault: true,
            },
        );
    }
    assert_eq!(points(&evidence), (0, Band::New));
    let mut innocent = nobody();
    record(
        &mut innocent,
        Event::InstallFailed {
            app: "site".parse().unwrap(),
            release: archy_registry::Blake3Hash::of(b""),
            reason: "disk full".to_owned(),
            publishers_fault: false,
        },
    );
    assert_eq!(score(&innocent).reasons, []);
}

#[test]
fn a_release_with_bad_deltas_counts_once_and_a_third_of_a_failure() {
    type Case<'c> = (&'c str, &'c [Event], Option<(i64, usize)>);
    let bad = |release: &[u8], delta: &[u8]| Event::BadDelta {
        app: "site".parse().unwrap(),
        release: archy_registry::Blake3Hash::of(release),
        delta: archy_registry::Blake3Hash::of(delta),
        reason: "it is cut off".to_owned(),
    };
    let of = |events: &[Event]| {
        let mut evidence = known();
        for event in events {
            record(&mut evidence, event.clone());
        }
        let own = score(&evidence).reasons.into_iter();
        own.filter(|reason| reason.code == ReasonCode::OwnComplaints)
            .map(|reason| (reason.micro_points, reason.evidence.len()))
            .next()
    };
    let unhealthy = Event::UnhealthyDay {
        app: "site".parse().unwrap(),
        day: day(0),
    };
    let third = -25 * POINT / 7;
    let cases: [Case<'_>; 5] = [
        ("none", &[], None),
        ("as an unhealthy day", &[unhealthy], Some((third, 1))),
        ("one", &[bad(b"1", b"a")], Some((third, 1))),
        (
            "several of one release",
            &[bad(b"1", b"a"), bad(b"1", b"a"), bad(b"1", b"b")],
            Some((third, 1)),
        ),
        (
            "of two releases",
            &[bad(b"1", b"a"), bad(b"2", b"a")],
            Some((-25 * POINT / 4, 2)),
        ),
    ];
    for (case, events, expected) in cases {
        let found = of(events);
        // Votes are billionths, so a third is cut off.
        let is_near = |found: (i64, usize), meant: (i64, usize)| {
            found.1 == meant.1 && (found.0 - meant.0).abs() <= 1
        };
        let agree = match (found, expected) {
            (Some(found), Some(expected)) => is_near(found, expected),
            (found, expected) => found == expected,
        };
        assert!(agree, "{case}: {found:?}, not {expected:?}");
    }
}

fn events() -> impl Strategy<Value = Event> {
    let app = || prop_oneof![Just("a"), Just("b")].prop_map(|slug| slug.parse().unwrap());
    prop_oneof![
        4 => (app(), -2_i64..400).prop_map(|(app, ago)| Event::HealthyDay { app, day: day(ago) }),
        2 => (app(), 0_i64..400).prop_map(|(app, ago)| Event::UnhealthyDay { app, day: day(ago) }),
        1 => app().prop_map(|app| Event::Complaint { app, text: String::new() }),
        1 => (app(), 0_u8..3, 0_u8..3).prop_map(|(app, release, delta)| Event::BadDelta {
            app,
            release: archy_registry::Blake3Hash::of(&[release]),
            delta: archy_registry::Blake3Hash::of(&[delta]),
            reason: String::new(),
        }),
        1 => Just(Event::NostrLinked { pubkey: PUBKEY.to_owned() }),
        1 => Just(Event::Pinned),
        1 => Just(Event::Unpinned),
        1 => Just(Event::Unblocked),
    ]
}

prop_compose! {
    fn evidences()(
        has_next_keys in any::<bool>(),
        bound in any::<bool>(),
        sightings in proptest::collection::vec((1_u64..100, 0_i64..2000), 0..40),
        events in proptest::collection::vec(events(), 0..60),
    ) -> Evidence {
        let mut evidence = Evidence { has_next_keys, ..nobody() };
        if bound {
            evidence.nostr.push((PUBKEY.to_owned(), hours_later(1)));
        }
        for (seq, hours_ago) in sightings {
            seen(&mut evidence, seq, 0);
            evidence.sightings.last_mut().unwrap().at = hours_later(-hours_ago);
        }
        for event in events {
            record(&mut evidence, event);
        }
        evidence
    }
}

proptest! {
    #[test]
    fn the_order_of_the_rows_does_not_matter(evidence in evidences(), seed in any::<u64>()) {
        let mut shuffled = evidence.clone();
        let rank = |index: usize| (index as u64 + 1).wrapping_mul(seed | 1).rotate_left(17);
        let mut order: Vec<usize> = (0..evidence.events.len()).collect();
        order.sort_by_key(|index| rank(*index));
        shuffled.events = order.into_iter().map(|index| evidence.events[index].clone()).collect();
        shuffled.sightings.reverse();
        prop_assert_eq!(score(&shuffled), score(&evidence));
    }

    #[test]
    fn good_news_never_lowers_and_bad_news_never_raises(evidence in evidences(), ago in 0_i64..400) {
        let before = score(&evidence).micro_points;
        let app: archy_registry::Slug = "c".parse().unwrap();
        let mut better = evidence.clone();
        record(&mut better, Event::HealthyDay { app: app.clone(), day: day(ago) });
        prop_assert!(score(&better).micro_points >= before);
        let mut better = evidence.clone();
        seen(&mut better, 1000, ago);
        prop_assert!(score(&better).micro_points >= before);
        let better = Evidence { has_next_keys: true, ..evidence.clone() };
        prop_assert!(score(&better).micro_points >= before);
        let mut better = evidence.clone();
        record(&mut better, Event::Pinned);
        prop_assert!(score(&better).micro_points >= before);

        let mut worse = evidence.clone();
        record(&mut worse, Event::UnhealthyDay { app: app.clone(), day: day(ago) });
        prop_assert!(score(&worse).micro_points <= before);
        let mut worse = evidence.clone();
        record(&mut worse, Event::Complaint { app, text: String::new() });
        prop_assert!(score(&worse).micro_points <= before);
        let worse = Evidence { is_revoked: true, ..evidence };
        prop_assert_eq!(points(&worse), (0, Band::Refused));
    }
}
