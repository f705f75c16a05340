use super::*;

fn slug(text: &str) -> Slug {
    text.parse().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

#[test]
fn failures_wait_longer_each_time_and_success_forgets_them() {
    let (mut memory, app) = (Memory::default(), slug("a"));
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..9 {
        memory.failed(&app, "no".to_owned(), at(now));
        let next = memory.remembered(&app).next_try.unwrap();
        let wait = next.duration_since(at(now)).as_secs();
        assert!(memory.holds_back(&app, at(now + wait - 1)));
        assert!(!memory.holds_back(&app, at(now + wait)));
        waits.push(wait);
        now += wait;
    }
    assert_eq!(waits, [15, 30, 60, 120, 240, 480, 900, 900, 900]);
    memory.is_well(&app);
    assert!(memory.remembered(&app).last_failure.is_none());
    memory.failed(&app, "no".to_owned(), at(now));
    assert!(!memory.holds_back(&app, at(now + 15)));
    assert!(!memory.holds_back(&slug("b"), at(now)));
}

#[test]
fn a_crash_loop_is_seen_held_back_and_forgotten() {
    let (mut memory, app, container) = (Memory::default(), slug("a"), slug("web"));
    assert!(memory.saw(&app, &container, "one", at(0)));
    memory.counted(&app, &container, 7, at(0));
    assert!(
        !memory.is_looping(&app),
        "what was before the first look is not news"
    );
    assert!(!memory.saw(&app, &container, "one", at(1)));
    for (round, restarts) in [(1, 8), (2, 9), (3, 1)] {
        assert!(memory.saw(&app, &container, &format!("run {round}"), at(round)));
        memory.counted(&app, &container, restarts, at(round));
    }
    assert_eq!(memory.remembered(&app).restarts[&container], 3);
    memory.hold_back_if_looping(&app, at(4));
    assert!(memory.holds_back(&app, at(18)));
    memory.is_well(&app);
    memory.hold_back_if_looping(&app, at(19));
    assert!(
        memory.holds_back(&app, at(19 + 29)),
        "the second wait is longer"
    );
    memory.saw(&app, &container, "run 3", at(700));
    assert!(
        !memory.is_looping(&app),
        "ten quiet minutes end a crash loop"
    );
}

#[test]
fn a_clock_that_is_set_back_neither_keeps_an_app_from_starting_nor_makes_a_crash_loop_last() {
    let (mut memory, app, container) = (Memory::default(), slug("a"), slug("web"));
    memory.failed(&app, "no".to_owned(), at(0));
    assert!(memory.holds_back(&app, at(-60)));
    assert!(!memory.holds_back(&app, at(-86_400)));
    memory.saw(&app, &container, "one", at(0));
    memory.counted(&app, &container, 0, at(0));
    memory.counted(&app, &container, CRASH_LOOP_RESTARTS, at(0));
    assert!(memory.is_looping(&app));
    memory.saw(&app, &container, "one", at(-86_400));
    assert!(!memory.is_looping(&app));
}

#[test]
fn a_container_ails_only_after_some_time_without_a_break() {
    let (mut memory, app, container) = (Memory::default(), slug("a"), slug("web"));
    // At which second it ails, and whether something must be done about it.
    let table = [
        (0, false, false),
        (10, true, false),
        (39, true, false),
        (40, true, true),
        (41, false, false),
        (50, true, false),
        (79, true, false),
        (80, true, true),
        // The clock was set back.
        (-90, true, true),
    ];
    for (second, ails, expected) in table {
        let told = memory.ails(&app, &container, ails, at(second));
        assert_eq!(told, expected, "{second}");
    }
    assert!(!memory.ails(&app, &slug("other"), true, at(1000)));
}
