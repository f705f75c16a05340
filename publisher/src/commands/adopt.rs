//! `archy adopt list|claim|migrate|undo|finish`: containers that run here without archy.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::store::{parse, resolve};
use super::{Context, instance};
use crate::cli::adopt::{AdoptClaimArgs, AdoptCommand, AdoptMigrateArgs};
use crate::failure::Failure;
use crate::node::types::{AdoptableList, ForeignContainer, JobRef, MigrationItem, MigrationPlan};
use crate::text::plain;

pub(super) async fn run(context: &Context<'_>, command: &AdoptCommand) -> Result<(), Failure> {
    match command {
        AdoptCommand::List => list(context).await,
        AdoptCommand::Claim(arguments) => claim(context, arguments).await,
        AdoptCommand::Migrate(arguments) => migrate(context, arguments).await,
        AdoptCommand::Undo(arguments) => {
            instance::operate(context, "package.unmigrate", arguments).await
        }
        AdoptCommand::Finish(arguments) => {
            instance::operate(context, "package.finish", arguments).await
        }
    }
}

async fn list(context: &Context<'_>) -> Result<(), Failure> {
    let answer: Value = context
        .node()?
        .call("package.adoptable", &json!({}))
        .await?;
    let words = list_words(&parse(&answer)?);
    context.output.result(&answer, words);
    Ok(())
}

async fn claim(context: &Context<'_>, arguments: &AdoptClaimArgs) -> Result<(), Failure> {
    let node = context.node()?;
    let app = resolve(&node, &arguments.app).await?;
    let chosen = arguments.containers.iter();
    let chosen: BTreeMap<String, &String> = chosen
        .map(|chosen| (chosen.container.to_string(), &chosen.name))
        .collect();
    let params = json!({ "app": app, "release": arguments.release, "containers": chosen });
    let job: JobRef = node.call("package.adopt", &params).await?;
    instance::end(context, &node, &job, arguments.no_wait).await
}

async fn migrate(context: &Context<'_>, arguments: &AdoptMigrateArgs) -> Result<(), Failure> {
    let node = context.node()?;
    let slug = json!({ "slug": arguments.app });
    let answer: Value = node.call("package.migration", &slug).await?;
    let plan: MigrationPlan = parse(&answer)?;
    if arguments.plan {
        context.output.result(&answer, plan_words(&plan, &[]));
        return Ok(());
    }
    let blocked = blocked(&plan, &arguments.accept);
    if !blocked.is_empty() {
        let mut failure = Failure::usage("the migration would lose what you did not accept")
            .hint("accept each with --accept and what is in brackets; --plan shows all");
        failure.details = blocked.into_iter().map(item_words).collect();
        return Err(failure);
    }
    let params = json!({ "slug": arguments.app, "accept": arguments.accept });
    let job: JobRef = node.call("package.migrate", &params).await?;
    instance::end(context, &node, &job, arguments.no_wait).await
}

/// Lists what stands in the way.
fn blocked<'p>(plan: &'p MigrationPlan, accepted: &[String]) -> Vec<&'p MigrationItem> {
    let stands = |item: &&MigrationItem| match item.effect.as_str() {
        "keeps" | "changes" => false,
        "loses" => !accepted.contains(&item.id),
        _ => true,
    };
    plan.items.iter().filter(stands).collect()
}

fn item_words(item: &MigrationItem) -> String {
    format!(
        "{:<8} {}: {}  [{}]",
        plain(&item.effect),
        plain(&item.container),
        plain(&item.words),
        plain(&item.id)
    )
}

fn plan_words(plan: &MigrationPlan, accepted: &[String]) -> String {
    let mut lines: Vec<String> = plan.items.iter().map(item_words).collect();
    lines.push(match blocked(plan, accepted).is_empty() {
        true => "nothing stands in the way; the old containers are kept until `archy adopt finish`"
            .to_owned(),
        false => "what is lost must be accepted: --accept with what is in brackets".to_owned(),
    });
    lines.join("\n")
}

