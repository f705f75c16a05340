//! `archy status`: the node and its apps, or one app.

use archy_registry::Slug;
use serde_json::{Value, json};

use super::Context;
use super::store::parse;
use crate::failure::Failure;
use crate::node::types::{Instance, InstanceList, KeptSetting, NodeStatus, UpdateOffer};
use crate::text::{count, plain, table};

pub(super) async fn node(context: &Context<'_>) -> Result<(), Failure> {
    let node = context.node()?;
    let status: Value = node.call("node.status", &json!({})).await?;
    let list: Value = node.call("package.list", &json!({})).await?;
    let words = format!(
        "{}\n\n{}",
        node_words(&parse(&status)?),
        list_words(&parse(&list)?)
    );
    context
        .output
        .result(&json!({ "node": status, "apps": list }), words);
    Ok(())
}

pub(super) async fn app(context: &Context<'_>, slug: &Slug) -> Result<(), Failure> {
    let answer: Value = context
        .node()?
        .call("package.status", &json!({ "slug": slug }))
        .await?;
    let words = instance_words(&parse(&answer)?);
    context.output.result(&answer, words);
    Ok(())
}

/// Says where an app's pages are.
pub(super) fn opens(instance: &Instance) -> String {
    let page = |interface: &crate::node::types::InterfaceInfo| {
        let port = interface.port?;
        Some(format!(
            "\nopen {}: http://localhost:{port}{}",
            plain(&interface.name),
            interface.path
        ))
    };
    instance.interfaces.iter().filter_map(page).collect()
}

fn node_words(status: &NodeStatus) -> String {
    let mut lines = vec![
        format!(
            "{} runs archyd {} on {}",
            plain(&status.name),
            status.version,
            status.architecture
        ),
        format!("endpoint   {}", status.endpoint.id),
        format!("addresses  {}", status.endpoint.addresses.join(", ")),
        format!(
            "catalog    {}, {} on the local network",
            count(status.catalog_apps as usize, "app"),
            count(status.lan_peers as usize, "node")
        ),
    ];
    lines.extend(
        status
            .own_relay
            .as_ref()
            .map(|url| format!("own relay  {url}")),
    );
    if status.relays.is_empty() {
        lines.push("relays     none: name some in archyd.toml, or no news arrives".to_owned());
    }
    for relay in &status.relays {
        let state = match (&relay.last_error, relay.connected) {
            (_, true) => "connected".to_owned(),
            (Some(error), false) => format!("not connected: {}", plain(error)),
            (None, false) => "not connected".to_owned(),
        };
        lines.push(format!("relay      {} {state}", relay.url));
    }
    for part in status
        .components
        .iter()
        .filter(|part| part.state != "running")
    {
        let why = part.last_error.as_deref().map(plain).unwrap_or_default();
        lines.push(format!("attention  {} is {}: {why}", part.name, part.state));
    }
    lines.join("\n")
}

