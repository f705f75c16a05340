//! SIGKILL in the middle of a fetch: what arrived is used by the next one.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use archy_registry::release::Endpoint;
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, Fault, Node, bad_peer, bytes, request};

const SIZE: usize = 32 * 1024 * 1024;
/// Where the child's provider falls silent.
const HALF: usize = SIZE / 2;
const CHILD: &str = "ARCHY_SWARM_TEST_CHILD";

/// Not a test of its own: the process that is killed below.
#[tokio::test]
async fn child_that_is_killed() {
    let Ok(job) = std::env::var(CHILD) else {
        return;
    };
    let (dir, endpoint): (std::path::PathBuf, Endpoint) = serde_json::from_str(&job).unwrap();
    let node = Node::start_in(&dir, |config| config.patience.stall = DEADLINE).await;
    let data = bytes(SIZE, 1);
    let fetch = node.fetch(
        request(&[&data], &[&endpoint], &[]),
        &CancellationToken::new(),
    );
    let mut progress = fetch.progress();
    while progress.changed().await.is_ok() {
        let done = progress.borrow().bytes_done;
        writeln!(std::io::stdout(), "\ndone {done}").unwrap();
    }
}

#[tokio::test]
async fn a_killed_fetch_goes_on_where_it_was() {
    let data = bytes(SIZE, 1);
    let temp = tempfile::tempdir().unwrap();
    let half = bad_peer(&[&data], Fault::StallsAfter(HALF)).await;
    let job = serde_json::to_string(&(temp.path(), half.endpoint())).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["resume::child_that_is_killed", "--exact", "--nocapture"])
        .env(CHILD, job)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let wait = tokio::task::spawn_blocking(move || {
        let mut seen = 0;
        for line in lines {
            let line = line.unwrap();
            let done = line
                .strip_prefix("done ")
                .map(|done| done.parse::<usize>().unwrap());
            // Reports come four times a second; by the fourth the database knows of the blob.
            seen += usize::from(done.is_some_and(|done| done > HALF - 1024 * 1024));
            if seen == 4 {
                return;
            }
        }
        panic!("the child ended before it had half");
    });
    tokio::time::timeout(DEADLINE, wait).await.unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();

    // Collection runs often, and before the fetch goes on.
    let node = Node::start_in(temp.path(), |config| {
        config.gc_interval = Duration::from_millis(20);
    })
    .await;
    let usage = node.tags();
    assert_eq!(usage.len(), 1, "the tag survived");
    assert!(!usage[0].complete && usage[0].shared);
    let began = std::time::Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while began.elapsed() < Duration::from_millis(200) {
        tick.tick().await;
    }
    let origin = Node::with_blob(&data).await;
    let fetched = node
        .fetch(
            request(&[&data], &[&origin.endpoint()], &[]),
            &CancellationToken::new(),
        )
        .finish()
        .await
        .unwrap();
    let again = fetched.providers[0].bytes;
    // A percent of what had arrived may come a second time.
    assert!(
        again <= (SIZE - HALF + 1024 * 1024 + HALF / 100) as u64,
        "{fetched:?}"
    );
    assert!(
        fetched.bytes_reused >= (HALF - 1024 * 1024) as u64 * 99 / 100,
        "{fetched:?}"
    );
    assert_eq!(
        node.read(request(&[&data], &[], &[]).blobs[0].blake3, SIZE as u64)
            .await
            .unwrap(),
        data
    );
}
