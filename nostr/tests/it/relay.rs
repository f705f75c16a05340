//! The embedded relay against clients that know the NIPs well or not at all.

use std::time::Duration;

use archy_nostr::relay::{Config, Relay};
use archy_nostr::{Clock, NostrKey, Rate};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::*;

struct Bed {
    _dir: TempDir,
    relay: Relay,
    client: RawClient,
    clock: TestClock,
    key: NostrKey,
}

impl Bed {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let mut config = relay_config(dir.path());
        config.clock = clock.clock();
        change(&mut config);
        let relay = start_relay(config).await;
        Self {
            client: RawClient::connect(relay.url()).await,
            key: NostrKey::generate(),
            _dir: dir,
            relay,
            clock,
        }
    }

    async fn accepts(&mut self, event: &archy_nostr::event::Event) {
        let (accepted, words) = self.client.offer(event).await;
        assert!(accepted, "{words}");
    }

    async fn refuses(&mut self, event: &archy_nostr::event::Event, expected: &str) {
        let (accepted, words) = self.client.offer(event).await;
        assert!(!accepted);
        assert!(words.starts_with(expected), "{words:?} is not {expected:?}");
    }

    async fn contents(&mut self, filter: Value) -> Vec<String> {
        let events = self.client.query(filter).await;
        events.into_iter().map(|event| event.content).collect()
    }
}

#[tokio::test]
async fn of_equally_old_versions_the_lowest_id_stays_in_either_order() {
    let mut bed = Bed::new().await;
    let now = bed.clock.now();
    for n in 0..20 {
        let slug = format!("tie{n}");
        let a = event(&bed.key, &slug, "a", now - 100);
        let b = event(&bed.key, &slug, "b", now - 100);
        let lowest = if a.id < b.id { "a" } else { "b" };
        let (first, second) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
        bed.accepts(first).await;
        if second.content == lowest {
            bed.accepts(second).await;
        } else {
            bed.refuses(second, "replaced:").await;
        }
        let kept = bed
            .contents(json!({"#d": [format!("archy:app:{slug}")]}))
            .await;
        assert_eq!(kept, [lowest], "pair {n}");
    }
}

#[tokio::test]
async fn the_newest_version_stays_and_an_older_one_is_refused() {
    let mut bed = Bed::new().await;
    let now = bed.clock.now();
    bed.accepts(&event(&bed.key, "notes", "2", now)).await;
    bed.refuses(&event(&bed.key, "notes", "1", now - 1), "replaced:")
        .await;
    let newest = event(&bed.key, "notes", "3", now + 1);
    bed.accepts(&newest).await;
    let (accepted, words) = bed.client.offer(&newest).await;
    assert!(accepted && words.starts_with("duplicate:"), "{words}");
    // Another author's slot and another slug are other places.
    bed.accepts(&event(&NostrKey::generate(), "notes", "other author", now))
        .await;
    bed.accepts(&event(&bed.key, "photos", "other app", now))
        .await;
    let mine = bed.contents(json!({"authors": [bed.key.pubkey()]})).await;
    assert_eq!(mine, ["3", "other app"]);
}

#[tokio::test]
async fn filters_select_and_the_newest_come_first() {
    let mut bed = Bed::new().await;
    let now = bed.clock.now();
    let other = NostrKey::generate();
    for n in 0..5 {
        bed.accepts(&event(
            &bed.key,
            &format!("app{n}"),
            &n.to_string(),
            now - 10 + n,
        ))
        .await;
    }
    let label = sign(
        &other,
        1985,
        vec![vec!["L", "x"], vec!["e", &"ab".repeat(32)]],
        now - 20,
    );
    bed.accepts(&label).await;
    let author = bed.key.pubkey();
    let table = [
        (json!({"authors": [author]}), vec!["4", "3", "2", "1", "0"]),
        (json!({"kinds": [30078], "limit": 2}), vec!["4", "3"]),
        (json!({"since": now - 8, "until": now - 7}), vec!["3", "2"]),
        (
            json!({"#t": ["archy"], "#d": ["archy:app:app1", "archy:app:app2"]}),
            vec!["2", "1"],
        ),
        (json!({"#e": ["ab".repeat(32)]}), vec![""]),
        (json!({"#L": ["x"], "authors": [author]}), vec![]),
        (json!({"ids": [label.id]}), vec![""]),
        (json!({"ids": []}), vec![]),
        (json!({"limit": 0}), vec![]),
    ];
    for (filter, expected) in table {
        assert_eq!(bed.contents(filter.clone()).await, expected, "{filter}");
    }
    // Several filters are a union without doubles.
    let both = json!(["REQ", "u", {"kinds": [30078]}, {"authors": [author], "limit": 1}, {"kinds": [1985]}]);
    bed.client.send(both).await;
    let mut count = 0;
    while bed.client.next().await.unwrap()[0] == "EVENT" {
        count += 1;
    }
    assert_eq!(count, 6);
}

