//! Nodes in one topic hint at each other what they have.

use archy_registry::release::Endpoint;
use archy_swarm::{Config, Fetch, ProviderKind};
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, Fault, Node, bad_peer, bytes, dead, request, tag, wanted};

const SIZE: usize = 3 * 1024 * 1024;

fn eager(config: &mut Config) {
    config.announce_interval = std::time::Duration::from_millis(200);
    config.patience.idle = DEADLINE;
}

fn begin(node: &Node, data: &[u8], peers: &[&Endpoint], share: bool, topic: &str) -> Fetch {
    let mut request = request(&[data], &[], peers);
    request.share = share;
    let tag = request.tag.clone();
    let fetch = node.fetch(request, &CancellationToken::new());
    node.join_topic(&tag, topic);
    fetch
}

async fn end(fetch: Fetch) -> archy_swarm::Fetched {
    let fetched = tokio::time::timeout(DEADLINE, fetch.finish()).await;
    fetched.expect("the fetch ends").unwrap()
}

#[tokio::test]
async fn a_seeder_is_heard_of_over_a_node_that_gives_nothing_itself() {
    let data = bytes(SIZE, 1);
    let seeder = Node::start_with(eager).await;
    seeder.provide(&tag("test"), &data[..], None).await.unwrap();
    seeder.join_topic(&tag("test"), "app");
    // It keeps what it gets, names nobody, and passes on what is said.
    let between = Node::start_with(eager).await;
    end(begin(&between, &data, &[&seeder.endpoint()], false, "app")).await;

    let node = Node::start_with(eager).await;
    let fetched = end(begin(&node, &data, &[&between.endpoint()], true, "app")).await;
    let gave: Vec<_> = fetched
        .providers
        .iter()
        .filter(|report| report.bytes > 0)
        .map(|report| (report.id, report.kind))
        .collect();
    assert_eq!(gave, [(seeder.endpoint().id, ProviderKind::Peer)]);
}

