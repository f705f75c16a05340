//! Seeder records: events in which a node says that it serves a release, for when its origin is gone.
//!
//! A record is a hint. Anyone can write one about any endpoint; what the endpoint serves, it must prove itself.

mod find;

use archy_registry::Blake3Hash;
use archy_registry::release::Endpoint;
use serde::{Deserialize, Serialize};

pub use find::{FindOptions, SEEDERS_MAX, find_seeders};

use crate::clock::FUTURE_SECONDS_MAX;
use crate::draft::{Draft, tag};
use crate::event::Event;
use crate::filter::Filter;
use crate::statement::KIND;

/// `d` tag of a seeder record, before the release's hash.
pub const D_SEEDER_PREFIX: &str = "archy:seeder:";
/// Largest content of a seeder record in bytes.
pub const SEEDER_BYTES_MAX: usize = 2048;
/// Longest time in seconds for which a seeder record holds.
pub const SEEDER_SECONDS_MAX: u64 = 24 * 60 * 60;
/// Most addresses of one record.
const ADDRESSES_MAX: usize = 16;
/// Most iroh relays of one record.
const RELAYS_MAX: usize = 4;
/// Longest URL of an iroh relay in bytes.
const RELAY_BYTES_MAX: usize = 200;
/// What the content says that it is.
const TYPE: &str = "archy/seeder/v1";

/// What a node says that it serves, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeederRecord {
    /// The hash of the release.
    pub release: Blake3Hash,
    /// The endpoint that has the release and its images.
    pub endpoint: Endpoint,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    r#type: String,
    endpoint: Endpoint,
}

/// Why an event is no seeder record that counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSeeder {
    /// Other kind, or its `d` tag names no release.
    #[error("it is about something else")]
    Other,
    /// Dated in the future.
    #[error("it is dated {0} s in the future")]
    Future(u64),
    /// It has no expiry, or has expired, or holds for too long.
    #[error("its expiration is not within {SEEDER_SECONDS_MAX} s")]
    Expiration,
    /// The content is larger than any record.
    #[error("its content has {0} bytes")]
    TooLarge(usize),
    /// The content is none of this version.
    #[error("its content is no seeder record: {0}")]
    Malformed(String),
    /// It names no usable address.
    #[error("it names no address, or too many, or one that nobody listens at")]
    Addresses,
}

impl SeederRecord {
    /// Reads a record from an event; its signature is somebody else's to check.
    ///
    /// # Errors
    ///
    /// When it is none, or is not to be believed now.
    pub fn of(event: &Event, now: u64) -> Result<Self, NoSeeder> {
        let release = event
            .tag("d")
            .filter(|_| event.kind == KIND)
            .and_then(|d| d.strip_prefix(D_SEEDER_PREFIX)?.parse().ok())
            .ok_or(NoSeeder::Other)?;
        if event.created_at > now + FUTURE_SECONDS_MAX {
            return Err(NoSeeder::Future(event.created_at - now));
        }
        let holds = now..now + SEEDER_SECONDS_MAX + FUTURE_SECONDS_MAX;
        let expires = event.expiration().ok_or(NoSeeder::Expiration)?;
        if expires == now || !holds.contains(&expires) {
            return Err(NoSeeder::Expiration);
        }
        if event.content.len() > SEEDER_BYTES_MAX {
            return Err(NoSeeder::TooLarge(event.content.len()));
        }
        let content: Content = serde_json::from_str(&event.content)
            .map_err(|error| NoSeeder::Malformed(error.to_string()))?;
        if content.r#type != TYPE {
            return Err(NoSeeder::Malformed("its type is another".to_owned()));
        }
        let record = Self {
            release,
            endpoint: content.endpoint,
        };
        record.check()?;
        Ok(record)
    }

    fn check(&self) -> Result<(), NoSeeder> {
        let Endpoint {
            addresses, relays, ..
        } = &self.endpoint;
        let listens = addresses.iter().all(|address| {
            let ip = address.ip();
            address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
        });
        let are_short = relays.iter().all(|relay| relay.len() <= RELAY_BYTES_MAX);
        let few = addresses.len() <= ADDRESSES_MAX && relays.len() <= RELAYS_MAX;
        let some = !addresses.is_empty() || !relays.is_empty();
        if listens && are_short && few && some {
            Ok(())
        } else {
            Err(NoSeeder::Addresses)
        }
    }

    /// Drafts the record's event, which holds until `expires` (seconds since 1970).
    ///
    /// # Errors
    ///
    /// When no reader would take it.
    pub fn draft(&self, expires: u64) -> Result<Draft, NoSeeder> {
        self.check()?;
        let content = Content {
            r#type: TYPE.to_owned(),
            endpoint: self.endpoint.clone(),
        };
        let content = serde_json::to_string(&content)
            .map_err(|error| NoSeeder::Malformed(error.to_string()))?;
        if content.len() > SEEDER_BYTES_MAX {
            return Err(NoSeeder::TooLarge(content.len()));
        }
        let tags = vec![
            tag(["d", &d(&self.release)]),
            tag(["expiration", &expires.to_string()]),
        ];
        Ok(Draft::of_kind(KIND, tags, content))
    }
}

