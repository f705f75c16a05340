//! What follows from a policy: a case per rule, and what holds for all of them.

use std::num::NonZeroU64;

use jiff::civil::date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::api::types::{AppRef, SeedingDay, SeedingHours, SeedingMetered, SeedingRule};
use crate::policy::Decided;

const DID: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
const EVERY_DAY: [SeedingDay; 7] = [
    SeedingDay::Monday,
    SeedingDay::Tuesday,
    SeedingDay::Wednesday,
    SeedingDay::Thursday,
    SeedingDay::Friday,
    SeedingDay::Saturday,
    SeedingDay::Sunday,
];
const OPEN: UploadLimits = UploadLimits {
    is_paused: false,
    bytes_per_second: None,
    peer_bytes_per_second: None,
};

/// Berlin's rule as POSIX writes it, so that no time zone database is needed.
fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

/// A time in Berlin.
fn at(text: &str) -> Zoned {
    let civil: jiff::civil::DateTime = text.parse().unwrap();
    civil.to_zoned(berlin()).unwrap()
}

fn hours(rule: SeedingRule, days: &[SeedingDay], from: &str, to: &str) -> SeedingHours {
    SeedingHours {
        rule,
        days: days.to_vec(),
        from: from.to_owned(),
        to: to.to_owned(),
        bytes_per_second: (rule == SeedingRule::Slow).then_some(200_000),
    }
}

fn nights() -> SeedingPolicy {
    SeedingPolicy {
        hours: vec![hours(SeedingRule::Only, &EVERY_DAY, "22:00", "07:00")],
        ..SeedingPolicy::default()
    }
}

const NOTHING: Facts<'_> = Facts {
    month_bytes: 0,
    network_metered: None,
    given: &[],
};

/// Whether anything is given away, the first reason in words, and when to look again, in Berlin.
fn outcome(policy: &SeedingPolicy, now: &Zoned, facts: &Facts<'_>) -> (bool, String, String) {
    policy.check().unwrap();
    let decision = decide(policy, OPEN, now, facts);
    let words = decision.reasons.first().map(|reason| reason.words(now));
    let look = decision.look_again.map(|look| {
        let look = look.to_zoned(now.time_zone().clone());
        look.strftime("%m-%d %H:%M").to_string()
    });
    (
        !decision.limits.is_paused,
        words.unwrap_or_default(),
        look.unwrap_or_default(),
    )
}

#[test]
fn without_a_policy_nothing_is_limited() {
    let decision = decide(
        &SeedingPolicy::default(),
        OPEN,
        &at("2026-11-21T12:00"),
        &NOTHING,
    );
    assert_eq!(decision.limits, UploadLimits::default());
    assert!(decision.refused.is_empty() && decision.reasons.is_empty());
    assert_eq!(decision.look_again, None);
}

#[test]
fn a_pause_lasts_as_long_as_it_should() {
    let paused = |until: Option<&str>| SeedingPolicy {
        paused: true,
        paused_until: until.map(|until| at(until).timestamp().to_string()),
        ..SeedingPolicy::default()
    };
    for (until, now, given, words, look) in [
        (
            None,
            "2026-11-21T12:00",
            false,
            "paused until you resume it",
            "",
        ),
        (
            Some("2026-11-21T18:00"),
            "2026-11-21T12:00",
            false,
            "paused until 18:00",
            "11-21 18:00",
        ),
        (
            Some("2026-11-22T07:00"),
            "2026-11-21T23:00",
            false,
            "paused until tomorrow 07:00",
            "11-22 07:00",
        ),
        (
            Some("2026-11-23T07:00"),
            "2026-11-21T23:00",
            false,
            "paused until Monday 07:00",
            "11-23 07:00",
        ),
        (
            Some("2027-01-01T00:00"),
            "2026-11-21T23:00",
            false,
            "paused until 1 January 2027",
            "01-01 00:00",
        ),
        (Some("2026-11-21T18:00"), "2026-11-21T18:00", true, "", ""),
    ] {
        let outcome = outcome(&paused(until), &at(now), &NOTHING);
        let expected = (given, words.to_owned(), look.to_owned());
        assert_eq!(outcome, expected, "{until:?} {now}");
    }
}

