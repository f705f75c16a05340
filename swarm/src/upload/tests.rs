use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn peer(number: u8) -> PeerKey {
    [number; 32]
}

fn of(number: u8, bytes: u64) -> Asked {
    Asked {
        peer: peer(number),
        bytes,
        is_exempt: false,
    }
}

fn limits(all: u64, each: u64) -> UploadLimits {
    UploadLimits {
        is_paused: false,
        bytes_per_second: NonZeroU64::new(all),
        peer_bytes_per_second: NonZeroU64::new(each),
    }
}

fn count(verdicts: &[(RequestNo, Verdict)], verdict: Verdict) -> usize {
    verdicts.iter().filter(|(_, v)| *v == verdict).count()
}

#[test]
fn a_few_are_answered_two_wait_and_the_rest_comes_back_later() {
    let mut uploads = Uploads::new(UploadLimits::default(), Duration::ZERO);
    for request in 0..30 {
        uploads.ask(request, of(request as u8, 1 << 20), Duration::ZERO);
    }
    let verdicts = uploads.poll(Duration::ZERO);
    assert_eq!(count(&verdicts, Verdict::Serve), 4);
    assert_eq!(count(&verdicts, Verdict::Refuse), 24);
    uploads.ended(0, MS);
    assert_eq!(uploads.poll(MS), [(4, Verdict::Serve)]);
}

#[test]
fn whoever_waits_too_long_is_sent_away() {
    let mut uploads = Uploads::new(UploadLimits::default(), Duration::ZERO);
    for request in 0..5 {
        uploads.ask(request, of(request as u8, 1 << 20), Duration::ZERO);
    }
    assert_eq!(uploads.poll(Duration::ZERO).len(), 4);
    assert_eq!(uploads.next_look(), Some(WAIT_MAX));
    assert_eq!(uploads.poll(WAIT_MAX), [(4, Verdict::Refuse)]);
}

#[test]
fn those_who_have_nothing_come_before_those_who_have_much() {
    let mut uploads = Uploads::new(UploadLimits::default(), Duration::ZERO);
    for request in 0..20 {
        uploads.ask(request, of(1, 1 << 20), Duration::ZERO);
    }
    uploads.poll(Duration::ZERO);
    uploads.ask(20, of(2, 1 << 20), MS);
    let verdicts = uploads.poll(MS);
    assert_eq!(verdicts, [(5, Verdict::Refuse)]);
    uploads.ended(0, 2 * MS);
    assert_eq!(uploads.poll(2 * MS), [(20, Verdict::Serve)]);
}

#[test]
fn small_things_never_wait_for_a_slot() {
    let mut uploads = Uploads::new(UploadLimits::default(), Duration::ZERO);
    for request in 0..6 {
        uploads.ask(request, of(1, 1 << 20), Duration::ZERO);
    }
    uploads.poll(Duration::ZERO);
    uploads.ask(8, of(1, SMALL_BYTES), MS);
    assert_eq!(uploads.poll(MS), [(8, Verdict::Serve)]);
}

#[test]
fn a_peer_that_reads_nothing_does_not_keep_its_slot() {
    let mut uploads = Uploads::new(UploadLimits::default(), Duration::ZERO);
    for request in 0..4 {
        uploads.ask(request, of(1, 1 << 20), Duration::ZERO);
    }
    uploads.poll(Duration::ZERO);
    // One window in which they may only have begun, and one in which nothing moves.
    uploads.poll(WINDOW);
    uploads.poll(WINDOW * 2);
    for request in 10..14 {
        uploads.ask(request, of(2, 1 << 20), WINDOW * 2);
    }
    let verdicts = uploads.poll(WINDOW * 2);
    assert_eq!(count(&verdicts, Verdict::Serve), 4);
}

#[test]
fn when_all_places_are_taken_by_those_who_read_nothing_the_oldest_is_broken_off() {
    let mut uploads = Uploads::new(UploadLimits::default(), Duration::ZERO);
    let mut request = 0;
    let mut now = Duration::ZERO;
    let mut broken = Vec::new();
    while broken.is_empty() && request < 1000 {
        for _ in 0..4 {
            uploads.ask(request, of(1, 1 << 20), now);
            request += 1;
        }
        for (request, verdict) in uploads.poll(now) {
            if verdict == Verdict::BreakOff {
                broken.push(request);
                uploads.ended(request, now);
            }
        }
        now += WINDOW;
    }
    assert_eq!(broken, [0]);
    assert!(uploads.active() <= REQUESTS_MAX + 1);
}