#[tokio::test]
async fn live_events_reach_the_subscriptions_that_they_meet_until_closed() {
    let mut bed = Bed::new().await;
    let now = bed.clock.now();
    let mut reader = RawClient::connect(bed.relay.url()).await;
    reader
        .send(json!(["REQ", "apps", {"#d": ["archy:app:notes"]}]))
        .await;
    reader
        .send(json!(["REQ", "all", {"kinds": [30078], "limit": 0}]))
        .await;
    reader.send(json!(["REQ", "closed", {}])).await;
    reader.send(json!(["CLOSE", "closed"])).await;
    for name in ["apps", "all", "closed"] {
        assert_eq!(reader.next().await.unwrap(), json!(["EOSE", name]));
    }
    bed.accepts(&event(&bed.key, "photos", "1", now)).await;
    bed.accepts(&event(&bed.key, "notes", "2", now)).await;
    let mut got = Vec::new();
    for _ in 0..3 {
        let message = reader.next().await.unwrap();
        let name = message[1].as_str().unwrap().to_owned();
        got.push((name, message[2]["content"].as_str().unwrap().to_owned()));
    }
    got.sort();
    let expected = [("all", "1"), ("all", "2"), ("apps", "2")];
    assert_eq!(
        got,
        expected.map(|(name, content)| (name.to_owned(), content.to_owned()))
    );
    // A subscription by the same name replaces the first.
    reader.send(json!(["REQ", "all", {"kinds": [1985]}])).await;
    assert_eq!(reader.next().await.unwrap(), json!(["EOSE", "all"]));
    bed.accepts(&event(&bed.key, "photos", "3", now + 1)).await;
    bed.accepts(&event(&bed.key, "notes", "4", now + 1)).await;
    let message = reader.next().await.unwrap();
    assert_eq!(
        (&message[1], &message[2]["content"]),
        (&json!("apps"), &json!("4"))
    );
}

#[tokio::test]
async fn forged_events_are_refused() {
    let mut bed = Bed::new().await;
    let now = bed.clock.now();
    let genuine = event(&bed.key, "notes", "x", now);
    let other = event(&bed.key, "photos", "y", now);

    let mut altered = genuine.clone();
    altered.content = "z".into();
    bed.refuses(&altered, "invalid: its id").await;
    let mut altered = genuine.clone();
    altered.sig = other.sig;
    bed.refuses(&altered, "invalid: its signature").await;
    let mut altered = genuine.clone();
    altered.pubkey = NostrKey::generate().pubkey();
    bed.refuses(&altered, "invalid: its id").await;
    assert_eq!(bed.relay.count().await.unwrap(), 0);
    bed.accepts(&genuine).await;
    // A known id with another body is not a duplicate.
    let mut altered = genuine.clone();
    altered.content = "z".into();
    bed.refuses(&altered, "invalid: its id").await;
    assert_eq!(bed.contents(json!({})).await, ["x"]);
}

#[tokio::test]
async fn dates_beyond_a_quarter_of_an_hour_are_refused() {
    let mut bed = Bed::new().await;
    let now = bed.clock.now();
    bed.refuses(
        &event(&bed.key, "notes", "x", now + 901),
        "invalid: created_at",
    )
    .await;
    bed.refuses(
        &event(&bed.key, "notes", "x", now + 315_360_000),
        "invalid: created_at",
    )
    .await;
    bed.accepts(&event(&bed.key, "notes", "x", now + 900)).await;
}

