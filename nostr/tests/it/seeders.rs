//! Seeder records on our relay, on one that we did not write, and among lies.

use archy_nostr::{
    FindOptions, NostrKey, PublishOptions, RelayUrl, SEEDER_SECONDS_MAX, SEEDERS_MAX, SeederRecord,
    find_seeders, publish, withdraw_seeder,
};
use archy_registry::Blake3Hash;
use archy_registry::id::EndpointId;
use archy_registry::release::Endpoint;

use crate::support::*;

fn record(release: &[u8], n: u8) -> SeederRecord {
    SeederRecord {
        release: Blake3Hash::of(release),
        endpoint: Endpoint {
            id: EndpointId::from_bytes([n; 32]),
            addresses: vec![format!("192.0.2.{n}:8481").parse().unwrap()],
            relays: Vec::new(),
        },
    }
}

async fn seed(
    relays: &[RelayUrl],
    key: &NostrKey,
    record: &SeederRecord,
    clock: &TestClock,
    seconds: u64,
) {
    let draft = record.draft(clock.now() + seconds).unwrap();
    let options = PublishOptions {
        clock: clock.clock(),
        ..PublishOptions::default()
    };
    let report = soon("publishing", publish(relays, key, &draft, &options));
    let report = report.await.unwrap();
    assert_eq!(report.accepted, relays, "{report:?}");
}

async fn find(relays: &[RelayUrl], release: &[u8], clock: &TestClock) -> Vec<Endpoint> {
    let options = FindOptions {
        patience: PATIENCE,
        clock: clock.clock(),
    };
    let release = Blake3Hash::of(release);
    let mut found = soon("seeders", find_seeders(relays, &release, &options)).await;
    found.sort_by_key(|endpoint| endpoint.id);
    found
}

/// What must hold of any relay.
pub(crate) async fn records_are_found_replaced_and_forgotten(relay: &RelayUrl) {
    let urls = std::slice::from_ref(relay);
    let (first, second) = (NostrKey::generate(), NostrKey::generate());
    let clock = TestClock::new();
    assert_eq!(find(urls, b"a", &clock).await, []);
    seed(urls, &first, &record(b"a", 1), &clock, 3600).await;
    seed(urls, &second, &record(b"a", 2), &clock, 7200).await;
    seed(urls, &second, &record(b"b", 3), &clock, 7200).await;
    let [one, two, three] = [1, 2, 3].map(|n| record(b"a", n).endpoint);
    assert_eq!(find(urls, b"a", &clock).await, [one, two.clone()]);
    assert_eq!(find(urls, b"b", &clock).await, [three]);
    // A node that moved says so.
    seed(urls, &first, &record(b"a", 4), &clock, 3600).await;
    let moved = record(b"a", 4).endpoint;
    assert_eq!(find(urls, b"a", &clock).await, [two.clone(), moved]);
    // A node that does not have it any more says so, too; of another release it still has.
    clock.advance(1);
    let withdrawn = withdraw_seeder(&Blake3Hash::of(b"a"), clock.now() + 600);
    let options = PublishOptions {
        clock: clock.clock(),
        read_back: false,
        ..PublishOptions::default()
    };
    let report = publish(urls, &second, &withdrawn, &options).await.unwrap();
    assert_eq!(report.accepted, urls, "{report:?}");
    let moved = record(b"a", 4).endpoint;
    assert_eq!(find(urls, b"a", &clock).await, [moved]);
    assert_eq!(find(urls, b"b", &clock).await.len(), 1);
    clock.advance(1);
    seed(urls, &second, &record(b"a", 2), &clock, 7198).await;
    // The reader's clock decides, whether the relay forgets or not.
    clock.advance(3600);
    assert_eq!(find(urls, b"a", &clock).await, [two]);
    clock.advance(SEEDER_SECONDS_MAX);
    assert_eq!(find(urls, b"a", &clock).await, []);
}

#[tokio::test]
async fn our_relay_hands_on_who_seeds() {
    let dir = tempfile::tempdir().unwrap();
    let relay = start_relay(relay_config(dir.path())).await;
    records_are_found_replaced_and_forgotten(relay.url()).await;
}

#[tokio::test]
async fn a_flood_of_records_is_cut_and_a_dead_relay_costs_only_time() {
    let dir = tempfile::tempdir().unwrap();
    let (flooded, quiet) = (dir.path().join("a"), dir.path().join("b"));
    let mut relays = Vec::new();
    for dir in [flooded, quiet] {
        std::fs::create_dir(&dir).unwrap();
        relays.push(start_relay(relay_config(&dir)).await);
    }
    let urls: Vec<RelayUrl> = relays.iter().map(|relay| relay.url().clone()).collect();
    let clock = TestClock::new();
    let mut client = RawClient::connect(&urls[0]).await;
    for n in 0..120 {
        let draft = record(b"a", n).draft(clock.now() + 3600).unwrap();
        let signed = NostrKey::generate().sign(draft.event(clock.now())).unwrap();
        let (accepted, words) = client.offer(&signed).await;
        assert!(accepted, "{words}");
    }
    let key = NostrKey::generate();
    seed(&urls[1..], &key, &record(b"a", 200), &clock, 3600).await;
    let dead: RelayUrl = "ws://127.0.0.1:1".parse().unwrap();
    let all = [urls, vec![dead]].concat();
    let found = find(&all, b"a", &clock).await;
    assert_eq!(found.len(), SEEDERS_MAX);
    assert!(found.contains(&record(b"a", 200).endpoint), "{found:?}");
}
