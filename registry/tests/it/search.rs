//! What a search finds among two thousand apps, and in which order.

use archy_registry::announcement::{self, Announcement, Card, ReleaseRef};
use archy_registry::key_state::KeyState;
use archy_registry::manifest::Category;
use archy_registry::store::{Arrival, Found, Hit, Search, Sort, Source};
use archy_registry::trust::{Band, POINT};
use archy_registry::{AppId, Blake3Hash, SigningKey, Store, Verified, sign};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::common::{announce, draft, key, now, origin, signed_release};

/// Apps beside the named ones, where many matter.
const CROWD: usize = 2000;
/// And where they do not.
const FEW: usize = 40;

/// Slug, name, tagline, category.
const NAMED: [(&str, &str, &str, &str); 9] = [
    ("jellyfin", "Jellyfin", "The free media system", "media"),
    (
        "nextcloud",
        "Nextcloud",
        "Files, calendars and contacts",
        "files",
    ),
    (
        "bitcoin-node",
        "Bitcoin Node",
        "Verify every block yourself",
        "bitcoin",
    ),
    ("photoprism", "PhotoPrism", "Browse your photos", "media"),
    ("photo", "Photo", "Just one picture", "other"),
    ("big-photo", "Big Photo", "Very large prints", "other"),
    ("gallery", "Gallery", "A photo a day", "media"),
    ("plex", "Plex", "Streams", "media"),
    ("cafe", "Café Finder", "100% offline", "other"),
];

fn announcement(
    key: &SigningKey,
    slug: &str,
    name: &str,
    tagline: &str,
    category: &str,
    architectures: &[&str],
) -> (Verified<Announcement>, Vec<u8>) {
    let announcement = Announcement {
        r#type: announcement::TYPE.to_owned(),
        publisher: key.did(),
        slug: slug.parse().unwrap(),
        version: "1.0.0".to_owned(),
        seq: 1,
        created: now(),
        expires: now() + announcement::VALIDITY_MAX,
        release: ReleaseRef {
            blake3: Blake3Hash::of(slug.as_bytes()),
            size_bytes: 9000,
        },
        card: Card {
            name: name.to_owned(),
            tagline: tagline.to_owned(),
            category: category.to_owned(),
            download_size_bytes: 1,
            architectures: architectures
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            icon: None,
        },
        origin: origin(),
    };
    let signed = sign(&announcement, key, now()).unwrap();
    let state = KeyState::implicit(key.did());
    let verified = announcement::verify(&signed.bytes, &state, now()).unwrap();
    (verified, signed.bytes)
}

async fn offer(store: &Store, announced: &[(Verified<Announcement>, Vec<u8>)]) {
    let source = Source {
        relay: "ws://a".to_owned(),
        event_id: String::new(),
    };
    let arrivals: Vec<Arrival<'_>> = announced
        .iter()
        .map(|(announcement, bytes)| Arrival {
            announcement,
            bytes,
            source: &source,
            pubkey: None,
        })
        .collect();
    store.admit_announcements(&arrivals, now()).await.unwrap();
}

/// The named apps by one publisher, and a crowd by twenty others.
async fn shelf(crowd: usize) -> Store {
    let store = Store::in_memory().await.unwrap();
    let mut announced: Vec<_> = NAMED
        .iter()
        .map(|(slug, name, tagline, category)| {
            announcement(&key(1), slug, name, tagline, category, &["amd64", "arm64"])
        })
        .collect();
    for n in 0..crowd {
        let publisher = u8::try_from(100 + n % 20).unwrap();
        let category = [Category::Home, Category::Social, Category::Network][n % 3];
        announced.push(announcement(
            &key(publisher),
            &format!("zone-{n}"),
            &format!("Zone {n:04}"),
            "One of very many",
            category.as_str(),
            if n % 2 == 0 {
                &["amd64"]
            } else {
                &["amd64", "arm64"]
            },
        ));
    }
    offer(&store, &announced).await;
    store
}

fn text(text: &str) -> Search {
    Search {
        text: text.to_owned(),
        ..Search::default()
    }
}

fn names(found: &Found) -> Vec<&str> {
    let hits = found.hits.iter();
    hits.map(|hit| hit.announcement.card.name.as_str())
        .collect()
}

