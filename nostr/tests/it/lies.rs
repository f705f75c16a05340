//! Relays that lie, flood, stall or are dead: nothing false is handed on, and the honest ones are heard all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use archy_nostr::event::Event;
use archy_nostr::faults::{BadRelay, Fault, Reply, Script, all, eose, event_reply, nothing, once};
use archy_nostr::{
    Backoff, Clock, CursorStore as _, MemoryCursors, NostrKey, PublishOptions, PublishReport,
    RelayState, RelayUrl, publish,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::*;

/// A relay that answers each message of a client as the script says.
async fn scripted(script: impl Fn(&Value) -> Script + Send + Sync + 'static) -> BadRelay {
    BadRelay::start(script).await.unwrap()
}

/// A relay that answers the first request for stored events as the script says.
async fn storing(script: impl Fn(&str) -> Script + Send + Sync + 'static) -> BadRelay {
    BadRelay::storing(script).await.unwrap()
}

fn now() -> u64 {
    Clock::system().now()
}

/// A honest relay with one statement, `honest`.
async fn honest(dir: &std::path::Path) -> (archy_nostr::relay::Relay, NostrKey) {
    let relay = start_relay(relay_config(dir)).await;
    let key = NostrKey::generate();
    announce(&[relay.url().clone()], &key, "honest", "honest").await;
    (relay, key)
}

/// Follows a hostile relay beside an honest one, and expects that the honest one is heard before and after the
/// hostile one was found out.
async fn found_out(hostile: &BadRelay, expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (relay, key) = honest(dir.path()).await;
    let urls = [relay.url().clone(), hostile.url().clone()];
    let mut config = follower_config(&urls);
    // Longer than the test: it must not be connected to again.
    config.misconduct_backoff = Backoff {
        first: Duration::from_secs(3600),
        longest: Duration::from_secs(3600),
    };
    let mut following = Following::with(config, Arc::default());
    assert_eq!(following.next().await, "honest");
    let status = following
        .until(hostile.url(), "found out", |s| {
            s.state == RelayState::Waiting
        })
        .await;
    let (_, error) = status.last_error.unwrap();
    assert!(error.contains(expected), "{error:?} is not {expected:?}");
    assert_eq!(status.handed_on, 0);
    assert_eq!(hostile.connections(), 1);
    announce(&urls[..1], &key, "honest", "still honest").await;
    assert_eq!(following.next().await, "still honest");
    following.follower.stop().await;
}

#[tokio::test]
async fn of_everything_that_a_relay_makes_up_only_the_truth_is_handed_on() {
    let key = NostrKey::generate();
    let known = event(&key, "known", "known", now());
    let genuine = event(&key, "truth", "truth", now());
    let change = |change: &dyn Fn(&mut Event)| {
        let mut event = genuine.clone();
        change(&mut event);
        event
    };
    let invalid = [
        ("another id", change(&|e| e.id = known.id)),
        ("another signature", change(&|e| e.sig = known.sig)),
        (
            "another author",
            change(&|e| e.pubkey = NostrKey::generate().pubkey()),
        ),
        ("another content", change(&|e| e.content = "lie".into())),
        ("another date", change(&|e| e.created_at += 1)),
        (
            "another app",
            change(&|e| e.tags[0][1] = "archy:app:lie".into()),
        ),
        ("another kind", change(&|e| e.kind = 30_079)),
        ("a known id, altered", {
            let mut e = known.clone();
            e.content = "lie".into();
            e
        }),
        (
            "without the topic",
            sign(&key, 30_078, vec![vec!["d", "archy:app:x"]], now()),
        ),
        (
            "of another kind",
            sign(&key, 1, vec![vec!["t", "archy"]], now()),
        ),
    ];
    let tagged = |tags: &[[&str; 2]], date: u64| {
        let mut all = vec![vec!["t", "archy"]];
        all.extend(tags.iter().map(|tag| tag.to_vec()));
        sign(&key, 30_078, all, date)
    };
    let large = "x".repeat(9 * 1024);
    let large = {
        let tags = [["t", "archy"], ["d", "archy:app:large"]];
        let tags = tags.map(|tag| tag.map(str::to_owned).to_vec()).to_vec();
        let unsigned = archy_nostr::sdk::Unsigned {
            created_at: now(),
            kind: 30_078,
            tags,
            content: large,
        };
        key.sign(unsigned).unwrap().into_inner()
    };
    let unwanted = [
        ("dated ahead", event(&key, "ahead", "lie", now() + 1_000)),
        (
            "dated far ahead",
            event(&key, "far-ahead", "lie", (1 << 53) - 1),
        ),
        (
            "expired",
            tagged(&[["d", "archy:app:x"], ["expiration", "1"]], now()),
        ),
        ("of another program", tagged(&[["d", "other"]], now())),
        (
            "of no app's name",
            tagged(&[["d", "archy:app:../x"]], now()),
        ),
        ("without a name", tagged(&[], now())),
        ("too large", large),
    ];
    let texts = [
        "",
        "{}",
        "[]",
        "[\"EVENT\"]",
        "[\"EVENT\",\"page-0\",{}]",
        "[\"EVENT\",\"page-0\",null]",
        "[\"OK\"]",
        "[\"WHAT\"]",
        "\u{0}",
        "[\"EOSE\",{}]",
    ];
    let (invalid_count, unwanted_count) = (invalid.len() + texts.len() + 2, unwanted.len());
    let hostile = storing(move |name| {
        let mut replies = vec![event_reply(name, &known)];
        replies.extend(invalid.iter().map(|(_, event)| event_reply(name, event)));
        replies.extend(unwanted.iter().map(|(_, event)| event_reply(name, event)));
        replies.extend(texts.map(|text| Reply::Text(text.into())));
        // Genuine, but for subscriptions that nobody made.
        replies.push(event_reply("other", &genuine));
        replies.push(event_reply("page-9", &genuine));
        replies.push(event_reply(name, &genuine));
        replies.push(event_reply(name, &genuine));
        replies.push(Reply::Json(json!(["EOSE", name])));
        all(replies)
    })
    .await;
    let mut following = Following::start(std::slice::from_ref(hostile.url()));
    assert_eq!(following.next().await, "known");
    assert_eq!(following.next().await, "truth");
    let status = following.until_live(hostile.url()).await;
    assert_eq!(status.invalid, invalid_count as u64);
    assert_eq!(status.unwanted, unwanted_count as u64);
    assert_eq!((status.handed_on, status.duplicates), (2, 1));
    assert!(status.invalid_ratio() > 0.5);
    assert!(following.heard.try_recv().is_err());
    following.follower.stop().await;
}

#[tokio::test]
async fn every_version_is_handed_on_whichever_a_relay_prefers() {
    let key = NostrKey::generate();
    let (old, new) = (
        event(&key, "notes", "old", now() - 10),
        event(&key, "notes", "new", now()),
    );
    let stale = storing(move |name| {
        all(vec![
            event_reply(name, &old),
            Reply::Json(json!(["EOSE", name])),
        ])
    })
    .await;
    let fresh = storing(move |name| {
        all(vec![
            event_reply(name, &new),
            Reply::Json(json!(["EOSE", name])),
        ])
    })
    .await;
    let mut following = Following::start(&[stale.url().clone(), fresh.url().clone()]);
    assert_eq!(following.take(2).await, ["new", "old"]);
    following.follower.stop().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_the_connection() {
    let hostile = storing(|_| once(Reply::Text(vec![b'x'; 200_000]))).await;
    found_out(&hostile, "more than 163840 bytes").await;
}

#[tokio::test]
async fn a_message_that_only_says_that_it_is_large_ends_the_connection() {
    // A text frame that announces 2^62 bytes.
    let mut frame = vec![0x81, 127];
    frame.extend((1_u64 << 62).to_be_bytes());
    let hostile = storing(move |_| once(Reply::Raw(frame.clone()))).await;
    found_out(&hostile, "more than 163840 bytes").await;
}

#[tokio::test]
async fn a_message_in_endless_pieces_ends_the_connection() {
    let piece = |opcode: u8| {
        let mut frame = vec![opcode, 126];
        frame.extend(60_000_u16.to_be_bytes());
        frame.extend(vec![b' '; 60_000]);
        Reply::Raw(frame)
    };
    let hostile = storing(move |_| {
        Box::new(std::iter::once(piece(0x01)).chain((0..).map(move |_| piece(0x00))))
    })
    .await;
    found_out(&hostile, "more than 163840 bytes").await;
}

#[tokio::test]
async fn text_that_is_not_utf_8_ends_the_connection() {
    let hostile = storing(|_| once(Reply::Text(b"[\"NOTICE\",\"\xff\xfe\"]".to_vec()))).await;
    found_out(&hostile, "broke the protocol").await;
}

#[tokio::test]
async fn bytes_that_are_no_frames_end_the_connection() {
    let hostile = storing(|_| once(Reply::Raw(vec![0xff; 64]))).await;
    found_out(&hostile, "broke the protocol").await;
}

#[tokio::test]
async fn a_flood_of_forged_events_ends_the_connection() {
    let mut forged = event(&NostrKey::generate(), "notes", "lie", now());
    forged.content = "another lie".into();
    let hostile = storing(move |name| {
        let name = name.to_owned();
        let forged = forged.clone();
        Box::new((0..).map(move |_| event_reply(&name, &forged)))
    })
    .await;
    found_out(
        &hostile,
        "too many invalid messages, the last: an event whose id is not its hash",
    )
    .await;
}

#[tokio::test]
async fn a_storm_of_authentication_requests_ends_the_connection() {
    let hostile =
        storing(|_| Box::new((0..).map(|n| Reply::Json(json!(["AUTH", n.to_string()]))))).await;
    found_out(&hostile, "too many messages that carry no event").await;
}

#[tokio::test]
async fn a_storm_of_pings_ends_the_connection() {
    let hostile = storing(|_| Box::new((0..).map(|_| Reply::Raw(vec![0x89, 0])))).await;
    found_out(&hostile, "too many messages that carry no event").await;
}

#[tokio::test]
async fn a_relay_that_wants_to_know_who_asks_is_left_alone_with_its_words() {
    let hostile = scripted(|message| {
        let words = "auth-required: \u{1b}[2Jmembers only";
        all(vec![
            Reply::Json(json!(["AUTH", "challenge"])),
            Reply::Json(json!(["CLOSED", message[1], words])),
        ])
    })
    .await;
    found_out(
        &hostile,
        "ended the subscription: auth-required:  [2Jmembers only",
    )
    .await;
}

#[tokio::test]
async fn without_an_end_of_stored_events_all_is_heard_but_no_cursor_is_kept() {
    let key = NostrKey::generate();
    let stored = event(&key, "notes", "stored", now());
    let hostile = storing(move |name| once(event_reply(name, &stored))).await;
    let cursors = Arc::new(MemoryCursors::default());
    let config = follower_config(std::slice::from_ref(hostile.url()));
    let mut following = Following::with(config, Arc::clone(&cursors));
    assert_eq!(following.next().await, "stored");
    let status = following.follower.status().remove(0);
    assert_eq!(status.state, RelayState::CatchingUp);
    following.follower.stop().await;
    assert_eq!(cursors.load(hostile.url()).await.unwrap(), None);
}

#[tokio::test]
async fn a_flood_of_known_events_neither_blocks_the_others_nor_the_stop() {
    let key = NostrKey::generate();
    let known = event(&key, "known", "known", now());
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let hostile = storing(move |name| {
        let (name, known, counter) = (name.to_owned(), known.clone(), Arc::clone(&counter));
        Box::new((0..100_000).map(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            event_reply(&name, &known)
        }))
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let (relay, key) = honest(dir.path()).await;
    let mut following = Following::start(&[relay.url().clone(), hostile.url().clone()]);
    assert_eq!(following.take(2).await, ["honest", "known"]);
    // The flood is read at its own pace only; beside it the honest relay is heard.
    following
        .until(hostile.url(), "read", |s| s.duplicates >= 4_999)
        .await;
    announce(&[relay.url().clone()], &key, "honest", "beside the flood").await;
    assert_eq!(following.next().await, "beside the flood");
    assert!(
        sent.load(Ordering::SeqCst) < 100_000,
        "the flood was not held back"
    );
    soon("the stop", following.follower.stop()).await;
}

#[tokio::test]
async fn statements_that_nobody_takes_hold_the_relays_back() {
    let dir = tempfile::tempdir().unwrap();
    let key = NostrKey::generate();
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let flooding = key.clone();
    let hostile = storing(move |name| {
        let (name, key, counter) = (name.to_owned(), flooding.clone(), Arc::clone(&counter));
        // A page holds no more than 2,000 events that count.
        Box::new((0..1_900).map(move |n| {
            counter.fetch_add(1, Ordering::SeqCst);
            event_reply(
                &name,
                &event(&key, &format!("app{n}"), &"x".repeat(8_000), now()),
            )
        }))
    })
    .await;
    let (relay, _) = honest(dir.path()).await;
    let mut following = Following::start(&[relay.url().clone(), hostile.url().clone()]);
    following
        .until(hostile.url(), "read", |s| s.handed_on >= 100)
        .await;
    // Every statement comes once somebody takes them.
    let contents = following.take(1_901).await;
    assert_eq!(
        contents
            .iter()
            .filter(|content| *content == "honest")
            .count(),
        1
    );
    assert_eq!(sent.load(Ordering::SeqCst), 1_900);
    following.follower.stop().await;
}

#[tokio::test]
async fn a_relay_that_hangs_up_is_tried_again_and_again() {
    let hostile = scripted(|_| once(Reply::Close)).await;
    let following = Following::start(std::slice::from_ref(hostile.url()));
    let status = following
        .until(hostile.url(), "tried again", |s| s.failures >= 5)
        .await;
    assert!(status.next_attempt.is_some());
    assert!(
        status
            .last_error
            .unwrap()
            .1
            .starts_with("closed the connection")
    );
    assert!(hostile.connections() >= 5);
    following.follower.stop().await;
}

/// A relay that takes connections and never says a word.
async fn silent() -> (TcpListener, RelayUrl) {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    (listener, url.parse().unwrap())
}

#[tokio::test]
async fn dead_and_silent_relays_cost_the_others_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (relay, key) = honest(dir.path()).await;
    let (gone, dead) = silent().await;
    let (_listener, silent) = silent().await;
    drop(gone);
    let urls = [dead.clone(), relay.url().clone(), silent.clone()];
    let mut following = Following::start(&urls);
    assert_eq!(following.next().await, "honest");
    let status = following.until(&dead, "dead", |s| s.failures >= 1).await;
    assert!(
        status
            .last_error
            .unwrap()
            .1
            .starts_with("could not connect")
    );
    let options = PublishOptions {
        patience: Duration::from_millis(500),
        ..PublishOptions::default()
    };
    let report = publish(&urls, &key, &draft("honest", "newer"), &options)
        .await
        .unwrap();
    assert_eq!(report.accepted, [relay.url().clone()]);
    let unreachable: Vec<_> = report
        .unreachable
        .iter()
        .map(|(url, _)| url.clone())
        .collect();
    assert!(
        unreachable.contains(&dead) && unreachable.contains(&silent),
        "{report:?}"
    );
    assert_eq!(following.next().await, "newer");
    soon("the stop", following.follower.stop()).await;
}

/// Publishes to one hostile relay.
async fn publish_to(hostile: &BadRelay) -> PublishReport {
    let options = PublishOptions {
        patience: Duration::from_millis(500),
        ..PublishOptions::default()
    };
    let relays = std::slice::from_ref(hostile.url());
    let draft = draft("notes", "x");
    soon(
        "publishing",
        publish(relays, &NostrKey::generate(), &draft, &options),
    )
    .await
    .unwrap()
}

/// A relay that is honest about what it has, and answers an offered event with these replies.
async fn answering(replies: impl Fn(&str) -> Vec<Reply> + Send + Sync + 'static) -> BadRelay {
    scripted(move |message| match message[0].as_str() {
        Some("EVENT") => all(replies(message[1]["id"].as_str().unwrap())),
        Some("REQ") => eose(message[1].as_str().unwrap()),
        _ => nothing(),
    })
    .await
}

#[tokio::test]
async fn what_a_relay_answers_to_an_event_is_told_as_it_is() {
    let refusing = answering(|id| {
        vec![Reply::Json(json!([
            "OK",
            id,
            false,
            "blocked: \u{7}no\nreally"
        ]))]
    })
    .await;
    let report = publish_to(&refusing).await;
    assert_eq!(
        report.refused,
        [(refusing.url().clone(), "blocked:  no really".to_owned())]
    );

    let other = answering(|_| vec![Reply::Json(json!(["OK", "00".repeat(32), true, ""]))]).await;
    let report = publish_to(&other).await;
    assert_eq!(
        report.unreachable,
        [(other.url().clone(), "did not answer in time".to_owned())]
    );

    let members = answering(|_| vec![Reply::Json(json!(["AUTH", "challenge"]))]).await;
    let report = publish_to(&members).await;
    assert!(
        report.unreachable[0].1.contains("asks for authentication"),
        "{report:?}"
    );

    let chatty = answering(|_| {
        (0..1_000)
            .map(|_| Reply::Json(json!(["NOTICE", "hello"])))
            .collect()
    })
    .await;
    let report = publish_to(&chatty).await;
    assert!(
        report.unreachable[0]
            .1
            .contains("without an answer; it said: hello"),
        "{report:?}"
    );

    let stalling = answering(|_| vec![Reply::Stall]).await;
    let report = publish_to(&stalling).await;
    assert_eq!(report.unreachable[0].1, "did not answer in time");

    let forgetful = answering(|id| vec![Reply::Json(json!(["OK", id, true, ""]))]).await;
    let report = publish_to(&forgetful).await;
    assert_eq!(report.accepted, std::slice::from_ref(forgetful.url()));
    assert_eq!(
        report.unconfirmed,
        [(forgetful.url().clone(), "did not give it back".to_owned())]
    );
}

#[tokio::test]
async fn a_made_up_version_from_the_future_does_not_move_the_date() {
    let hostile = scripted(
        move |message| match (message[0].as_str(), message[1].as_str()) {
            (Some("REQ"), Some(name @ "current")) => {
                let author = NostrKey::generate();
                let mut forged = event(&author, "notes", "x", now() + 10_000);
                forged.pubkey = serde_json::from_value(message[2]["authors"][0].clone()).unwrap();
                all(vec![
                    event_reply(name, &forged),
                    Reply::Json(json!(["EOSE", name])),
                ])
            }
            (Some("EVENT"), _) => once(Reply::Json(json!(["OK", message[1]["id"], true, ""]))),
            _ => nothing(),
        },
    )
    .await;
    let before = now();
    let report = publish_to(&hostile).await;
    assert!((before..=now()).contains(&report.created_at), "{report:?}");
}

/// Whatever one relay does wrong, by name: beside an honest one both its statements are heard, once and unchanged.
#[tokio::test]
async fn no_fault_of_one_relay_hides_or_changes_what_another_has() {
    for fault in Fault::all(20_000) {
        let dir = tempfile::tempdir().unwrap();
        let key = NostrKey::generate();
        let (old, new) = (
            event(&key, "notes", "old", now() - 10),
            event(&key, "notes", "new", now()),
        );
        let bad = fault.relay(vec![old, new.clone()]).await.unwrap();
        let (relay, honest_key) = honest(dir.path()).await;
        let good = Fault::None.relay(vec![new]).await.unwrap();
        let urls = [bad.url().clone(), relay.url().clone(), good.url().clone()];
        let mut following = Following::start(&urls);
        following.until_live(relay.url()).await;
        following.until_live(good.url()).await;
        announce(&[relay.url().clone()], &honest_key, "honest", "later").await;
        let mut heard = Vec::new();
        while heard.last().is_none_or(|content| content != "later") {
            heard.push(following.next().await);
        }
        heard.sort();
        // Whether the older version is heard in time is the bad relay's affair.
        heard.retain(|content| content != "old");
        assert_eq!(heard, ["honest", "later", "new"], "{fault:?}");
        soon("the stop", following.follower.stop()).await;
    }
}
