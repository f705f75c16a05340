//! Our client and our relay together.

use std::sync::Arc;

use archy_nostr::{
    CursorStore as _, Draft, Heard, MemoryCursors, NostrKey, PublishOptions, RelayState, Subject,
    publish,
};
use serde_json::json;

use crate::example;
use crate::support::*;

#[tokio::test]
async fn a_statement_is_published_and_heard_with_all_that_followers_need() {
    let dir = tempfile::tempdir().unwrap();
    let relay = start_relay(relay_config(dir.path())).await;
    let key = NostrKey::generate();
    let mut following = Following::start(&[relay.url().clone()]);
    following.until_live(relay.url()).await;

    let report = announce(&[relay.url().clone()], &key, "notes", "{\"v\":1}").await;
    assert_eq!(report.accepted, [relay.url().clone()]);
    assert_eq!(report.unconfirmed, []);

    let message = soon("it", following.heard.recv()).await.unwrap();
    let heard = message.into_statement().unwrap();
    let expected = Heard {
        relay: relay.url().clone(),
        event_id: report.event_id,
        pubkey: key.pubkey(),
        created_at: heard.created_at,
        subject: Subject::Announcement("notes".parse().unwrap()),
        content: b"{\"v\":1}".to_vec(),
    };
    assert_eq!(heard, expected);
    assert_eq!(
        heard.created_at.as_second().unsigned_abs(),
        report.created_at
    );
    following.follower.stop().await;
    relay.stop().await;
}

#[tokio::test]
async fn what_was_published_before_is_heard_after_a_restart_of_the_relay() {
    let dir = tempfile::tempdir().unwrap();
    let relay = start_relay(relay_config(dir.path())).await;
    let key = NostrKey::generate();
    announce(&[relay.url().clone()], &key, "notes", "first").await;
    announce(&[relay.url().clone()], &key, "photos", "second").await;
    relay.stop().await;

    let relay = start_relay(relay_config(dir.path())).await;
    assert_eq!(relay.count().await.unwrap(), 2);
    let mut following = Following::start(&[relay.url().clone()]);
    assert_eq!(following.take(2).await, ["first", "second"]);
    following.follower.stop().await;
}

#[tokio::test]
async fn the_longest_chain_of_key_states_is_taken_and_heard() {
    let dir = tempfile::tempdir().unwrap();
    let relay = start_relay(relay_config(dir.path())).await;
    let urls = [relay.url().clone()];
    let chain = example::longest_chain();
    let draft = Draft::key_states(example::did(), &chain).unwrap();
    let options = PublishOptions::default();
    let report = soon(
        "publishing",
        publish(&urls, &NostrKey::generate(), &draft, &options),
    )
    .await
    .unwrap();
    assert_eq!(report.accepted, urls, "{report:?}");
    let mut following = Following::start(&urls);
    assert_eq!(following.next().await.as_bytes(), chain);
    following.follower.stop().await;
}

#[tokio::test]
async fn two_versions_in_one_second_end_with_the_second() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let relay = start_relay(relay_config(dir.path())).await;
    let key = NostrKey::generate();
    let options = PublishOptions {
        clock: clock.clock(),
        ..PublishOptions::default()
    };
    for n in 0..10 {
        let draft = draft("notes", &format!("version {n}"));
        let report = publish(&[relay.url().clone()], &key, &draft, &options)
            .await
            .unwrap();
        assert_eq!(report.created_at, clock.now() + n);
        assert_eq!(report.accepted.len(), 1, "{report:?}");
    }
    let mut client = RawClient::connect(relay.url()).await;
    let events = client.query(json!({"authors": [key.pubkey()]})).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].content, "version 9");
}

#[tokio::test]
async fn several_relays_are_one_stream_without_duplicates() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut relays = Vec::new();
    for dir in &dirs {
        relays.push(start_relay(relay_config(dir.path())).await);
    }
    let urls: Vec<_> = relays.iter().map(|relay| relay.url().clone()).collect();
    let key = NostrKey::generate();
    // One is only on the first relay, one only on the last, one on all.
    announce(&urls[..1], &key, "one", "one").await;
    announce(&urls[2..], &key, "two", "two").await;
    announce(&urls, &key, "all", "all").await;
    let mut following = Following::start(&urls);
    assert_eq!(following.take(3).await, ["all", "one", "two"]);
    for url in &urls {
        following.until_live(url).await;
    }
    let report = announce(&urls, &key, "all", "all, newer").await;
    assert_eq!(report.accepted.len(), 3);
    assert_eq!(following.next().await, "all, newer");
    for url in &urls {
        following
            .until(url, "heard", |s| {
                s.handed_on + s.duplicates >= 2 && s.invalid == 0
            })
            .await;
    }
    let duplicates: u64 = following
        .follower
        .status()
        .iter()
        .map(|s| s.duplicates)
        .sum();
    assert!(duplicates >= 4, "{duplicates}");
    assert!(following.heard.try_recv().is_err());
}

