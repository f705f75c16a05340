//! `archy job list|show|wait|cancel`, and waiting until a job ends.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Context;
use super::store::parse;
use crate::cli::JobCommand;
use crate::failure::{Class, Failure};
use crate::node::Node;
use crate::node::types::{Job, JobRef, JobState};
use crate::output::Output;
use crate::text::{plain, table};

/// How long a node may be away while one of its jobs is waited for: it is restarting.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// Pause between two attempts to reach it again.
const RETRY: Duration = Duration::from_millis(500);

pub(super) async fn run(context: &Context<'_>, command: &JobCommand) -> Result<(), Failure> {
    let node = context.node()?;
    match command {
        JobCommand::List { active } => {
            let answer: Value = node.call("job.list", &json!({ "active": active })).await?;
            let list: Vec<Job> = parse(&answer)?;
            context.output.result(&answer, list_words(&list));
        }
        JobCommand::Show { job } => show(context, &node, "job.show", job).await?,
        JobCommand::Cancel { job } => show(context, &node, "job.cancel", job).await?,
        JobCommand::Wait { job } => {
            let job = follow(&node, job, context.output).await?;
            context.output.result(&job, words(&job));
        }
    }
    Ok(())
}

/// Waits for the job's end unless told not to, and writes how it ended.
pub(super) async fn finish(
    context: &Context<'_>,
    node: &Node,
    job: &JobRef,
    no_wait: bool,
) -> Result<Job, Failure> {
    if no_wait {
        return node.call("job.show", job).await;
    }
    follow(node, &job.job, context.output).await
}

