//! What other app stores are told of a release.

use archy_nostr::event::EventId;
use archy_nostr::listing::{KIND_APPLICATION, KIND_ASSET, KIND_RELEASE, Listing};
use archy_nostr::{Draft, NostrKey, RelayUrl};
use serde_json::{Value, json};

use crate::example;
use crate::opinions::say;
use crate::support::*;

fn listing() -> Listing {
    Listing::of(&example::release(&["amd64", "arm64", "riscv64"]).0)
}

fn shown(draft: &Draft) -> Value {
    let event = draft.event(0);
    json!({"kind": event.kind, "tags": event.tags, "content": event.content})
}

#[test]
fn a_release_is_listed_as_the_draft_says() {
    let listing = listing();
    // An image for a platform that the draft does not name is no asset.
    assert_eq!(listing.assets().len(), 2);
    let assets: Vec<_> = (1..3).map(|n| EventId::from_bytes([n; 32])).collect();
    let events: Vec<_> = std::iter::once(listing.application())
        .chain(listing.assets())
        .chain([&listing.release(&assets)])
        .map(shown)
        .collect();
    insta::assert_json_snapshot!(events);
}

/// Publishes a listing and asks the relay for it by the tags that stores ask for.
pub(crate) async fn publish_and_ask(relay: &RelayUrl) {
    let urls = std::slice::from_ref(relay);
    let key = NostrKey::generate();
    let listing = listing();
    say(urls, &key, listing.application()).await;
    let mut assets = Vec::new();
    for asset in listing.assets() {
        assets.push(say(urls, &key, asset).await.event_id);
    }
    say(urls, &key, &listing.release(&assets)).await;
    // A second time: application and release take the place of the first ones.
    say(urls, &key, listing.application()).await;
    say(urls, &key, &listing.release(&assets)).await;

    let id = format!("{}/notes", example::did());
    let mut client = RawClient::connect(relay).await;
    let applications = client
        .query(json!({"kinds": [KIND_APPLICATION], "#d": [id], "#f": ["linux-aarch64"]}))
        .await;
    assert_eq!(applications.len(), 1);
    let releases = client
        .query(json!({"kinds": [KIND_RELEASE], "#i": [id]}))
        .await;
    assert_eq!(releases.len(), 1);
    let named: Vec<EventId> = releases[0]
        .tag_values("e")
        .map(|id| id.parse().unwrap())
        .collect();
    assert_eq!(named, assets);
    let found = client
        .query(json!({"kinds": [KIND_ASSET], "ids": named}))
        .await;
    assert_eq!(found.len(), 2);
    let by_digest = client.query(json!({"#x": ["10".repeat(32)]})).await;
    assert_eq!(by_digest.len(), 1, "by the digest of the image's manifest");
}

#[tokio::test]
async fn our_relay_takes_listings() {
    let dir = tempfile::tempdir().unwrap();
    let relay = start_relay(relay_config(dir.path())).await;
    publish_and_ask(relay.url()).await;
    let mut following = Following::start(std::slice::from_ref(relay.url()));
    let status = following.until_live(relay.url()).await;
    assert_eq!(
        (status.received, status.invalid),
        (0, 0),
        "followers do not ask for them"
    );
    assert!(following.heard.try_recv().is_err());
    following.follower.stop().await;
}