#[tokio::test]
async fn a_relay_that_comes_back_is_read_from_the_cursor() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let mut config = relay_config(dir.path());
    config.clock = clock.clock();
    let relay = start_relay(config.clone()).await;
    let url = relay.url().clone();
    config.listen = relay.address();
    let key = NostrKey::generate();
    let mut client = RawClient::connect(&url).await;
    assert!(
        client
            .offer(&event(&key, "old", "old", clock.now() - 50_000))
            .await
            .0
    );

    let cursors = Arc::default();
    let mut follow = follower_config(std::slice::from_ref(&url));
    follow.clock = clock.clock();
    follow.overlap = std::time::Duration::from_secs(100);
    let mut following = Following::with(follow.clone(), Arc::clone(&cursors));
    assert_eq!(following.next().await, "old");
    following.until_live(&url).await;
    relay.stop().await;
    following
        .until(&url, "lost", |s| s.state == RelayState::Waiting)
        .await;

    // Missed while the relay was away from us, and found although nobody tells it again.
    let relay = start_relay(config.clone()).await;
    let status = following
        .until(&url, "live again", |s| s.state == RelayState::Live)
        .await;
    assert!(status.last_error.is_some());
    let mut client = RawClient::connect(&url).await;
    assert!(
        client
            .offer(&event(&key, "new", "new", clock.now()))
            .await
            .0
    );
    assert_eq!(following.next().await, "new");
    following.follower.stop().await;

    // A new process has heard nothing, but has the cursor: within the overlap only.
    assert!(
        client
            .offer(&event(&key, "late", "late", clock.now() - 99))
            .await
            .0
    );
    let mut following = Following::with(follow, cursors);
    assert_eq!(following.take(2).await, ["late", "new"]);
    let status = following.until_live(&url).await;
    assert_eq!(status.handed_on, 2);
    // Asked to, it reads everything.
    following.follower.read_again();
    assert_eq!(following.take(3).await, ["late", "new", "old"]);
    following.follower.stop().await;
    relay.stop().await;
}

#[tokio::test]
async fn more_stored_events_than_one_page_are_all_heard() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = relay_config(dir.path());
    config.limits.limit_max = 7;
    let fast = archy_nostr::Rate {
        burst: 10_000,
        per_second: 1e6,
    };
    config.limits.messages = fast;
    config.limits.events_per_address = fast;
    config.limits.events_per_author = fast;
    let relay = start_relay(config).await;
    let key = NostrKey::generate();
    let mut client = RawClient::connect(relay.url()).await;
    let now = archy_nostr::Clock::system().now();
    let mut expected = Vec::new();
    for n in 0..60 {
        // Six to a second: pages end within a second.
        let content = format!("{n:02}");
        let (accepted, words) = client
            .offer(&event(
                &key,
                &format!("app{n}"),
                &content,
                now - 100 + n / 6,
            ))
            .await;
        assert!(accepted, "{words}");
        expected.push(content);
    }
    let mut following = Following::start(&[relay.url().clone()]);
    assert_eq!(following.take(60).await, expected);
    let status = following.until_live(relay.url()).await;
    assert_eq!(status.handed_on, 60);
    following.follower.stop().await;
}

#[tokio::test]
async fn publishing_reports_each_relay_apart() {
    let (dir, strict_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let relay = start_relay(relay_config(dir.path())).await;
    let mut strict = relay_config(strict_dir.path());
    strict.accept.authors = Some(Vec::new());
    let strict = start_relay(strict).await;
    // Nothing listens on a port that was just given back.
    let dead = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let dead_url: archy_nostr::RelayUrl = format!("ws://{}", dead.local_addr().unwrap())
        .parse()
        .unwrap();
    drop(dead);
    let urls = [relay.url().clone(), strict.url().clone(), dead_url.clone()];
    let report = announce(&urls, &NostrKey::generate(), "notes", "x").await;
    assert_eq!(report.accepted, [relay.url().clone()]);
    let [(refusing, words)] = report.refused.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!(
        (refusing, words.as_str()),
        (
            strict.url(),
            "restricted: only listed authors may write here"
        )
    );
    let [(unreachable, why)] = report.unreachable.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!(unreachable, &dead_url);
    assert!(why.starts_with("could not connect"), "{why}");
}

#[tokio::test]
async fn what_is_published_long_after_its_date_is_heard_live() {
    let dir = tempfile::tempdir().unwrap();
    let relay = start_relay(relay_config(dir.path())).await;
    let mut following = Following::start(std::slice::from_ref(relay.url()));
    following.until_live(relay.url()).await;
    let mut client = RawClient::connect(relay.url()).await;
    let late = event(&NostrKey::generate(), "notes", "late", 1_700_000_000);
    assert!(client.offer(&late).await.0);
    assert_eq!(following.next().await, "late");
    following.follower.stop().await;
}

#[tokio::test]
async fn a_full_read_finds_what_lies_before_the_cursor() {
    let dir = tempfile::tempdir().unwrap();
    let relay = start_relay(relay_config(dir.path())).await;
    let urls = std::slice::from_ref(relay.url());
    let mut client = RawClient::connect(relay.url()).await;
    for (content, date) in [("old", 1_700_000_000), ("older", 1_600_000_000)] {
        let event = event(&NostrKey::generate(), "notes", content, date);
        assert!(client.offer(&event).await.0);
    }
    let cursors = Arc::new(MemoryCursors::default());
    let now = archy_nostr::Clock::system().now();
    let cursor = jiff::Timestamp::from_second(now.cast_signed()).unwrap();
    cursors.save(relay.url(), cursor).await.unwrap();

    let mut config = follower_config(urls);
    let mut following = Following::with(config.clone(), Arc::clone(&cursors));
    // The newest comes with the live subscription.
    assert_eq!(following.next().await, "old");
    assert_eq!(following.until_live(relay.url()).await.received, 1);
    following.follower.stop().await;
    config.full_read_every = std::time::Duration::ZERO;
    let mut following = Following::with(config, cursors);
    assert_eq!(following.take(2).await, ["old", "older"]);
    following.follower.stop().await;
}

#[tokio::test]
async fn without_relays_the_channel_is_open_until_the_stop() {
    let mut following = Following::start(&[]);
    assert!(
        following
            .heard
            .try_recv()
            .is_err_and(|error| error == tokio::sync::mpsc::error::TryRecvError::Empty)
    );
    following.follower.stop().await;
    assert_eq!(soon("the end", following.heard.recv()).await, None);
}
