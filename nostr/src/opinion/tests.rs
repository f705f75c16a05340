//! What each shape of event says, and what says nothing.

use proptest::prelude::*;

use super::*;
use crate::event::{EventId, Signature};
use crate::key::NostrKey;

const DID: &str = "did:key:z6MkrJVnaZkeFzdQyMZu1cgjg7k1pZZ6pvBQ7XJPt4swbTQ2";
const OTHER: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";

fn event(kind: u16, tags: &[&[&str]]) -> Event {
    Event {
        id: EventId::from_bytes([1; 32]),
        pubkey: Pubkey::from_bytes([2; 32]),
        created_at: 100,
        kind,
        tags: tags
            .iter()
            .map(|tag| tag.iter().map(|text| (*text).to_owned()).collect())
            .collect(),
        content: String::new(),
        sig: Signature::from_bytes([0; 64]),
    }
}

fn vote(app: Option<&str>, opinion: Opinion) -> Said {
    Said::Vote {
        publisher: DID.parse().unwrap(),
        app: app.map(|slug| slug.parse().unwrap()),
        opinion,
    }
}

#[test]
fn labels_and_reports_are_votes() {
    let namespace: &[&str] = &["L", "archy"];
    let about: &[&str] = &["r", DID];
    let app = format!("{DID}/notes");
    let recommend: &[&str] = &["l", "recommend", "archy"];
    let table: [(u16, &[&[&str]], Said); 6] = [
        (
            KIND_LABEL,
            &[namespace, recommend, about],
            vote(None, Opinion::Recommend),
        ),
        (
            KIND_LABEL,
            &[
                about,
                &["r", &app],
                &["l", "caution", "archy", "x"],
                namespace,
            ],
            vote(Some("notes"), Opinion::Caution),
        ),
        (
            KIND_LABEL,
            &[namespace, &["l", "withdrawn", "archy"], about],
            vote(None, Opinion::Withdrawn),
        ),
        (
            // Labels of others and web addresses say nothing here.
            KIND_LABEL,
            &[
                namespace,
                &["l", "spam", "other"],
                &["l", "en"],
                recommend,
                &["r", "https://example.org/"],
                about,
            ],
            vote(None, Opinion::Recommend),
        ),
        (
            KIND_REPORT,
            &[&["p", &"ab".repeat(32), "malware"], about],
            vote(None, Opinion::Malware),
        ),
        (
            KIND_REPORT,
            &[
                &["p", "x", "spam"],
                &["p", "y", "malware"],
                about,
                &["r", &app],
            ],
            vote(Some("notes"), Opinion::Malware),
        ),
    ];
    for (kind, tags, expected) in table {
        assert_eq!(read(&event(kind, tags)), Ok(expected), "{tags:?}");
    }
}

#[test]
fn what_is_ambiguous_or_of_others_counts_for_nothing() {
    let namespace: &[&str] = &["L", "archy"];
    let label: &[&str] = &["l", "recommend", "archy"];
    let about: &[&str] = &["r", DID];
    let (app, other_app) = (format!("{DID}/notes"), format!("{OTHER}/notes"));
    let second_app = format!("{DID}/photos");
    let report: &[&str] = &["p", "x", "malware"];
    let table: [(u16, &[&[&str]], NoOpinion); 15] = [
        (KIND_LABEL, &[label, about], NoOpinion::Label),
        (KIND_LABEL, &[namespace, about], NoOpinion::Label),
        (
            KIND_LABEL,
            &[&["L", "other"], label, about],
            NoOpinion::Label,
        ),
        (
            KIND_LABEL,
            &[namespace, &["l", "recommend"], about],
            NoOpinion::Label,
        ),
        (
            KIND_LABEL,
            &[namespace, &["l", "excellent", "archy"], about],
            NoOpinion::Label,
        ),
        (
            KIND_LABEL,
            &[namespace, label, &["l", "caution", "archy"], about],
            NoOpinion::Label,
        ),
        (KIND_LABEL, &[namespace, label], NoOpinion::About),
        (
            KIND_LABEL,
            &[namespace, label, about, &["r", OTHER]],
            NoOpinion::About,
        ),
        (
            KIND_LABEL,
            &[namespace, label, about, about],
            NoOpinion::About,
        ),
        (
            KIND_LABEL,
            &[namespace, label, &["r", &app]],
            NoOpinion::About,
        ),
        (
            KIND_LABEL,
            &[namespace, label, about, &["r", &other_app]],
            NoOpinion::About,
        ),
        (
            KIND_LABEL,
            &[namespace, label, about, &["r", &app], &["r", &second_app]],
            NoOpinion::About,
        ),
        (
            KIND_LABEL,
            &[namespace, label, &["r", "did:key:zQ3s"]],
            NoOpinion::About,
        ),
        (
            KIND_REPORT,
            &[&["p", "x", "spam"], about],
            NoOpinion::OtherReport,
        ),
        (
            KIND_REPORT,
            &[report, about, &["r", OTHER]],
            NoOpinion::About,
        ),
    ];
    for (kind, tags, expected) in table {
        assert_eq!(read(&event(kind, tags)), Err(expected), "{tags:?}");
    }
}

