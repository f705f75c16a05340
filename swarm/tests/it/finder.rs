//! A fetch that hears from nobody looks further.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use archy_registry::release::Endpoint;
use archy_swarm::{FetchError, FetchRequest, Fetched, Finder};
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, Fault, Node, bad_peer, bytes, dead, request};

const SIZE: usize = 3 * 1024 * 1024;

/// Finds these, and counts how often it is asked.
fn finder(endpoints: Vec<Endpoint>) -> (Finder, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let finder = Finder::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::ready(endpoints.clone())
    });
    (finder, asked)
}

async fn fetch(node: &Node, request: FetchRequest, finder: &Finder) -> Result<Fetched, FetchError> {
    let fetch = node.fetch_finding(request, finder.clone(), &CancellationToken::new());
    let fetched = tokio::time::timeout(DEADLINE, fetch.finish()).await;
    fetched.expect("the fetch ends")
}

#[tokio::test]
async fn a_seeder_that_is_found_stands_in_for_a_dead_origin_among_many_lies() {
    let data = bytes(SIZE, 1);
    let seeder = Node::with_blob(&data).await;
    let mut found: Vec<Endpoint> = (0..15).map(|_| dead()).collect();
    found.push(seeder.endpoint());
    let (finder, asked) = finder(found);
    let node = Node::start().await;
    for origins in [vec![], vec![dead()]] {
        let origins: Vec<_> = origins.iter().collect();
        let fetched = fetch(&node, request(&[&data], &origins, &[]), &finder).await;
        let fetched = fetched.unwrap();
        assert_eq!(fetched.bytes_total, SIZE as u64);
        node.withdraw(&request(&[], &[], &[]).tag).await.unwrap();
        node.collect().await.unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_silent_origin_is_not_waited_for() {
    let data = bytes(SIZE, 2);
    let seeder = Node::with_blob(&data).await;
    let silent = bad_peer(&[&data], Fault::Silent).await;
    let (finder, asked) = finder(vec![seeder.endpoint()]);
    // The origin would be tried all day.
    let node = Node::start_with(|config| config.patience.attempts_max = 1_000_000).await;
    let request = request(&[&data], &[&silent.endpoint()], &[]);
    let fetched = fetch(&node, request, &finder).await.unwrap();
    assert_eq!(fetched.providers[1].bytes, SIZE as u64);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn nobody_is_looked_for_while_the_origin_answers() {
    let data = bytes(SIZE, 3);
    let origin = Node::with_blob(&data).await;
    let (finder, asked) = finder(vec![dead()]);
    let node = Node::start_with(|config| config.patience.lonely = DEADLINE).await;
    let request = request(&[&data], &[&origin.endpoint()], &[]);
    fetch(&node, request, &finder).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn more_endpoints_than_a_fetch_takes_are_left_out_and_the_end_is_told() {
    let data = bytes(SIZE, 4);
    let (finder, asked) = finder((0..300).map(|_| dead()).collect());
    let node = Node::start_with(|config| config.patience.attempts_max = 1).await;
    let failed = fetch(&node, request(&[&data], &[], &[]), &finder).await;
    let failed = failed.unwrap_err();
    assert_eq!(failed.providers().len(), 16, "{failed}");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}