#[test]
fn a_limit_is_kept_with_debt_and_what_was_not_sent_is_given_back() {
    let mut uploads = Uploads::new(limits(1_000_000, 0), Duration::ZERO);
    uploads.ask(0, of(1, 200_000), Duration::ZERO);
    uploads.ask(1, of(2, 200_000), Duration::ZERO);
    assert_eq!(uploads.poll(Duration::ZERO), [(0, Verdict::Serve)]);
    assert_eq!(uploads.next_look(), Some(200 * MS));
    assert_eq!(uploads.poll(200 * MS), [(1, Verdict::Serve)]);
    uploads.sent(1, 100_000);
    uploads.ended(1, 300 * MS);
    uploads.ask(2, of(1, 500_000), 300 * MS);
    assert_eq!(uploads.poll(300 * MS), [(2, Verdict::Serve)]);
}

#[test]
fn whom_debt_would_keep_waiting_too_long_is_sent_away_at_once() {
    let mut uploads = Uploads::new(limits(100_000, 0), Duration::ZERO);
    uploads.ask(0, of(1, 1_000_000), Duration::ZERO);
    uploads.poll(Duration::ZERO);
    uploads.ask(1, of(1, 1_000_000), MS);
    assert_eq!(uploads.poll(MS), [(1, Verdict::Refuse)]);
}

#[test]
fn a_limit_per_peer_holds_nobody_else_back() {
    let mut uploads = Uploads::new(limits(0, 1_000_000), Duration::ZERO);
    for request in 0..4 {
        uploads.ask(request, of(request as u8 / 2, 200_000), Duration::ZERO);
    }
    let verdicts = uploads.poll(Duration::ZERO);
    assert_eq!(verdicts, [(0, Verdict::Serve), (2, Verdict::Serve)]);
}

#[test]
fn what_this_node_is_the_origin_of_knows_no_limit() {
    let mut uploads = Uploads::new(limits(1000, 1000), Duration::ZERO);
    for request in 0..4 {
        let asked = Asked {
            is_exempt: true,
            ..of(1, 1 << 20)
        };
        uploads.ask(request, asked, Duration::ZERO);
    }
    assert_eq!(count(&uploads.poll(Duration::ZERO), Verdict::Serve), 4);
}

#[derive(Debug, Clone)]
enum Happens {
    Ask { peer: u8, bytes: u64 },
    End,
    Pass(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (0..6u8, 1..2_000_000u64).prop_map(|(peer, bytes)| Happens::Ask { peer, bytes }),
        2 => Just(Happens::End),
        2 => (1..800u64).prop_map(Happens::Pass),
    ]
}

proptest! {
    /// Each request is answered or refused, once and in time, whatever happens; a limit is never exceeded by more
    /// than one request and what an idle bucket holds.
    #[test]
    fn every_request_gets_one_answer_in_time(
        steps in proptest::collection::vec(happens(), 1..200),
        all in prop_oneof![Just(0u64), 100_000..5_000_000u64],
        each in prop_oneof![Just(0u64), 100_000..5_000_000u64],
    ) {
        let mut uploads = Uploads::new(limits(all, each), Duration::ZERO);
        let mut now = Duration::ZERO;
        let mut open: BTreeMap<RequestNo, Duration> = BTreeMap::new();
        let mut served: Vec<(RequestNo, u64)> = Vec::new();
        let mut sizes: HashMap<RequestNo, u64> = HashMap::new();
        let mut largest = 0;
        let mut total = 0u64;
        let mut next = 0;
        for step in steps {
            match step {
                Happens::Ask { peer, bytes } => {
                    uploads.ask(next, of(peer, bytes), now);
                    open.insert(next, now);
                    sizes.insert(next, bytes);
                    largest = largest.max(bytes);
                    next += 1;
                }
                Happens::End => if let Some((request, bytes)) = served.pop() {
                    uploads.sent(request, bytes);
                    uploads.ended(request, now);
                },
                Happens::Pass(ms) => {
                    let until = now + MS * u32::try_from(ms).unwrap();
                    while let Some(look) = uploads.next_look().filter(|look| *look < until) {
                        now = now.max(look) + MS / 1000;
                        for (request, verdict) in uploads.poll(now) {
                            let since = open.remove(&request);
                            prop_assert!(since.is_some_and(|since| now <= since + WAIT_MAX + MS));
                            if verdict == Verdict::Serve {
                                served.push((request, sizes[&request]));
                                total += sizes[&request];
                            }
                        }
                    }
                    now = until;
                }
            }
            for (request, verdict) in uploads.poll(now) {
                prop_assert!(open.remove(&request).is_some());
                if verdict == Verdict::Serve {
                    served.push((request, sizes[&request]));
                    total += sizes[&request];
                }
            }
            prop_assert!(open.len() <= uploads.slots.queue());
            if all > 0 {
                let most = all as f64 * (now.as_secs_f64() + 0.51) + largest as f64;
                prop_assert!(total as f64 <= most, "{total} of {most}");
            }
        }
    }
}