#[test]
fn a_budget_ends_and_begins_with_the_month_in_utc() {
    let policy = SeedingPolicy {
        month_bytes_max: Some(200_000_000_000),
        ..SeedingPolicy::default()
    };
    let used = |month_bytes| Facts {
        month_bytes,
        ..NOTHING
    };
    for (now, month_bytes, given, words, look) in [
        ("2026-11-21T12:00", 199_999_999_999, true, "", "12-01 01:00"),
        (
            "2026-11-21T12:00",
            200_000_000_000,
            false,
            "monthly budget of 200 GB used up; seeding goes on on 1 December at 01:00",
            "12-01 01:00",
        ),
        // Past midnight in Berlin, and November still in UTC.
        (
            "2026-12-01T00:59",
            200_000_000_000,
            false,
            "monthly budget of 200 GB used up; seeding goes on at 01:00",
            "12-01 01:00",
        ),
        ("2026-12-01T01:00", 0, true, "", "01-01 01:00"),
        (
            "2026-12-31T12:00",
            u64::MAX,
            false,
            "monthly budget of 200 GB used up; seeding goes on tomorrow at 01:00",
            "01-01 01:00",
        ),
        // Summer time.
        ("2026-06-30T12:00", 0, true, "", "07-01 02:00"),
    ] {
        let outcome = outcome(&policy, &at(now), &used(month_bytes));
        let expected = (given, words.to_owned(), look.to_owned());
        assert_eq!(outcome, expected, "{now} {month_bytes}");
    }
    let day = |now: &str| decide::month(&at(now)).first_day;
    let first = |month| {
        let since = date(2026, month, 1).since(date(1970, 1, 1)).unwrap();
        u32::try_from(since.get_days()).unwrap()
    };
    assert_eq!(day("2026-12-01T00:59"), first(11));
    assert_eq!(day("2026-12-01T01:00"), first(12));
}

#[test]
fn hours_wrap_over_midnight_and_follow_the_clock_on_the_wall() {
    use SeedingDay::{Friday, Saturday, Sunday};
    let weekend = SeedingPolicy {
        hours: vec![
            hours(SeedingRule::Only, &[Friday], "18:00", "00:00"),
            hours(SeedingRule::Only, &[Saturday, Sunday], "00:00", "00:00"),
        ],
        ..SeedingPolicy::default()
    };
    let early = SeedingPolicy {
        hours: vec![hours(SeedingRule::Only, &[Sunday], "02:30", "04:00")],
        ..SeedingPolicy::default()
    };
    let out = |when: &str| format!("outside the seeding hours; seeding goes on {when}");
    for (policy, now, given, words, look) in [
        (
            nights(),
            "2026-11-21T21:59",
            false,
            out("at 22:00"),
            "11-21 22:00",
        ),
        (
            nights(),
            "2026-11-21T22:00",
            true,
            String::new(),
            "11-22 07:00",
        ),
        (
            nights(),
            "2026-11-22T00:30",
            true,
            String::new(),
            "11-22 07:00",
        ),
        (
            nights(),
            "2026-11-22T07:00",
            false,
            out("at 22:00"),
            "11-22 22:00",
        ),
        // 2026-11-20 is a Friday.
        (
            weekend.clone(),
            "2026-11-20T17:00",
            false,
            out("at 18:00"),
            "11-20 18:00",
        ),
        (
            weekend.clone(),
            "2026-11-21T12:00",
            true,
            String::new(),
            "11-22 00:00",
        ),
        (
            weekend.clone(),
            "2026-11-22T23:59",
            true,
            String::new(),
            "11-23 00:00",
        ),
        (
            weekend,
            "2026-11-23T00:00",
            false,
            out("on Friday at 18:00"),
            "11-27 18:00",
        ),
        // The night in which summer time begins has no 02:30.
        (
            early.clone(),
            "2026-03-29T01:59",
            false,
            out("at 03:30"),
            "03-29 03:30",
        ),
        (
            early.clone(),
            "2026-03-29T03:30",
            true,
            String::new(),
            "03-29 04:00",
        ),
        // The night in which it ends has two.
        (
            early,
            "2026-10-25T02:30",
            true,
            String::new(),
            "10-25 04:00",
        ),
    ] {
        let outcome = outcome(&policy, &at(now), &NOTHING);
        assert_eq!(outcome, (given, words, look.to_owned()), "{now}");
    }
    // A night is an hour shorter when summer time begins: from 22:00 to 07:00 are eight hours.
    let now = at("2026-03-28T22:00");
    let end = decide(&nights(), OPEN, &now, &NOTHING).look_again.unwrap();
    assert_eq!(end.duration_since(now.timestamp()).as_hours(), 8);
}

