//! `archy trust …`: how far the node trusts a publisher and why, and the owner's word on it.

use serde_json::{Value, json};

use super::Context;
use super::store::{parse, resolve, spaced};
use crate::app::PublisherName;
use crate::cli::TrustCommand;
use crate::failure::Failure;
use crate::node::Node;
use crate::node::types::{
    History, Observation, OpinionGiven, OpinionPublished, Problem, Reviewers, TrustPage,
};
use crate::text::{plain, table};

pub(super) async fn run(context: &Context<'_>, command: &TrustCommand) -> Result<(), Failure> {
    let node = context.node()?;
    match command {
        TrustCommand::Show { publisher } => {
            let params = json!({ "publisher": did(&node, publisher).await? });
            page(context, &node, "trust.show", &params).await
        }
        TrustCommand::Pin { publisher } => mark(context, &node, publisher, "pin", true).await,
        TrustCommand::Unpin { publisher } => mark(context, &node, publisher, "pin", false).await,
        TrustCommand::Block { publisher } => mark(context, &node, publisher, "block", true).await,
        TrustCommand::Unblock { publisher } => {
            mark(context, &node, publisher, "block", false).await
        }
        TrustCommand::Report(arguments) => {
            let app = match &arguments.publisher {
                PublisherName::Did(_) => None,
                PublisherName::App(app) => Some(resolve(&node, app).await?.slug),
            };
            let params = json!({
                "publisher": did(&node, &arguments.publisher).await?, "app": app,
                "kind": arguments.kind, "text": arguments.text.join(" "), "public": arguments.public,
            });
            opinion(context, &node, "trust.report", &params).await
        }
        TrustCommand::Vouch(arguments) => {
            let params = json!({
                "publisher": did(&node, &arguments.publisher).await?, "opinion": arguments.opinion,
                "text": arguments.text.join(" "), "public": arguments.public,
            });
            opinion(context, &node, "trust.vouch", &params).await
        }
        TrustCommand::History {
            publisher,
            limit,
            before,
        } => {
            let publisher = did(&node, publisher).await?;
            let params = json!({ "publisher": publisher, "limit": limit, "before": before });
            let answer: Value = node.call("trust.history", &params).await?;
            let words = history_words(&parse(&answer)?);
            context.output.result(&answer, words);
            Ok(())
        }
        TrustCommand::Reviewers => reviewers(context, &node, "trust.reviewers", &json!({})).await,
        TrustCommand::Reviewer {
            pubkey,
            remove,
            public,
        } => {
            let params = json!({ "pubkey": pubkey, "trusted": !remove, "public": public });
            reviewers(context, &node, "trust.reviewer", &params).await
        }
    }
}

/// Finds the publisher that a person means.
async fn did(node: &Node, name: &PublisherName) -> Result<String, Failure> {
    match name {
        PublisherName::Did(did) => Ok(did.to_string()),
        PublisherName::App(app) => Ok(resolve(node, app).await?.publisher),
    }
}

async fn mark(
    context: &Context<'_>,
    node: &Node,
    publisher: &PublisherName,
    what: &str,
    yes: bool,
) -> Result<(), Failure> {
    let member = if what == "pin" { "pinned" } else { "blocked" };
    let params = json!({ "publisher": did(node, publisher).await?, member: yes });
    page(context, node, &format!("trust.{what}"), &params).await
}

async fn page(
    context: &Context<'_>,
    node: &Node,
    method: &str,
    params: &Value,
) -> Result<(), Failure> {
    let answer: Value = node.call(method, params).await?;
    let words = page_words(&parse(&answer)?);
    context.output.result(&answer, words);
    Ok(())
}

async fn opinion(
    context: &Context<'_>,
    node: &Node,
    method: &str,
    params: &Value,
) -> Result<(), Failure> {
    let answer: Value = node.call(method, params).await?;
    let given: OpinionGiven = parse(&answer)?;
    let mut words = page_words(&given.page);
    match &given.published {
        None => words.push_str("\n\nkept on this node; --public tells others as well"),
        Some(published) => words.push_str(&format!("\n\n{}", published_words(published))),
    }
    context.output.result(&answer, words);
    Ok(())
}

