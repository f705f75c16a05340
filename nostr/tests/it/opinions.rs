//! Reviewer lists, votes and reports on their way from one to the other, through our relay and one that lies.

use archy_nostr::faults::{BadRelay, Reply, all, event_reply};
use archy_nostr::sdk::Unsigned;
use archy_nostr::{
    D_REVIEWERS, Draft, DraftError, Label, Message, NostrKey, PublishOptions, PublishReport,
    RelayUrl, publish,
};
use archy_registry::Did;
use archy_registry::trust::opinion::{Opinion, REVIEWERS_MAX, ReviewerList, Vote, WORDS_BYTES_MAX};
use serde_json::json;

use crate::support::*;

pub(crate) const DID: &str = "did:key:z6MkrJVnaZkeFzdQyMZu1cgjg7k1pZZ6pvBQ7XJPt4swbTQ2";

fn did() -> Did {
    DID.parse().unwrap()
}

pub(crate) async fn say(relays: &[RelayUrl], key: &NostrKey, draft: &Draft) -> PublishReport {
    let options = PublishOptions::default();
    let report = soon("publishing", publish(relays, key, draft, &options))
        .await
        .unwrap();
    assert_eq!(report.accepted, relays, "{report:?}");
    assert_eq!(report.unconfirmed, [], "{report:?}");
    report
}

pub(crate) async fn vote(following: &mut Following) -> Vote {
    match soon("a vote", following.heard.recv()).await.unwrap() {
        Message::Vote(vote) => vote,
        other @ (Message::Statement(_) | Message::Reviewers(_)) => panic!("{other:?} is no vote"),
    }
}

pub(crate) async fn list(following: &mut Following) -> ReviewerList {
    match soon("a list", following.heard.recv()).await.unwrap() {
        Message::Reviewers(list) => list,
        other @ (Message::Statement(_) | Message::Vote(_)) => panic!("{other:?} is no list"),
    }
}

#[tokio::test]
async fn what_is_said_is_heard_with_all_that_scoring_needs() {
    let dir = tempfile::tempdir().unwrap();
    let relay = start_relay(relay_config(dir.path())).await;
    let urls = std::slice::from_ref(relay.url());
    let key = NostrKey::generate();
    let mut following = Following::start(urls);
    following.until_live(relay.url()).await;

    let app = "notes".parse().unwrap();
    let draft = Draft::vote(did(), Some(&app), Label::Caution, "Größe \"x\"\n🎈").unwrap();
    let report = say(urls, &key, &draft).await;
    let expected = Vote {
        rater: key.pubkey().to_string().parse().unwrap(),
        publisher: did(),
        app: Some(app),
        opinion: Opinion::Caution,
        words: "Größe \"x\"\n🎈".to_owned(),
        event_id: report.event_id.to_string(),
        created: jiff::Timestamp::from_second(report.created_at.cast_signed()).unwrap(),
    };
    assert_eq!(vote(&mut following).await, expected);

    // Said within the same second: each is dated after the one that it replaces, whatever its kind.
    let malware = Draft::malware_report(did(), None, &NostrKey::generate().pubkey(), "").unwrap();
    let second = say(urls, &key, &malware).await;
    assert!(second.created_at > report.created_at);
    assert_eq!(vote(&mut following).await.opinion, Opinion::Malware);
    let withdrawn = Draft::vote(did(), None, Label::Withdrawn, "").unwrap();
    let third = say(urls, &key, &withdrawn).await;
    assert!(third.created_at > second.created_at);
    assert_eq!(vote(&mut following).await.opinion, Opinion::Withdrawn);

    let reviewers: Vec<_> = (0..800).map(|_| NostrKey::generate().pubkey()).collect();
    let report = say(urls, &key, &Draft::reviewers(&reviewers).unwrap()).await;
    let heard = list(&mut following).await;
    let names: Vec<_> = heard.trusts.iter().map(ToString::to_string).collect();
    let expected: Vec<_> = reviewers.iter().map(ToString::to_string).collect();
    assert_eq!(names, expected);
    assert_eq!(heard.event_id, report.event_id.to_string());
    say(urls, &key, &Draft::reviewers(&[]).unwrap()).await;
    assert_eq!(list(&mut following).await.trusts, []);

    // The list replaces the one before, votes stay.
    assert_eq!(relay.count().await.unwrap(), 4);
    let status = following.follower.status().remove(0);
    assert_eq!((status.invalid, status.unwanted), (0, 0), "{status:?}");
    following.follower.stop().await;
}