/// Waits until a job ends, telling what it does. A node that restarts meanwhile takes the job up again.
///
/// # Errors
///
/// With the job's problem when it fails, or when the node stays away.
async fn follow(node: &Node, id: &str, output: &Output) -> Result<Job, Failure> {
    let mut told = String::new();
    let mut away_since = None;
    loop {
        match watch(node, id, output, &mut told).await {
            Ok(Some(job)) => return ended(job),
            Ok(None) => away_since = None,
            Err(failure) if failure.class == Class::Unreachable => {
                let since = *away_since.get_or_insert_with(Instant::now);
                if since.elapsed() > AWAY_MAX {
                    return Err(failure.hint(format!(
                        "The job goes on by itself; see it again with: archy job wait {id}"
                    )));
                }
                tokio::time::sleep(RETRY).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Listens first and looks second, so that no change falls in between. `None`: the node ended the stream.
async fn watch(
    node: &Node,
    id: &str,
    output: &Output,
    told: &mut String,
) -> Result<Option<Job>, Failure> {
    let mut events = node.events().await?;
    let mut job: Job = node.call("job.show", &json!({ "job": id })).await?;
    loop {
        tell(&job, output, told);
        if job.has_ended() {
            return Ok(Some(job));
        }
        job = loop {
            match events.next_job().await {
                Some(job) if job.id == id => break job,
                Some(_) => {}
                None => return Ok(None),
            }
        };
    }
}

/// Says what the job does: every new step, and of a long one every ten per cent.
fn tell(job: &Job, output: &Output, told: &mut String) {
    let step = format!("{} {}", job.phase, (job.percent / 10.0).floor());
    if *told != step && !job.message.is_empty() {
        output.progress(format_args!(
            "{:>3.0} % {}",
            job.percent,
            plain(&job.message)
        ));
        *told = step;
    }
}

fn ended(job: Job) -> Result<Job, Failure> {
    match job.state {
        JobState::Queued | JobState::Running | JobState::Succeeded => Ok(job),
        JobState::Cancelled => Err(Failure::failed(
            "cancelled",
            format!("the {} of {} was cancelled", job.kind, job.name),
        )),
        JobState::Failed => Err(match job.problem {
            Some(problem) => problem.into(),
            None => Failure::failed(
                "failed",
                format!("the {} of {} failed: {}", job.kind, job.name, job.message),
            ),
        }),
        JobState::Unknown => Err(Failure::failed(
            "unknown",
            format!("the {} of {} ended in a way that this archy does not know", job.kind, job.name),
        )
        .hint(format!("Install the archy that belongs to the node; see the job with: archy job show {} --json", job.id))),
    }
}

async fn show(context: &Context<'_>, node: &Node, method: &str, id: &str) -> Result<(), Failure> {
    let answer: Value = node.call(method, &json!({ "job": id })).await?;
    let job: Job = parse(&answer)?;
    context.output.result(&answer, words(&job));
    Ok(())
}

pub(super) fn words(job: &Job) -> String {
    let mut text = format!("{} {}: {}", job.kind, job.app.slug, state(job));
    if let Some(problem) = &job.problem {
        text.push_str(&format!("\n{}", plain(&problem.message)));
        if let Some(hint) = &problem.hint {
            text.push_str(&format!("\nhint: {}", plain(hint)));
        }
    }
    text
}

fn state(job: &Job) -> String {
    match job.state {
        JobState::Queued => "waits for its turn".to_owned(),
        JobState::Running => format!("{:.0} %, {}", job.percent, plain(&job.message)),
        JobState::Succeeded => "done".to_owned(),
        JobState::Failed => "failed".to_owned(),
        JobState::Cancelled => "cancelled".to_owned(),
        JobState::Unknown => "in a state that this archy does not know".to_owned(),
    }
}

fn list_words(list: &[Job]) -> String {
    if list.is_empty() {
        return "no jobs".to_owned();
    }
    let mut rows = vec![["JOB", "WHAT", "APP", "STATE"].map(str::to_owned).to_vec()];
    rows.extend(list.iter().map(|job| {
        vec![
            job.id.clone(),
            job.kind.clone(),
            job.app.slug.clone(),
            state(job),
        ]
    }));
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::types::{AppRef, Problem};

    fn job(state: JobState, problem: Option<&str>) -> Job {
        Job {
            id: "1".to_owned(),
            kind: "install".to_owned(),
            app: AppRef {
                publisher: "did:key:z".to_owned(),
                slug: "notes".to_owned(),
            },
            name: "Notes".to_owned(),
            state,
            phase: "done".to_owned(),
            percent: 100.0,
            message: String::new(),
            problem: problem.map(|kind| Problem {
                kind: kind.to_owned(),
                message: "it says no".to_owned(),
                hint: Some("do this".to_owned()),
                details: vec![],
            }),
        }
    }

    #[test]
    fn a_job_that_fails_decides_the_exit_code() {
        assert!(ended(job(JobState::Succeeded, None)).is_ok());
        let class = |kind| ended(job(JobState::Failed, Some(kind))).unwrap_err().class;
        assert_eq!(class("signature"), Class::Refused);
        assert_eq!(class("slugTaken"), Class::Refused);
        assert_eq!(class("noProvider"), Class::Failed);
        assert_eq!(class("notFound"), Class::NotFound);
        assert_eq!(
            ended(job(JobState::Cancelled, None)).unwrap_err().kind,
            "cancelled"
        );
    }

    #[test]
    fn a_newer_nodes_word_for_a_state_is_understood_as_far_as_it_can_be() {
        let newer = |phase: &str| -> Job {
            let text = json!({
                "id": "1", "kind": "migrate", "app": {"publisher": "did:key:z", "slug": "notes"}, "name": "Notes",
                "state": "postponed", "phase": phase, "percent": 3.0, "message": "", "problem": null,
            });
            serde_json::from_value(text).unwrap()
        };
        assert!(!newer("fetching").has_ended());
        let job = newer("done");
        assert!(job.has_ended());
        assert!(words(&job).contains("does not know"));
        assert!(ended(job).unwrap_err().hints[0].contains("archy job show 1"));
    }
}