/// Says in a topic that a hundred endpoints at an address where nobody answers have a blob, until one of them is dialled.
async fn flood(
    topic: &str,
    through: &Endpoint,
    data: &[u8],
    nobody: &tokio::net::UdpSocket,
) -> iroh::protocol::Router {
    const ALPN: &[u8] = b"archy/gossip/1";
    let presets = iroh::endpoint::presets::Minimal;
    let endpoint = iroh::Endpoint::builder(presets)
        .relay_mode(iroh::RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .unwrap()
        .bind()
        .await
        .unwrap();
    let gossip = iroh_gossip::net::Gossip::builder()
        .alpn(ALPN)
        .spawn(endpoint.clone());
    let known = iroh::address_lookup::memory::MemoryLookup::new();
    let id = iroh::PublicKey::from_bytes(through.id.as_bytes()).unwrap();
    known.add_endpoint_info(iroh::EndpointAddr::new(id).with_ip_addr(through.addresses[0]));
    endpoint.address_lookup().unwrap().add(known);
    let router = iroh::protocol::Router::builder(endpoint)
        .accept(ALPN, gossip.clone())
        .spawn();
    let topic = archy_registry::Blake3Hash::of(format!("archy/gossip/1 {topic}").as_bytes());
    let topic = iroh_gossip::TopicId::from_bytes(*topic.as_bytes());
    let joined = gossip.subscribe_and_join(topic, vec![id]);
    let mut joined = tokio::time::timeout(DEADLINE, joined)
        .await
        .unwrap()
        .unwrap();
    let address = nobody.local_addr().unwrap();
    let say = async {
        // Whoever is in the topic may not be in the fetch yet.
        let mut again = tokio::time::interval(std::time::Duration::from_secs(1));
        loop {
            again.tick().await;
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            for _ in 0..100 {
                let hint = serde_json::json!({
                    "version": 1,
                    "at": now.clone().unwrap().as_secs(),
                    "endpoint": Endpoint { addresses: vec![address], ..dead() },
                    "blobs": [wanted(data).blake3],
                });
                joined.broadcast(hint.to_string().into()).await.unwrap();
            }
        }
    };
    let mut dial = [0; 2048];
    tokio::select! {
        () = say => {}
        dialled = tokio::time::timeout(DEADLINE, nobody.recv(&mut dial)) => {
            dialled.expect("a dial").unwrap();
        }
    }
    router
}

#[tokio::test]
async fn a_flood_of_false_hints_takes_few_places_and_hides_nobody() {
    let data = bytes(SIZE, 4);
    let empty = Node::start().await;
    let node = Node::start_with(|config| {
        eager(config);
        config.patience.attempts_max = 2;
    });
    let node = node.await;
    let fetch = begin(&node, &data, &[&empty.endpoint()], true, "app");
    let nobody = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let flood = flood("app", &node.endpoint(), &data, &nobody).await;
    // Several of them are.
    for _ in 0..8 {
        let dialled = tokio::time::timeout(DEADLINE, nobody.recv(&mut [0; 2048])).await;
        dialled.expect("a dial").unwrap();
    }

    let seeder = Node::start_with(eager).await;
    seeder.provide(&tag("test"), &data[..], None).await.unwrap();
    seeder.join_topic(&tag("test"), "app");
    // Through the node itself: it is in the topic, too.
    seeder.seed(&tag("test"), &[node.endpoint()]);
    let fetched = end(fetch).await;
    let asked = fetched.providers.len();
    assert!((3..=2 + 8 + 8).contains(&asked), "{asked} were asked");
    let gave = |report: &&archy_swarm::fetch::ProviderReport| report.bytes == SIZE as u64;
    let gave = fetched.providers.iter().find(gave).unwrap();
    assert_eq!(gave.id, seeder.endpoint().id);
    flood.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_is_said_in_another_topic_is_not_heard() {
    let data = bytes(SIZE, 2);
    let seeder = Node::start_with(eager).await;
    seeder.provide(&tag("test"), &data[..], None).await.unwrap();
    seeder.join_topic(&tag("test"), "app");
    let between = Node::start_with(eager).await;
    end(begin(&between, &data, &[&seeder.endpoint()], false, "app")).await;
    let node = Node::start_with(|config| {
        eager(config);
        config.patience.idle = std::time::Duration::from_secs(2);
    });
    let node = node.await;
    let fetch = begin(&node, &data, &[&between.endpoint()], true, "other");
    let failed = tokio::time::timeout(DEADLINE, fetch.finish()).await;
    let failed = failed.expect("the fetch ends").unwrap_err();
    assert_eq!(failed.providers().len(), 1, "{failed}");
}

#[tokio::test]
async fn who_wants_no_topics_hears_nothing_and_passes_nothing_on() {
    let data = bytes(SIZE, 5);
    let quiet = |config: &mut Config| {
        eager(config);
        config.discovery.gossip = false;
        config.patience.idle = std::time::Duration::from_secs(2);
    };
    for (off_between, off_here) in [(false, true), (true, false)] {
        let seeder = Node::start_with(eager).await;
        seeder.provide(&tag("test"), &data[..], None).await.unwrap();
        seeder.join_topic(&tag("test"), "app");
        let start = |is_off| Node::start_with(if is_off { quiet } else { eager });
        let between = start(off_between).await;
        end(begin(&between, &data, &[&seeder.endpoint()], false, "app")).await;
        let node = Node::start_with(|config| {
            quiet(config);
            config.discovery.gossip = !off_here;
        });
        let node = node.await;
        let fetch = begin(&node, &data, &[&between.endpoint()], true, "app");
        let failed = tokio::time::timeout(DEADLINE, fetch.finish()).await;
        let failed = failed.expect("the fetch ends").unwrap_err();
        assert_eq!(failed.providers().len(), 1, "{failed}");
    }
}

#[tokio::test]
async fn a_fetch_whose_origin_is_fine_does_not_wait_for_a_topic() {
    let data = bytes(SIZE, 3);
    let origin = Node::with_blob(&data).await;
    let silent = bad_peer(&[&data], Fault::Silent).await;
    let node = Node::start().await;
    let (nobody, silent) = (dead(), silent.endpoint());
    let request = request(&[&data], &[&origin.endpoint()], &[&nobody, &silent]);
    let tag = request.tag.clone();
    node.join_topic(&tag, "app");
    node.seed(&tag, std::slice::from_ref(&nobody));
    let fetched = end(node.fetch(request, &CancellationToken::new())).await;
    assert_eq!(fetched.providers[0].bytes, SIZE as u64);
    assert!(node.has(wanted(&data).blake3).await.unwrap());
    // Many topics are many memberships, of which the newest stay; the end is not held up by them.
    for n in 0..20 {
        node.join_topic(&crate::support::tag(&format!("t/{n}")), &n.to_string());
    }
    tokio::time::timeout(DEADLINE, node.shutdown())
        .await
        .expect("it ends");
}
