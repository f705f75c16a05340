use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn goal(size_bytes: u64) -> Goal {
    Goal {
        size_bytes,
        here: Vec::new(),
    }
}

fn scheduler(sizes: &[u64]) -> Scheduler {
    let goals: Vec<Goal> = sizes.iter().copied().map(goal).collect();
    Scheduler::new(&goals, Settings::default(), 7, Duration::ZERO)
}

/// Adds a provider that is connected.
fn up(scheduler: &mut Scheduler, kind: ProviderKind) -> ProviderId {
    let id = scheduler.add(kind, Duration::ZERO);
    scheduler.poll(Duration::ZERO);
    scheduler.connected(id);
    id
}

fn asked(actions: &[Action]) -> Vec<Request> {
    let requests = actions.iter().filter_map(|action| match action {
        Action::Ask(request) => Some(request.clone()),
        Action::Dial(_) | Action::Cancel(_) | Action::GiveUp(_) => None,
    });
    requests.collect()
}

/// How a provider of the test world behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manners {
    Honest,
    Dead,
    /// Sends nothing any more after so many bytes.
    Stalls(u64),
    Lies,
    /// Breaks off in the middle of every request.
    BreaksOff,
    /// Answers "busy" so many times.
    Busy(u32),
    /// Claims everything and has nothing.
    Boasts,
}

#[derive(Debug, Clone, Copy)]
struct Serves {
    kind: ProviderKind,
    bytes_per_second: u64,
    manners: Manners,
}

fn honest(kind: ProviderKind, bytes_per_second: u64) -> Serves {
    Serves {
        kind,
        bytes_per_second,
        manners: Manners::Honest,
    }
}

#[derive(Debug)]
struct Run {
    took: Duration,
    bytes: Vec<u64>,
    asked: Vec<Request>,
    stuck: bool,
}

/// Plays a fetch in steps of 5 ms: every provider sends its rate, split evenly among its requests.
fn play(sizes: &[u64], serves: &[Serves], seed: u64) -> Run {
    let step = ms(5);
    let goals: Vec<Goal> = sizes.iter().copied().map(goal).collect();
    let mut scheduler = Scheduler::new(&goals, Settings::default(), seed, Duration::ZERO);
    let mut now = Duration::ZERO;
    let mut open: BTreeMap<RequestId, (Request, f64)> = BTreeMap::new();
    let mut sent = vec![0_u64; serves.len()];
    let mut busy: HashMap<ProviderId, u32> = HashMap::new();
    let mut all = Vec::new();
    for serve in serves {
        scheduler.add(serve.kind, now);
    }
    let mut stuck = false;
    while !scheduler.is_done() && !stuck && now < Duration::from_secs(600) {
        let actions = scheduler.poll(now);
        for action in actions {
            match action {
                Action::Dial(id) if serves[id].manners == Manners::Dead => {
                    scheduler.unreachable(id, now);
                }
                Action::Dial(id) => {
                    scheduler.connected(id);
                    for (blob, size) in sizes.iter().enumerate() {
                        scheduler.claims(id, blob, &(0..*size));
                    }
                }
                Action::Ask(request) => {
                    all.push(request.clone());
                    open.insert(request.id, (request.clone(), request.bytes.start as f64));
                }
                Action::Cancel(id) | Action::GiveUp(id) => {
                    open.remove(&id);
                }
            }
        }
        now += step;
        let load = |open: &BTreeMap<RequestId, (Request, f64)>, id| {
            open.values()
                .filter(|(request, _)| request.provider == id)
                .count() as f64
        };
        for id in open.keys().copied().collect::<Vec<_>>() {
            let Some((request, at)) = open.get(&id).cloned() else {
                continue;
            };
            let serve = serves[request.provider];
            let share =
                serve.bytes_per_second as f64 * step.as_secs_f64() / load(&open, request.provider);
            let mut fail = |how, open: &mut BTreeMap<_, _>| {
                open.remove(&id);
                scheduler.ended(id, how, now);
            };
            match serve.manners {
                Manners::Lies => fail(Ended::Lied, &mut open),
                Manners::Boasts => fail(Ended::Absent, &mut open),
                Manners::Busy(times)
                    if busy.get(&request.provider).copied().unwrap_or(0) < times =>
                {
                    *busy.entry(request.provider).or_default() += 1;
                    fail(Ended::Busy, &mut open);
                }
                Manners::BreaksOff
                    if at > (request.bytes.start + request.bytes.end) as f64 / 2.0 =>
                {
                    fail(Ended::Failed, &mut open);
                }
                Manners::Stalls(after) if sent[request.provider] >= after => {}
                Manners::Honest
                | Manners::Dead
                | Manners::Stalls(_)
                | Manners::BreaksOff
                | Manners::Busy(_) => {
                    let at = (at + share).min(request.bytes.end as f64);
                    sent[request.provider] += share as u64;
                    let cancelled = scheduler.received(id, at as u64, now);
                    if at as u64 == request.bytes.end {
                        open.remove(&id);
                        scheduler.ended(id, Ended::Done, now);
                    } else {
                        open.insert(id, (request, at));
                    }
                    for action in cancelled {
                        if let Action::Cancel(id) = action {
                            open.remove(&id);
                        }
                    }
                }
            }
        }
        stuck = scheduler.stuck(now).is_some();
    }
    assert!(scheduler.is_done() || stuck, "it neither ended nor gave up");
    Run {
        took: now,
        bytes: (0..serves.len())
            .map(|id| scheduler.bytes_from(id))
            .collect(),
        asked: all,
        stuck,
    }
}