#[test]
fn the_smallest_rate_holds_and_is_named() {
    let rate = NonZeroU64::new;
    let policy = SeedingPolicy {
        bytes_per_second: Some(2_000_000),
        peer_bytes_per_second: Some(500_000),
        hours: vec![hours(SeedingRule::Slow, &EVERY_DAY, "08:00", "18:00")],
        ..SeedingPolicy::default()
    };
    let set = |total, each| UploadLimits {
        is_paused: false,
        bytes_per_second: rate(total),
        peer_bytes_per_second: rate(each),
    };
    let each = "at most 500 kB/s to each node as you set";
    for (now, ceiling, total, reasons) in [
        (
            "2026-11-21T07:59",
            OPEN,
            2_000_000,
            ["at most 2 MB/s as you set", each],
        ),
        (
            "2026-11-21T08:00",
            OPEN,
            200_000,
            ["slow hours until 18:00: at most 200 kB/s", each],
        ),
        (
            "2026-11-21T08:00",
            set(1_000_000, 500_000),
            200_000,
            ["slow hours until 18:00: at most 200 kB/s", each],
        ),
        (
            "2026-11-21T18:00",
            set(1_000_000, 100_000),
            1_000_000,
            [
                "at most 1 MB/s by the setting swarm.upload",
                "at most 100 kB/s to each node by the setting swarm.upload_per_node",
            ],
        ),
    ] {
        let now = at(now);
        let decision = decide(&policy, ceiling, &now, &NOTHING);
        assert!(!decision.limits.is_paused);
        assert_eq!(decision.limits.bytes_per_second, rate(total), "{now}");
        let words: Vec<_> = decision
            .reasons
            .iter()
            .map(|reason| reason.words(&now))
            .collect();
        assert_eq!(words, reasons, "{now}");
    }
}

#[test]
fn a_metered_network_carries_what_the_owner_lets_it() {
    use SeedingMetered::{Limited, Never, Usual};
    let now = at("2026-11-21T12:00");
    let (none, network, owner) = (
        "",
        "the network is metered",
        "this connection counts as metered, as you said",
    );
    for (metered, says, treated, given, slow, words) in [
        (Never, None, false, true, false, none),
        (Never, Some(false), false, true, false, none),
        (Never, Some(true), false, false, false, network),
        (Never, None, true, false, false, owner),
        (Never, Some(false), true, false, false, owner),
        (Limited, Some(true), false, true, true, network),
        (Limited, Some(false), true, true, true, owner),
        (Limited, None, false, true, false, none),
        (Usual, Some(true), true, true, false, none),
    ] {
        let policy = SeedingPolicy {
            metered,
            metered_bytes_per_second: Some(100_000),
            treat_as_metered: treated,
            ..SeedingPolicy::default()
        };
        let facts = Facts {
            network_metered: says,
            ..NOTHING
        };
        let (is_given, said, look) = outcome(&policy, &now, &facts);
        assert_eq!(
            (is_given, look.as_str()),
            (given, ""),
            "{metered:?} {says:?}"
        );
        let expected = if slow {
            format!("{words}: at most 100 kB/s")
        } else {
            words.to_owned()
        };
        assert_eq!(said, expected, "{metered:?} {says:?} {treated}");
    }
}

#[test]
fn apps_that_are_off_and_versions_given_away_often_enough_are_refused() {
    let version = |name: &str, size_bytes, uploaded_bytes| Given {
        tag: format!("app/{DID}/{name}").parse().unwrap(),
        size_bytes,
        uploaded_bytes,
    };
    let given = [
        version("notes/1", 100, 200),
        version("notes/2", 100, 199),
        version("photos/1", 100, 0),
    ];
    let refused = |policy: &SeedingPolicy| {
        policy.check().unwrap();
        let facts = Facts {
            given: &given,
            ..NOTHING
        };
        let decision = decide(policy, OPEN, &at("2026-11-21T12:00"), &facts);
        assert_eq!(decision.limits, OPEN, "others are given away as before");
        let tags = decision.refused.iter().map(Tag::to_string);
        tags.map(|tag| tag.replace(DID, "D")).collect::<Vec<_>>()
    };
    let mut policy = SeedingPolicy::default();
    assert!(refused(&policy).is_empty());
    policy.ratio_max = Some(2.0);
    assert_eq!(refused(&policy), ["app/D/notes/1"]);
    policy.ratio_max = Some(0.5);
    assert_eq!(refused(&policy), ["app/D/notes/1", "app/D/notes/2"]);
    policy.ratio_max = None;
    policy.apps_off = vec![AppRef {
        publisher: DID.to_owned(),
        slug: "photos".to_owned(),
    }];
    assert_eq!(refused(&policy), ["app/D/photos", "catalog/D/photos"]);
}

