//! When an app's next backup or rehearsal is due: pure, `now` is an argument.

use jiff::civil::{Time, Weekday, time};
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};
use serde::{Deserialize, Serialize};

use super::{Backup, Plan, Proof, Unrehearsed};

/// Time after a failure until the next try.
const RETRY: SignedDuration = SignedDuration::from_hours(1);
/// Time after a rehearsal that could not be made until the next try.
const REHEARSE_AGAIN: SignedDuration = SignedDuration::from_hours(24);
/// Age of a proof at which a monthly rehearsal is due.
const PROOF_AGE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The day of weekly backups.
const DAY: Weekday = Weekday::Sunday;

/// When an app is backed up by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// How often.
    pub every: Every,
    /// When, in the node's local time.
    pub at: Time,
    /// What is kept of them.
    pub keep: Keep,
    /// How often a backup is rehearsed.
    pub rehearse: Rehearse,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            every: Every::Daily,
            at: time(3, 30, 0, 0),
            keep: Keep::default(),
            rehearse: Rehearse::Monthly,
        }
    }
}

/// How often an app is backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Every {
    /// Every day.
    Daily,
    /// Every Sunday.
    Weekly,
}

/// How often a backup is rehearsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rehearse {
    /// Only when the owner asks.
    Off,
    /// When the last one that came up is a month ago.
    Monthly,
    /// Every backup.
    Each,
}

/// How many backups of an app are kept; the newest of each day, week and month count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// The newest ones.
    pub last: u16,
    /// Days.
    pub daily: u16,
    /// Weeks.
    pub weekly: u16,
    /// Months.
    pub monthly: u16,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            last: 3,
            daily: 7,
            weekly: 4,
            monthly: 6,
        }
    }
}

impl Schedule {
    /// The latest time until `now` at which a backup should have begun.
    fn slot(&self, now: &Zoned) -> Option<Timestamp> {
        self.find(now, -1, |slot| slot <= now)
    }

    /// The first time after `now` at which a backup should begin.
    fn next_slot(&self, now: &Zoned) -> Option<Timestamp> {
        self.find(now, 1, |slot| slot > now)
    }

    /// The first of the times that fits, from today's on, `step` days further each.
    fn find(&self, now: &Zoned, step: i32, fits: impl Fn(&Zoned) -> bool) -> Option<Timestamp> {
        let mut day = now.date();
        for _ in 0..=8 {
            let on = match self.every {
                Every::Daily => true,
                Every::Weekly => day.weekday() == DAY,
            };
            // A time that the change to summer time leaves out is the next one that there is.
            let slot = day
                .to_datetime(self.at)
                .to_zoned(now.time_zone().clone())
                .ok()?;
            if on && fits(&slot) {
                return Some(slot.timestamp());
            }
            day = day.checked_add(step.days()).ok()?;
        }
        None
    }
}

/// Returns the newest of an app's backups, but for those that a clock which was ahead has put into the future.
pub fn newest_backup<'a>(
    backups: impl IntoIterator<Item = &'a Backup>,
    now: Timestamp,
) -> Option<&'a Backup> {
    let past = backups.into_iter().filter(|backup| backup.taken <= now);
    past.max_by_key(|backup| backup.taken)
}

impl Plan {
    /// Tells whether a backup should begin now; `last` is when the newest was taken. One that was missed while the node was
    /// off is due at once.
    pub fn is_due(&self, last: Option<Timestamp>, now: &Zoned) -> bool {
        self.next(last, now)
            .is_some_and(|next| next <= now.timestamp())
    }

    /// Returns when the next backup should begin; a time that has come means at once.
    pub fn next(&self, last: Option<Timestamp>, now: &Zoned) -> Option<Timestamp> {
        // A clock that was ahead for a while ends no schedule.
        let past = |at: &Timestamp| *at <= now.timestamp();
        let since = Some(self.since).filter(past);
        let slot = self.schedule.slot(now);
        let reached = slot.filter(|slot| last < Some(*slot) && since < Some(*slot));
        let Some(slot) = reached else {
            return self.schedule.next_slot(now);
        };
        let again = self.tried.filter(past).map(|tried| tried + RETRY);
        Some(again.map_or(slot, |again| again.max(slot)))
    }