#[test]
fn uneven_providers_end_together() {
    let rates = [8, 8, 8, 0].map(|mib| (mib * MIB).max(400 * KIB));
    let serves = rates.map(|rate| honest(ProviderKind::Peer, rate));
    let run = play(&[100 * MIB], &serves, 1);
    let bound = 100.0 * MIB as f64 / rates.iter().sum::<u64>() as f64;
    let efficiency = bound / run.took.as_secs_f64();
    assert!(efficiency > 0.93, "{efficiency} with {:?}", run.bytes);
    let duplicates = run.bytes.iter().sum::<u64>() - 100 * MIB;
    assert!(duplicates < 3 * MIB, "{duplicates} bytes came twice");
}

#[test]
fn one_bad_provider_of_four_costs_at_most_two_seconds() {
    let peers = |manners| {
        let mut serves = [honest(ProviderKind::Peer, 4 * MIB); 4];
        serves[3].manners = manners;
        play(&[60 * MIB], &serves, 3).took
    };
    let without = play(&[60 * MIB], &[honest(ProviderKind::Peer, 4 * MIB); 3], 3).took;
    for manners in [
        Manners::Dead,
        Manners::Stalls(0),
        Manners::Stalls(3 * MIB),
        Manners::Lies,
        Manners::BreaksOff,
        Manners::Boasts,
    ] {
        let took = peers(manners);
        assert!(
            took <= without + ms(2000),
            "{manners:?}: {took:?}, without it {without:?}"
        );
    }
}

#[test]
fn a_useless_swarm_costs_at_most_a_tenth() {
    let origin = honest(ProviderKind::Origin, 8 * MIB);
    let alone = play(&[80 * MIB], &[origin], 3).took;
    for manners in [
        Manners::Dead,
        Manners::Stalls(0),
        Manners::Stalls(2 * MIB),
        Manners::Lies,
        Manners::Busy(1000),
        Manners::Boasts,
    ] {
        let mut serves = vec![origin];
        serves.extend(
            [Serves {
                manners,
                ..honest(ProviderKind::Peer, MIB)
            }; 8],
        );
        let took = play(&[80 * MIB], &serves, 3).took;
        assert!(
            took <= alone.mul_f64(1.1),
            "{manners:?}: {took:?}, alone {alone:?}"
        );
    }
}

#[test]
fn fast_peers_spare_the_origin() {
    let mut serves = vec![honest(ProviderKind::Origin, 4 * MIB)];
    serves.extend([honest(ProviderKind::Peer, 4 * MIB); 4]);
    let run = play(&[100 * MIB], &serves, 5);
    assert!(run.bytes[0] < 25 * MIB, "{:?}", run.bytes);
}

#[test]
fn an_origin_that_is_spared_does_not_chop_up_what_peers_bring() {
    let mut serves = vec![honest(ProviderKind::Origin, 4 * MIB)];
    serves.extend([4, 3, 3, 2, 2, 1, 1].map(|mib| honest(ProviderKind::Peer, mib * MIB)));
    let run = play(&[96 * MIB], &serves, 5);
    let asked = run.asked.iter().map(|request| &request.bytes);
    let asked: u64 = asked.map(|bytes| bytes.end - bytes.start).sum();
    // At the end the slow are helped.
    assert!(asked < 105 * MIB, "{} MiB were asked for", asked / MIB);
}

#[test]
fn nobody_left_is_said_and_a_busy_one_is_waited_for() {
    let dead = Serves {
        manners: Manners::Dead,
        ..honest(ProviderKind::Origin, MIB)
    };
    let run = play(&[MIB], &[dead], 1);
    assert!(
        run.stuck && run.took < Duration::from_secs(20),
        "{:?}",
        run.took
    );
    let busy = Serves {
        manners: Manners::Busy(6),
        ..honest(ProviderKind::Origin, MIB)
    };
    assert!(!play(&[MIB], &[busy], 1).stuck);
    assert_eq!(
        scheduler(&[MIB]).stuck(Duration::ZERO),
        Some(Stuck { blob: 0 })
    );
}

