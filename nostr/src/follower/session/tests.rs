//! Scripted relays: what is asked for after each answer.

use super::*;
use crate::event::{Pubkey, Signature};

const NOON: u64 = 1_000_000;

fn event(n: u8, created_at: u64) -> Event {
    Event {
        id: EventId::from_bytes([n; 32]),
        pubkey: Pubkey::from_bytes([1; 32]),
        created_at,
        kind: crate::statement::KIND,
        tags: vec![vec!["t".into(), topic::TOPIC.into()]],
        content: String::new(),
        sig: Signature::from_bytes([0; 64]),
    }
}

/// The page requests among the actions: (number, since, until).
fn pages(actions: &[Action]) -> Vec<(usize, Option<u64>, Option<u64>)> {
    let page = |action: &Action| match action {
        Action::Send(ClientMessage::Request {
            subscription,
            filters,
        }) => Some((
            page_number(subscription)?,
            filters[0].since,
            filters[0].until,
        )),
        Action::Send(ClientMessage::Event(_) | ClientMessage::Close { .. })
        | Action::CaughtUp { .. }
        | Action::GaveUp(_) => None,
    };
    actions.iter().filter_map(page).collect()
}

fn eose(session: &mut Session, page: usize, now: Instant) -> Vec<Action> {
    let subscription = page_name(page);
    session.message(&RelayMessage::Eose { subscription }, NOON, now)
}

#[test]
fn the_live_subscription_has_no_date_and_comes_first() {
    let (_, actions) = Session::start(Some(7), NOON, Instant::now());
    let Action::Send(ClientMessage::Request {
        subscription,
        filters,
    }) = &actions[0]
    else {
        panic!("{actions:?}");
    };
    assert!(Session::is_live(subscription));
    assert_eq!(filters[0].since, None);
    assert_eq!(pages(&actions), [(0, Some(7), None)]);
}

#[test]
fn an_empty_relay_is_caught_up_at_once() {
    let now = Instant::now();
    let (mut session, _) = Session::start(None, NOON, now);
    assert!(!session.is_caught_up());
    let actions = eose(&mut session, 0, now);
    let caught_up = Action::CaughtUp {
        full: true,
        began: NOON,
    };
    assert_eq!(actions.last(), Some(&caught_up));
    assert!(session.is_caught_up());
}

#[test]
fn pages_go_back_until_one_is_empty() {
    let now = Instant::now();
    let (mut session, _) = Session::start(Some(10), NOON, now);
    session.stored(&event(1, 30), now);
    session.stored(&event(2, 20), now);
    assert_eq!(
        pages(&eose(&mut session, 0, now)),
        [(1, Some(10), Some(20))]
    );
    // The oldest second is asked for again, and has one more.
    session.stored(&event(2, 20), now);
    session.stored(&event(3, 20), now);
    assert_eq!(
        pages(&eose(&mut session, 1, now)),
        [(2, Some(10), Some(20))]
    );
    // All of it is known now: on to the second before.
    session.stored(&event(2, 20), now);
    session.stored(&event(3, 20), now);
    assert_eq!(
        pages(&eose(&mut session, 2, now)),
        [(3, Some(10), Some(19))]
    );
    let actions = eose(&mut session, 3, now);
    assert!(
        matches!(actions.last(), Some(Action::CaughtUp { full: false, .. })),
        "{actions:?}"
    );
}

#[test]
fn events_belong_where_they_were_asked_for() {
    let now = Instant::now();
    let (mut session, _) = Session::start(Some(10), NOON, now);
    assert_eq!(session.place("live", &event(1, 1)), Place::Live);
    assert_eq!(session.place("page-0", &event(1, 10)), Place::Stored);
    assert_eq!(
        session.place("page-0", &event(1, 9)),
        Place::Foreign,
        "before since"
    );
    assert_eq!(
        session.place("page-1", &event(1, 10)),
        Place::Foreign,
        "not asked yet"
    );
    assert_eq!(session.place("other", &event(1, 10)), Place::Foreign);
    eose(&mut session, 0, now);
    assert_eq!(session.place("page-0", &event(1, 10)), Place::Late);
}

