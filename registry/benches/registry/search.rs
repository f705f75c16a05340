//! Searching 100 000 apps, with words as they are typed, filters, misspellings and pages, in a store on disk.

use std::time::Instant;

use archy_registry::announcement::{self, Announcement, Card, ReleaseRef};
use archy_registry::id::EndpointId;
use archy_registry::manifest::Category;
use archy_registry::release::{Endpoint, Origin};
use archy_registry::store::{Arrival, BATCH_MAX, Limits, Search, Sort, Source};
use archy_registry::trust::{Band, POINT};
use archy_registry::{Blake3Hash, SigningKey, Store, sign};
use jiff::Timestamp;

const APPS: usize = 100_000;
const PUBLISHERS: usize = 2000;
/// Times that every query is asked.
const TURNS: usize = 8;

pub(crate) struct Searched {
    pub(crate) apps: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) wall_p50_ms: f64,
    pub(crate) wall_p99_ms: f64,
}

/// Beginnings and ends of names; some apps are called as apps are called.
const STARTS: [&str; 24] = [
    "Photo", "Next", "Paper", "Home", "Air", "Open", "Node", "Bit", "Jelly", "Tube", "Note",
    "Vault", "Media", "Cloud", "Mail", "Sync", "Task", "Wiki", "Book", "Feed", "Chat", "Code",
    "Git", "Grid",
];
const ENDS: [&str; 20] = [
    "view", "cloud", "less", "box", "sonic", "coin", "fin", "arr", "ly", "deck", "hub", "stack",
    "flow", "nest", "works", "desk", "base", "keep", "wave", "line",
];
const WORDS: [&str; 40] = [
    "self",
    "hosted",
    "server",
    "files",
    "photos",
    "music",
    "videos",
    "stream",
    "share",
    "private",
    "fast",
    "simple",
    "sync",
    "backup",
    "notes",
    "tasks",
    "calendar",
    "contacts",
    "wallet",
    "lightning",
    "monitor",
    "dashboard",
    "automation",
    "network",
    "proxy",
    "password",
    "manager",
    "reader",
    "feeds",
    "blog",
    "chat",
    "social",
    "recipes",
    "budget",
    "library",
    "books",
    "podcasts",
    "documents",
    "search",
    "home",
];

/// Returns the name of app `n`: a made-up word of its own beside common ones.
pub(crate) fn name(n: usize) -> String {
    let mixed = mix(n);
    let common = format!("{}{}", STARTS[mixed % 24], ENDS[mixed / 24 % 20]);
    match n % 3 {
        0 => format!("{common} {}", made_up(mix(n + 1) % 60_000)),
        1 => format!("{} {common}", made_up(mix(n + 2) % 60_000)),
        _ => common,
    }
}

/// Returns a line about app `n`.
pub(crate) fn tagline(n: usize) -> String {
    let words: Vec<&str> = (0..7)
        // The square makes a few words common and most rare.
        .map(|at| (mix(n * 7 + at) % 1000) as f64 / 1000.0)
        .map(|part| WORDS[(part * part * 40.0) as usize])
        .collect();
    words.join(" ")
}

/// A word of four or five syllables-like pairs.
fn made_up(mut n: usize) -> String {
    let mut word = String::new();
    for _ in 0..4 {
        word.push(char::from(b"bcdfghjklmnprstvwz"[n % 18]));
        n /= 18;
        word.push(char::from(b"aeiou"[(n + word.len()) % 5]));
    }
    word
}

fn mix(n: usize) -> usize {
    let mixed = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33) as usize
}

pub(crate) async fn measure() -> Searched {
    let dir = tempfile::tempdir_in(crate::target()).unwrap();
    let store = Store::open(&dir.path().join("registry.db")).await.unwrap();
    let store = store.with_limits(Limits {
        new_apps_per_day: u64::MAX,
        ..Limits::default()
    });
    fill(&store).await;
    let queries = queries();
    let mut times = Vec::with_capacity(queries.len() * TURNS);
    let mut waits = Vec::with_capacity(queries.len() * TURNS);
    let mut slowest = Vec::new();
    for turn in 0..TURNS {
        for search in &queries {
            let (began, began_wall) = (crate::cpu_time(), Instant::now());
            let found = store.search(search).await.unwrap();
            let took = (crate::cpu_time() - began).as_secs_f64() * 1e3;
            let waited = began_wall.elapsed().as_secs_f64() * 1e3;
            std::hint::black_box(found);
            // The first turn brings the pages into memory.
            if turn > 0 {
                times.push(took);
                waits.push(waited);
                slowest.push((took, search));
            }
        }
    }
    store.close().await;
    times.sort_by(f64::total_cmp);
    waits.sort_by(f64::total_cmp);
    if std::env::var_os("ARCHY_BENCH_SLOWEST").is_some() {
        slowest.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (took, search) in slowest.iter().take(40) {
            println!("{took:8.3} ms {search:?}");
        }
    }
    Searched {
        apps: APPS as f64,
        p50_ms: times[times.len() / 2],
        p99_ms: times[times.len() * 99 / 100],
        wall_p50_ms: waits[waits.len() / 2],
        wall_p99_ms: waits[waits.len() * 99 / 100],
    }
}