#[tokio::test]
async fn expired_events_are_neither_taken_nor_served_nor_kept() {
    let mut bed = Bed::with(|config| config.limits.sweep_every = Duration::from_millis(20)).await;
    let now = bed.clock.now();
    let expiring = |at: &str, d: &str| {
        sign(
            &bed.key,
            30_078,
            vec![vec!["d", d], vec!["expiration", at]],
            now - 5,
        )
    };
    let expired = expiring(&now.to_string(), "archy:app:a");
    let nonsense = expiring("soon", "archy:app:b");
    let good = expiring(&(now + 100).to_string(), "archy:app:c");
    bed.refuses(&expired, "invalid: the event has expired")
        .await;
    bed.refuses(&nonsense, "invalid: the event has expired")
        .await;
    bed.accepts(&good).await;
    assert_eq!(bed.client.query(json!({})).await.len(), 1);
    bed.clock.advance(100);
    assert_eq!(bed.client.query(json!({})).await.len(), 0);
    let swept = async {
        while bed.relay.count().await.unwrap() > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the sweep", swept).await;
}

#[tokio::test]
async fn authors_delete_what_is_theirs_and_it_stays_away() {
    let mut bed = Bed::new().await;
    let now = bed.clock.now();
    let stranger = NostrKey::generate();
    let by_id = event(&bed.key, "one", "by id", now - 50);
    let by_slot = event(&bed.key, "two", "by slot", now - 50);
    let kept = event(&bed.key, "three", "kept", now - 50);
    for event in [&by_id, &by_slot, &kept] {
        bed.accepts(event).await;
    }
    let slot = format!("30078:{}:archy:app:two", bed.key.pubkey());
    let id = by_id.id.to_string();
    let kept_id = kept.id.to_string();

    // Somebody else's request has no effect.
    let foreign = sign(
        &stranger,
        5,
        vec![vec!["e", &kept_id], vec!["a", &slot]],
        now,
    );
    bed.accepts(&foreign).await;
    assert_eq!(bed.client.query(json!({"kinds": [30078]})).await.len(), 3);

    let request = sign(
        &bed.key,
        5,
        vec![vec!["e", &id], vec!["a", &slot]],
        now - 10,
    );
    bed.accepts(&request).await;
    assert_eq!(bed.contents(json!({"kinds": [30078]})).await, ["kept"]);
    bed.refuses(&by_id, "deleted:").await;
    bed.refuses(&by_slot, "deleted:").await;
    // Versions up to the request's date are gone, later ones are welcome.
    bed.refuses(&event(&bed.key, "two", "as old", now - 10), "deleted:")
        .await;
    bed.accepts(&event(&bed.key, "two", "later", now - 9)).await;
    // A request cannot be taken back (NIP-09), and others still see it.
    let request_id = request.id.to_string();
    bed.accepts(&sign(&bed.key, 5, vec![vec!["e", &request_id]], now))
        .await;
    assert_eq!(
        bed.client.query(json!({"ids": [request_id]})).await.len(),
        1
    );
}

#[tokio::test]
async fn only_the_configured_kinds_and_names_are_taken() {
    let mut bed = Bed::new().await;
    let now = bed.clock.now();
    bed.refuses(&sign(&bed.key, 1, vec![], now), "blocked: kind 1")
        .await;
    bed.refuses(&sign(&bed.key, 22_242, vec![], now), "blocked: kind 22242")
        .await;
    bed.refuses(
        &sign(&bed.key, 30_078, vec![vec!["d", "other/app"]], now),
        "blocked: of kind",
    )
    .await;
    bed.refuses(
        &sign(&bed.key, 30_078, vec![], now),
        "invalid: an addressable",
    )
    .await;
    for kind in [5, 1984, 1985, 10_000] {
        bed.accepts(&sign(&bed.key, kind, vec![], now)).await;
    }
    let mut open = Bed::with(|config| {
        config.accept.kinds.push(20_001);
        config.accept.foreign_app_data = true;
    })
    .await;
    open.accepts(&sign(&open.key, 30_078, vec![vec!["d", "other/app"]], now))
        .await;
    // Ephemeral events are told to who listens, and not kept.
    let mut reader = RawClient::connect(open.relay.url()).await;
    reader.send(json!(["REQ", "e", {"kinds": [20001]}])).await;
    assert_eq!(reader.next().await.unwrap()[0], "EOSE");
    open.accepts(&sign(&open.key, 20_001, vec![], now)).await;
    assert_eq!(reader.next().await.unwrap()[0], "EVENT");
    assert_eq!(open.relay.count().await.unwrap(), 1);
}

#[tokio::test]
async fn sizes_and_counts_are_limited() {
    let mut bed = Bed::with(|config| {
        config.limits.content_bytes_max = 100;
        config.limits.tags_max = 5;
        config.limits.tag_bytes_max = 80;
        config.limits.subscriptions_max = 2;
        config.limits.filters_max = 2;
        config.limits.events_per_author_max = 3;
        config.limits.events_max = 4;
    })
    .await;
    let now = bed.clock.now();
    bed.refuses(
        &event(&bed.key, "notes", &"x".repeat(101), now),
        "invalid: content",
    )
    .await;
    bed.refuses(
        &sign(&bed.key, 1985, vec![vec!["l"]; 6], now),
        "invalid: more than 5 tags",
    )
    .await;
    bed.refuses(
        &sign(&bed.key, 1985, vec![vec!["l", &"x".repeat(81)]], now),
        "invalid: a tag",
    )
    .await;

    bed.client.send(json!(["REQ", "a", {"limit": 0}])).await;
    bed.client.send(json!(["REQ", "b", {"limit": 0}])).await;
    bed.client.send(json!(["REQ", "c", {"limit": 0}])).await;
    bed.client.send(json!(["REQ", "a", {}, {}, {}])).await;
    bed.client.send(json!(["REQ", "a", {"search": ""}])).await;
    assert_eq!(bed.client.next().await.unwrap(), json!(["EOSE", "a"]));
    assert_eq!(bed.client.next().await.unwrap(), json!(["EOSE", "b"]));
    for (name, words) in [
        ("c", "restricted: more than 2 sub"),
        ("a", "restricted: more than 2 fil"),
        ("a", "unsupported:"),
    ] {
        let message = bed.client.next().await.unwrap();
        assert_eq!((&message[0], &message[1]), (&json!("CLOSED"), &json!(name)));
        assert!(message[2].as_str().unwrap().starts_with(words), "{message}");
    }
    for n in 0..3 {
        bed.accepts(&event(&bed.key, &format!("app{n}"), "x", now))
            .await;
    }
    bed.refuses(
        &event(&bed.key, "app3", "x", now),
        "restricted: this author",
    )
    .await;
    // A newer version takes the place of the old one.
    bed.accepts(&event(&bed.key, "app2", "y", now + 1)).await;
    bed.accepts(&event(&NostrKey::generate(), "app", "x", now))
        .await;
    bed.refuses(
        &event(&NostrKey::generate(), "app", "x", now),
        "error: the relay is full",
    )
    .await;
}

#[tokio::test]
async fn a_reply_is_bounded_in_events_and_bytes_and_the_rest_can_be_asked_for() {
    let mut bed = Bed::with(|config| {
        config.limits.limit_max = 6;
        config.limits.reply_bytes_max = 5_000;
    })
    .await;
    let now = bed.clock.now();
    for n in 0..10 {
        bed.accepts(&event(
            &bed.key,
            &format!("app{n}"),
            &n.to_string(),
            now - n,
        ))
        .await;
    }
    assert_eq!(bed.contents(json!({"limit": 100})).await.len(), 6);
    let large = "x".repeat(2_000);
    bed.accepts(&event(&bed.key, "large1", &large, now + 1))
        .await;
    bed.accepts(&event(&bed.key, "large2", &large, now + 2))
        .await;
    assert_eq!(bed.contents(json!({})).await.len(), 2);
    assert_eq!(
        bed.contents(json!({"until": now - 7})).await,
        ["7", "8", "9"]
    );
}

#[tokio::test]
async fn haste_is_refused_by_author_by_address_and_by_connection() {
    let one_at_all = Rate {
        burst: 2,
        per_second: 1e-9,
    };
    let mut bed = Bed::with(|config| config.limits.events_per_author = one_at_all).await;
    let now = bed.clock.now();
    bed.accepts(&event(&bed.key, "a", "x", now)).await;
    bed.accepts(&event(&bed.key, "b", "x", now)).await;
    bed.refuses(&event(&bed.key, "c", "x", now), "rate-limited:")
        .await;
    bed.accepts(&event(&NostrKey::generate(), "c", "x", now))
        .await;
    // Forged events do not use up the named author's rate.
    let victim = NostrKey::generate();
    for n in 0..5 {
        let mut forged = event(&victim, "a", "x", now + n);
        forged.content = "y".into();
        bed.refuses(&forged, "invalid:").await;
    }
    bed.accepts(&event(&victim, "a", "x", now)).await;

    let mut bed = Bed::with(|config| config.limits.events_per_address = one_at_all).await;
    bed.accepts(&event(&NostrKey::generate(), "a", "x", now))
        .await;
    bed.accepts(&event(&NostrKey::generate(), "a", "x", now))
        .await;
    bed.client = RawClient::connect(bed.relay.url()).await;
    bed.refuses(
        &event(&NostrKey::generate(), "a", "x", now),
        "rate-limited:",
    )
    .await;

    let mut bed = Bed::with(|config| config.limits.messages = one_at_all).await;
    bed.accepts(&event(&NostrKey::generate(), "a", "x", now))
        .await;
    bed.accepts(&event(&NostrKey::generate(), "a", "x", now))
        .await;
    bed.refuses(
        &event(&NostrKey::generate(), "a", "x", now),
        "rate-limited:",
    )
    .await;
    bed.client.send(json!(["REQ", "a", {}])).await;
    let message = bed.client.next().await.unwrap();
    assert_eq!(message, json!(["CLOSED", "a", "rate-limited: slow down"]));
    // Patience ends: each further message was answered, until the connection is.
    for _ in 0..600 {
        if bed
            .client
            .send_raw(Message::text("[\"CLOSE\",\"a\"]"))
            .await
            .is_err()
        {
            break;
        }
    }
    while bed.client.next().await.is_some() {}
}

#[tokio::test]
async fn nonsense_is_told_and_then_ends_the_connection() {
    let mut bed = Bed::new().await;
    bed.client.send(json!(["COUNT", "a", {}])).await;
    let message = bed.client.next().await.unwrap();
    assert_eq!(message[0], "NOTICE");
    assert!(
        message[1]
            .as_str()
            .unwrap()
            .contains("\"COUNT\" are not supported"),
        "{message}"
    );
    for _ in 0..50 {
        let _ = bed.client.send_raw(Message::text("{")).await;
    }
    while bed.client.next().await.is_some() {}

    // Too large, not UTF-8, not text: each ends or is told, and the relay lives on.
    for message in [
        Message::text(format!("[\"EVENT\",\"{}\"]", "x".repeat(70_000))),
        Message::binary(vec![0; 70_000]),
    ] {
        let mut client = RawClient::connect(bed.relay.url()).await;
        let _ = client.send_raw(message).await;
        assert_eq!(client.next().await, None);
    }
    let mut client = RawClient::connect(bed.relay.url()).await;
    client.send_raw(Message::binary(vec![0; 10])).await.unwrap();
    assert_eq!(client.next().await.unwrap()[0], "NOTICE");
    assert_eq!(client.query(json!({})).await, []);
}

#[tokio::test]
async fn connections_are_limited_and_free_again_when_closed() {
    let mut bed = Bed::with(|config| config.limits.connections_per_address_max = 3).await;
    let second = RawClient::connect(bed.relay.url()).await;
    let third = RawClient::connect(bed.relay.url()).await;
    let url = bed.relay.url().as_str().to_owned();
    assert!(tokio_tungstenite::connect_async(&url).await.is_err());
    drop((second, third));
    let again = async {
        while tokio_tungstenite::connect_async(&url).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon("a free connection", again).await;
    assert_eq!(bed.contents(json!({})).await, [""; 0]);
}

/// Sends a plain HTTP request and returns the whole answer.
async fn http(relay: &Relay, head: &str) -> String {
    let mut stream = TcpStream::connect(relay.address()).await.unwrap();
    let request = format!("{head}\r\nHost: relay\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer))
        .await
        .unwrap();
    answer
}

#[tokio::test]
async fn the_information_document_tells_the_limits() {
    let bed = Bed::new().await;
    let answer = http(
        &bed.relay,
        "GET / HTTP/1.1\r\nAccept: text/html, application/nostr+json;q=0.9",
    )
    .await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    assert!(
        head.contains("content-type: application/nostr+json"),
        "{head}"
    );
    assert!(head.contains("access-control-allow-origin: *"), "{head}");
    let document: Value = serde_json::from_str(body).unwrap();
    assert_eq!(document["supported_nips"], json!([1, 9, 11, 40]));
    assert_eq!(document["limitation"]["max_message_length"], json!(65_536));
    assert_eq!(document["limitation"]["created_at_upper_limit"], json!(900));

    let answer = http(&bed.relay, "GET / HTTP/1.1").await;
    assert!(answer.contains("connect with a Nostr client"), "{answer}");
    assert!(
        http(&bed.relay, "OPTIONS / HTTP/1.1")
            .await
            .starts_with("HTTP/1.1 204")
    );
    assert!(
        http(&bed.relay, "POST / HTTP/1.1\r\nContent-Length: 0")
            .await
            .starts_with("HTTP/1.1 405")
    );
    let upgrade = "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket";
    assert!(http(&bed.relay, upgrade).await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn a_client_that_never_finishes_its_request_is_dropped() {
    let bed = Bed::with(|config| config.limits.head_patience = Duration::from_millis(50)).await;
    let mut stream = TcpStream::connect(bed.relay.address()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let mut answer = Vec::new();
    soon("the end", stream.read_to_end(&mut answer))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped_and_costs_the_others_nothing() {
    let mut bed = Bed::with(|config| {
        config.limits.send_patience = Duration::from_millis(100);
        let fast = Rate {
            burst: 100_000,
            per_second: 1e6,
        };
        config.limits.messages = fast;
        config.limits.events_per_address = fast;
        config.limits.events_per_author = fast;
    })
    .await;
    let now = bed.clock.now();
    let large = "x".repeat(8_000);
    for n in 0..250 {
        bed.accepts(&event(&bed.key, &format!("app{n}"), &large, now))
            .await;
    }
    // Asks for 2 MB again and again and reads nothing.
    let mut slow = RawClient::connect(bed.relay.url()).await;
    let ended = async {
        loop {
            let message = Message::text("[\"REQ\",\"a\",{}]");
            if slow.send_raw(message).await.is_err() {
                break;
            }
        }
    };
    soon("the slow client's end", ended).await;
    assert_eq!(bed.contents(json!({"limit": 1})).await.len(), 1);
}

#[tokio::test]
async fn a_stop_says_good_bye_and_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let config = relay_config(dir.path());
    let key = NostrKey::generate();
    let now = Clock::system().now();
    let relay = start_relay(config.clone()).await;
    let mut clients = join_all((0..5).map(|_| RawClient::connect(relay.url()))).await;
    let kept = event(&key, "notes", "x", now);
    let deleted = event(&key, "photos", "y", now - 10);
    for event in [&kept, &deleted] {
        assert!(clients[0].offer(event).await.0);
    }
    let id = deleted.id.to_string();
    assert!(
        clients[0]
            .offer(&sign(&key, 5, vec![vec!["e", &id]], now))
            .await
            .0
    );
    soon("the stop", relay.stop()).await;
    for client in &mut clients {
        assert_eq!(client.next().await, None);
    }
    let relay = start_relay(config).await;
    let mut client = RawClient::connect(relay.url()).await;
    assert_eq!(
        client.query(json!({"kinds": [30078]})).await,
        std::slice::from_ref(&kept)
    );
    assert!(client.offer(&kept).await.1.starts_with("duplicate:"));
    assert!(client.offer(&deleted).await.1.starts_with("deleted:"));
    let older = event(&key, "notes", "older", now - 1);
    assert!(client.offer(&older).await.1.starts_with("replaced:"));
}

#[tokio::test]
async fn a_taken_address_and_a_foreign_file_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let relay = start_relay(relay_config(dir.path())).await;
    let other = tempfile::tempdir().unwrap();
    let mut config = relay_config(other.path());
    config.listen = relay.address();
    let cancel = tokio_util::sync::CancellationToken::new();
    let error = archy_nostr::relay::start(config, &cancel)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("relay.listen"), "{error}");
    let config = relay_config(other.path());
    std::fs::write(
        &config.database,
        "no database at all, just some text that is long enough",
    )
    .unwrap();
    let error = archy_nostr::relay::start(config, &cancel)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("relay.db could not be opened"),
        "{error}"
    );
}