/// Says who heard what was said.
fn published_words(published: &OpinionPublished) -> String {
    let mut words = format!(
        "said in public, event {} on {}",
        published.event_id,
        published.accepted.join(", ")
    );
    for refused in &published.refused {
        words.push_str(&format!("\nnot taken by {}", plain(refused)));
    }
    if let Some(note) = &published.note {
        words.push_str(&format!("\nnote: {}", plain(note)));
    }
    words
}

async fn reviewers(
    context: &Context<'_>,
    node: &Node,
    method: &str,
    params: &Value,
) -> Result<(), Failure> {
    let answer: Value = node.call(method, params).await?;
    let found: Reviewers = parse(&answer)?;
    let mut lines: Vec<String> = found.reviewers.clone();
    if lines.is_empty() {
        lines.push(
            "no reviewers: what others say counts for nothing here; add one with `archy trust reviewer PUBKEY`"
                .to_owned(),
        );
    }
    if let Some(own) = &found.own {
        lines.push(format!("this node speaks in public as {own}"));
    }
    lines.extend(found.published.as_ref().map(published_words));
    context.output.result(&answer, lines.join("\n"));
    Ok(())
}

fn page_words(page: &TrustPage) -> String {
    let card = &page.publisher;
    let apps: Vec<String> = page.apps.iter().map(|name| plain(name)).collect();
    let mut lines = vec![
        card.did.clone(),
        format!(
            "trust  {:.1} of 100, {}",
            card.trust.points,
            spaced(&card.trust.band)
        ),
    ];
    if !apps.is_empty() {
        lines.push(format!("apps   {}", apps.join(", ")));
    }
    for (holds, word) in [(card.pinned, "pinned"), (card.blocked, "blocked")] {
        if holds {
            lines.push(format!("you    {word} this publisher"));
        }
    }
    for notice in &card.notices {
        lines.push(format!("\nattention: {}", plain(&notice.message)));
        lines.extend(
            notice
                .hint
                .as_ref()
                .map(|hint| format!("hint: {}", plain(hint))),
        );
    }
    lines.push("\nwhat counts".to_owned());
    if card.reasons.is_empty() {
        lines.push("  nothing is known yet that counts for or against them".to_owned());
    }
    for reason in &card.reasons {
        lines.push(format!("  {:+.1}  {}", reason.points, plain(&reason.text)));
        let rows = page
            .observations
            .iter()
            .filter(|row| reason.evidence.contains(&row.reference));
        lines.extend(rows.map(|row| format!("          {}", row_words(row))));
    }
    if let Some(cap) = &page.cap {
        lines.push(format!("at most {:.0}: {}", cap.points, plain(&cap.text)));
    }
    if !card.would_change.is_empty() {
        lines.push("\nwhat would change it".to_owned());
        let ways = card.would_change.iter();
        lines.extend(ways.map(|way| format!("  {}", plain(way))));
    }
    lines.extend(page.refusal.as_ref().map(refusal_words));
    lines.join("\n")
}

fn refusal_words(refusal: &Problem) -> String {
    let mut text = format!("\nnothing of it is installed: {}", plain(&refusal.message));
    if let Some(hint) = &refusal.hint {
        text.push_str(&format!("\nhint: {}", plain(hint)));
    }
    text
}

/// Writes an observation with what it can be looked up by.
fn row_words(row: &Observation) -> String {
    let by = match (&row.event_id, &row.pubkey) {
        (Some(event), _) => format!(", Nostr event {event}"),
        (None, Some(pubkey)) => format!(", {pubkey}"),
        (None, None) => String::new(),
    };
    format!("{} ({}{by})", plain(&row.text), plain(&row.reference))
}

fn history_words(history: &History) -> String {
    if history.observations.is_empty() {
        return "this node has seen nothing of that publisher".to_owned();
    }
    let mut rows = vec![["WHEN", "WHAT"].map(str::to_owned).to_vec()];
    rows.extend(
        history
            .observations
            .iter()
            .map(|row| vec![row.at.clone().unwrap_or_default(), row_words(row)]),
    );
    let mut text = table(&rows);
    if let Some(next) = &history.next {
        text.push_str(&format!("older: --before '{}'", plain(next)));
    }
    text
}
