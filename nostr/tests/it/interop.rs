//! Our client and nostr-rs-relay, a relay that we did not write.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use archy_nostr::{Clock, Draft, Label, NostrKey, PublishOptions, RelayUrl, Subject, publish};
use serde_json::json;
use tempfile::TempDir;

use crate::opinions::{DID, list, say, vote};
use crate::support::*;

/// The relay's process; it ends with the test.
struct Foreign {
    url: RelayUrl,
    process: Child,
    _dir: TempDir,
}

impl Foreign {
    async fn start() -> Self {
        let program = program();
        assert!(
            program.is_file(),
            "{} is missing: run scripts/build-interop-relay.sh, or name the program in ARCHY_INTEROP_RELAY",
            program.display()
        );
        let dir = tempfile::tempdir().unwrap();
        let mut process = Command::new(program)
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = tokio::task::spawn_blocking(move || lines.next());
        let line = soon("the relay's address", line).await.unwrap();
        Self {
            url: line.unwrap().unwrap().parse().unwrap(),
            process,
            _dir: dir,
        }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("ARCHY_INTEROP_RELAY") {
        return program.into();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    root.join(target).join("tools/bin/archy-interop-relay")
}

#[tokio::test]
async fn statements_are_published_heard_and_replaced() {
    let foreign = Foreign::start().await;
    let urls = std::slice::from_ref(&foreign.url);
    let key = NostrKey::generate();
    let report = announce(urls, &key, "notes", "stored").await;
    assert_eq!(
        (report.accepted.as_slice(), report.unconfirmed.as_slice()),
        (urls, [].as_slice()),
        "{report:?}"
    );

    let mut following = Following::start(urls);
    assert_eq!(following.next().await, "stored");
    following.until_live(&foreign.url).await;
    // Within the same second as the first: dated one second later, so that it wins.
    let newer = announce(urls, &key, "notes", "newer").await;
    assert!(newer.created_at > report.created_at);
    assert_eq!(newer.accepted, urls, "{newer:?}");
    assert_eq!(following.next().await, "newer");
    announce(urls, &key, "photos", "another app").await;
    assert_eq!(following.next().await, "another app");
    let status = following.follower.status().remove(0);
    assert_eq!((status.invalid, status.unwanted), (0, 0), "{status:?}");
    following.follower.stop().await;

    let mut client = RawClient::connect(&foreign.url).await;
    let kept = client
        .query(json!({"authors": [key.pubkey()], "#d": ["archy:app:notes"]}))
        .await;
    let kept: Vec<_> = kept.into_iter().map(|event| event.content).collect();
    assert_eq!(kept, ["newer"]);
}

#[tokio::test]
async fn seeder_records_are_kept_replaced_and_found() {
    let foreign = Foreign::start().await;
    crate::seeders::records_are_found_replaced_and_forgotten(&foreign.url).await;
}

#[tokio::test]
async fn the_largest_statements_pass() {
    let foreign = Foreign::start().await;
    let urls = std::slice::from_ref(&foreign.url);
    let key = NostrKey::generate();
    // Quotes, line ends and other alphabets: what canonical forms of events disagree about.
    let awkward =
        "{\"name\":\"\\\"Ünïcödé\\\" 你好 🎈\",\"text\":\"\u{8}\u{c}\n\r\t\u{1}\u{7f}\u{2028}\"}";
    let text = format!("{awkward}{}", "x".repeat(8_192 - awkward.len()));
    announce(urls, &key, "largest", &text).await;
    let did = DID.parse().unwrap();
    let state = "y".repeat(48 * 1024);
    let draft = Draft::new(Subject::KeyState, did, state.as_bytes(), None).unwrap();
    let options = PublishOptions::default();
    let report = soon("publishing", publish(urls, &key, &draft, &options))
        .await
        .unwrap();
    assert_eq!(report.accepted, urls, "{report:?}");
    let mut following = Following::start(urls);
    let mut expected = [state, text];
    expected.sort();
    assert_eq!(following.take(2).await, expected);
    following.follower.stop().await;
}

#[tokio::test]
async fn after_a_pause_only_what_is_new_since_the_cursor_is_read() {
    let foreign = Foreign::start().await;
    let urls = std::slice::from_ref(&foreign.url);
    let key = NostrKey::generate();
    let now = Clock::system().now();
    let mut client = RawClient::connect(&foreign.url).await;
    for n in 0..30 {
        let old = event(&key, &format!("old{n}"), "old", now - 7_200 - n);
        assert_eq!(client.offer(&old).await, (true, String::new()));
    }
    let mut config = follower_config(urls);
    config.overlap = Duration::from_secs(3_600);
    let cursors = Arc::default();
    let mut following = Following::with(config.clone(), Arc::clone(&cursors));
    assert_eq!(following.take(30).await, vec!["old"; 30]);
    let cursor = following.until_live(&foreign.url).await.cursor.unwrap();
    assert!(cursor.as_second().unsigned_abs() >= now);
    following.follower.stop().await;

    announce(urls, &key, "new", "new").await;
    let mut following = Following::with(config, cursors);
    assert_eq!(following.next().await, "new");
    let status = following.until_live(&foreign.url).await;
    assert_eq!(
        (status.handed_on, status.received),
        (1, status.handed_on + status.duplicates)
    );
    following.follower.stop().await;
}

#[tokio::test]
async fn it_and_our_relay_are_one_stream() {
    let foreign = Foreign::start().await;
    let dir = tempfile::tempdir().unwrap();
    let ours = start_relay(relay_config(dir.path())).await;
    let urls = [foreign.url.clone(), ours.url().clone()];
    let key = NostrKey::generate();
    announce(&urls[..1], &key, "one", "one").await;
    announce(&urls[1..], &key, "two", "two").await;
    let mut following = Following::start(&urls);
    assert_eq!(following.take(2).await, ["one", "two"]);
    for url in &urls {
        following.until_live(url).await;
    }
    let report = announce(&urls, &key, "both", "both").await;
    assert_eq!(report.accepted.len(), 2, "{report:?}");
    assert_eq!(following.next().await, "both");
    for url in &urls {
        following
            .until(url, "heard", |s| s.last_event.is_some() && s.lag.is_some())
            .await;
    }
    assert!(following.heard.try_recv().is_err());
    following.follower.stop().await;
}

#[tokio::test]
async fn opinions_are_published_and_heard_with_one_subscription() {
    let foreign = Foreign::start().await;
    let urls = std::slice::from_ref(&foreign.url);
    let key = NostrKey::generate();
    let did = DID.parse().unwrap();
    let mut following = Following::start(urls);
    following.until_live(&foreign.url).await;
    let words = "Ünïcödé \"words\"\n🎈";
    let report = say(
        urls,
        &key,
        &Draft::vote(did, None, Label::Recommend, words).unwrap(),
    )
    .await;
    let heard = vote(&mut following).await;
    assert_eq!(heard.words, words);
    let pubkey = NostrKey::generate().pubkey();
    let malware = Draft::malware_report(did, None, &pubkey, "").unwrap();
    let newer = say(urls, &key, &malware).await;
    assert!(newer.created_at > report.created_at);
    assert_eq!(
        vote(&mut following).await.event_id,
        newer.event_id.to_string()
    );
    say(urls, &key, &Draft::reviewers(&[pubkey]).unwrap()).await;
    assert_eq!(list(&mut following).await.trusts.len(), 1);
    following.follower.stop().await;
}

#[tokio::test]
async fn listings_for_other_app_stores_are_taken() {
    let foreign = Foreign::start().await;
    crate::listing::publish_and_ask(&foreign.url).await;
}
