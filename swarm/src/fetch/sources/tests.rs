use archy_registry::id::EndpointId;
use proptest::prelude::*;

use super::*;

const BLOB: Blake3Hash = Blake3Hash::from_bytes([9; 32]);

fn endpoint(n: u8) -> Endpoint {
    Endpoint {
        id: EndpointId::from_bytes([n; 32]),
        addresses: vec![],
        relays: vec![],
    }
}

fn patience() -> Patience {
    Patience {
        retry: Duration::from_secs(1),
        attempts_max: 3,
        ..Patience::default()
    }
}

/// Connected providers of these kinds.
fn connected(kinds: &[ProviderKind]) -> Sources {
    let mut sources = Sources::new(patience());
    for (kind, n) in kinds.iter().zip(0..) {
        let Added::New(index) = sources.add(endpoint(n), *kind) else {
            panic!("not added");
        };
        sources.connected(index);
    }
    sources
}

fn fail(sources: &mut Sources, index: Index, failure: &GetFailure, now: Instant) {
    sources.began(index);
    sources.ended(index, &BLOB, (0, 0), Err(failure), now);
}

const STALLED: GetFailure = GetFailure::Stalled {
    within: Duration::from_secs(3),
};

#[test]
fn the_local_network_comes_first_and_load_is_spread() {
    let mut sources = connected(&[ProviderKind::Peer, ProviderKind::Origin, ProviderKind::Lan]);
    let now = Instant::now();
    let mut order = Vec::new();
    for _ in 0..3 {
        let Pick::Use(index) = sources.pick(&BLOB, now) else {
            panic!("nobody to ask");
        };
        sources.began(index);
        order.push(index);
    }
    assert_eq!(order, [2, 1, 0]);
}

#[test]
fn the_faster_provider_is_preferred_once_rates_are_known() {
    let mut sources = connected(&[ProviderKind::Lan, ProviderKind::Origin]);
    let now = Instant::now();
    for (index, rate) in [(0, 1_000), (1, 50_000)] {
        sources.began(index);
        sources.ended(index, &BLOB, (1_000_000, rate), Ok(()), now);
    }
    assert_eq!(sources.pick(&BLOB, now), Pick::Use(1));
}

#[test]
fn a_failed_provider_waits_its_turn_and_is_given_up_in_the_end() {
    let mut sources = connected(&[ProviderKind::Lan, ProviderKind::Origin]);
    let start = Instant::now();
    fail(&mut sources, 0, &STALLED, start);
    assert_eq!(sources.pick(&BLOB, start), Pick::Use(1));
    fail(&mut sources, 1, &STALLED, start);
    let again = start + Duration::from_secs(1);
    assert_eq!(sources.pick(&BLOB, start), Pick::Wait(Some(again)));
    assert_eq!(sources.pick(&BLOB, again), Pick::Use(0));
    for _ in 0..2 {
        fail(&mut sources, 0, &STALLED, start);
        fail(&mut sources, 1, &STALLED, start);
    }
    let later = start + Duration::from_secs(3600);
    assert_eq!(sources.pick(&BLOB, later), Pick::Exhausted);
    // Other blobs are none of its business.
    assert_eq!(sources.pick(&Blake3Hash::of(b"other"), later), Pick::Use(0));
}

#[test]
fn progress_earns_patience() {
    let mut sources = connected(&[ProviderKind::Origin]);
    let now = Instant::now();
    for _ in 0..20 {
        sources.began(0);
        sources.ended(0, &BLOB, (16_384, 1000), Err(&STALLED), now);
    }
    let later = now + Duration::from_secs(3600);
    assert_eq!(sources.pick(&BLOB, later), Pick::Use(0));
    assert_eq!(sources.reports()[0].failures.len(), 1);
}

#[test]
fn a_liar_is_out_for_every_blob_and_an_empty_one_for_one() {
    let mut sources = connected(&[ProviderKind::Lan, ProviderKind::Peer]);
    let now = Instant::now();
    fail(&mut sources, 0, &GetFailure::WrongData, now);
    fail(&mut sources, 1, &GetFailure::NotServed, now);
    let other = Blake3Hash::of(b"other");
    assert_eq!(sources.pick(&BLOB, now), Pick::Exhausted);
    assert_eq!(sources.pick(&other, now), Pick::Use(1));
    assert!(sources.reports()[0].lied && !sources.reports()[1].lied);
}

