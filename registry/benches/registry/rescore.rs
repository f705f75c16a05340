//! How long it takes until one new vote shows in its publisher's score, among a million votes.

use std::path::Path;
use std::time::Instant;

use archy_registry::trust::opinion::{Opinion, Rater, ReviewerList, Vote};
use archy_registry::{Did, SigningKey, Store};
use jiff::{SignedDuration, Timestamp};
use sqlx::SqliteConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

const PUBLISHERS: u32 = 10_000;
const RATERS: u32 = 1000;
/// One in so many raters votes on a publisher.
const ONE_IN: u32 = 10;
const SEEDS: u32 = 3;
/// How many others a rater names.
const NAMED: u32 = 30;
/// Votes that are timed.
const ROUNDS: u32 = 201;
const NOW: &str = "2026-11-21T12:00:00Z";

/// Returns the median time in ms from handing one vote to the store until the new score is stored, on disk, with
/// 10,000 publishers and 1,000,000 votes of 1,000 reviewers within reach.
pub(crate) fn rescore_ms() -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure())
}

async fn measure() -> f64 {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("archy.db");
    let now: Timestamp = NOW.parse().unwrap();
    let store = Store::open(&path).await.unwrap();
    let publishers: Vec<Did> = (0..PUBLISHERS).map(publisher).collect();
    network(&store, now).await;
    // Weighs the network, so that the votes below are those of reviewers within reach.
    store.score(&publishers[0], now).await.unwrap();
    let filled = fill(&path, &publishers, now).await;
    assert_eq!(filled, u64::from(PUBLISHERS * (RATERS / ONE_IN)));

    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let number = round * 47 % PUBLISHERS;
        let vote = Vote {
            rater: rater(round * 31 % RATERS),
            publisher: publishers[number as usize],
            app: None,
            opinion: Opinion::Caution,
            words: "It stopped working".to_owned(),
            event_id: rater(RATERS + round).to_string(),
            created: now,
        };
        let before = store.score(&vote.publisher, now).await.unwrap();
        let start = Instant::now();
        assert!(store.admit_vote(&vote, now).await.unwrap());
        let after = store.score(&vote.publisher, now).await.unwrap();
        times.push(start.elapsed());
        assert!(after.micro_points < before.micro_points);
    }
    store.close().await;
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn publisher(number: u32) -> Did {
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    SigningKey::from_seed(&seed).did()
}

fn rater(number: u32) -> Rater {
    let mut bytes = [0x5a; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Rater::from_bytes(bytes)
}

async fn network(store: &Store, now: Timestamp) {
    for seed in 0..SEEDS {
        store.set_seed(&rater(seed), true, now).await.unwrap();
    }
    for number in 0..RATERS {
        let named = (1..=NAMED).map(|step| rater((number + step * step) % RATERS));
        let list = ReviewerList {
            rater: rater(number),
            trusts: named.collect(),
            event_id: rater(number).to_string(),
            created: now,
        };
        assert!(store.admit_reviewer_list(&list, now).await.unwrap());
    }
}

/// Writes a million votes in one statement, as they are when they were admitted one by one.
async fn fill(path: &Path, publishers: &[Did], now: Timestamp) -> u64 {
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .synchronous(SqliteSynchronous::Off)
        .connect()
        .await
        .unwrap();
    run(
        &mut connection,
        "CREATE TEMP TABLE publishers (number INTEGER PRIMARY KEY, did TEXT NOT NULL)",
    )
    .await;
    run(&mut connection, "BEGIN").await;
    for (number, did) in (0_u32..).zip(publishers) {
        sqlx::query("INSERT INTO publishers VALUES (?, ?)")
            .bind(number)
            .bind(did.to_string())
            .execute(&mut connection)
            .await
            .unwrap();
    }
    let month_ago = now - SignedDuration::from_hours(24 * 30);
    let filled = sqlx::query(
        "INSERT INTO votes
         (publisher, rater, opinion, words, event_id, created, heard_at, live, reached)
         SELECT did, rater, iif(random() % 8 = 0, 'caution', 'recommend'), 'As I found it',
                randomblob(32), ?1, ?1, 1, 1
         FROM publishers CROSS JOIN
              (SELECT rater, row_number() OVER (ORDER BY rater) AS place FROM standings)
         WHERE (place + number) % ?2 = 0",
    )
    .bind(month_ago.as_millisecond())
    .bind(ONE_IN)
    .execute(&mut connection)
    .await
    .unwrap()
    .rows_affected();
    run(&mut connection, "COMMIT").await;
    connection.close().await.unwrap();
    filled
}

async fn run(connection: &mut SqliteConnection, statement: &'static str) {
    sqlx::query(statement).execute(connection).await.unwrap();
}