    /// Returns the backup that should be rehearsed now: the newest, once, when its time has come, and again when that could not
    /// be done. `proof` tells what came of each backup's last rehearsal.
    pub fn due_rehearsal<'a>(
        &self,
        backups: &'a [Backup],
        proof: impl Fn(&Backup) -> Option<Proof>,
        now: Timestamp,
    ) -> Option<&'a Backup> {
        let newest = newest_backup(backups, now)?;
        if proof(newest).is_some() {
            return None;
        }
        let proofs = backups.iter().filter_map(&proof);
        let proven = proofs.filter_map(|proof| proof.proven());
        let waits =
            |last: &Unrehearsed| last.at <= now && now.duration_since(last.at) < REHEARSE_AGAIN;
        if self.unrehearsed.as_ref().is_some_and(waits) {
            return None;
        }
        let due = match self.schedule.rehearse {
            Rehearse::Off => false,
            Rehearse::Each => true,
            Rehearse::Monthly => proven
                .filter(|last| *last <= now)
                .max()
                .is_none_or(|last| now.duration_since(last) >= PROOF_AGE),
        };
        due.then_some(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zoned(text: &str) -> Zoned {
        format!("{text}[Europe/Berlin]").parse().unwrap()
    }

    fn plan(every: Every) -> Plan {
        let schedule = Schedule {
            every,
            ..Schedule::default()
        };
        Plan::new(schedule, zoned("2026-03-01T12:00").timestamp())
    }

    #[test]
    fn a_backup_is_due_once_for_each_time_that_came() {
        use Every::{Daily, Weekly};
        // 2026-03-01 is a Sunday. The clocks go forward on 2026-03-29 and back on 2026-10-25, both from 02:00 or 03:00.
        let cases: [(Every, Option<&str>, &str, bool); 12] = [
            (Daily, None, "2026-03-01T23:00", false),
            (Daily, None, "2026-03-02T03:29", false),
            (Daily, None, "2026-03-02T03:30", true),
            (Daily, Some("2026-03-02T03:31"), "2026-03-02T04:00", false),
            (Daily, Some("2026-03-02T01:00"), "2026-03-02T04:00", true),
            // Off for days: one, at once.
            (Daily, Some("2026-03-02T03:31"), "2026-03-09T22:00", true),
            (Daily, Some("2026-03-09T22:01"), "2026-03-09T23:00", false),
            (Weekly, None, "2026-03-07T23:59", false),
            (Weekly, None, "2026-03-08T03:30", true),
            (Weekly, Some("2026-03-08T03:31"), "2026-03-14T12:00", false),
            (Weekly, Some("2026-03-08T03:31"), "2026-03-16T12:00", true),
            (Daily, Some("2026-03-28T03:31"), "2026-03-29T03:30", true),
        ];
        for (every, last, now, due) in cases {
            let last = last.map(|last| zoned(last).timestamp());
            assert_eq!(
                plan(every).is_due(last, &zoned(now)),
                due,
                "{every:?} {last:?} {now}"
            );
        }
    }

    #[test]
    fn a_time_that_summer_time_leaves_out_is_not_lost() {
        let mut plan = plan(Every::Daily);
        plan.schedule.at = time(2, 30, 0, 0);
        let last = Some(zoned("2026-03-28T02:31").timestamp());
        assert!(plan.is_due(last, &zoned("2026-03-29T04:00")));
    }

    #[test]
    fn a_failure_is_tried_again_after_an_hour() {
        let mut plan = plan(Every::Daily);
        plan.note(
            zoned("2026-03-02T03:31").timestamp(),
            Some("no room".to_owned()),
        );
        for (now, due) in [("2026-03-02T04:30", false), ("2026-03-02T04:31", true)] {
            assert_eq!(plan.is_due(None, &zoned(now)), due, "{now}");
        }
        let next = plan.next(None, &zoned("2026-03-02T04:00"));
        assert_eq!(next, Some(zoned("2026-03-02T04:31").timestamp()));
        // A try before the time says nothing about it.
        plan.note(zoned("2026-03-02T03:00").timestamp(), None);
        let last = Some(zoned("2026-03-02T03:00").timestamp());
        let next = plan.next(last, &zoned("2026-03-02T03:10"));
        assert_eq!(next, Some(zoned("2026-03-02T03:30").timestamp()));
    }

    #[test]
    fn the_next_time_is_told() {
        let next = |every, now: &str| plan(every).next(Some(zoned(now).timestamp()), &zoned(now));
        let at = |text: &str| Some(zoned(text).timestamp());
        assert_eq!(
            next(Every::Daily, "2026-03-02T03:00"),
            at("2026-03-02T03:30")
        );
        assert_eq!(
            next(Every::Daily, "2026-03-02T03:30"),
            at("2026-03-03T03:30")
        );
        assert_eq!(
            next(Every::Weekly, "2026-03-02T03:30"),
            at("2026-03-08T03:30")
        );
    }

    #[test]
    fn a_clock_that_was_ahead_ends_no_schedule() {
        let (ahead, now) = (zoned("2031-01-01T00:00"), zoned("2026-03-02T04:00"));
        let ahead = ahead.timestamp();
        let mut plan = plan(Every::Daily);
        plan.since = ahead;
        plan.note(ahead, None);
        plan.unrehearsed = Some(Unrehearsed {
            at: ahead,
            reason: "no network".to_owned(),
        });
        let wrong = backup("aaaaaaaa", "2031-01-01T00:00");
        let right = backup("bbbbbbbb", "2026-03-02T03:31");
        assert_eq!(newest_backup([&wrong], now.timestamp()), None);
        assert!(plan.is_due(None, &now));
        let all = [wrong, right];
        let last = newest_backup(&all, now.timestamp()).map(|backup| backup.taken);
        assert_eq!(last, Some(all[1].taken));
        assert!(!plan.is_due(last, &now));
        let rehearsed = |backup: &Backup| {
            (backup.id == all[0].id).then_some(Proof {
                at: ahead,
                took_ms: 1,
                failure: None,
                came_up: None,
            })
        };
        let due = plan.due_rehearsal(&all, rehearsed, now.timestamp());
        assert_eq!(due, Some(&all[1]));
    }

    fn backup(id: &str, taken: &str) -> Backup {
        Backup {
            id: id.parse().unwrap(),
            app: "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK/notes"
                .parse()
                .unwrap(),
            release: archy_registry::Blake3Hash::of(b"r"),
            version: "1".to_owned(),
            taken: zoned(taken).timestamp(),
            bytes: 0,
        }
    }

    #[test]
    fn the_newest_backup_is_rehearsed_when_it_is_time() {
        let all = [
            backup("aaaaaaaa", "2026-03-01T03:30"),
            backup("bbbbbbbb", "2026-03-02T03:30"),
        ];
        let proof = |at: &str| Proof {
            at: zoned(at).timestamp(),
            took_ms: 1,
            failure: None,
            came_up: None,
        };
        let mut plan = plan(Every::Daily);
        let mut due = |rehearse, proven: Option<(&str, &str)>, now: &str| {
            plan.schedule.rehearse = rehearse;
            let proof = |backup: &Backup| {
                proven
                    .filter(|(id, _)| backup.id.to_string() == *id)
                    .map(|(_, at)| proof(at))
            };
            let due = plan.due_rehearsal(&all, proof, zoned(now).timestamp());
            due.map(|backup| backup.id.to_string())
        };
        let newest = Some("bbbbbbbb".to_owned());
        let early = Some(("aaaaaaaa", "2026-03-01T04:00"));
        assert_eq!(due(Rehearse::Off, None, "2026-03-02T05:00"), None);
        assert_eq!(due(Rehearse::Each, early, "2026-03-02T05:00"), newest);
        assert_eq!(
            due(
                Rehearse::Each,
                Some(("bbbbbbbb", "2026-03-02T04:00")),
                "2026-03-02T05:00"
            ),
            None
        );
        assert_eq!(due(Rehearse::Monthly, None, "2026-03-02T05:00"), newest);
        assert_eq!(due(Rehearse::Monthly, early, "2026-03-02T05:00"), None);
        assert_eq!(due(Rehearse::Monthly, early, "2026-04-02T05:00"), newest);
        plan.unrehearsed = Some(Unrehearsed {
            at: zoned("2026-03-02T05:00").timestamp(),
            reason: "no network".to_owned(),
        });
        let proof = |_: &Backup| None;
        for (now, due) in [("2026-03-03T04:59", false), ("2026-03-03T05:00", true)] {
            let found = plan.due_rehearsal(&all, proof, zoned(now).timestamp());
            assert_eq!(found.is_some(), due, "{now}");
        }
    }
}
