//! `archy policy show|set`: what the owner lets the node show, install and update by itself.

use serde_json::{Value, json};

use super::Context;
use super::store::parse;
use crate::cli::PolicyCommand;
use crate::failure::Failure;
use crate::node::types::{PolicyPage, PublisherMark};
use crate::text::plain;

pub(super) async fn run(context: &Context<'_>, command: &PolicyCommand) -> Result<(), Failure> {
    let node = context.node()?;
    let mut answer: Value = node.call("policy.show", &json!({})).await?;
    if let PolicyCommand::Set {
        show,
        install,
        update,
        signatures,
    } = command
    {
        let changes = [
            ("showPointsMin", show),
            ("installPointsMin", install),
            ("updatePointsMin", update),
            ("signaturesMin", signatures),
        ];
        if changes.iter().all(|(_, value)| value.is_none()) {
            return Err(Failure::usage("say what to set")
                .hint("--show, --install, --update and --signatures take a number"));
        }
        let mut policy = answer["policy"].clone();
        for (name, value) in changes {
            if let Some(value) = value {
                policy[name] = json!(value);
            }
        }
        answer = node.call("policy.set", &policy).await?;
    }
    let words = words(&parse(&answer)?);
    context.output.result(&answer, words);
    Ok(())
}

fn words(page: &PolicyPage) -> String {
    let policy = &page.policy;
    let mut lines = vec![
        format!("show        from {} points", policy.show_points_min),
        format!(
            "install     from {} points, with a warning below {}",
            policy.install_points_min, page.warn_points
        ),
        format!(
            "update      by itself from {} points",
            policy.update_points_min
        ),
        format!("signatures  {} on a release", policy.signatures_min),
    ];
    for (title, marks) in [("pinned", &page.pinned), ("blocked", &page.blocked)] {
        lines.extend(marks.iter().map(|mark| mark_words(title, mark)));
    }
    lines.join("\n")
}

fn mark_words(title: &str, mark: &PublisherMark) -> String {
    let apps: Vec<String> = mark.apps.iter().map(|name| plain(name)).collect();
    let apps = if apps.is_empty() {
        String::new()
    } else {
        format!(" ({})", apps.join(", "))
    };
    format!("{title:<12}{}{apps}", mark.publisher)
}