/// Drafts the event that takes the place of the author's record about a release and is none itself; relays may forget it
/// after `expires` (seconds since 1970).
pub fn withdraw_seeder(release: &Blake3Hash, expires: u64) -> Draft {
    let tags = vec![
        tag(["d", &d(release)]),
        tag(["expiration", &expires.to_string()]),
    ];
    Draft::of_kind(KIND, tags, String::new())
}

fn d(release: &Blake3Hash) -> String {
    format!("{D_SEEDER_PREFIX}{release}")
}

/// Returns the filter that the newest records of a release meet.
fn filter(release: &Blake3Hash, limit: usize, now: u64) -> Filter {
    Filter {
        kinds: Some(vec![KIND]),
        tags: [('d', vec![d(release)])].into(),
        since: Some(now.saturating_sub(SEEDER_SECONDS_MAX)),
        limit: Some(limit),
        ..Filter::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::NostrKey;

    const NOW: u64 = 1_790_000_000;

    fn record() -> SeederRecord {
        SeederRecord {
            release: Blake3Hash::of(b"release"),
            endpoint: Endpoint {
                id: archy_registry::id::EndpointId::from_bytes([7; 32]),
                addresses: vec!["192.0.2.1:8481".parse().unwrap()],
                relays: vec!["https://relay.example.org".to_owned()],
            },
        }
    }

    fn event(change: impl FnOnce(&mut Event)) -> Event {
        let draft = record().draft(NOW + 3600).unwrap();
        let signed = NostrKey::generate().sign(draft.event(NOW)).unwrap();
        let mut event = signed.into_inner();
        change(&mut event);
        event
    }

    #[test]
    fn what_is_drafted_is_read_and_met_by_the_filter() {
        let event = event(|_| {});
        assert_eq!(SeederRecord::of(&event, NOW), Ok(record()));
        assert!(filter(&record().release, 5, NOW).matches(&event));
        assert!(!filter(&Blake3Hash::of(b"other"), 5, NOW).matches(&event));
        // Followers of statements never ask for it.
        assert!(!crate::topic::filter().matches(&event));
    }

    #[test]
    fn what_does_not_count_is_told_apart() {
        let say = |content: &str| {
            let content = content.to_owned();
            SeederRecord::of(&event(|event| event.content = content), NOW)
        };
        let at = |addresses: &[&str], relays: &[String]| {
            let mut wrong = record();
            wrong.endpoint.addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
            wrong.endpoint.relays = relays.to_vec();
            let drafted = wrong.draft(NOW + 1).map(drop);
            let content = Content {
                r#type: TYPE.to_owned(),
                endpoint: wrong.endpoint,
            };
            let read = say(&serde_json::to_string(&content).unwrap()).map(drop);
            (drafted, read)
        };
        let bad = Err(NoSeeder::Addresses);
        for (addresses, relays) in [
            (vec![], vec![]),
            (vec!["192.0.2.1:0"], vec![]),
            (vec!["0.0.0.0:1"], vec![]),
            (vec!["[ff02::1]:1"], vec![]),
            (vec!["192.0.2.1:1"; 17], vec![]),
            (vec![], vec!["r".to_owned(); 5]),
            (vec![], vec!["r".repeat(201)]),
        ] {
            let both = (bad.clone(), bad.clone());
            assert_eq!(at(&addresses, &relays), both, "{addresses:?}");
        }
        assert_eq!(at(&[], &["r".to_owned()]), (Ok(()), Ok(())));

        for content in [
            "",
            "{}",
            "[]",
            r#"{"type":"archy/seeder/v2","endpoint":{"id":"00"}}"#,
        ] {
            assert!(
                matches!(say(content), Err(NoSeeder::Malformed(_))),
                "{content}"
            );
        }
        let good = event(|_| {}).content;
        let twice = good.replacen('{', r#"{"type":"archy/seeder/v1","#, 1);
        let more = good.replacen('{', r#"{"more":1,"#, 1);
        let other = good.replace("seeder/v1", "seeder/v2");
        for content in [twice, more, other] {
            assert!(
                matches!(say(&content), Err(NoSeeder::Malformed(_))),
                "{content}"
            );
        }
        assert_eq!(say(&" ".repeat(3000)), Err(NoSeeder::TooLarge(3000)));

        let of = |change: &dyn Fn(&mut Event)| SeederRecord::of(&event(|event| change(event)), NOW);
        let other: [&dyn Fn(&mut Event); 3] = [
            &|event| event.kind = 1,
            &|event| event.tags.remove(0).clear(),
            &|event| event.tags[0][1] = "archy:app:site".to_owned(),
        ];
        for change in other {
            assert_eq!(of(change), Err(NoSeeder::Other));
        }
        let future = of(&|event| event.created_at = NOW + FUTURE_SECONDS_MAX + 1);
        assert_eq!(future, Err(NoSeeder::Future(FUTURE_SECONDS_MAX + 1)));
        for expires in [0, NOW, NOW + 2 * SEEDER_SECONDS_MAX, u64::MAX] {
            let expired = of(&|event| event.tags[1][1] = expires.to_string());
            assert_eq!(expired, Err(NoSeeder::Expiration), "{expires}");
        }
        let endless = of(&|event| drop(event.tags.remove(1)));
        assert_eq!(endless, Err(NoSeeder::Expiration));
    }
}