#[test]
fn a_liar_is_never_asked_again() {
    let liar = Serves {
        manners: Manners::Lies,
        ..honest(ProviderKind::Peer, 8 * MIB)
    };
    let run = play(&[20 * MIB], &[liar, honest(ProviderKind::Peer, MIB)], 1);
    let asked = run.asked.iter().filter(|request| request.provider == 0);
    assert_eq!(asked.count(), 1);
}

#[test]
fn small_blobs_come_before_large_ones() {
    let mut scheduler = scheduler(&[600, 20 * MIB, 20 * MIB]);
    up(&mut scheduler, ProviderKind::Origin);
    let requests = asked(&scheduler.poll(Duration::ZERO));
    assert_eq!((requests[0].blob, requests[0].bytes.clone()), (0, 0..600));
    assert_eq!(requests[1].blob, 1);
}

#[test]
fn what_few_have_comes_first_and_words_do_not_count() {
    let mut scheduler = scheduler(&[2 * MIB]);
    let origin = up(&mut scheduler, ProviderKind::Origin);
    let boaster = up(&mut scheduler, ProviderKind::Peer);
    let holder = up(&mut scheduler, ProviderKind::Peer);
    scheduler.claims(boaster, 0, &(MIB..2 * MIB));
    scheduler.claims(holder, 0, &(0..MIB + 512 * KIB));
    // Nothing is asked while it is unknown who speaks the truth.
    scheduler.providers[holder].bytes = 1;
    for piece in 0..24 {
        scheduler.holders[piece] = 1;
    }
    scheduler.awake = vec![origin];
    for request in asked(&scheduler.poll(Duration::ZERO)) {
        if request.provider == origin {
            assert!(request.bytes.start >= MIB + 512 * KIB, "{request:?}");
        }
    }
}

#[test]
fn what_is_read_comes_first_and_in_order() {
    let mut scheduler = scheduler(&[MIB, 64 * MIB]);
    scheduler.reads(1, Some(30 * MIB));
    up(&mut scheduler, ProviderKind::Origin);
    let requests = asked(&scheduler.poll(Duration::ZERO));
    let ranges: Vec<_> = requests
        .iter()
        .map(|request| (request.blob, request.bytes.start))
        .collect();
    assert_eq!(ranges, [(1, 30 * MIB), (1, 30 * MIB + 256 * KIB)]);
}

#[test]
fn the_origin_is_asked_for_what_it_suggests() {
    let mut scheduler = scheduler(&[64 * MIB]);
    let origin = up(&mut scheduler, ProviderKind::Origin);
    scheduler.suggests(origin, 0, &(40 * MIB..40 * MIB + 256 * KIB));
    assert_eq!(scheduler.wants_suggestions(origin, 4), None);
    assert_eq!(scheduler.wants_suggestions(origin, 5), Some(0));
    let requests = asked(&scheduler.poll(Duration::ZERO));
    assert_eq!(requests[0].bytes, 40 * MIB..40 * MIB + 256 * KIB);
    assert_eq!(scheduler.wants_suggestions(origin, 1), Some(0));
}

#[test]
fn in_a_crowd_the_origin_sends_what_it_suggests_and_is_not_waited_for_in_vain() {
    let mut scheduler = scheduler(&[64 * MIB]);
    let origin = up(&mut scheduler, ProviderKind::Origin);
    let suggested = 8 * MIB..8 * MIB + 256 * KIB;
    scheduler.suggests(origin, 0, &suggested);
    let first = asked(&scheduler.poll(ms(1)));
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(first[0].bytes, suggested);
    // No suggestion comes for as long as a silence may last.
    let look = scheduler.next_look(ms(1)).unwrap();
    assert!(look <= ms(1) + Settings::default().stall, "{look:?}");
    scheduler.received(first[0].id, suggested.start + 64 * KIB, ms(1000));
    assert!(asked(&scheduler.poll(ms(1000))).is_empty());
    let lapsed = ms(1) + Settings::default().stall;
    let free = asked(&scheduler.poll(lapsed));
    assert_eq!(free.len(), 1, "{free:?}");
    assert!(scheduler.next_look(lapsed).is_none_or(|look| look > lapsed));
}

