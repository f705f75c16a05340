//! `archy install|uninstall|update|rollback|start|stop|restart|reinstall|logs`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::Context;
use super::store::{parse, resolve};
use super::{job, status};
use crate::cli::{InstallArgs, LogsArgs, OperateArgs, RollbackArgs, UninstallArgs, UpdateArgs};
use crate::failure::Failure;
use crate::node::Node;
use crate::node::types::{Instance, JobRef, JobState, LogLine, Logs};
use crate::text::plain;

/// How often `logs --follow` asks for more.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);
/// Kinds of jobs after which an app can be opened.
const OPENED: [&str; 11] = [
    "install",
    "adopt",
    "migrate",
    "unmigrate",
    "start",
    "restart",
    "update",
    "rollback",
    "reinstall",
    "configure",
    "restore",
];
/// Lines that are asked for each time; more between two asks would be lost.
const FOLLOW_LINES: u32 = 2000;

pub(super) async fn install(context: &Context<'_>, arguments: &InstallArgs) -> Result<(), Failure> {
    let node = context.node()?;
    let app = resolve(&node, &arguments.app).await?;
    let params = json!({ "app": app, "release": arguments.release });
    let job: JobRef = node.call("package.install", &params).await?;
    end(context, &node, &job, arguments.no_wait).await
}

pub(super) async fn uninstall(
    context: &Context<'_>,
    arguments: &UninstallArgs,
) -> Result<(), Failure> {
    let node = context.node()?;
    let params = json!({
        "slug": arguments.app,
        "purge": arguments.purge,
        "force": arguments.force,
    });
    let job: JobRef = node.call("package.uninstall", &params).await?;
    end(context, &node, &job, arguments.no_wait).await
}

pub(super) async fn update(context: &Context<'_>, arguments: &UpdateArgs) -> Result<(), Failure> {
    let node = context.node()?;
    let params = json!({
        "slug": arguments.app,
        "release": arguments.release,
        "withoutCopy": arguments.without_copy,
    });
    let job: JobRef = node.call("package.update", &params).await?;
    end(context, &node, &job, arguments.no_wait).await
}

pub(super) async fn roll_back(
    context: &Context<'_>,
    arguments: &RollbackArgs,
) -> Result<(), Failure> {
    let node = context.node()?;
    let params = json!({ "slug": arguments.app, "keepData": arguments.keep_data });
    let job: JobRef = node.call("package.rollback", &params).await?;
    end(context, &node, &job, arguments.no_wait).await
}

pub(super) async fn operate(
    context: &Context<'_>,
    method: &str,
    arguments: &OperateArgs,
) -> Result<(), Failure> {
    let node = context.node()?;
    let job: JobRef = node.call(method, &json!({ "slug": arguments.app })).await?;
    end(context, &node, &job, arguments.no_wait).await
}

/// Waits, then says how the job ended and where the app can be opened.
pub(super) async fn end(
    context: &Context<'_>,
    node: &Node,
    job: &JobRef,
    no_wait: bool,
) -> Result<(), Failure> {
    let job = job::finish(context, node, job, no_wait).await?;
    let mut words = job::words(&job);
    if no_wait {
        words.push_str(&format!("\nsee it again with: archy job wait {}", job.id));
    } else if job.state == JobState::Succeeded && OPENED.contains(&job.kind.as_str()) {
        let instance: Instance = node
            .call("package.status", &json!({ "slug": job.app.slug }))
            .await?;
        words.push_str(&status::opens(&instance));
    }
    context.output.result(&job, words);
    Ok(())
}

pub(super) async fn logs(context: &Context<'_>, arguments: &LogsArgs) -> Result<(), Failure> {
    let node = context.node()?;
    let params = |lines: u32| json!({ "slug": arguments.app, "container": arguments.container, "lines": lines });
    let answer: Value = node.call("package.logs", &params(arguments.lines)).await?;
    let logs: Logs = parse(&answer)?;
    if !arguments.follow {
        let words: Vec<String> = logs.lines.iter().map(line_words).collect();
        context.output.result(&answer, words.join("\n"));
        return Ok(());
    }
    let mut shown = Vec::new();
    let mut lines = logs.lines;
    let mut ticks = interval(FOLLOW_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        for line in news(&shown, &lines) {
            context.output.line(line, line_words(line));
        }
        if !lines.is_empty() {
            shown = lines;
        }
        ticks.tick().await;
        let logs: Logs = node.call("package.logs", &params(FOLLOW_LINES)).await?;
        lines = logs.lines;
    }
}

/// Returns the lines that come after the last one shown.
fn news<'a>(shown: &[LogLine], lines: &'a [LogLine]) -> &'a [LogLine] {
    let Some(last) = shown.last() else {
        return lines;
    };
    // Several equal lines may share one moment: as many of them were shown as the end of `shown` holds.
    let repeats = shown.iter().rev().take_while(|line| *line == last).count();
    let mut seen = 0;
    let after = lines.iter().position(|line| {
        seen += usize::from(line == last);
        seen == repeats
    });
    match after {
        Some(index) => &lines[index + 1..],
        None => {
            let newer = lines
                .iter()
                .position(|line| line.at > last.at)
                .unwrap_or(lines.len());
            &lines[newer..]
        }
    }
}

fn line_words(line: &LogLine) -> String {
    format!("{} {}  {}", line.at, line.container, plain(&line.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[(&str, &str)]) -> Vec<LogLine> {
        let line = |&(at, text): &(&str, &str)| LogLine {
            at: at.to_owned(),
            container: "web".to_owned(),
            text: text.to_owned(),
        };
        texts.iter().map(line).collect()
    }

    #[test]
    fn following_shows_every_line_once() {
        let first = lines(&[("1", "a"), ("2", "b"), ("2", "b")]);
        let then = lines(&[("2", "b"), ("2", "b"), ("2", "b"), ("3", "c")]);
        assert_eq!(news(&[], &first), first);
        assert_eq!(news(&first, &then), &then[2..]);
        assert!(news(&then, &then).is_empty());
        // What was shown last is no longer among the lines: a flood came in between.
        let flood = lines(&[("2", "x"), ("4", "d")]);
        assert_eq!(news(&then, &flood), &flood[1..]);
    }
}
