//! What is told of all apps: what the last look at the machine saw, and what whoever worked on an app saw since.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use archy_registry::Slug;
use tokio::sync::watch;

use crate::instance::{Instance, Observed};

/// What is known of all apps, for all who want to know.
#[derive(Debug)]
pub(crate) struct Bulletin {
    observed: watch::Sender<Observed>,
    /// When whoever worked on an app last told of it.
    told: Mutex<BTreeMap<Slug, Instant>>,
}

impl Default for Bulletin {
    fn default() -> Self {
        Self {
            observed: watch::Sender::new(Observed {
                at: None,
                instances: Vec::new(),
                stale: Some("the machine was not looked at yet".to_owned()),
                damaged: Vec::new(),
            }),
            told: Mutex::default(),
        }
    }
}

impl Bulletin {
    /// Returns what is known, now and later.
    pub(crate) fn watch(&self) -> watch::Receiver<Observed> {
        self.observed.subscribe()
    }

    /// Tells what a look saw that began then. It may be older than what was told of an app meanwhile, which stays.
    pub(crate) fn tell_all(&self, began: Instant, mut seen: Observed) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_newer = |instance: &Instance| {
            let at = told.get(&instance.app.slug);
            at.is_some_and(|at| *at > began)
        };
        self.observed.send_modify(|observed| {
            seen.instances.retain(|instance| !is_newer(instance));
            let known = std::mem::take(&mut observed.instances).into_iter();
            seen.instances.extend(known.filter(is_newer));
            seen.instances.sort_by(|a, b| a.app.slug.cmp(&b.app.slug));
            *observed = seen;
        });
    }

    /// Tells of an app that somebody has just worked on; `None` when it is not installed any more.
    pub(crate) fn tell(&self, app: &Slug, instance: Option<Instance>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(app.clone(), Instant::now());
        self.observed.send_modify(|observed| {
            let instances = &mut observed.instances;
            instances.retain(|known| known.app.slug != *app);
            instances.extend(instance);
            instances.sort_by(|a, b| a.app.slug.cmp(&b.app.slug));
        });
    }

    /// Tells that the machine cannot be seen, and why; what was last seen stays. Before the first look, that is what is known
    /// `unseen`.
    pub(crate) fn tell_stale(&self, why: String, unseen: impl FnOnce() -> Vec<Instance>) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_told = |instance: &Instance| told.contains_key(&instance.app.slug);
        self.observed.send_modify(|observed| {
            observed.stale = Some(why);
            if observed.at.is_none() {
                let instances = &mut observed.instances;
                instances.retain(is_told);
                instances.extend(unseen().into_iter().filter(|app| !is_told(app)));
                instances.sort_by(|a, b| a.app.slug.cmp(&b.app.slug));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::desired::Wish;
    use crate::instance::instance;
    use crate::samples;

    fn an(app: &str) -> Instance {
        let container = "  - {name: web, source: {type: pull, image: localhost/a}}\n";
        let desired = samples::installed(samples::release(app, container), Wish::Running);
        instance(&desired, None, &Default::default(), PathBuf::new())
    }

    fn seen(apps: &[&str]) -> Observed {
        Observed {
            at: Some(jiff::Timestamp::UNIX_EPOCH),
            instances: apps.iter().map(|app| an(app)).collect(),
            stale: None,
            damaged: Vec::new(),
        }
    }

    fn told(bulletin: &Bulletin) -> Vec<String> {
        let observed = bulletin.watch().borrow().clone();
        let instances = observed.instances.into_iter();
        let told = instances.map(|instance| format!("{} {}", instance.app.slug, instance.version));
        told.collect()
    }

    #[test]
    fn what_a_look_saw_before_somebody_was_done_with_an_app_is_not_told_of_it() {
        let bulletin = Bulletin::default();
        let began = Instant::now();
        let mut newer = an("b");
        newer.version = "2.0.0".to_owned();
        bulletin.tell(&"c".parse().unwrap(), Some(an("c")));
        bulletin.tell(&"b".parse().unwrap(), Some(newer));
        bulletin.tell(&"d".parse().unwrap(), None);
        // It knows b from before its update, d from before it was removed, and c not yet.
        bulletin.tell_all(began, seen(&["a", "b", "d"]));
        assert_eq!(told(&bulletin), ["a 1.2.0", "b 2.0.0", "c 1.2.0"]);
        // The next one is right about all of them.
        bulletin.tell_all(Instant::now(), seen(&["b", "d"]));
        assert_eq!(told(&bulletin), ["b 1.2.0", "d 1.2.0"]);
    }

    #[test]
    fn what_cannot_be_seen_now_stays_with_the_reason() {
        let bulletin = Bulletin::default();
        bulletin.tell_all(Instant::now(), seen(&["a"]));
        bulletin.tell_stale("podman is gone".to_owned(), || vec![an("b")]);
        let observed = bulletin.watch().borrow().clone();
        assert_eq!(observed.stale.as_deref(), Some("podman is gone"));
        assert_eq!(observed.instances, [an("a")]);
        bulletin.tell_all(Instant::now(), seen(&["a"]));
        assert_eq!(bulletin.watch().borrow().stale, None);
    }

    #[test]
    fn what_was_never_seen_is_told_all_the_same() {
        let bulletin = Bulletin::default();
        let mut newer = an("b");
        newer.version = "2.0.0".to_owned();
        bulletin.tell(&"b".parse().unwrap(), Some(newer));
        bulletin.tell_stale("podman is gone".to_owned(), || vec![an("a"), an("b")]);
        assert_eq!(told(&bulletin), ["a 1.2.0", "b 2.0.0"]);
        let why = bulletin.watch().borrow().stale.clone();
        assert_eq!(why.as_deref(), Some("podman is gone"));
    }
}