/// Others fetched the first half, the origin sent it to them, and they left: it will always rather suggest the rest.
#[test]
fn what_the_crowd_took_with_it_comes_although_it_is_never_suggested() {
    let size_bytes = 8 * MIB;
    let mut scheduler = scheduler(&[size_bytes]);
    let mut suggestions = Suggestions::new(size_bytes);
    for _ in 0..3 {
        suggestions.sends(&(0..size_bytes / 2));
    }
    let origin = up(&mut scheduler, ProviderKind::Origin);
    let (mut now, mut wishes) = (Duration::ZERO, 0);
    while !scheduler.is_done() {
        let requests = loop {
            if scheduler.wants_suggestions(origin, 4).is_some() {
                wishes += 1;
                scheduler.suggests(origin, 0, &suggestions.suggest());
            }
            let requests = asked(&scheduler.poll(now));
            if !requests.is_empty() || !scheduler.requests.is_empty() {
                break requests;
            }
            now += ms(100);
            assert!(now < ms(30_000), "{:?} after {wishes}", scheduler.here(0));
        };
        for request in requests {
            suggestions.sends(&request.bytes);
            now += ms(10);
            scheduler.received(request.id, request.bytes.end, now);
        }
    }
    // It was waited for once.
    let waited = Settings::default().stall;
    assert!(now >= waited && now < waited * 2, "{now:?}");
}

#[test]
fn an_origin_that_is_busy_while_a_suggestion_of_it_is_waited_for_is_not_looked_at_all_the_time() {
    let mut scheduler = scheduler(&[64 * MIB]);
    let origin = up(&mut scheduler, ProviderKind::Origin);
    scheduler.suggests(origin, 0, &(8 * MIB..8 * MIB + 256 * KIB));
    let mut now = ms(1);
    let mut first = asked(&scheduler.poll(now));
    // It says so again and again, until its pause is longer than a suggestion is waited for.
    for _ in 0..200 {
        for request in first {
            scheduler.ended(request.id, Ended::Busy, now);
        }
        first = asked(&scheduler.poll(now));
        let look = scheduler.next_look(now).unwrap();
        assert!(look > now, "{look:?} at {now:?}");
        now = look;
        first.extend(asked(&scheduler.poll(now)));
    }
}

#[test]
fn what_is_here_is_not_asked_for_and_what_is_lost_is() {
    let mut here = goal(MIB);
    here.here.push(0..MIB - 100 * KIB);
    let mut scheduler = Scheduler::new(&[here], Settings::default(), 1, Duration::ZERO);
    up(&mut scheduler, ProviderKind::Origin);
    let requests = asked(&scheduler.poll(Duration::ZERO));
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].bytes, MIB - 128 * KIB..MIB);
    scheduler.received(requests[0].id, MIB, ms(10));
    assert!(scheduler.is_done() && scheduler.is_whole(0));
    scheduler.forget(0, &(10..11));
    assert!(!scheduler.is_done());
    let requests = asked(&scheduler.poll(ms(10)));
    assert_eq!(requests[0].bytes, 0..64 * KIB);
}

#[test]
fn a_cut_connection_is_dialled_again_and_its_pieces_go_to_others() {
    let mut scheduler = scheduler(&[MIB]);
    let one = up(&mut scheduler, ProviderKind::Origin);
    let requests = asked(&scheduler.poll(Duration::ZERO));
    scheduler.lost(one);
    for request in &requests {
        scheduler.ended(request.id, Ended::Failed, ms(5));
    }
    assert!(scheduler.poll(ms(6)).is_empty(), "it pauses");
    assert_eq!(scheduler.poll(ms(5000)), [Action::Dial(one)]);
}

fn manners() -> impl Strategy<Value = Manners> {
    prop_oneof![
        4 => Just(Manners::Honest),
        1 => Just(Manners::Dead),
        1 => (0..4 * MIB).prop_map(Manners::Stalls),
        1 => Just(Manners::Lies),
        1 => Just(Manners::BreaksOff),
        1 => (0..5_u32).prop_map(Manners::Busy),
        1 => Just(Manners::Boasts),
    ]
}

fn kind() -> impl Strategy<Value = ProviderKind> {
    prop_oneof![
        Just(ProviderKind::Lan),
        Just(ProviderKind::Origin),
        Just(ProviderKind::Peer)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the others do: one honest provider is enough, and equal seeds make equal runs.
    #[test]
    fn one_honest_provider_is_enough(
        sizes in proptest::collection::vec(1..6 * MIB, 1..4),
        others in proptest::collection::vec((kind(), 100 * KIB..8 * MIB, manners()), 0..6),
        honest_kind in kind(),
        seed in any::<u64>(),
    ) {
        let mut serves = vec![honest(honest_kind, 2 * MIB)];
        serves.extend(others.into_iter().map(|(kind, bytes_per_second, manners)| Serves {
            kind,
            bytes_per_second,
            manners,
        }));
        let run = play(&sizes, &serves, seed);
        prop_assert!(!run.stuck, "{:?} gave up after {:?}", serves, run.took);
        let again = play(&sizes, &serves, seed);
        prop_assert_eq!(run.asked, again.asked);
    }
}
