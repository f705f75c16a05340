//! What the store keeps of reviewers' words, what it makes of them, and when it scores again.

use archy_registry::store::{LogCursor, LogEntry, OpinionQuota, Search, Sort, Source, StoreError};
use archy_registry::trust::opinion::{
    Opinion, REVIEWERS_MAX, Rater, ReviewerList, Vote, WORDS_BYTES_MAX,
};
use archy_registry::trust::{self, Event, EvidenceRef, POINT, ReasonCode, Verdict};
use archy_registry::{Did, Store};
use jiff::Timestamp;
use sqlx::SqlitePool;
use tempfile::TempDir;

use crate::common::{announce, hours_later, key, now, release};

const VOTE: u64 = 1_000_000_000;

fn rater(name: u16) -> Rater {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&name.to_be_bytes());
    Rater::from_bytes(bytes)
}

fn publisher() -> Did {
    key(1).did()
}

fn list(by: u16, trusts: &[u16], created: Timestamp) -> ReviewerList {
    ReviewerList {
        rater: rater(by),
        trusts: trusts.iter().copied().map(rater).collect(),
        event_id: hex::encode([by.to_be_bytes()[1]; 32]),
        created,
    }
}

fn vote(by: u16, opinion: Opinion, created: Timestamp) -> Vote {
    Vote {
        rater: rater(by),
        publisher: publisher(),
        app: None,
        opinion,
        words: "as I found it".to_owned(),
        event_id: rater(by).to_string(),
        created,
    }
}

/// A store whose owner trusts rater 1, who trusts 2, who trusts 3.
async fn chained() -> Store {
    let store = Store::in_memory().await.unwrap();
    assert!(store.set_seed(&rater(1), true, now()).await.unwrap());
    for by in [1, 2] {
        let list = list(by, &[by + 1], now());
        assert!(store.admit_reviewer_list(&list, now()).await.unwrap());
    }
    store
}

/// Returns who is heard on the publisher, and with which weight.
async fn heard(store: &Store) -> Vec<(Rater, u64)> {
    let evidence = store.evidence(&publisher()).await.unwrap();
    let voices = evidence.voices.iter();
    voices.map(|voice| (voice.rater, voice.weight)).collect()
}

#[tokio::test]
async fn votes_count_as_far_as_the_owners_reviewers_reach() {
    let store = chained().await;
    for by in [2, 3, 9] {
        let vote = vote(by, Opinion::Recommend, now());
        assert!(store.admit_vote(&vote, now()).await.unwrap());
    }
    let third = VOTE * 17 / 20 - 1;
    assert_eq!(heard(&store).await, [(rater(2), VOTE), (rater(3), third)]);
    let score = store.score(&publisher(), now()).await.unwrap();
    assert_eq!(score.cap, None);
    assert_eq!(score.reasons[0].code, ReasonCode::Network);
    let introducer = EvidenceRef::Introducer {
        rater: rater(2),
        votes: VOTE + third,
    };
    assert_eq!(score.reasons[0].evidence[0], introducer);

    // A vote waits until somebody trusts its author.
    let newer = list(3, &[9], now());
    store.admit_reviewer_list(&newer, now()).await.unwrap();
    assert_eq!(heard(&store).await.len(), 3);
    // Whoever is dropped from a list is out of reach, with all whom it introduced.
    let shorter = list(1, &[], hours_later(1));
    let admitted = store.admit_reviewer_list(&shorter, hours_later(1)).await;
    assert!(admitted.unwrap());
    assert_eq!(heard(&store).await, []);
    let score = store.score(&publisher(), now()).await.unwrap();
    assert_eq!((score.micro_points, score.reasons.len()), (0, 0));
}

#[tokio::test]
async fn seeds_are_chosen_and_taken_back() {
    let store = chained().await;
    let recommended = vote(2, Opinion::Recommend, now());
    store.admit_vote(&recommended, now()).await.unwrap();
    assert!(!store.set_seed(&rater(1), true, now()).await.unwrap());
    assert!(store.set_seed(&rater(7), true, now()).await.unwrap());
    assert_eq!(store.seeds().await.unwrap(), [rater(1), rater(7)]);
    assert_eq!(store.evidence(&publisher()).await.unwrap().seeds, 2);
    assert!(store.set_seed(&rater(1), false, now()).await.unwrap());
    assert_eq!(store.seeds().await.unwrap(), [rater(7)]);
    assert_eq!(heard(&store).await, []);
    assert!(store.set_seed(&rater(1), true, now()).await.unwrap());
    assert_eq!(heard(&store).await, [(rater(2), VOTE)]);
}

