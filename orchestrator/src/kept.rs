//! What the owner set of an app, beside what its publisher says before and after an update: it outlives the update, so
//! the units of both sides have it and comparing them cannot show it.

use std::fmt;

use archy_registry::Slug;
use archy_registry::manifest::{Container, Manifest, NetworkPolicy, Protocol};

use crate::settings::{ASSIGNED, PortBinding, Settings};

/// A setting of a container that an update leaves as it is on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The container.
    pub container: Slug,
    /// What is set.
    pub what: Setting,
    /// The value on this node.
    pub yours: String,
    /// What the publisher of the installed release says instead; `None` when nothing.
    pub before: Option<String>,
    /// What the publisher of the new release says instead; `None` when nothing.
    pub now: Option<String>,
    /// Whether the new release has a place for it. Without one it is kept, and used by no container.
    pub is_used: bool,
}

/// What can be set of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// Where a published port is found on the node.
    Port {
        /// Port inside the container.
        port: u16,
        /// Transport.
        protocol: Protocol,
    },
    /// An environment variable, by name.
    Variable(String),
    /// Memory limit.
    Memory,
    /// Processors.
    Cpus,
    /// Most processes and threads.
    Pids,
}

/// Lists what `settings` keep through an update from the release of `before` to that of `after`, ports first.
///
/// A port is listed where it is another one than either release asks for; whether its owner or the node chose it is not
/// on record, except that the node takes those without a wish from a range of its own.
pub fn kept(settings: &Settings, before: &Manifest, after: &Manifest) -> Vec<Kept> {
    let mut all = ports(settings, before, after);
    for (name, edit) in &settings.containers {
        let (old, new) = (container(before, name), container(after, name));
        let mut add =
            |what, yours: String, said: &dyn Fn(&Container) -> Option<String>, is_used| {
                all.push(Kept {
                    container: name.clone(),
                    what,
                    yours,
                    before: old.and_then(said),
                    now: new.and_then(said),
                    is_used,
                });
            };
        for (variable, value) in &edit.environment {
            let has_place = new.is_some_and(|new| !new.secret_env.contains_key(variable));
            add(
                Setting::Variable(variable.clone()),
                value.clone(),
                &|said| said.environment.get(variable).cloned(),
                has_place,
            );
        }
        if let Some(memory) = edit.memory {
            let said = |said: &Container| text(said.resources.memory);
            add(Setting::Memory, memory.to_string(), &said, new.is_some());
        }
        if let Some(cpus) = edit.cpus {
            let said = |said: &Container| text(said.resources.cpus);
            add(Setting::Cpus, cpus.to_string(), &said, new.is_some());
        }
        if let Some(pids) = edit.pids {
            let said = |said: &Container| text(said.resources.pids);
            add(Setting::Pids, pids.to_string(), &said, new.is_some());
        }
    }
    all
}

fn ports(settings: &Settings, before: &Manifest, after: &Manifest) -> Vec<Kept> {
    // There the ports are the app's own, and nothing of them is set.
    if [before, after]
        .map(|manifest| manifest.network_policy)
        .contains(&NetworkPolicy::Host)
    {
        return Vec::new();
    }
    let line = |binding: &PortBinding| {
        let (old, new) = (wish(before, binding), wish(after, binding));
        let is_as_wished = |wish: Option<u16>| match wish {
            Some(host) => host == binding.host_port,
            None => ASSIGNED.contains(&binding.host_port),
        };
        let is_plain = old.is_none_or(is_as_wished) && new.is_none_or(is_as_wished);
        (!is_plain).then(|| Kept {
            container: binding.container.clone(),
            what: Setting::Port {
                port: binding.container_port,
                protocol: binding.protocol,
            },
            yours: binding.host_port.to_string(),
            before: old.and_then(text),
            now: new.and_then(text),
            is_used: new.is_some(),
        })
    };
    settings.ports.iter().filter_map(line).collect()
}

/// Returns the port of the node that a release asks for; the outer `None` when it publishes no such port.
#[expect(
    clippy::option_option,
    reason = "no such port, and a port without a wish, are two things"
)]
fn wish(manifest: &Manifest, binding: &PortBinding) -> Option<Option<u16>> {
    let ports = &container(manifest, &binding.container)?.ports;
    let mut same = ports.iter().filter(|port| {
        port.container == binding.container_port && port.protocol == binding.protocol
    });
    same.next().map(|port| port.host)
}

fn container<'a>(manifest: &'a Manifest, name: &Slug) -> Option<&'a Container> {
    manifest.containers.iter().find(|one| one.name == *name)
}