#[tokio::test]
async fn what_was_said_before_is_heard_among_the_statements_and_once() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut relays = Vec::new();
    for dir in &dirs {
        relays.push(start_relay(relay_config(dir.path())).await);
    }
    let urls: Vec<_> = relays.iter().map(|relay| relay.url().clone()).collect();
    let key = NostrKey::generate();
    say(
        &urls,
        &key,
        &Draft::vote(did(), None, Label::Recommend, "").unwrap(),
    )
    .await;
    say(&urls, &key, &Draft::reviewers(&[]).unwrap()).await;
    announce(&urls, &key, "notes", "statement").await;
    let mut following = Following::start(&urls);
    let mut counts = [0; 3];
    for _ in 0..3 {
        let heard = soon("a message", following.heard.recv()).await.unwrap();
        counts[match heard {
            Message::Statement(_) => 0,
            Message::Reviewers(_) => 1,
            Message::Vote(_) => 2,
        }] += 1;
    }
    assert_eq!(counts, [1, 1, 1]);
    for url in &urls {
        following.until_live(url).await;
    }
    assert!(following.heard.try_recv().is_err());
    following.follower.stop().await;
}

#[tokio::test]
async fn what_says_nothing_or_has_no_date_to_believe_is_not_handed_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = relay_config(dir.path());
    let clock = TestClock::new();
    config.clock = clock.clock();
    let relay = start_relay(config).await;
    let key = NostrKey::generate();
    let mut client = RawClient::connect(relay.url()).await;
    let now = clock.now();
    let label = |value, date, more: Option<[&'static str; 2]>| {
        let mut tags = vec![
            vec!["t", "archy"],
            vec!["L", "archy"],
            vec!["l", value, "archy"],
            vec!["r", DID],
        ];
        tags.extend(more.map(|tag| tag.to_vec()));
        sign(&key, 1985, tags, date)
    };
    let late = now + 60;
    let expiring = late.to_string().leak();
    let unwanted = [
        label("excellent", now, None),
        label("recommend", now, Some(["expiration", expiring])),
        label("recommend", now + 800, None),
        sign(
            &key,
            1984,
            vec![vec!["t", "archy"], vec!["p", "x", "spam"], vec!["r", DID]],
            now,
        ),
        sign(
            &key,
            30_000,
            vec![vec!["t", "archy"], vec!["d", "friends"]],
            now,
        ),
        sign(&key, 5, vec![vec!["t", "archy"], vec!["k", "1985"]], now),
        sign(
            &key,
            1985,
            vec![
                vec!["L", "archy"],
                vec!["l", "caution", "archy"],
                vec!["r", DID],
            ],
            now,
        ),
    ];
    for event in &unwanted {
        let (accepted, words) = client.offer(event).await;
        assert!(accepted, "{words}");
    }
    let wanted = label("caution", now - 1, None);
    assert!(client.offer(&wanted).await.0);

    // To one follower's clock one of them is too far ahead, to another's one has expired.
    for (offset, dates) in [(-200, [now - 1, now]), (100, [now - 1, now + 800])] {
        let clock = clock.clone();
        let mut config = follower_config(std::slice::from_ref(relay.url()));
        config.clock =
            archy_nostr::Clock::from_fn(move || clock.now().saturating_add_signed(offset));
        let mut following = Following::with(config, std::sync::Arc::default());
        let mut heard = Vec::new();
        for _ in 0..2 {
            let vote = vote(&mut following).await;
            heard.push(vote.created.as_second().unsigned_abs());
        }
        heard.sort_unstable();
        assert_eq!(heard, dates);
        let status = following.until_live(relay.url()).await;
        assert_eq!((status.handed_on, status.invalid), (2, 0), "{status:?}");
        assert!(status.unwanted >= 4, "{status:?}");
        following.follower.stop().await;
    }
}