#[tokio::test]
async fn the_youngest_word_counts_in_whatever_order_words_are_heard() {
    let of = |event_id: u8, opinion, hours| Vote {
        event_id: hex::encode([event_id; 32]),
        ..vote(2, opinion, hours_later(hours))
    };
    let words = [
        of(1, Opinion::Recommend, -9),
        of(3, Opinion::Malware, -1),
        of(2, Opinion::Caution, -1),
        of(4, Opinion::Withdrawn, -5),
    ];
    let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]];
    let mut scores = Vec::new();
    for order in orders {
        let store = chained().await;
        for index in order {
            store.admit_vote(&words[index], now()).await.unwrap();
        }
        for word in &words {
            assert!(!store.admit_vote(word, now()).await.unwrap(), "known");
        }
        let evidence = store.evidence(&publisher()).await.unwrap();
        assert_eq!(evidence.voices.len(), 1);
        assert_eq!(
            evidence.voices[0].opinion,
            Opinion::Caution,
            "of one date the lower event id counts"
        );
        scores.push(store.score(&publisher(), now()).await.unwrap());
        assert_eq!(store.history(&publisher(), 0, None).await.unwrap().len(), 4);
    }
    scores.dedup();
    assert_eq!(scores.len(), 1);
}

#[tokio::test]
async fn an_older_list_does_not_come_back() {
    let store = chained().await;
    let mut old = list(1, &[8], hours_later(-1));
    old.event_id = hex::encode([77; 32]);
    assert!(!store.admit_reviewer_list(&old, now()).await.unwrap());
    store
        .admit_vote(&vote(8, Opinion::Recommend, now()), now())
        .await
        .unwrap();
    assert_eq!(heard(&store).await, []);
}

#[tokio::test]
async fn words_of_the_future_and_words_without_end_are_refused() {
    let store = chained().await;
    let future = now() + jiff::SignedDuration::from_secs(15 * 60 + 1);
    let vote_ahead = vote(2, Opinion::Recommend, future);
    assert!(!store.admit_vote(&vote_ahead, now()).await.unwrap());
    let list_ahead = list(1, &[5], future);
    assert!(!store.admit_reviewer_list(&list_ahead, now()).await.unwrap());

    let long = Vote {
        words: "x".repeat(WORDS_BYTES_MAX + 1),
        ..vote(2, Opinion::Recommend, now())
    };
    let refused = store.admit_vote(&long, now()).await;
    assert!(matches!(refused, Err(StoreError::Opinion { .. })));
    let long = ReviewerList {
        trusts: vec![rater(2); REVIEWERS_MAX + 1],
        ..list(1, &[], hours_later(0))
    };
    let refused = store.admit_reviewer_list(&long, now()).await;
    assert!(matches!(refused, Err(StoreError::Opinion { .. })));
    let odd = Vote {
        event_id: "note1".to_owned(),
        ..vote(2, Opinion::Recommend, now())
    };
    let refused = store.admit_vote(&odd, now()).await;
    assert!(matches!(refused, Err(StoreError::Opinion { .. })));
    assert_eq!(heard(&store).await, []);
}

#[tokio::test]
async fn strangers_are_kept_within_a_quota_and_push_nobody_out_who_is_known() {
    let quota = OpinionQuota {
        unreached_bytes_max: 10 * 420,
        votes_per_rater_max: 3,
    };
    let store = chained().await.with_opinion_quota(quota);
    for by in [2, 3] {
        let vote = vote(by, Opinion::Recommend, now());
        store.admit_vote(&vote, now()).await.unwrap();
    }
    let before = store.score(&publisher(), now()).await.unwrap();
    for by in 1000..1600 {
        let vote = vote(by, Opinion::Malware, now());
        assert!(store.admit_vote(&vote, now()).await.unwrap());
        let list = list(by, &[by + 1, by + 2, 1], now());
        assert!(store.admit_reviewer_list(&list, now()).await.unwrap());
    }
    assert_eq!(store.score(&publisher(), now()).await.unwrap(), before);
    // Everybody trusts them now: the youngest are still there, the oldest were removed.
    let trusts: Vec<u16> = (1000..1600).collect();
    let newer = list(1, &trusts, hours_later(1));
    store
        .admit_reviewer_list(&newer, hours_later(1))
        .await
        .unwrap();
    let heard: Vec<Rater> = heard(&store).await.into_iter().map(|(by, _)| by).collect();
    assert!(heard.contains(&rater(1599)));
    assert!(!heard.contains(&rater(1000)));
    // Ten at the last sweep, and at most as many as come until the next one.
    assert!(heard.len() <= 10 + 256, "{}", heard.len());

    for (said, seed) in (1..6).enumerate() {
        let vote = Vote {
            publisher: key(seed).did(),
            ..vote(3000, Opinion::Recommend, now())
        };
        assert_eq!(store.admit_vote(&vote, now()).await.unwrap(), said < 3);
    }
}