#[test]
fn a_page_without_end_is_given_up_and_tried_again() {
    let now = Instant::now();
    let (mut session, _) = Session::start(Some(10), NOON, now);
    let before = now + PAGE_SECONDS_MAX / 2;
    assert_eq!(session.tick(Some(10), NOON, before), []);
    // Progress counts.
    session.stored(&event(1, 20), before);
    let after = now + PAGE_SECONDS_MAX;
    assert_eq!(session.tick(Some(10), NOON, after), []);
    let late = before + PAGE_SECONDS_MAX;
    let actions = session.tick(Some(10), NOON, late);
    assert!(
        matches!(actions.last(), Some(Action::GaveUp(_))),
        "{actions:?}"
    );
    assert!(!session.is_caught_up(), "the cursor must not move on");
    let actions = session.tick(Some(5), NOON, late + RETRY_AFTER);
    assert_eq!(pages(&actions), [(1, Some(5), None)]);
}

#[test]
fn a_relay_with_ever_more_events_is_given_up() {
    let now = Instant::now();
    let (mut session, _) = Session::start(None, NOON, now);
    for page in 0.. {
        let number = u8::try_from(page % 250).unwrap();
        session.stored(&event(number, NOON - page as u64), now);
        let actions = eose(&mut session, page, now);
        if matches!(actions.last(), Some(Action::GaveUp(_))) {
            assert_eq!(page + 1, PAGES_MAX);
            return;
        }
    }
}

#[test]
fn an_end_of_another_page_changes_nothing() {
    let now = Instant::now();
    let (mut session, _) = Session::start(None, NOON, now);
    assert_eq!(eose(&mut session, 5, now), []);
    let subscription = "live".to_owned();
    assert_eq!(
        session.message(&RelayMessage::Eose { subscription }, NOON, now),
        []
    );
    assert!(!session.is_caught_up());
}

#[test]
fn a_restart_closes_what_is_under_way() {
    let now = Instant::now();
    let (mut session, _) = Session::start(Some(10), NOON, now);
    let actions = session.restart(NOON, now);
    assert!(
        matches!(&actions[0], Action::Send(ClientMessage::Close { subscription }) if subscription == "page-0")
    );
    assert_eq!(pages(&actions), [(1, None, None)]);
}

#[test]
fn a_page_that_came_too_soon_is_asked_for_again() {
    let now = Instant::now();
    let (mut session, _) = Session::start(Some(10), NOON, now);
    session.stored(&event(1, 30), now);
    assert_eq!(
        pages(&eose(&mut session, 0, now)),
        [(1, Some(10), Some(30))]
    );
    let closed = RelayMessage::Closed {
        subscription: page_name(1),
        words: "rate-limited: slow down".into(),
    };
    assert_eq!(session.message(&closed, NOON, now), []);
    assert!(!session.is_caught_up());
    assert_eq!(session.tick(Some(10), NOON, now), []);
    let later = now + PAGE_PAUSE;
    let actions = session.tick(Some(10), NOON, later);
    assert_eq!(pages(&actions), [(2, Some(10), Some(30))]);
    // Closed for another reason, the walk ends.
    let closed = RelayMessage::Closed {
        subscription: page_name(2),
        words: "error: broken".into(),
    };
    let actions = session.message(&closed, NOON, later);
    assert!(
        matches!(actions.last(), Some(Action::GaveUp(_))),
        "{actions:?}"
    );
}

#[test]
fn only_the_end_of_the_page_under_way_is_expected() {
    let (session, _) = Session::start(None, NOON, Instant::now());
    let eose = |name: &str| RelayMessage::Eose {
        subscription: name.to_owned(),
    };
    assert!(session.expects(&eose("page-0")));
    assert!(!session.expects(&eose("page-1")));
    assert!(!session.expects(&RelayMessage::Auth));
}

#[test]
fn each_walk_has_pages_of_its_own() {
    let now = Instant::now();
    let (mut session, _) = Session::start(None, NOON, now);
    for page in 0..3 * PAGES_MAX {
        assert!(session.walk.is_some(), "page {page}");
        let actions = eose(&mut session, page, now);
        assert!(matches!(actions.last(), Some(Action::CaughtUp { .. })));
        session.walk(None, NOON, now);
    }
}
