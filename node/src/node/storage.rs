//! How much room downloads take, what of, and what for, for the API.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use archy_registry::AppId;
use archy_swarm::TagUsage;
use archy_swarm::storage::Room;

use super::Node;
use crate::api::types::{
    AppRef, FsckReport, Problem, StorageClass, StorageKind, StoragePage, StorageSet,
};
use crate::problem as explain;

/// Sets of one page.
const SETS_MAX: usize = 100;

impl Node {
    pub(super) async fn storage_page(&self) -> Result<StoragePage, Problem> {
        let swarm = self.swarm_ready()?;
        let room = swarm.room();
        let room = room.map_err(|error| explain::internal("measure its storage", &error))?;
        let Room {
            used_bytes,
            reserved_bytes,
            freeable_bytes,
            quota_bytes,
            free_bytes,
            kept_bytes,
            classes,
        } = room;
        let classes = classes.into_iter().map(|usage| StorageClass {
            class: usage.class.name().to_owned(),
            sets: count(usage.tags),
            blobs: count(usage.blobs),
            size_bytes: usage.size_bytes,
        });
        let mut names = Names {
            node: self,
            known: BTreeMap::new(),
        };
        let (largest, sets_more) = largest(swarm.tags());
        let mut sets = Vec::with_capacity(largest.len());
        for usage in &largest {
            sets.push(names.describe(usage).await);
        }
        let mut fsck = self.fsck.report();
        if let Some(report) = &mut fsck {
            names.add(report).await;
        }
        Ok(StoragePage {
            used_bytes,
            reserved_bytes,
            freeable_bytes,
            quota_bytes: (quota_bytes < u64::MAX).then_some(quota_bytes),
            free_bytes,
            kept_bytes,
            classes: classes.collect(),
            sets,
            sets_more: count(sets_more),
            fsck,
        })
    }
}

/// Display names of apps, each looked up once.
struct Names<'n> {
    node: &'n Node,
    known: BTreeMap<AppId, String>,
}

impl Names<'_> {
    async fn of(&mut self, app: &AppId) -> String {
        if let Some(name) = self.known.get(app) {
            return name.clone();
        }
        let name = self.node.display_name(app).await;
        self.known.insert(app.clone(), name.clone());
        name
    }

    async fn describe(&mut self, usage: &TagUsage) -> StorageSet {
        let Content { kind, app } = content(usage.tag.as_str());
        let (mut name, mut version) = (None, None);
        if let Some((app, seq)) = &app {
            name = Some(self.of(app).await);
            // For people to read; a set is shown without it, too.
            let known = self.node.store.release_version(app, *seq).await;
            version = known.ok().flatten();
        }
        StorageSet {
            set: usage.tag.to_string(),
            kind,
            class: usage.class.name().to_owned(),
            app: app.map(|(app, _)| AppRef {
                publisher: app.publisher.to_string(),
                slug: app.slug.to_string(),
            }),
            name,
            version,
            blobs: count(usage.blobs),
            size_bytes: usage.size_bytes,
            complete: usage.complete,
        }
    }

    /// Names the apps that what is bad belongs to.
    async fn add(&mut self, report: &mut FsckReport) {
        for bad in &mut report.bad {
            for set in &bad.sets {
                if let Some((app, _)) = content(set).app {
                    let name = self.of(&app).await;
                    if !bad.apps.contains(&name) {
                        bad.apps.push(name);
                    }
                }
            }
        }
    }
}

/// What a tag names.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    kind: StorageKind,
    /// Of which app, and the release's `seq`.
    app: Option<(AppId, u64)>,
}

fn content(tag: &str) -> Content {
    let (front, rest) = tag.split_once('/').unwrap_or((tag, ""));
    let app = version(rest);
    let kind = match (front, &app) {
        ("app", Some(_)) => StorageKind::App,
        ("release", Some(_)) => StorageKind::Release,
        ("catalog", Some(_)) => StorageKind::Card,
        ("registry", _) => StorageKind::Registry,
        _ => {
            return Content {
                kind: StorageKind::Other,
                app: None,
            };
        }
    };
    Content { kind, app }
}

/// Reads `<publisher>/<slug>/<seq>`.
fn version(text: &str) -> Option<(AppId, u64)> {
    let (app, seq) = text.rsplit_once('/')?;
    Some((app.parse().ok()?, seq.parse().ok()?))
}

/// Returns the largest sets, and how many there are besides.
fn largest(mut sets: Vec<TagUsage>) -> (Vec<TagUsage>, usize) {
    sets.sort_by(|a, b| (Reverse(a.size_bytes), &a.tag).cmp(&(Reverse(b.size_bytes), &b.tag)));
    let more = sets.len().saturating_sub(SETS_MAX);
    sets.truncate(SETS_MAX);
    (sets, more)
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use archy_swarm::Class;

    use super::*;

    const APP: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK/notes";

    #[test]
    fn a_tag_tells_what_it_holds() {
        let cases = [
            (format!("app/{APP}/7"), StorageKind::App, Some(7)),
            (format!("release/{APP}/8"), StorageKind::Release, Some(8)),
            (format!("catalog/{APP}/9"), StorageKind::Card, Some(9)),
            (
                format!("registry/{}", "ab".repeat(32)),
                StorageKind::Registry,
                None,
            ),
            (format!("app/{APP}"), StorageKind::Other, None),
            (format!("app/{APP}/new"), StorageKind::Other, None),
            ("app/somebody/notes/7".to_owned(), StorageKind::Other, None),
            (format!("mine/{APP}/7"), StorageKind::Other, None),
            ("upload".to_owned(), StorageKind::Other, None),
        ];
        for (tag, kind, seq) in cases {
            let app = seq.map(|seq| (APP.parse().unwrap(), seq));
            assert_eq!(content(&tag), Content { kind, app }, "{tag}");
        }
    }

    #[test]
    fn the_largest_sets_are_listed_and_the_others_counted() {
        let sets = (0..130u64).map(|n| TagUsage {
            tag: format!("set/{n}").parse().unwrap(),
            class: Class::Cache,
            blobs: 1,
            // Every size twice.
            size_bytes: n / 2,
            complete: true,
            shared: true,
        });
        let (sets, more) = largest(sets.collect());
        let sizes: Vec<u64> = sets.iter().map(|set| set.size_bytes).collect();
        assert_eq!((sizes.len(), more), (SETS_MAX, 30));
        assert_eq!((sizes[0], sizes[1], sizes[2], sizes[99]), (64, 64, 63, 15));
        assert_eq!(sets[0].tag.as_str(), "set/128");
    }
}