/// A store on disk, and another way into its file.
async fn on_disk() -> (Store, SqlitePool, TempDir) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("archy.db");
    let store = Store::open(&path).await.unwrap();
    let url = format!("sqlite://{}", path.display());
    (store, SqlitePool::connect(&url).await.unwrap(), dir)
}

#[tokio::test]
async fn a_stored_score_holds_until_its_inputs_or_the_day_change() {
    let (store, file, _dir) = on_disk().await;
    store.set_seed(&rater(1), true, now()).await.unwrap();
    let recommended = vote(1, Opinion::Recommend, now());
    store.admit_vote(&recommended, now()).await.unwrap();
    let computed = store.score(&publisher(), now()).await.unwrap();
    let evidence = store.evidence(&publisher()).await.unwrap();
    assert_eq!(computed, trust::score(&evidence, now()));

    // What is stored is marked, so that it shows whether it was computed again.
    let marked = async |score_at: Timestamp| {
        sqlx::query(
            "UPDATE scores SET reasons_json = json_set(reasons_json, '$.would_change', json('[\"mark\"]'))",
        )
        .execute(&file)
        .await
        .unwrap();
        let score = store.score(&publisher(), score_at).await.unwrap();
        score.would_change == ["mark"]
    };
    assert!(marked(now()).await, "nothing changed");
    assert!(marked(hours_later(11)).await, "the same day");
    let elsewhere = Vote {
        publisher: key(2).did(),
        ..vote(1, Opinion::Caution, now())
    };
    store.admit_vote(&elsewhere, now()).await.unwrap();
    let stranger = vote(9, Opinion::Caution, now());
    store.admit_vote(&stranger, now()).await.unwrap();
    let strange = list(9, &[10], now());
    store.admit_reviewer_list(&strange, now()).await.unwrap();
    assert!(marked(now()).await, "of others, and of strangers");

    assert!(!marked(hours_later(13)).await, "the next day");
    let known = list(1, &[9], now());
    store.admit_reviewer_list(&known, now()).await.unwrap();
    assert!(!marked(now()).await, "the stranger came within reach");
    store
        .record(&publisher(), &Event::Pinned, now())
        .await
        .unwrap();
    assert!(!marked(now()).await, "the owner's word");
    store.set_seed(&rater(5), true, now()).await.unwrap();
    assert!(!marked(now()).await, "another seed");
}

/// Which of the publishers of keys 1 to 3 searches find, and with how many millionths of a point, best first.
async fn found(store: &Store, points_min: u8) -> Vec<(Did, i64)> {
    let search = Search {
        points_min,
        sort: Sort::Score,
        ..Search::default()
    };
    let found = store.search(&search).await.unwrap();
    assert_eq!(found.total as usize, found.hits.len());
    let hits = found.hits.into_iter();
    hits.map(|hit| (hit.announcement.publisher, hit.micro_points))
        .collect()
}