#[test]
fn what_stops_comes_first_and_all_of_it_is_said() {
    let policy = SeedingPolicy {
        paused: true,
        month_bytes_max: Some(1),
        bytes_per_second: Some(1_000_000),
        treat_as_metered: true,
        ..nights()
    };
    let facts = Facts {
        month_bytes: 1,
        ..NOTHING
    };
    let now = at("2026-11-21T12:00");
    let state = decide(&policy, OPEN, &now, &facts).state(&now);
    let kinds: Vec<_> = state
        .reasons
        .iter()
        .map(|reason| &reason.kind[..])
        .collect();
    assert_eq!(kinds, ["paused", "budget", "hours", "metered"]);
    assert_eq!(state.mode, crate::api::types::SeedingMode::Stopped);
    assert_eq!(
        state.reasons[1].until.as_deref(),
        Some("2026-12-01T00:00:00Z")
    );
}

#[test]
fn what_makes_no_sense_is_answered_with_what_to_do() {
    type Change = fn(&mut SeedingPolicy);
    let cases: [(Change, &str); 20] = [
        (
            |p| p.paused_until = Some("2026-12-01T18:00:00Z".into()),
            "paused is not",
        ),
        (
            |p| (p.paused, p.paused_until) = (true, Some("18:00".into())),
            "not a time",
        ),
        (|p| p.bytes_per_second = Some(0), "bytesPerSecond is 0"),
        (
            |p| p.peer_bytes_per_second = Some(0),
            "peerBytesPerSecond is 0",
        ),
        (|p| p.bytes_per_second = Some(u64::MAX), "no link"),
        (|p| p.month_bytes_max = Some(0), "monthBytesMax is 0"),
        (|p| p.ratio_max = Some(0.0), "ratioMax is 0"),
        (|p| p.ratio_max = Some(-1.0), "ratioMax is -1"),
        (|p| p.ratio_max = Some(f64::NAN), "ratioMax is NaN"),
        (|p| p.ratio_max = Some(1e300), "at most 10000"),
        (
            |p| p.metered = SeedingMetered::Limited,
            "meteredBytesPerSecond is missing",
        ),
        (|p| p.hours[0].days.clear(), "no day"),
        (
            |p| p.hours[0].days = vec![SeedingDay::Monday; 2],
            "a day twice",
        ),
        (|p| p.hours[0].from = "24:00".into(), "from is not"),
        (|p| p.hours[0].to = "7:00".into(), "to is not"),
        (|p| p.hours[0].to = "+7:-1".into(), "to is not"),
        (|p| p.hours[0].rule = SeedingRule::Slow, "no bytesPerSecond"),
        (|p| p.hours[0].bytes_per_second = Some(1), "rule only have"),
        (|p| p.hours = vec![p.hours[0].clone(); 33], "33 rules"),
        (
            |p| {
                p.apps_off = vec![AppRef {
                    publisher: DID.into(),
                    slug: "../x".into(),
                }];
            },
            "no app",
        ),
    ];
    for (change, expected) in cases {
        let mut policy = nights();
        policy.check().unwrap();
        change(&mut policy);
        let problem = policy.check().unwrap_err();
        assert_eq!(problem.kind, "invalid");
        assert!(problem.message.contains(expected), "{problem:?}");
        assert!(
            problem.hint.is_some_and(|hint| !hint.is_empty()),
            "{expected}"
        );
    }
    let app = AppRef {
        publisher: DID.to_owned(),
        slug: "notes".to_owned(),
    };
    for (apps, expected) in [
        (vec![app.clone(); 2], "twice"),
        (vec![app; 1001], "1001 apps"),
    ] {
        let policy = SeedingPolicy {
            apps_off: apps,
            ..SeedingPolicy::default()
        };
        let problem = policy.check().unwrap_err();
        assert!(problem.message.contains(expected), "{problem:?}");
    }
}