#[tokio::test]
async fn every_key_that_is_typed_finds_the_app() {
    let store = shelf(FEW).await;
    for name in ["jellyfin", "Nextcloud", "BITCOIN", "plex", "café", "cafe"] {
        for end in name.char_indices().map(|(at, c)| at + c.len_utf8()) {
            let typed = &name[..end];
            let found = store.search(&text(typed)).await.unwrap();
            let hit = names(&found).iter().any(|found| {
                found
                    .to_lowercase()
                    .replace('é', "e")
                    .starts_with(&name.to_lowercase().replace('é', "e"))
            });
            assert!(hit, "{typed:?} finds {:?}", names(&found));
            assert_eq!(found.corrected, None, "{typed:?}");
        }
    }
}

#[tokio::test]
async fn misspelt_words_find_what_was_meant_and_say_so() {
    let store = shelf(FEW).await;
    for (typed, name, words) in [
        ("jelyfin", "Jellyfin", "jellyfin"),
        ("jelyf", "Jellyfin", "jellyfin"),
        ("nextcluod", "Nextcloud", "nextcloud"),
        ("bitcon", "Bitcoin Node", "bitcoin"),
        ("bitcon node", "Bitcoin Node", "bitcoin node"),
        ("fotoprism", "PhotoPrism", "photoprism"),
        ("plax", "Plex", "plex"),
        ("galery", "Gallery", "gallery"),
    ] {
        let found = store.search(&text(typed)).await.unwrap();
        assert_eq!(names(&found), [name], "{typed}");
        assert_eq!(found.corrected.as_deref(), Some(words), "{typed}");
        assert_eq!(found.total, 1);
    }
    for typed in ["wireguard", "zzzz", "jellyfish tank", "qqq"] {
        let found = store.search(&text(typed)).await.unwrap();
        assert_eq!(names(&found), [""; 0], "{typed}");
        assert_eq!(found.corrected, None, "{typed}");
    }
}

#[tokio::test]
async fn a_beginning_finds_every_word_however_many_begin_so() {
    let store = shelf(FEW).await;
    let words = [
        "star", "stardust", "starfish", "stark", "starlet", "starry", "start", "starve", "staré",
        "star9",
    ];
    for (n, word) in words.iter().enumerate() {
        let slug = format!("sky-{n}");
        let tagline = format!("Behold: {word}!");
        let app = announcement(&key(7), &slug, "Sky", &tagline, "other", &["amd64"]);
        offer(&store, &[app]).await;
        for typed in ["sta", "STAR", "sky behold star"] {
            let found = store.search(&text(typed)).await.unwrap();
            assert_eq!(found.total as usize, n + 1, "{typed:?} among {word:?}");
            assert_eq!(found.corrected, None, "{typed:?}");
        }
        let found = store.search(&text(word)).await.unwrap();
        assert!(
            found.hits.iter().any(|hit| hit.app().slug.as_str() == slug),
            "{word:?}"
        );
    }
    assert_eq!(store.search(&text("stare")).await.unwrap().total, 1);
    assert_eq!(store.search(&text("starv sky")).await.unwrap().total, 1);
    assert_eq!(
        store
            .search(&text("stardusty"))
            .await
            .unwrap()
            .corrected
            .as_deref(),
        None
    );
}

#[tokio::test]
async fn names_come_before_taglines_and_exact_names_before_all() {
    let store = shelf(FEW).await;
    let found = store.search(&text("photo")).await.unwrap();
    assert_eq!(
        names(&found),
        ["Photo", "PhotoPrism", "Big Photo", "Gallery"]
    );
    assert_eq!((found.total, found.is_at_least), (4, false));
    // The description comes last; it is known once the release is here.
    let author = key(2);
    let mut draft = draft(author.did(), 1);
    draft.manifest.app.description = "Also shows a photo of the moon.".to_owned();
    let (release, bytes) = signed_release(&author, draft);
    let (announcement, card) = announce(&author, &release, now());
    offer(&store, &[(announcement, card.bytes)]).await;
    assert_eq!(store.search(&text("photo moon")).await.unwrap().total, 0);
    store
        .admit_release(&release, &bytes.bytes, now())
        .await
        .unwrap();
    let found = store.search(&text("photo")).await.unwrap();
    assert_eq!(names(&found).last(), Some(&"Tiny Site"));
    assert_eq!(
        names(&store.search(&text("moon photo")).await.unwrap()),
        ["Tiny Site"]
    );
}

