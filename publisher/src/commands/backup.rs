//! `archy backup create|list|restore|verify|remove|schedule|key`.

use clap::ValueEnum;
use serde_json::{Value, json};

use super::Context;
use super::instance::end;
use super::store::parse;
use crate::cli::backup::{BackupCommand, Every, ScheduleArgs};
use crate::failure::Failure;
use crate::node::Node;
use crate::node::types::{BackupInfo, BackupKeep, BackupPage, BackupPlan, BackupSchedule, JobRef};
use crate::text::{plain, size, table};

/// Digits of a backup's name that are shown.
const SHORT_LEN: usize = 8;

pub(super) async fn run(context: &Context<'_>, command: &BackupCommand) -> Result<(), Failure> {
    let node = context.node()?;
    match command {
        BackupCommand::Create { app, no_wait } => {
            let job: JobRef = node.call("backup.create", &json!({ "slug": app })).await?;
            end(context, &node, &job, *no_wait).await
        }
        BackupCommand::Restore { backup, no_wait } => {
            let params = json!({ "backup": backup });
            let job: JobRef = node.call("backup.restore", &params).await?;
            end(context, &node, &job, *no_wait).await
        }
        BackupCommand::Verify {
            app,
            backup,
            no_wait,
        } => {
            let params = json!({ "slug": app, "backup": backup });
            let job: JobRef = node.call("backup.verify", &params).await?;
            end(context, &node, &job, *no_wait).await
        }
        BackupCommand::List { app, refresh } => {
            let params = json!({ "slug": app, "refresh": refresh });
            let answer: Value = node.call("backup.list", &params).await?;
            context.output.result(&answer, list_words(&parse(&answer)?));
            Ok(())
        }
        BackupCommand::Remove { backup, yes } => {
            if !yes {
                return Err(
                    Failure::usage("what is only in this backup cannot be had back")
                        .hint("To remove it, add --yes"),
                );
            }
            let params = json!({ "backup": backup });
            let answer: Value = node.call("backup.remove", &params).await?;
            let words = format!("removed\n{}", list_words(&parse(&answer)?));
            context.output.result(&answer, words);
            Ok(())
        }
        BackupCommand::Schedule(arguments) => schedule(context, &node, arguments).await,
        BackupCommand::Key => {
            let answer: Value = node.call("backup.list", &json!({})).await?;
            context.output.result(&answer, key_words(&parse(&answer)?));
            Ok(())
        }
    }
}

async fn schedule(
    context: &Context<'_>,
    node: &Node,
    arguments: &ScheduleArgs,
) -> Result<(), Failure> {
    let params = json!({ "slug": arguments.app });
    let mut answer: Value = node.call("backup.list", &params).await?;
    if arguments.changes() {
        let page: BackupPage = parse(&answer)?;
        let so_far = page.plans.into_iter().next().map(|plan| plan.schedule);
        let params = json!({ "slug": arguments.app, "schedule": wished(so_far, arguments) });
        answer = node.call("backup.schedule", &params).await?;
    }
    let page: BackupPage = parse(&answer)?;
    let words = match page.plans.first() {
        Some(plan) => plan_words(plan),
        None => format!(
            "{} is not backed up by itself; `archy backup schedule {} --every daily` does",
            arguments.app, arguments.app
        ),
    };
    context.output.result(&answer, words);
    Ok(())
}

/// The schedule with what the owner wants to be otherwise; `None` is none.
fn wished(so_far: Option<BackupSchedule>, arguments: &ScheduleArgs) -> Option<BackupSchedule> {
    let usual = || BackupSchedule {
        every: "daily".to_owned(),
        at: "03:30".to_owned(),
        keep: BackupKeep {
            last: 3,
            daily: 7,
            weekly: 4,
            monthly: 6,
        },
        rehearse: "monthly".to_owned(),
    };
    let mut schedule = so_far.unwrap_or_else(usual);
    match arguments.every {
        Some(Every::Off) => return None,
        Some(every) => schedule.every = word(&every),
        None => {}
    }
    if let Some(at) = &arguments.at {
        schedule.at.clone_from(at);
    }
    if let Some(rehearse) = &arguments.rehearse {
        schedule.rehearse = word(rehearse);
    }
    let keep = &mut schedule.keep;
    keep.last = arguments.keep_last.unwrap_or(keep.last);
    keep.daily = arguments.keep_daily.unwrap_or(keep.daily);
    keep.weekly = arguments.keep_weekly.unwrap_or(keep.weekly);
    keep.monthly = arguments.keep_monthly.unwrap_or(keep.monthly);
    Some(schedule)
}

fn word(value: &impl ValueEnum) -> String {
    let word = value.to_possible_value();
    word.map_or_else(String::new, |word| word.get_name().to_owned())
}

fn list_words(page: &BackupPage) -> String {
    let mut lines = Vec::new();
    if page.backups.is_empty() {
        lines.push("there is no backup; `archy backup create APP` makes one".to_owned());
    } else {
        let heading = ["BACKUP", "APP", "VERSION", "TAKEN", "SIZE", "PROOF"];
        let heading = heading.map(str::to_owned).to_vec();
        let rows = std::iter::once(heading).chain(page.backups.iter().map(row));
        let rows: Vec<Vec<String>> = rows.collect();
        lines.push(table(&rows).trim_end().to_owned());
    }
    lines.extend(page.plans.iter().flat_map(trouble_words));
    lines.extend(page.unreadable.iter().map(|file| {
        format!(
            "{} could not be read: schedules from before are lost, and when backups were proven; set them again, then remove \
             that file",
            plain(file)
        )
    }));
    lines.join("\n")
}