/// What people ask: a name key by key, several words, filters, orders, later pages, misspellings, nothing.
fn queries() -> Vec<Search> {
    let page = Search {
        limit: 48,
        ..Search::default()
    };
    let mut queries = vec![page.clone()];
    let mut ask = |text: &str| {
        queries.push(Search {
            text: text.to_owned(),
            ..page.clone()
        });
    };
    for name in ["photoview", "nextcloud", "jellyfin", "server", "backup"] {
        for end in 1..=name.len() {
            ask(&name[..end]);
        }
    }
    for text in [
        "self hosted",
        "photos backup",
        "music stream",
        "home automation",
        "password manager",
        "jelyfin",
        "nextcluod",
        "bitcon",
        "fotoview",
        "no such thing at all",
        "zzzzzzzz",
        "paperless documents",
    ] {
        ask(text);
    }
    for category in Category::ALL {
        queries.push(Search {
            category: Some(category),
            ..page.clone()
        });
        queries.push(Search {
            category: Some(category),
            text: "sync".to_owned(),
            architecture: Some("arm64".to_owned()),
            ..page.clone()
        });
    }
    for sort in [Sort::Name, Sort::Newest, Sort::Score] {
        for points_min in [0, 15, 65, 95] {
            queries.push(Search {
                sort,
                points_min,
                architecture: Some("amd64".to_owned()),
                without_rights: vec!["device".to_owned()],
                ..page.clone()
            });
        }
        for offset in [48, 480, 2400] {
            queries.push(Search {
                sort,
                offset,
                ..page.clone()
            });
        }
    }
    queries
}

async fn fill(store: &Store) {
    let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    let source = Source {
        relay: "wss://relay.example/".to_owned(),
        event_id: String::new(),
    };
    let mut batch = Vec::with_capacity(BATCH_MAX);
    for n in 0..APPS {
        batch.push(app(n, now));
        if batch.len() < BATCH_MAX && n + 1 < APPS {
            continue;
        }
        let arrivals: Vec<Arrival<'_>> = batch
            .iter()
            .map(|(announcement, bytes)| Arrival {
                announcement,
                bytes,
                source: &source,
                pubkey: None,
            })
            .collect();
        store.admit_announcements(&arrivals, now).await.unwrap();
        batch.clear();
    }
    for publisher in 0..PUBLISHERS {
        let points = (mix(publisher) % 100) as i64;
        let did = key(publisher).did();
        store
            .set_score(&did, points * POINT, Band::SomeTrust)
            .await
            .unwrap();
    }
    for n in (0..APPS).step_by(10) {
        let kinds: &[&str] = match n % 40 {
            0 => &["network", "data"],
            10 => &["network", "device"],
            20 => &["ports", "data", "capability"],
            _ => &[],
        };
        let kinds: Vec<String> = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        store.set_app_rights(&app_id(n), &kinds).await.unwrap();
    }
}

fn key(publisher: usize) -> SigningKey {
    let mut seed = [3; 32];
    seed[..8].copy_from_slice(&(publisher as u64).to_be_bytes());
    SigningKey::from_seed(&seed)
}

fn app_id(n: usize) -> archy_registry::AppId {
    archy_registry::AppId {
        publisher: key(n % PUBLISHERS).did(),
        slug: format!("app-{n}").parse().unwrap(),
    }
}

fn app(n: usize, now: Timestamp) -> (archy_registry::Verified<Announcement>, Vec<u8>) {
    let key = key(n % PUBLISHERS);
    let architectures: &[&str] = [
        &["amd64", "arm64"] as &[&str],
        &["amd64"],
        &["amd64", "arm", "arm64"],
    ][n % 3];
    let announcement = Announcement {
        r#type: announcement::TYPE.to_owned(),
        publisher: key.did(),
        slug: app_id(n).slug,
        version: "1.0.0".to_owned(),
        seq: 1,
        created: now,
        expires: now + announcement::VALIDITY_MAX,
        release: ReleaseRef {
            blake3: Blake3Hash::of(&n.to_be_bytes()),
            size_bytes: 9000,
        },
        card: Card {
            name: name(n),
            tagline: tagline(n),
            category: Category::ALL[mix(n) % Category::ALL.len()].to_string(),
            download_size_bytes: 120_000_000,
            architectures: architectures
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            icon: None,
        },
        origin: Origin {
            endpoints: vec![Endpoint {
                id: EndpointId::from_bytes([9; 32]),
                addresses: vec!["192.0.2.7:4433".parse().unwrap()],
                relays: Vec::new(),
            }],
        },
    };
    let signed = sign(&announcement, &key, now).unwrap();
    let state = archy_registry::key_state::KeyState::implicit(key.did());
    let verified = announcement::verify(&signed.bytes, &state, now).unwrap();
    (verified, signed.bytes)
}