#[test]
fn the_policy_survives_and_a_damaged_one_is_not_replaced_by_a_laxer_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seeding.json");
    let now = at("2026-11-21T12:00");
    let seeding = Seeding::open(&path, OPEN).unwrap();
    assert_eq!(seeding.policy(), SeedingPolicy::default());
    let policy = SeedingPolicy {
        paused: true,
        paused_until: Some("2026-12-01T18:00:00Z".to_owned()),
        ratio_max: Some(1.5),
        ..nights()
    };
    seeding.set(policy.clone(), &now).unwrap();
    let wrong = SeedingPolicy {
        ratio_max: Some(0.0),
        ..policy.clone()
    };
    assert_eq!(seeding.set(wrong, &now).unwrap_err().kind, "invalid");
    let again = Seeding::open(&path, OPEN).unwrap();
    assert_eq!(again.policy(), policy);
    // A pause that is over is none.
    again.set(policy, &at("2026-12-02T12:00")).unwrap();
    let kept = again.policy();
    assert_eq!((kept.paused, kept.paused_until), (false, None));
    let good = std::fs::read_to_string(&path).unwrap();
    for text in [
        "{".to_owned(),
        "{}".to_owned(),
        good.replace("1.5", "0"),
        good.replace("\"ratioMax\"", "\"ratio\""),
        good.replace("22:00", "22:60"),
    ] {
        std::fs::write(&path, &text).unwrap();
        let error = Seeding::open(&path, OPEN).unwrap_err();
        assert!(error.to_string().contains("seeding.json"), "{text}");
    }
}

fn a_time() -> impl Strategy<Value = Zoned> {
    // 2020 to 2040.
    (1_577_836_800_i64..2_208_988_800)
        .prop_map(|second| Timestamp::from_second(second).unwrap().to_zoned(berlin()))
}

fn some_hours() -> impl Strategy<Value = SeedingHours> {
    let rule = prop_oneof![Just(SeedingRule::Only), Just(SeedingRule::Slow)];
    let days = proptest::sample::subsequence(EVERY_DAY.to_vec(), 1..=7);
    let clock = || (0..24_u8, 0..60_u8).prop_map(|(hour, minute)| format!("{hour:02}:{minute:02}"));
    (rule, days, clock(), clock()).prop_map(|(rule, days, from, to)| hours(rule, &days, &from, &to))
}

fn some_policy() -> impl Strategy<Value = SeedingPolicy> {
    let metered = prop_oneof![
        Just(SeedingMetered::Never),
        Just(SeedingMetered::Limited),
        Just(SeedingMetered::Usual),
    ];
    (
        proptest::option::of(1_u64..1_000_000),
        proptest::option::of(1_u64..1000),
        proptest::collection::vec(some_hours(), 0..4),
        metered,
        any::<bool>(),
        proptest::option::of(proptest::option::of(a_time())),
    )
        .prop_map(|(rate, budget, hours, metered, treated, pause)| {
            let until = pause.as_ref().and_then(Option::as_ref);
            SeedingPolicy {
                paused: pause.is_some(),
                paused_until: until.map(|until| until.timestamp().to_string()),
                bytes_per_second: rate,
                month_bytes_max: budget,
                hours,
                metered,
                metered_bytes_per_second: Some(1000),
                treat_as_metered: treated,
                ..SeedingPolicy::default()
            }
        })
}

proptest! {
    #[test]
    fn nothing_is_given_away_in_a_pause(
        mut policy in some_policy(),
        now in a_time(),
        left_s in proptest::option::of(1_i64..1_000_000_000),
        month_bytes in any::<u64>(),
        network_metered in any::<Option<bool>>(),
    ) {
        let until = left_s.map(|left| now.timestamp() + SignedDuration::from_secs(left));
        policy.paused = true;
        policy.paused_until = until.map(|until| until.to_string());
        let facts = Facts { month_bytes, network_metered, given: &[] };
        let decision = decide(&policy, OPEN, &now, &facts);
        prop_assert!(decision.limits.is_paused);
        prop_assert_eq!(decision.reasons[0], Reason::Paused { until });
    }

    #[test]
    fn until_it_is_looked_again_the_same_holds_and_a_stop_always_has_a_reason(
        policy in some_policy(),
        now in a_time(),
        share in 0.0..1.0_f64,
        month_bytes in 0_u64..1000,
        network_metered in any::<Option<bool>>(),
    ) {
        prop_assert!(policy.check().is_ok());
        let facts = Facts { month_bytes, network_metered, given: &[] };
        let decision = decide(&policy, OPEN, &now, &facts);
        prop_assert_eq!(decision.limits.is_paused, decision.state(&now).mode == crate::api::types::SeedingMode::Stopped);
        prop_assert!(!decision.limits.is_paused || !decision.reasons.is_empty());
        let month = 31 * 24 * 3600;
        let wait = decision.look_again.map_or(month, |look| look.duration_since(now.timestamp()).as_secs() - 1);
        prop_assert!(wait >= -1);
        let later = now.timestamp() + SignedDuration::from_secs((wait.max(0) as f64 * share) as i64);
        let then = decide(&policy, OPEN, &later.to_zoned(berlin()), &facts);
        prop_assert_eq!(then.limits, decision.limits);
        prop_assert_eq!(then.reasons, decision.reasons);
    }
}