fn row(backup: &BackupInfo) -> Vec<String> {
    let proof = match &backup.proof {
        None => "not proven".to_owned(),
        Some(proof) => match &proof.failure {
            None => format!("proven {}", plain(&proof.at)),
            Some(failure) => {
                let before = proof.proven.as_ref();
                let before =
                    before.map_or_else(String::new, |at| format!("proven {}, then ", plain(at)));
                format!("{before}did not come up: {}", plain(failure))
            }
        },
    };
    vec![
        backup.id.chars().take(SHORT_LEN).collect(),
        plain(&backup.app.slug),
        plain(&backup.version),
        plain(&backup.taken),
        size(backup.size_bytes),
        proof,
    ]
}

fn plan_words(plan: &BackupPlan) -> String {
    let BackupSchedule {
        every,
        at,
        keep,
        rehearse,
    } = &plan.schedule;
    let mut lines = vec![
        format!("every     {} at {}", plain(every), plain(at)),
        format!(
            "kept      the last {}, one of each of {} days, {} weeks and {} months",
            keep.last, keep.daily, keep.weekly, keep.monthly
        ),
        format!("rehearsed {}", plain(rehearse)),
    ];
    lines.extend(
        plan.next
            .iter()
            .map(|next| format!("next      {}", plain(next))),
    );
    lines.extend(trouble_words(plan));
    lines.join("\n")
}

/// What a plan came to that its owner should know.
fn trouble_words(plan: &BackupPlan) -> impl Iterator<Item = String> + use<> {
    let app = plain(&plan.app.slug);
    let failure = plan.failure.as_ref().map(|failure| {
        let next = plan
            .next
            .as_ref()
            .map_or_else(String::new, |next| format!("; tried again {}", plain(next)));
        format!("the last backup of {app} failed: {}{next}", plain(failure))
    });
    let unrehearsed = plan.unrehearsed.as_ref().map(|reason| {
        format!(
            "the last rehearsal of {app} could not be made: {}; tried again after a day",
            plain(reason)
        )
    });
    failure.into_iter().chain(unrehearsed)
}

fn key_words(page: &BackupPage) -> String {
    format!(
        "backups   {}\n\
         password  {}\n\
         Keep a copy of the password away from this machine: without it nobody can read the backups, you neither.\n\
         To restore on another machine, put it there in the same place (chmod 600), name the backups' directory in \
         archyd.toml, and run `archy backup list --refresh`.",
        plain(&page.repository),
        plain(&page.password_file)
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn arguments(words: &[&str]) -> ScheduleArgs {
        let words = ["archy", "backup", "schedule", "notes"].iter().chain(words);
        let Command::Backup(BackupCommand::Schedule(arguments)) =
            Cli::try_parse_from(words).unwrap().command
        else {
            panic!("another command");
        };
        arguments
    }

    #[test]
    fn what_is_not_named_stays_as_the_owner_set_it() {
        assert!(!arguments(&[]).changes());
        let one = wished(None, &arguments(&["--every", "weekly", "--keep-last", "9"])).unwrap();
        assert_eq!(
            (one.every.as_str(), one.at.as_str(), one.keep.last),
            ("weekly", "03:30", 9)
        );
        let two = wished(
            Some(one),
            &arguments(&["--at", "22:00", "--rehearse", "each"]),
        )
        .unwrap();
        assert_eq!((two.every.as_str(), two.at.as_str()), ("weekly", "22:00"));
        assert_eq!((two.keep.last, two.rehearse.as_str()), (9, "each"));
        assert!(wished(Some(two), &arguments(&["--every", "off"])).is_none());
    }

    #[test]
    fn backups_are_listed_with_what_is_known_of_them() {
        let page: BackupPage = serde_json::from_value(json!({
            "backups": [
                {"id": "0123456789abcdef", "app": {"publisher": "did:key:z", "slug": "notes"}, "version": "1.0",
                 "taken": "2026-01-31T03:30:00Z", "sizeBytes": 1000,
                 "proof": {"at": "2026-01-31T04:00:00Z", "failure": null}},
                {"id": "aaaaaaaabbbbbbbb", "app": {"publisher": "did:key:z", "slug": "notes"}, "version": "1.0",
                 "taken": "2026-01-30T04:30:00Z", "sizeBytes": 1000,
                 "proof": {"at": "2026-01-31T04:00:00Z", "failure": "never healthy", "proven": "2026-01-30T04:40:00Z"}},
                {"id": "fedcba9876543210", "app": {"publisher": "did:key:z", "slug": "notes"}, "version": "1.0",
                 "taken": "2026-01-30T03:30:00Z", "sizeBytes": 1000, "proof": null},
            ],
            "plans": [{"app": {"publisher": "did:key:z", "slug": "notes"}, "next": "2026-02-01T04:30:00Z",
                "failure": "no room", "unrehearsed": "no network", "schedule": {"every": "daily", "at": "03:30", "rehearse": "off",
                "keep": {"last": 1, "daily": 2, "weekly": 3, "monthly": 4}}}],
            "repository": "/backups", "passwordFile": "/key", "unreadable": "/lost.json",
        }))
        .unwrap();
        let words = list_words(&page);
        assert!(words.contains("01234567  notes"), "{words}");
        assert!(words.contains("proven 2026-01-31T04:00:00Z"), "{words}");
        for told in [
            "proven 2026-01-30T04:40:00Z, then did not come up: never healthy",
            "the last backup of notes failed: no room; tried again 2026-02-01T04:30:00Z",
            "the last rehearsal of notes could not be made: no network",
            "/lost.json could not be read",
        ] {
            assert!(words.contains(told), "{words}");
        }
        assert!(plan_words(&page.plans[0]).contains("2 days, 3 weeks and 4 months"));
        assert!(key_words(&page).contains("/key"));
    }
}