#[tokio::test]
async fn trust_decides_between_apps_that_fit_equally_well() {
    let store = shelf(FEW).await;
    for (seed, points) in [(2, 10), (3, 70), (4, 40)] {
        let twin = announcement(
            &key(seed),
            "plex",
            "Plex",
            "Streams too",
            "media",
            &["amd64"],
        );
        offer(&store, &[twin]).await;
        let band = Band::SomeTrust;
        store
            .set_score(&key(seed).did(), points * POINT, band)
            .await
            .unwrap();
    }
    let found = store.search(&text("plex")).await.unwrap();
    let by: Vec<_> = found
        .hits
        .iter()
        .map(|hit| hit.announcement.publisher)
        .collect();
    assert_eq!(by, [3, 4, 2, 1].map(|seed| key(seed).did()));
    assert_eq!(found.hits[0].micro_points, 70 * POINT);
    assert_eq!(found.hits[0].band, Band::SomeTrust);
    assert_eq!(found.hits[0].same_name_as.len(), 3);
    // A score that was set before the publisher's app is heard of counts as well.
    store
        .set_score(&key(5).did(), 99 * POINT, Band::Trusted)
        .await
        .unwrap();
    let late = announcement(&key(5), "plex", "Plex", "Late", "media", &["amd64"]);
    offer(&store, &[late]).await;
    let found = store.search(&text("plex")).await.unwrap();
    assert_eq!(found.hits[0].announcement.publisher, key(5).did());
}

#[tokio::test]
async fn filters_count_what_they_leave() {
    let store = shelf(CROWD).await;
    let all = store.search(&Search::default()).await.unwrap();
    assert_eq!(all.total as usize, CROWD + NAMED.len());
    assert_eq!(
        all.categories.iter().map(|(_, apps)| apps).sum::<u32>(),
        all.total
    );
    assert_eq!(all.hits.len(), 200);

    let arm = |text: &str| Search {
        architecture: Some("arm64".to_owned()),
        ..self::text(text)
    };
    assert_eq!(
        store.search(&arm("")).await.unwrap().total as usize,
        CROWD / 2 + NAMED.len()
    );
    assert_eq!(store.search(&arm("zone 0001")).await.unwrap().total, 1);
    assert_eq!(store.search(&arm("zone 0002")).await.unwrap().total, 0);
    // Not by a part of a name.
    let part = Search {
        architecture: Some("arm".to_owned()),
        ..Search::default()
    };
    assert_eq!(store.search(&part).await.unwrap().total, 0);

    let media = Search {
        category: Some(Category::Media),
        ..text("photo")
    };
    let found = store.search(&media).await.unwrap();
    assert_eq!(names(&found), ["PhotoPrism", "Gallery"]);
    assert_eq!(found.total, 2);
    assert_eq!(
        found.categories,
        [(Category::Media, 2), (Category::Other, 2)]
    );

    store
        .set_score(&key(1).did(), 65 * POINT, Band::Trusted)
        .await
        .unwrap();
    for (points_min, expected) in [
        (0, CROWD + NAMED.len()),
        (1, NAMED.len()),
        (65, NAMED.len()),
        (66, 0),
    ] {
        let trusted = Search {
            points_min,
            ..Search::default()
        };
        let found = store.search(&trusted).await.unwrap();
        assert_eq!(found.total as usize, expected, "{points_min}");
        assert_eq!(found.hits.len(), expected.min(200), "{points_min}");
    }
}

#[tokio::test]
async fn rights_that_are_unknown_count_as_unwanted() {
    let store = shelf(FEW).await;
    let app = |slug: &str| AppId {
        publisher: key(1).did(),
        slug: slug.parse().unwrap(),
    };
    let kinds =
        |kinds: &[&str]| -> Vec<String> { kinds.iter().map(|kind| (*kind).to_owned()).collect() };
    store
        .set_app_rights(&app("plex"), &kinds(&["network", "device"]))
        .await
        .unwrap();
    store
        .set_app_rights(&app("jellyfin"), &kinds(&["network"]))
        .await
        .unwrap();
    store.set_app_rights(&app("photo"), &[]).await.unwrap();
    let without = |unwanted: &[&str]| Search {
        without_rights: kinds(unwanted),
        ..Search::default()
    };
    let found = store.search(&without(&["device"])).await.unwrap();
    assert_eq!(names(&found), ["Jellyfin", "Photo"]);
    assert_eq!(found.total, 2);
    assert_eq!(found.hits[0].rights, Some(kinds(&["network"])));
    let found = store
        .search(&without(&["device", "network"]))
        .await
        .unwrap();
    assert_eq!(names(&found), ["Photo"]);
    assert_eq!(
        store.search(&Search::default()).await.unwrap().total as usize,
        FEW + NAMED.len()
    );
    // What the next release needs is not known yet.
    let key = key(1);
    let (mut next, _) = announcement(
        &key,
        "photo",
        "Photo",
        "Just one picture",
        "other",
        &["amd64"],
    );
    let mut statement = next.clone().into_inner();
    statement.seq = 2;
    statement.release.blake3 = Blake3Hash::of(b"next");
    let signed = sign(&statement, &key, now()).unwrap();
    next = announcement::verify(&signed.bytes, &KeyState::implicit(key.did()), now()).unwrap();
    offer(&store, &[(next, signed.bytes)]).await;
    assert_eq!(
        store
            .search(&without(&["device", "network"]))
            .await
            .unwrap()
            .total,
        0
    );
}

