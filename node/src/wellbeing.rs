//! Watches how installed apps fare and writes it down as evidence: what an owner's own use says of a publisher.

use std::collections::HashMap;
use std::time::Duration;

use archy_registry::trust::Event;
use archy_registry::{AppId, Store};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;

use crate::api::types::InstanceState;
use crate::machine::{Installed, Machine, Observed};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(10 * 60);
/// A day counts as healthy when so many looks of it were good, and none bad: half a day.
const GOOD_LOOKS: u32 = 72;

/// How an app fared on one day so far.
#[derive(Debug, Clone, Copy)]
struct Day {
    date: Date,
    good: u32,
    bad: bool,
}

/// What was seen since the start.
#[derive(Debug, Default)]
struct Diary(HashMap<AppId, Day>);

impl Diary {
    /// Takes a look in; returns what is worth writing down.
    fn look(&mut self, observed: &Observed, now: Timestamp) -> Vec<(AppId, Event)> {
        if observed.stale.is_some() {
            return Vec::new();
        }
        let today = now.to_zoned(TimeZone::UTC).date();
        let mut events = Vec::new();
        // What others made says nothing of a publisher.
        let ours = |app: &&Installed| app.adoption.as_ref().is_none_or(|known| known.migrated);
        for app in observed.apps.iter().filter(ours) {
            let well = match app.state {
                InstanceState::Running => true,
                InstanceState::Unhealthy | InstanceState::Failed => false,
                // On its way, or as the owner wants it.
                InstanceState::Unknown
                | InstanceState::Installing
                | InstanceState::Changing
                | InstanceState::Starting
                | InstanceState::Stopping
                | InstanceState::Stopped
                | InstanceState::Removing => continue,
            };
            let fresh = Day {
                date: today,
                good: 0,
                bad: false,
            };
            let day = self.0.entry(app.app.clone()).or_insert(fresh);
            if day.date != today {
                *day = fresh;
            }
            let slug = app.app.slug.clone();
            if well {
                day.good += 1;
                if day.good == GOOD_LOOKS && !day.bad {
                    let event = Event::HealthyDay {
                        app: slug,
                        day: today,
                    };
                    events.push((app.app.clone(), event));
                }
            } else if !day.bad {
                day.bad = true;
                let event = Event::UnhealthyDay {
                    app: slug,
                    day: today,
                };
                events.push((app.app.clone(), event));
            }
        }
        self.0
            .retain(|app, _| observed.apps.iter().any(|known| known.app == *app));
        events
    }
}

/// Watches until stopped.
pub(crate) async fn watch(machine: &dyn Machine, store: &Store, stop: &CancellationToken) {
    let mut diary = Diary::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let now = Timestamp::now();
        let events = diary.look(&machine.observed().borrow(), now);
        for (app, event) in events {
            if let Err(error) = store.record(&app.publisher, &event, now).await {
                tracing::warn!(%app, %error, "could not record evidence");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(state: InstanceState) -> Observed {
        let app: AppId = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK/notes"
            .parse()
            .unwrap();
        Observed {
            at: None,
            stale: None,
            damaged: Vec::new(),
            apps: vec![Installed {
                release: archy_registry::Blake3Hash::of(b"release"),
                app,
                version: "1".to_owned(),
                state,
                problem: None,
                containers: Vec::new(),
                interfaces: Vec::new(),
                installed: Timestamp::UNIX_EPOCH,
                data_dir: "/".into(),
                settings: archy_orchestrator::Settings::default(),
                before: None,
                failed: None,
                adoption: None,
            }],
        }
    }

    fn looks(diary: &mut Diary, state: InstanceState, from_minute: i64, looks: i64) -> Vec<Event> {
        let seen = observed(state);
        (0..looks)
            .flat_map(|n| {
                let now = Timestamp::from_second((from_minute + n * 10) * 60).unwrap();
                diary.look(&seen, now)
            })
            .map(|(_, event)| event)
            .collect()
    }

    #[test]
    fn half_a_good_day_is_a_healthy_one_and_a_bad_look_spoils_it() {
        let mut diary = Diary::default();
        let day = 24 * 60;
        assert!(looks(&mut diary, InstanceState::Running, 0, 71).is_empty());
        let events = looks(&mut diary, InstanceState::Running, 720, 60);
        assert!(matches!(events[..], [Event::HealthyDay { .. }]));

        let events = looks(&mut diary, InstanceState::Failed, day, 3);
        assert!(matches!(events[..], [Event::UnhealthyDay { .. }]));
        assert!(looks(&mut diary, InstanceState::Running, day + 30, 100).is_empty());

        assert!(looks(&mut diary, InstanceState::Stopped, 2 * day, 144).is_empty());
        let mut claimed = observed(InstanceState::Failed);
        claimed.apps[0].adoption = Some(crate::api::types::AdoptionInfo {
            migrated: false,
            containers: std::collections::BTreeMap::new(),
        });
        let now = Timestamp::from_second(3 * day * 60).unwrap();
        assert!(diary.look(&claimed, now).is_empty());
        let mut stale = observed(InstanceState::Failed);
        stale.stale = Some("podman does not answer".to_owned());
        assert!(diary.look(&stale, Timestamp::UNIX_EPOCH).is_empty());
    }
}
