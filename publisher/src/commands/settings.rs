//! `archy settings`: an installed app's ports, environment and limits.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::store::parse;
use super::{Context, instance};
use crate::cli::settings::{Named, SettingsArgs};
use crate::failure::Failure;
use crate::node::types::{ContainerSetting, JobRef, SettingsPage};
use crate::text::plain;

pub(super) async fn run(context: &Context<'_>, arguments: &SettingsArgs) -> Result<(), Failure> {
    let node = context.node()?;
    let answer: Value = node
        .call("package.settings", &json!({ "slug": arguments.app }))
        .await?;
    let page: SettingsPage = parse(&answer)?;
    if !arguments.changes() {
        context.output.result(&answer, words(&page));
        return Ok(());
    }
    let ports: Vec<Value> = arguments
        .port
        .iter()
        .map(|port| {
            json!({
                "container": port.container,
                "port": port.port,
                "protocol": port.protocol,
                "hostPort": port.host_port,
            })
        })
        .collect();
    let params = json!({
        "slug": arguments.app,
        "ports": ports,
        "containers": edited(page, arguments)?,
    });
    let job: JobRef = node.call("package.configure", &params).await?;
    instance::end(context, &node, &job, arguments.no_wait).await
}

/// Changes what the owner set so far; returns the containers that something is said of.
fn edited(
    page: SettingsPage,
    arguments: &SettingsArgs,
) -> Result<BTreeMap<String, ContainerSetting>, Failure> {
    let known = page.containers.into_iter();
    let known: BTreeMap<String, ContainerSetting> = known.map(|one| (one.name, one.set)).collect();
    let mut edited: BTreeMap<String, ContainerSetting> = BTreeMap::new();
    for container in &arguments.reset {
        edited.insert(container.to_string(), ContainerSetting::default());
    }
    let mut change = |named: &Named, change: &dyn Fn(&mut ContainerSetting) -> Option<()>| {
        let so_far = known.get(&named.container).cloned().unwrap_or_default();
        let setting = edited.entry(named.container.clone()).or_insert(so_far);
        change(setting).ok_or_else(|| {
            let written = named.name.as_deref().unwrap_or_default();
            Failure::usage(format!(
                "{}.{written}: see `archy settings --help` for how a setting is written",
                named.container
            ))
        })
    };
    for named in &arguments.env {
        change(named, &|setting| {
            let (name, value) = (named.name.clone()?, named.value.clone()?);
            setting.environment.insert(name, value);
            Some(())
        })?;
    }
    for named in &arguments.unset_env {
        change(named, &|setting| {
            setting.environment.remove(named.name.as_deref()?);
            Some(())
        })?;
    }
    for named in &arguments.memory {
        change(named, &|setting| {
            setting.memory = Some(named.value.clone()?);
            Some(())
        })?;
    }
    for named in &arguments.cpus {
        change(named, &|setting| {
            setting.cpus = Some(named.value.clone()?);
            Some(())
        })?;
    }
    for named in &arguments.pids {
        change(named, &|setting| {
            setting.pids = Some(named.value.as_deref()?.parse().ok()?);
            Some(())
        })?;
    }
    Ok(edited)
}

fn words(page: &SettingsPage) -> String {
    let mut lines: Vec<String> = page
        .ports
        .iter()
        .map(|port| {
            let protocol = match port.protocol.as_str() {
                "tcp" => String::new(),
                other => format!("/{}", plain(other)),
            };
            let (container, inside) = (plain(&port.container), port.port);
            format!("port    {container}:{inside}{protocol}={}", port.host_port)
        })
        .collect();
    for container in &page.containers {
        let name = plain(&container.name);
        let (set, published) = (&container.set, &container.published);
        let mut variables: BTreeMap<&String, (&String, bool)> = BTreeMap::new();
        let published_variables = published.environment.iter();
        variables.extend(published_variables.map(|(name, value)| (name, (value, false))));
        variables.extend(
            set.environment
                .iter()
                .map(|(name, value)| (name, (value, true))),
        );
        for (variable, (value, is_set)) in variables {
            let mark = if is_set { "  (yours)" } else { "" };
            lines.push(format!(
                "env     {name}.{}={}{mark}",
                plain(variable),
                plain(value)
            ));
        }
        let mut limit = |what: &str, set: Option<String>, published: Option<String>| {
            let mark = if set.is_some() { "  (yours)" } else { "" };
            if let Some(value) = set.or(published) {
                lines.push(format!("{what:<7} {name}={}{mark}", plain(&value)));
            }
        };
        limit("memory", set.memory.clone(), published.memory.clone());
        limit("cpus", set.cpus.clone(), published.cpus.clone());
        let text = |pids: Option<u32>| pids.map(|pids| pids.to_string());
        limit("pids", text(set.pids), text(published.pids));
    }
    if lines.is_empty() {
        return "there is nothing to set".to_owned();
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn arguments(words: &[&str]) -> SettingsArgs {
        let words = ["archy", "settings", "notes"].iter().chain(words);
        let Command::Settings(arguments) = Cli::try_parse_from(words).unwrap().command else {
            panic!("another command");
        };
        arguments
    }

    fn page() -> SettingsPage {
        serde_json::from_value(json!({
            "ports": [{"container": "web", "port": 80, "protocol": "tcp", "hostPort": 20000}],
            "containers": [{
                "name": "web",
                "set": {"environment": {"A": "mine"}, "memory": "1G"},
                "published": {"environment": {"A": "one", "B": "two"}, "pids": 10},
            }],
        }))
        .unwrap()
    }

    #[test]
    fn what_is_not_named_stays_as_the_owner_set_it() {
        let one = edited(
            page(),
            &arguments(&["--env", "web.C=x=y", "--pids", "web=20"]),
        )
        .unwrap();
        let web = &one["web"];
        assert_eq!(web.environment["A"], "mine");
        assert_eq!(web.environment["C"], "x=y");
        assert_eq!((web.memory.as_deref(), web.pids), (Some("1G"), Some(20)));
        let back = edited(page(), &arguments(&["--unset-env", "web.A"])).unwrap();
        assert!(back["web"].environment.is_empty());
        let reset = edited(page(), &arguments(&["--reset", "web", "--cpus", "web=2"])).unwrap();
        assert_eq!(reset["web"].memory, None);
        assert_eq!(reset["web"].cpus.as_deref(), Some("2"));
        for wrong in [
            ["--env", "web.C"],
            ["--memory", "web"],
            ["--pids", "web=many"],
        ] {
            assert!(edited(page(), &arguments(&wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn settings_are_shown_as_they_are_written() {
        assert_eq!(
            words(&page()),
            "port    web:80=20000\n\
             env     web.A=mine  (yours)\n\
             env     web.B=two\n\
             memory  web=1G  (yours)\n\
             pids    web=10"
        );
    }
}