#[tokio::test]
async fn pages_of_every_order_hold_every_app_once() {
    let store = shelf(CROWD).await;
    for seed in 100..120 {
        let points = i64::from(seed) * 7 % 100;
        store
            .set_score(&key(seed).did(), points * POINT, Band::New)
            .await
            .unwrap();
    }
    for sort in [Sort::Relevance, Sort::Name, Sort::Newest, Sort::Score] {
        for text in ["", "zon"] {
            let mut seen = Vec::new();
            loop {
                let search = Search {
                    sort,
                    offset: u32::try_from(seen.len()).unwrap(),
                    limit: 170,
                    ..self::text(text)
                };
                let found = store.search(&search).await.unwrap();
                if found.hits.is_empty() {
                    assert_eq!(seen.len(), found.total as usize);
                    // Of a word that nearly all apps have, not all are looked at.
                    assert_eq!(found.is_at_least, !text.is_empty());
                    break;
                }
                seen.extend(found.hits);
            }
            match sort {
                Sort::Score => assert!(seen.is_sorted_by(|a, b| a.micro_points >= b.micro_points)),
                Sort::Newest => assert!(seen.is_sorted_by(|a, b| a.announced >= b.announced)),
                Sort::Name => {
                    assert!(seen.is_sorted_by_key(|hit| hit.announcement.card.name.to_lowercase()))
                }
                Sort::Relevance => {}
            }
            let mut apps: Vec<_> = seen.iter().map(Hit::app).collect();
            apps.sort();
            apps.dedup();
            assert_eq!(apps.len(), seen.len(), "{sort:?} {text:?}");
        }
    }
}

#[test]
fn nothing_that_a_person_types_is_an_error() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let store = runtime.block_on(shelf(FEW));
    let search = |text: String| {
        for category in [None, Some(Category::Media)] {
            let search = Search {
                text: text.clone(),
                category,
                architecture: Some(text.clone()),
                without_rights: vec![text.clone()],
                ..Search::default()
            };
            let found = runtime.block_on(store.search(&search));
            assert!(found.is_ok(), "{text:?}: {found:?}");
        }
    };
    for text in [
        "*",
        "\"",
        "\"\"",
        "a*",
        "NEAR(a b)",
        "name:jelly",
        "- description : (a)",
        "^jelly",
        "a AND",
        "OR",
        "NOT a",
        "\0",
        "a\0b",
        "{name} : x",
        "'; DROP TABLE apps; --",
        "%",
        "_",
        "ก่า",
        "\u{301}",
        "𝒫lex",
        "ＰＬＥＸ",
        "٣",
        "Ⅷ",
        "हिन्दी",
        "İ",
        "ß",
    ] {
        search(text.to_owned());
    }
    search("x".repeat(10_000));
    search("y ".repeat(10_000));
    search("é\u{301}".repeat(10_000));
    let words = proptest::collection::vec(
        prop_oneof![
            "\\PC{0,12}",
            "[a-z\"*^:(){}+\\-]{0,12}",
            Just("NEAR".to_owned()),
            Just("jelly".to_owned()),
            any::<char>().prop_map(String::from),
        ],
        0..6,
    );
    TestRunner::new(Config::with_cases(128))
        .run(&words, |words| {
            search(words.join(" "));
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn apps_of_a_publisher_that_revoked_its_keys_are_gone_from_pages_and_counts() {
    let store = shelf(FEW).await;
    let author = key(1);
    let state = KeyState {
        r#type: archy_registry::key_state::TYPE.to_owned(),
        publisher: author.did(),
        seq: 1,
        keys: Vec::new(),
        ..KeyState::implicit(author.did()).into_inner()
    };
    let state = KeyState {
        created: now(),
        expires: now() + jiff::SignedDuration::from_hours(24),
        ..state
    };
    let signed = sign(&state, &author, now()).unwrap();
    store
        .admit_key_state(&author.did(), &signed.bytes, now())
        .await
        .unwrap();
    assert_eq!(store.search(&text("plex")).await.unwrap().total, 0);
    assert_eq!(
        store.search(&Search::default()).await.unwrap().total as usize,
        FEW
    );
}