#[tokio::test]
async fn searches_follow_scores_and_all_that_changes_them_makes_them_due() {
    let store = Store::in_memory().await.unwrap();
    let dids = [1, 2, 3].map(|seed| key(seed).did());
    for seed in [1, 2, 3] {
        let (release, _) = release(&key(seed), 1);
        let (announcement, signed) = announce(&key(seed), &release, now());
        let source = Source {
            relay: "wss://relay".to_owned(),
            event_id: hex::encode([seed; 32]),
        };
        store
            .admit_announcement(&announcement, &signed.bytes, &source, now())
            .await
            .unwrap();
    }
    assert_eq!(found(&store, 1).await, []);
    assert_eq!(store.rescore_due(2, now()).await.unwrap(), 2);
    assert_eq!(store.rescore_due(200, now()).await.unwrap(), 1);
    assert_eq!(store.rescore_due(200, now()).await.unwrap(), 0);

    // Scoring alone is enough, whoever asks for it.
    let domain = Event::DomainLinked {
        domain: "notes.example".to_owned(),
    };
    store.record(&dids[1], &domain, now()).await.unwrap();
    let linked = store.score(&dids[1], now()).await.unwrap();
    assert!(linked.micro_points >= POINT);
    assert_eq!(found(&store, 1).await, [(dids[1], linked.micro_points)]);
    let order: Vec<Did> = found(&store, 0).await.iter().map(|(did, _)| *did).collect();
    assert_eq!(order[0], dids[1]);

    // What was recorded is due although it was scored since; who else is due is found without looking at everybody.
    assert_eq!(store.rescore_due(200, now()).await.unwrap(), 1);
    let vote = |publisher, opinion| Vote {
        publisher,
        ..vote(1, opinion, now())
    };
    store
        .admit_vote(&vote(dids[2], Opinion::Recommend), now())
        .await
        .unwrap();
    assert_eq!(
        store.rescore_due(200, now()).await.unwrap(),
        0,
        "the word of a stranger"
    );
    store.set_seed(&rater(1), true, now()).await.unwrap();
    assert_eq!(
        store.rescore_due(200, now()).await.unwrap(),
        3,
        "the word of a stranger counts now"
    );
    let vouched = store.score(&dids[2], now()).await.unwrap();
    assert!(vouched.micro_points > linked.micro_points, "{vouched:?}");
    assert_eq!(
        found(&store, 1).await,
        [
            (dids[2], vouched.micro_points),
            (dids[1], linked.micro_points)
        ]
    );
    store
        .record(&dids[2], &Event::Blocked, now())
        .await
        .unwrap();
    assert_eq!(found(&store, 1).await.len(), 2, "nobody asked yet");
    assert_eq!(store.rescore_due(200, now()).await.unwrap(), 1);
    assert_eq!(found(&store, 1).await, [(dids[1], linked.micro_points)]);

    let tomorrow = hours_later(24);
    assert_eq!(store.rescore_due(200, tomorrow).await.unwrap(), 3);
    assert_eq!(store.rescore_due(200, tomorrow).await.unwrap(), 0);
    let kept = store.score(&dids[1], tomorrow).await.unwrap();
    assert_eq!(found(&store, 1).await, [(dids[1], kept.micro_points)]);
}

#[tokio::test]
async fn what_was_said_is_never_changed_and_known_words_are_never_removed() {
    let (store, file, _dir) = on_disk().await;
    store.set_seed(&rater(1), true, now()).await.unwrap();
    store
        .admit_reviewer_list(&list(1, &[2], now()), now())
        .await
        .unwrap();
    store
        .admit_vote(&vote(2, Opinion::Caution, now()), now())
        .await
        .unwrap();
    assert_eq!(heard(&store).await, [(rater(2), VOTE)]);
    for statement in [
        "UPDATE votes SET opinion = 'recommend'",
        "UPDATE votes SET created = 0",
        "DELETE FROM votes",
        "UPDATE reviewer_lists SET trusts = x''",
        "DELETE FROM reviewer_lists",
        "UPDATE seed_choices SET trusted = 0",
        "DELETE FROM seed_choices",
    ] {
        let refused = sqlx::query(statement).execute(&file).await.unwrap_err();
        assert!(refused.to_string().contains("never"), "{statement}");
    }
}

#[tokio::test]
async fn the_log_comes_in_pages_and_every_row_is_what_reasons_refer_to() {
    let store = chained().await;
    let publisher = publisher();
    for hour in 0..3 {
        let at = hours_later(hour);
        store.record(&publisher, &Event::Pinned, at).await.unwrap();
    }
    for by in [2, 3, 9] {
        let vote = vote(by, Opinion::Malware, now());
        store.admit_vote(&vote, hours_later(1)).await.unwrap();
    }
    let all = store.history(&publisher, 0, None).await.unwrap();
    assert_eq!(all.len(), 5, "the stranger's vote is not listed");
    assert!(all.windows(2).all(|rows| rows[0].at >= rows[1].at));

    let mut paged = Vec::new();
    let mut before: Option<LogCursor> = None;
    loop {
        let page = store.history(&publisher, 2, before.as_ref()).await.unwrap();
        let Some(last) = page.last() else { break };
        // As it comes back from a client.
        before = Some(last.cursor.to_string().parse().unwrap());
        paged.extend(page);
    }
    assert_eq!(paged, all);

    let score = store.score(&publisher, now()).await.unwrap();
    assert_eq!(score.verdict, Verdict::Refuse);
    let rows: Vec<EvidenceRef> = all.iter().map(|row| row.reference()).collect();
    let references = score.reasons.iter().flat_map(|reason| &reason.evidence);
    for reference in references {
        let is_row = !matches!(reference, EvidenceRef::Introducer { .. });
        assert_eq!(rows.contains(reference), is_row, "{reference}");
    }
    let said = all.iter().filter_map(|row| match &row.entry {
        LogEntry::Vote { words, newest, .. } => Some((words.as_str(), *newest)),
        LogEntry::Event { .. }
        | LogEntry::Contradiction { .. }
        | LogEntry::KeyState { .. }
        | LogEntry::FirstSeen { .. } => None,
    });
    assert_eq!(said.collect::<Vec<_>>(), [("as I found it", true); 2]);
}