#[tokio::test]
async fn a_list_with_forged_reviewers_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let relay = start_relay(relay_config(dir.path())).await;
    let key = NostrKey::generate();
    let draft = Draft::reviewers(&[NostrKey::generate().pubkey()]).unwrap();
    let genuine = key.sign(draft.event(now())).unwrap().into_inner();
    let mut forged = genuine.clone();
    forged.tags[2][1] = NostrKey::generate().pubkey().to_string();
    let mut client = RawClient::connect(relay.url()).await;
    let (accepted, words) = client.offer(&forged).await;
    assert!(!accepted && words.starts_with("invalid:"), "{words}");

    let lying = BadRelay::storing(move |page| {
        all(vec![
            event_reply(page, &forged),
            event_reply(page, &genuine),
            Reply::Json(json!(["EOSE", page])),
        ])
    })
    .await
    .unwrap();
    let mut following = Following::start(std::slice::from_ref(lying.url()));
    assert_eq!(list(&mut following).await.trusts.len(), 1);
    let status = following
        .until(lying.url(), "read", |s| s.invalid > 0 && s.handed_on > 0)
        .await;
    assert_eq!(status.handed_on, 1);
    following.follower.stop().await;
}

#[tokio::test]
async fn one_author_cannot_fill_the_relay_with_votes_and_lists_may_be_long() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = relay_config(dir.path());
    config.limits.events_per_author_max = 3;
    config.limits.list_tags_max = 12;
    let relay = start_relay(config).await;
    let key = NostrKey::generate();
    let mut client = RawClient::connect(relay.url()).await;
    let list = |count: usize, date| {
        let mut tags = vec![vec!["d", D_REVIEWERS], vec!["t", "archy"]];
        let reviewer = "ab".repeat(32).leak();
        tags.extend(std::iter::repeat_n(vec!["p", &*reviewer], count));
        sign(&key, 30_000, tags, date)
    };
    let (accepted, words) = client.offer(&list(11, 1)).await;
    assert!(!accepted && words.contains("more than 12 tags"), "{words}");
    assert!(client.offer(&list(10, 1)).await.0);
    for date in 1..4 {
        let draft = Draft::vote(did(), None, Label::Recommend, "").unwrap();
        let event = key.sign(draft.event(date)).unwrap().into_inner();
        let (accepted, words) = client.offer(&event).await;
        assert_eq!(accepted, date < 3, "{words}");
    }
    // A newer list takes the place of the old one.
    assert!(client.offer(&list(2, 2)).await.0);
    assert_eq!(relay.count().await.unwrap(), 3);
}

#[test]
fn what_followers_would_cut_is_not_sent() {
    let words = "x".repeat(WORDS_BYTES_MAX);
    assert!(Draft::vote(did(), None, Label::Caution, &words).is_ok());
    let words = format!("{words}x");
    let error = Draft::vote(did(), None, Label::Caution, &words).unwrap_err();
    assert_eq!(error, DraftError::Words(WORDS_BYTES_MAX + 1));
    let pubkey = NostrKey::generate().pubkey();
    let error = Draft::malware_report(did(), None, &pubkey, &words).unwrap_err();
    assert!(error.to_string().contains("shorten"), "{error}");
    let error = Draft::reviewers(&vec![pubkey; REVIEWERS_MAX + 1]).unwrap_err();
    assert_eq!(error, DraftError::Reviewers(REVIEWERS_MAX + 1));
}

#[tokio::test]
async fn words_of_other_programs_are_cut_on_the_way_in() {
    let dir = tempfile::tempdir().unwrap();
    let relay = start_relay(relay_config(dir.path())).await;
    let key = NostrKey::generate();
    let unsigned = Unsigned {
        content: "é".repeat(WORDS_BYTES_MAX),
        ..Draft::vote(did(), None, Label::Caution, "")
            .unwrap()
            .event(now())
    };
    let mut client = RawClient::connect(relay.url()).await;
    assert!(
        client
            .offer(&key.sign(unsigned).unwrap().into_inner())
            .await
            .0
    );
    let mut following = Following::start(std::slice::from_ref(relay.url()));
    assert_eq!(
        vote(&mut following).await.words,
        "é".repeat(WORDS_BYTES_MAX / 2)
    );
    following.follower.stop().await;
}

fn now() -> u64 {
    archy_nostr::Clock::system().now()
}