#[test]
fn a_list_names_everybody_once_and_not_its_author() {
    let (one, two, own) = ("ab".repeat(32), "cd".repeat(32), "02".repeat(32));
    let d: &[&str] = &["d", D_REVIEWERS];
    let list = event(
        KIND_REVIEWERS,
        &[
            d,
            &["p", &two, "wss://hint"],
            &["p", &one],
            &["p", &own],
            &["p", &two],
            &["e", "x"],
        ],
    );
    let expected = vec![two.parse().unwrap(), one.parse().unwrap()];
    assert_eq!(read(&list), Ok(Said::Reviewers(expected)));
    assert_eq!(
        read(&event(KIND_REVIEWERS, &[d])),
        Ok(Said::Reviewers(Vec::new())),
        "trusts nobody any more"
    );
    let follows = event(KIND_REVIEWERS, &[&["d", "friends"], &["p", &one]]);
    assert_eq!(read(&follows), Err(NoOpinion::OtherSet));
    for pubkey in ["", "ab", &one.to_uppercase()] {
        let list = event(KIND_REVIEWERS, &[d, &["p", &two], &["p", pubkey]]);
        assert_eq!(read(&list), Err(NoOpinion::Reviewer), "{pubkey:?}");
    }
}

#[test]
fn the_longest_list_is_read_and_a_longer_one_is_not() {
    let mut list = event(KIND_REVIEWERS, &[&["d", D_REVIEWERS]]);
    let reviewer = |n: usize| vec!["p".to_owned(), format!("{:064x}", n + 1)];
    list.tags.extend((0..REVIEWERS_MAX).map(reviewer));
    let Ok(Said::Reviewers(trusts)) = read(&list) else {
        panic!("the longest list is not read");
    };
    assert_eq!(trusts.len(), REVIEWERS_MAX);
    list.tags.push(reviewer(REVIEWERS_MAX));
    assert_eq!(read(&list), Err(NoOpinion::TooMany(REVIEWERS_MAX + 1)));
    list.content = "x".repeat(OPINION_BYTES_MAX);
    assert!(matches!(read(&list), Err(NoOpinion::TooLarge(_))));
}

#[test]
fn long_words_are_cut_between_characters() {
    let key = NostrKey::generate();
    let content = format!("{}{}", "x".repeat(WORDS_BYTES_MAX - 1), "é".repeat(10));
    let unsigned = crate::sdk::Unsigned {
        created_at: 7,
        kind: KIND_LABEL,
        tags: Vec::new(),
        content,
    };
    let event = key.sign(unsigned).unwrap();
    let (id, publisher) = (event.id.to_string(), DID.parse().unwrap());
    let vote = super::vote(event, publisher, None, Opinion::Caution).unwrap();
    assert_eq!(vote.words, "x".repeat(WORDS_BYTES_MAX - 1));
    assert_eq!(vote.rater.to_string(), key.pubkey().to_string());
    assert_eq!((vote.event_id, vote.created.as_second()), (id, 7));
}

#[test]
fn labels_are_written_as_they_are_read() {
    for label in Label::ALL {
        assert_eq!(label.to_string().parse(), Ok(label));
    }
    assert_eq!("malware".parse::<Label>(), Err(LabelError));
}

proptest! {
    /// Whatever the tags, reading does not panic, and what it yields keeps its promises.
    #[test]
    fn any_tags_are_read_within_the_limits(
        kind in prop::sample::select(vec![KIND_REVIEWERS, KIND_LABEL, KIND_REPORT]),
        tags in prop::collection::vec(
            prop::collection::vec(
                prop_oneof![
                    Just("d".to_owned()), Just(D_REVIEWERS.to_owned()), Just("p".to_owned()), Just("r".to_owned()),
                    Just("L".to_owned()), Just("l".to_owned()), Just("archy".to_owned()), Just("malware".to_owned()),
                    Just("caution".to_owned()), Just(DID.to_owned()), Just(format!("{DID}/notes")), "[0-9a-f]{64}", ".{0,8}",
                ],
                1..4,
            ),
            0..8,
        ),
    ) {
        let tags: Vec<Vec<&str>> = tags.iter().map(|tag| tag.iter().map(String::as_str).collect()).collect();
        let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
        match read(&event(kind, &tags)) {
            Ok(Said::Reviewers(trusts)) => {
                let unique: HashSet<_> = trusts.iter().collect();
                prop_assert_eq!(unique.len(), trusts.len());
                prop_assert_eq!(kind, KIND_REVIEWERS);
            }
            Ok(Said::Vote { publisher, opinion, .. }) => {
                prop_assert_eq!(publisher.to_string(), DID);
                prop_assert_eq!(opinion == Opinion::Malware, kind == KIND_REPORT);
            }
            Err(_) => {}
        }
    }
}