fn list_words(list: &InstanceList) -> String {
    if list.instances.is_empty() {
        return "no apps are installed; `archy store search` lists what there is".to_owned();
    }
    let mut rows = vec![
        ["APP", "VERSION", "STATE", "OPEN"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for instance in &list.instances {
        let ports: Vec<String> = instance
            .interfaces
            .iter()
            .filter_map(|one| Some(format!("{}: port {}", plain(&one.name), one.port?)))
            .collect();
        rows.push(vec![
            instance.app.slug.clone(),
            plain(&instance.version),
            instance.state.clone(),
            ports.join(", "),
        ]);
    }
    let age = if list.stale {
        format!(
            "podman or systemd does not answer; last seen {}\n",
            list.observed
        )
    } else {
        String::new()
    };
    format!("{age}{}", table(&rows))
}

fn instance_words(instance: &Instance) -> String {
    let mut text = format!(
        "{} {}: {}\napp   {}/{}\ndata  {}",
        plain(&instance.name),
        plain(&instance.version),
        instance.state,
        instance.app.publisher,
        instance.app.slug,
        instance.data_dir
    );
    for container in &instance.containers {
        let health = container
            .health
            .as_deref()
            .map(|health| format!(", {health}"))
            .unwrap_or_default();
        let restarts = if container.restarts > 0 {
            format!(", {}", count(container.restarts as usize, "restart"))
        } else {
            String::new()
        };
        text.push_str(&format!(
            "\ncontainer {}: {}{health}{restarts}",
            container.name, container.state
        ));
    }
    text.push_str(&opens(instance));
    match (&instance.offer, &instance.update) {
        (Some(offer), _) => text.push_str(&offer_words(offer)),
        (None, Some(version)) => {
            text.push_str(&format!(
                "\nversion {} is there: archy update {}",
                plain(version),
                instance.app.slug
            ));
        }
        (None, None) => {}
    }
    if let Some(failed) = &instance.failed_update {
        text.push_str(&format!(
            "\n\nversion {} was tried and taken back: {}",
            plain(&failed.version),
            plain(&failed.reason)
        ));
    }
    if let Some(failed) = &instance.failed_backup {
        text.push_str(&format!(
            "\n\nits last scheduled backup failed: {}",
            plain(&failed.reason)
        ));
    }
    if let Some(before) = &instance.before {
        let data = if before.has_data {
            "with its data of that time"
        } else {
            "with the data as it is"
        };
        text.push_str(&format!(
            "\nbefore it was version {}: `archy rollback {}` returns to it, {data}",
            plain(&before.version),
            instance.app.slug
        ));
    }
    if let Some(problem) = &instance.problem {
        text.push_str(&format!("\n\n{}", plain(&problem.message)));
        if let Some(hint) = &problem.hint {
            text.push_str(&format!("\nhint: {}", plain(hint)));
        }
    }
    text
}

/// Says what a newer version would change, and why it waits.
fn offer_words(offer: &UpdateOffer) -> String {
    let mut text = format!("\n\nversion {} is there", plain(&offer.version));
    match &offer.diff {
        Some(diff) if diff.gained.is_empty() && diff.lost.is_empty() => {
            text.push_str("; it may do exactly the same");
        }
        Some(diff) => {
            for (sign, rights) in [("+", &diff.gained), ("-", &diff.lost)] {
                for right in rights {
                    text.push_str(&format!("\n  {sign} {}", plain(&right.text)));
                }
            }
        }
        None => {}
    }
    for kept in &offer.kept {
        text.push_str(&format!("\n  = {}", kept_words(kept)));
    }
    for notice in &offer.notices {
        text.push_str(&format!("\nnote: {}", plain(notice)));
    }
    for wait in &offer.waits {
        text.push_str(&format!("\nwaits for you: {}", plain(&wait.message)));
        if let Some(hint) = &wait.hint {
            text.push_str(&format!("\nhint: {}", plain(hint)));
        }
    }
    text
}

/// Says what becomes of a setting of the owner's.
fn kept_words(kept: &KeptSetting) -> String {
    let what = match &kept.name {
        Some(name) => format!("{} {}", plain(&kept.kind), plain(name)),
        None => plain(&kept.kind),
    };
    let (container, yours) = (plain(&kept.container), plain(&kept.yours));
    let mut text = format!("{what} of {container} stays {yours:?} (yours)");
    if !kept.is_used {
        text.push_str("; this version has no place for it");
    } else if kept.now != kept.before {
        text.push_str("; the publisher ");
        text.push_str(&match (&kept.before, &kept.now) {
            (Some(before), Some(now)) => {
                format!("now says {:?} rather than {:?}", plain(now), plain(before))
            }
            (None, Some(now)) => format!("now says {:?}", plain(now)),
            (_, None) => "no longer says anything".to_owned(),
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_says_what_the_owner_set_and_what_the_publisher_says_now() {
        let kept = |kind: &str, name: Option<&str>, before: Option<&str>, now: Option<&str>| {
            serde_json::json!({
                "container": "web", "kind": kind, "name": name, "yours": "64M",
                "before": before, "now": now, "isUsed": kind != "port",
            })
        };
        let offer: UpdateOffer = serde_json::from_value(serde_json::json!({
            "version": "2", "byItself": true, "waits": [],
            "diff": {"gained": [], "lost": []},
            "kept": [
                kept("port", Some("80/tcp"), Some("80"), None),
                kept("variable", Some("A"), Some("x"), Some("x")),
                kept("variable", Some("B"), Some("x"), None),
                kept("memory", None, Some("96M"), Some("128M")),
                kept("cpus", None, None, Some("1")),
            ],
            "notices": ["The app teller needs bank ^1."],
        }))
        .unwrap();
        assert_eq!(
            offer_words(&offer),
            r#"

version 2 is there; it may do exactly the same
  = port 80/tcp of web stays "64M" (yours); this version has no place for it
  = variable A of web stays "64M" (yours)
  = variable B of web stays "64M" (yours); the publisher no longer says anything
  = memory of web stays "64M" (yours); the publisher now says "128M" rather than "96M"
  = cpus of web stays "64M" (yours); the publisher now says "1"
note: The app teller needs bank ^1."#
        );
    }
}
