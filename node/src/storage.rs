//! Tells the blob store what each set of blobs is kept for: what is installed stays, what was installed before goes last.
//! Has it checked when the owner asks.

mod fsck;

use std::collections::{BTreeMap, BTreeSet};

use archy_registry::release::{Endpoint, Release};
use archy_swarm::{Class, Swarm, Tag, TagUsage};
use tokio_util::sync::CancellationToken;

use crate::install::app_tag;
use crate::machine::Observed;
use crate::node::Node;

pub use fsck::Fscks;
pub(crate) use fsck::check;

/// Keeps what tags are kept for in step with what is installed, until stopped.
pub(crate) async fn keep(node: Node, stop: CancellationToken) {
    let keeping = async {
        let swarm = node.swarm.ready().await;
        let machine = node.machine.ready().await;
        let mut observed = machine.observed();
        let mut known = None;
        loop {
            let now = observed.borrow_and_update().clone();
            let apps = installed(&now);
            // Nothing is taken for removed because it cannot be seen.
            if apps.is_some()
                && apps != known
                && let Some(origins) = origins_of(&node, &now).await
            {
                tell(&swarm, &origins.keys().cloned().collect()).await;
                // An origin forgets within minutes who has what it published.
                for (tag, origin) in &origins {
                    if let Some(app) = tag.as_str().strip_prefix("app/").and_then(app_of) {
                        swarm.join_topic(tag, app);
                    }
                    swarm.seed(tag, origin);
                }
                known = apps;
            }
            if observed.changed().await.is_err() {
                return std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = keeping => {}
    }
}

/// Notes that a release is installed now, and what was before it, is not any more.
pub(crate) async fn mark_installed(swarm: &Swarm, release: &Release) {
    let tag = app_tag(release);
    let prefix = format!("app/{}/", release.app());
    let of_app = swarm.tags().into_iter();
    let of_app = of_app.filter(|usage| usage.tag.as_str().starts_with(&prefix));
    for usage in of_app {
        if usage.tag == tag {
            set(swarm, &usage.tag, Class::Installed).await;
        } else if usage.class == Class::Installed {
            set(swarm, &usage.tag, Class::Previous).await;
        }
    }
}

/// What is installed, when that is known.
fn installed(observed: &Observed) -> Option<BTreeSet<[u8; 32]>> {
    let is_known = observed.at.is_some() && observed.stale.is_none();
    let releases = observed.apps.iter().map(|app| *app.release.as_bytes());
    is_known.then(|| releases.collect())
}

/// The tags of what is installed, and where it is from; `None` when one of the releases cannot be read.
async fn origins_of(node: &Node, observed: &Observed) -> Option<BTreeMap<Tag, Vec<Endpoint>>> {
    let mut origins = BTreeMap::new();
    for app in &observed.apps {
        match node.store.release_as_admitted(&app.release).await {
            Ok(Some(release)) => {
                origins.insert(app_tag(&release), release.origin.endpoints.clone());
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(app = %app.app, %error, "cannot tell which blobs are of an installed app");
                return None;
            }
        }
    }
    Some(origins)
}

async fn tell(swarm: &Swarm, installed: &BTreeSet<Tag>) {
    for usage in swarm.tags() {
        if let Some(class) = class_of(&usage, installed) {
            set(swarm, &usage.tag, class).await;
        }
    }
}

async fn set(swarm: &Swarm, tag: &Tag, class: Class) {
    if let Err(error) = swarm.set_class(tag, class).await {
        tracing::warn!(%tag, %error, "could not note what blobs are kept for");
    }
}

/// Decides what a tag is kept for; `None` when it stays as it is.
fn class_of(usage: &TagUsage, installed: &BTreeSet<Tag>) -> Option<Class> {
    let name = usage.tag.as_str();
    let class = if installed.contains(&usage.tag) {
        Class::Installed
    } else if let Some(app) = name.strip_prefix("app/").and_then(app_of) {
        let mut apps = installed
            .iter()
            .filter_map(|tag| tag.as_str().strip_prefix("app/"));
        let is_installed = apps.any(|tag| app_of(tag) == Some(app));
        let was_installed = matches!(usage.class, Class::Installed | Class::Previous);
        if is_installed && was_installed {
            Class::Previous
        } else {
            Class::Cache
        }
    } else if name.starts_with("catalog/") || name.starts_with("registry/") {
        Class::Cache
    } else {
        // A publisher's, or one that somebody else names.
        return None;
    };
    (class != usage.class).then_some(class)
}

/// The part of an app's tag that names the app.
fn app_of(tag: &str) -> Option<&str> {
    tag.rsplit_once('/').map(|(app, _)| app)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_kept_for_what_its_name_and_the_installed_apps_say() {
        let installed = BTreeSet::from(["app/did:key:z6a/notes/7".parse().unwrap()]);
        let cases = [
            (
                "app/did:key:z6a/notes/7",
                Class::Cache,
                Some(Class::Installed),
            ),
            ("app/did:key:z6a/notes/7", Class::Installed, None),
            (
                "app/did:key:z6a/notes/6",
                Class::Installed,
                Some(Class::Previous),
            ),
            ("app/did:key:z6a/notes/6", Class::Previous, None),
            // Fetched and not installed yet.
            ("app/did:key:z6a/notes/8", Class::Cache, None),
            // As an earlier version of the store left it.
            (
                "app/did:key:z6a/notes/6",
                Class::Publishing,
                Some(Class::Cache),
            ),
            (
                "app/did:key:z6a/other/7",
                Class::Installed,
                Some(Class::Cache),
            ),
            (
                "catalog/did:key:z6a/notes/7",
                Class::Publishing,
                Some(Class::Cache),
            ),
            ("registry/00", Class::Cache, None),
            ("release/did:key:z6a/notes/7", Class::Publishing, None),
        ];
        for (tag, class, expected) in cases {
            let usage = TagUsage {
                tag: tag.parse().unwrap(),
                class,
                blobs: 1,
                size_bytes: 1,
                complete: true,
                shared: true,
            };
            assert_eq!(
                class_of(&usage, &installed),
                expected,
                "{tag} {}",
                class.name()
            );
        }
    }
}