fn list_words(list: &AdoptableList) -> String {
    if list.containers.is_empty() {
        return "nothing runs here that archy does not look after".to_owned();
    }
    let mut lines = Vec::new();
    let mut group = String::new();
    for container in &list.containers {
        let heading = heading(container);
        if heading != group {
            lines.push(heading.clone());
            group = heading;
        }
        lines.push(container_words(container));
    }
    for candidate in &list.candidates {
        let words = match &candidate.hindrance {
            None => format!("claim with: archy adopt claim {}", candidate.app.slug),
            Some(hindrance) => format!("cannot be claimed: {}", plain(hindrance)),
        };
        lines.push(format!("{}: {words}", plain(&candidate.name)));
    }
    lines.join("\n")
}

fn heading(container: &ForeignContainer) -> String {
    let name = container
        .origin_name
        .as_deref()
        .map(plain)
        .unwrap_or_default();
    match container.origin.as_str() {
        "unit" => format!("service {name}"),
        "compose" => format!("compose project {name}"),
        _ => "podman run".to_owned(),
    }
}

fn container_words(container: &ForeignContainer) -> String {
    let mut parts = vec![
        format!("  {} {}", plain(&container.name), plain(&container.state)),
        plain(&container.image),
    ];
    if container.restart != "no" {
        parts.push(format!("restart {}", plain(&container.restart)));
    }
    parts.extend(container.ports.iter().map(|port| plain(port)));
    parts.extend(
        container
            .mounts
            .iter()
            .map(|mount| format!("{} at {}", plain(&mount.source), plain(&mount.target))),
    );
    parts.extend(container.unclaimed.as_deref().map(plain));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> MigrationPlan {
        serde_json::from_value(json!({
            "slug": "notes", "version": "1.0.0",
            "items": [
                {"id": "web.right.NET_ADMIN", "container": "web", "topic": "right", "effect": "loses", "words": "gone"},
                {"id": "web.port.80", "container": "web", "topic": "port", "effect": "keeps", "words": "stays"},
            ],
        }))
        .unwrap()
    }

    #[test]
    fn a_plan_says_what_must_be_accepted() {
        let accepted = ["web.right.NET_ADMIN".to_owned()];
        assert_eq!(blocked(&plan(), &[]).len(), 1);
        assert!(blocked(&plan(), &accepted).is_empty());
        assert_eq!(
            plan_words(&plan(), &[]),
            "loses    web: gone  [web.right.NET_ADMIN]\n\
             keeps    web: stays  [web.port.80]\n\
             what is lost must be accepted: --accept with what is in brackets"
        );
        let mut refused = plan();
        refused.items[0].effect = "refuses".to_owned();
        assert_eq!(blocked(&refused, &accepted).len(), 1);
    }

    #[test]
    fn containers_are_listed_by_where_they_come_from() {
        let container = |name: &str, origin: &str, of: Value| {
            json!({
                "id": name, "name": name, "image": "localhost/a:1", "state": "running", "since": null,
                "origin": origin, "originName": of, "originFile": null, "restart": "always",
                "ports": ["8080:80/tcp"], "mounts": [{"kind": "volume", "source": "v", "target": "/data", "writable": true}],
                "unclaimed": null,
            })
        };
        let list = json!({
            "containers": [
                container("a", "run", Value::Null),
                container("b", "compose", json!("p")),
                container("c", "compose", json!("p")),
                container("d", "unit", json!("d.service")),
            ],
            "candidates": [{
                "app": {"publisher": "did:key:z", "slug": "notes"}, "name": "Notes",
                "containers": {"web": "a"}, "missing": {}, "hindrance": null,
            }],
        });
        assert_eq!(
            list_words(&serde_json::from_value(list).unwrap()),
            "podman run\n  \
             a running, localhost/a:1, restart always, 8080:80/tcp, v at /data\n\
             compose project p\n  \
             b running, localhost/a:1, restart always, 8080:80/tcp, v at /data\n  \
             c running, localhost/a:1, restart always, 8080:80/tcp, v at /data\n\
             service d.service\n  \
             d running, localhost/a:1, restart always, 8080:80/tcp, v at /data\n\
             Notes: claim with: archy adopt claim notes"
        );
    }
}