fn text(value: Option<impl fmt::Display>) -> Option<String> {
    value.map(|value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::release;
    use crate::settings::SettingsEdit;

    fn manifest(container: &str) -> Manifest {
        let source = r#"source: {type: pull, image: "localhost/a:latest"}"#;
        release("a", &format!("  - {{name: web, {source}, {container}}}\n")).manifest
    }

    fn lines(settings: &Settings, before: &Manifest, after: &Manifest) -> Vec<String> {
        let kept = kept(settings, before, after);
        let line = |kept: &Kept| {
            let (before, now) = (kept.before.as_deref(), kept.now.as_deref());
            format!(
                "{:?} {}: {} → {}{}",
                kept.what,
                kept.yours,
                before.unwrap_or("nothing"),
                now.unwrap_or("nothing"),
                if kept.is_used { "" } else { ", unused" }
            )
        };
        kept.iter().map(line).collect()
    }

    fn set(manifest: &Manifest, edit: serde_json::Value) -> Settings {
        let settings = Settings::assign(manifest, &Settings::default(), |_, _| true).unwrap();
        let edit: SettingsEdit = serde_json::from_value(edit).unwrap();
        settings.edited(&edit, manifest).unwrap()
    }

    #[test]
    fn what_the_owner_set_is_told_beside_what_the_publisher_says_then_and_now() {
        let before = manifest("environment: {TZ: UTC, LEVEL: info}, resources: {memory: 96M}");
        let after =
            manifest("environment: {TZ: GMT, LEVEL: info}, resources: {memory: 128M, pids: 9}");
        let edit = serde_json::json!({"containers": {"web": {
            "environment": {"TZ": "Europe/Berlin", "LEVEL": "debug", "OWN": "x"},
            "memory": "64M", "cpus": "0.5", "pids": 7,
        }}});
        let settings = set(&before, edit);
        assert_eq!(
            lines(&settings, &before, &after),
            [
                r#"Variable("LEVEL") debug: info → info"#,
                r#"Variable("OWN") x: nothing → nothing"#,
                r#"Variable("TZ") Europe/Berlin: UTC → GMT"#,
                "Memory 64M: 96M → 128M",
                "Cpus 0.5: nothing → nothing",
                "Pids 7: nothing → 9",
            ]
        );
        let untouched = set(&before, serde_json::json!({}));
        assert_eq!(kept(&untouched, &before, &after), []);
    }

    #[test]
    fn what_the_new_release_has_no_place_for_is_said() {
        let before = manifest("environment: {KEY: a}, ports: [{container: 80, host: 8080}]");
        let settings = set(
            &before,
            serde_json::json!({
                "ports": [{"container": "web", "container_port": 80, "protocol": "tcp", "host_port": 4000}],
                "containers": {"web": {"environment": {"KEY": "b"}, "pids": 7}},
            }),
        );
        let mut secret = manifest("ports: []");
        let key = serde_json::from_value(serde_json::json!({"KEY": "key"})).unwrap();
        secret.containers[0].secret_env = key;
        assert_eq!(
            lines(&settings, &before, &secret),
            [
                "Port { port: 80, protocol: Tcp } 4000: 8080 → nothing, unused",
                r#"Variable("KEY") b: a → nothing, unused"#,
                "Pids 7: nothing → nothing",
            ]
        );
        let mut other = before.clone();
        other.containers[0].name = "app".parse().unwrap();
        let unused = lines(&settings, &before, &other);
        assert!(
            unused.iter().all(|line| line.ends_with(", unused")),
            "{unused:?}"
        );
    }

    #[test]
    fn a_port_is_told_where_it_is_another_than_a_release_asks_for() {
        let wish = |host: &str| manifest(&format!("ports: [{{container: 80{host}}}]"));
        let (none, old, new) = (wish(""), wish(", host: 8080"), wish(", host: 9090"));
        let at = |host_port: u16| {
            let port = serde_json::json!({"container": "web", "container_port": 80, "protocol": "tcp", "host_port": host_port});
            set(&none, serde_json::json!({"ports": [port]}))
        };
        let told =
            |port, before: &Manifest, after: &Manifest| !lines(&at(port), before, after).is_empty();
        assert!(!told(8080, &old, &old));
        assert!(told(8080, &old, &new));
        assert!(told(4000, &old, &old));
        assert!(told(4000, &none, &none));
        assert!(!told(20_001, &none, &none));
        let mut host = old.clone();
        host.network_policy = NetworkPolicy::Host;
        assert!(!told(4000, &host, &host));
    }
}