#[test]
fn a_damaged_copy_is_told_from_a_lie_and_from_a_broken_connection() {
    let mut sources = connected(&[ProviderKind::Lan, ProviderKind::Peer]);
    let now = Instant::now();
    fail(&mut sources, 0, &GetFailure::Damaged, now);
    fail(&mut sources, 1, &GetFailure::BrokeOff("x".to_owned()), now);
    let reports = sources.reports();
    assert!(reports[0].damaged && !reports[0].lied);
    assert!(!reports[1].damaged && !reports[1].lied);
    let later = now + Duration::from_secs(60);
    assert!(matches!(sources.pick(&BLOB, later), Pick::Use(_)));
}

#[test]
fn nobody_is_given_up_while_a_call_is_under_way() {
    let mut sources = connected(&[ProviderKind::Peer]);
    let now = Instant::now();
    assert_eq!(
        sources.add(endpoint(7), ProviderKind::Origin),
        Added::New(1)
    );
    fail(&mut sources, 0, &GetFailure::NotServed, now);
    assert_eq!(sources.pick(&BLOB, now), Pick::Wait(None));
    sources.unreachable(1, "no answer", now);
    let again = now + Duration::from_secs(1);
    assert_eq!(sources.pick(&BLOB, now), Pick::Wait(Some(again)));
    for _ in 0..2 {
        sources.unreachable(1, "no answer", now);
    }
    let later = now + Duration::from_secs(3600);
    assert_eq!(sources.pick(&BLOB, later), Pick::Exhausted);
}

#[test]
fn an_origin_with_a_new_address_on_the_local_network_is_dialled_again() {
    let mut sources = Sources::new(patience());
    sources.add(endpoint(1), ProviderKind::Origin);
    for _ in 0..3 {
        sources.unreachable(0, "no answer", Instant::now());
    }
    let mut moved = endpoint(1);
    moved.addresses = vec!["192.0.2.7:4000".parse().unwrap()];
    assert_eq!(
        sources.add(moved.clone(), ProviderKind::Lan),
        Added::Again(0)
    );
    assert_eq!(sources.endpoint(0), moved);
    assert_eq!(sources.add(moved, ProviderKind::Lan), Added::Known);
    assert_eq!(sources.reports()[0].kind, ProviderKind::Origin);
}

#[test]
fn there_is_a_limit_to_providers() {
    let mut sources = Sources::new(patience());
    for n in 0..PROVIDERS_MAX {
        let n = u8::try_from(n).unwrap();
        assert!(matches!(
            sources.add(endpoint(n), ProviderKind::Lan),
            Added::New(_)
        ));
    }
    assert_eq!(sources.add(endpoint(255), ProviderKind::Lan), Added::Full);
}

#[derive(Debug, Clone)]
enum Event {
    Fails(usize, GetFailure),
    Loses(usize),
    Unreachable(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let failure = prop_oneof![
        Just(GetFailure::NotServed),
        Just(GetFailure::Busy),
        Just(GetFailure::WrongData),
        Just(GetFailure::Damaged),
        Just(STALLED),
        Just(GetFailure::BrokeOff("x".to_owned())),
        Just(GetFailure::Slow {
            bytes_per_second: 1
        }),
    ];
    prop_oneof![
        4 => (0..4usize, failure).prop_map(|(index, failure)| Event::Fails(index, failure)),
        1 => (0..4usize).prop_map(Event::Loses),
        1 => (0..4usize).prop_map(Event::Unreachable),
    ]
}

proptest! {
    /// Whatever the others do, a provider that never failed is asked, and at once.
    #[test]
    fn a_good_provider_is_always_found(events in proptest::collection::vec(event(), 0..60)) {
        let mut sources = connected(&[ProviderKind::Lan; 5]);
        let now = Instant::now();
        for event in events {
            match event {
                Event::Fails(index, failure) => fail(&mut sources, index, &failure, now),
                Event::Loses(index) => sources.lost(index),
                Event::Unreachable(index) => sources.unreachable(index, "gone", now),
            }
        }
        let Pick::Use(index) = sources.pick(&BLOB, now) else {
            return Err(TestCaseError::fail("nobody to ask"));
        };
        // Providers without a failure for this blob rank equal; the good one is among them.
        prop_assert!(index == 4 || sources.sources[index].blobs.is_empty());
    }

    /// With bad providers alone, a fetch ends.
    #[test]
    fn failures_end(failure in 0..3usize) {
        let failures = [STALLED, GetFailure::Busy, GetFailure::BrokeOff("x".to_owned())];
        let mut sources = connected(&[ProviderKind::Peer; 3]);
        let mut now = Instant::now();
        let mut asked = 0;
        loop {
            match sources.pick(&BLOB, now) {
                Pick::Use(index) => {
                    asked += 1;
                    fail(&mut sources, index, &failures[failure], now);
                }
                Pick::Wait(until) => now = until.unwrap(),
                Pick::Exhausted => break,
            }
        }
        prop_assert_eq!(asked, 3 * patience().attempts_max);
    }
}
