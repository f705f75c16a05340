//! `manifest.yml` as people write it, with its shorthands, and the way from there to the normal form.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::id::Slug;
use crate::manifest::{
    self as normal, App, Backup, Condition, Dependency, Export, Extensions, GeneratedSecret,
    HealthCheck, Hooks, Interface, NetworkPolicy, Port, Problem, PullPolicy, RelativePath,
    Resources, Span, Tmpfs, UserNamespace, Volume,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    app: App,
    #[serde(default)]
    containers: Option<Vec<Container>>,
    #[serde(default)]
    container: Option<Container>,
    #[serde(default)]
    generated_secrets: Vec<GeneratedSecret>,
    #[serde(default)]
    dependencies: Vec<Dependency>,
    #[serde(default)]
    exports: Vec<Export>,
    #[serde(default)]
    network_policy: NetworkPolicy,
    #[serde(default)]
    hooks: Hooks,
    #[serde(default)]
    interfaces: Vec<Interface>,
    #[serde(default)]
    backup: Backup,
    #[serde(default)]
    extensions: Extensions,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Container {
    #[serde(default)]
    name: Option<Slug>,
    #[serde(default)]
    source: Option<Source>,
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    pull_policy: Option<PullPolicy>,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    entrypoint: Vec<String>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    user_namespace: UserNamespace,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    secret_env: BTreeMap<String, Slug>,
    #[serde(default)]
    ports: Vec<Port>,
    #[serde(default)]
    volumes: Vec<Volume>,
    #[serde(default)]
    tmpfs: Vec<Tmpfs>,
    #[serde(default)]
    network_aliases: Vec<Slug>,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    readonly_root: bool,
    #[serde(default)]
    devices: Vec<String>,
    #[serde(default)]
    resources: Resources,
    #[serde(default)]
    health_check: Option<HealthCheck>,
    #[serde(default)]
    depends_on: Vec<DependsOn>,
    #[serde(default)]
    stop_timeout: Option<Span>,
}

/// Flat, because a tagged enum is buffered by serde and would lose the place of its faults.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    #[serde(rename = "type")]
    kind: SourceKind,
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    context: Option<RelativePath>,
    #[serde(default)]
    dockerfile: Option<RelativePath>,
    #[serde(default)]
    tag: Option<String>,
    #[serde(default)]
    build_args: BTreeMap<String, String>,
    #[serde(default)]
    pull_policy: PullPolicy,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum SourceKind {
    Pull,
    Build,
}

/// `db` or `{container: db, condition: healthy}`.
struct DependsOn(normal::DependsOn);

impl<'de> Deserialize<'de> for DependsOn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = normal::DependsOn;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a container, or container and condition")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(normal::DependsOn {
                    container: name.parse().map_err(E::custom)?,
                    condition: Condition::default(),
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                normal::DependsOn::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_any(Forms).map(Self)
    }
}

/// Expands shorthands. The notes say which of them should be written otherwise.
pub(super) fn expand(raw: Manifest) -> Result<(normal::Manifest, Vec<Problem>), Problem> {
    let mut notes = Vec::new();
    let containers = match (raw.containers, raw.container) {
        (Some(_), Some(_)) => {
            return Err(problem(
                "container",
                "stands beside containers; write one of them",
            ));
        }
        (None, None) => {
            return Err(problem(
                "",
                "lacks containers (or container, for a single one)",
            ));
        }
        (Some(containers), None) => containers
            .into_iter()
            .enumerate()
            .map(|(index, container)| {
                expand_container(container, &format!("containers[{index}]"), None, &mut notes)
            })
            .collect::<Result<_, _>>()?,
        (None, Some(container)) => vec![expand_container(
            container,
            "container",
            Some(&raw.app.id),
            &mut notes,
        )?],
    };
    let manifest = normal::Manifest {
        app: raw.app,
        containers,
        generated_secrets: raw.generated_secrets,
        dependencies: raw.dependencies,
        exports: raw.exports,
        network_policy: raw.network_policy,
        hooks: raw.hooks,
        interfaces: raw.interfaces,
        backup: raw.backup,
        extensions: raw.extensions,
    };
    Ok((manifest, notes))
}

fn expand_container(
    raw: Container,
    path: &str,
    name_default: Option<&Slug>,
    notes: &mut Vec<Problem>,
) -> Result<normal::Container, Problem> {
    let name = match (raw.name, name_default) {
        (Some(name), _) => name,
        (None, Some(name)) => name.clone(),
        (None, None) => return Err(problem(path, "lacks the field name")),
    };
    let source = match (raw.source, raw.image) {
        (Some(_), Some(_)) => {
            return Err(problem(
                format!("{path}.image"),
                "stands beside source; write the image into source only",
            ));
        }
        (Some(source), None) => {
            if raw.pull_policy.is_some() {
                return Err(problem(
                    format!("{path}.pull_policy"),
                    "belongs into source, beside type",
                ));
            }
            expand_source(source, &format!("{path}.source"))?
        }
        (None, Some(image)) => {
            notes.push(problem(
                format!("{path}.image"),
                format!("is the old form; write source: {{type: pull, image: {image:?}}}"),
            ));
            normal::Source::Pull {
                image,
                pull_policy: raw.pull_policy.unwrap_or_default(),
            }
        }
        (None, None) => return Err(problem(path, "lacks the field source")),
    };
    Ok(normal::Container {
        name,
        source,
        command: raw.command,
        entrypoint: raw.entrypoint,
        user: raw.user,
        user_namespace: raw.user_namespace,
        environment: raw.environment,
        secret_env: raw.secret_env,
        ports: raw.ports,
        volumes: raw.volumes,
        tmpfs: raw.tmpfs,
        network_aliases: raw.network_aliases,
        capabilities: raw.capabilities,
        readonly_root: raw.readonly_root,
        devices: raw.devices,
        resources: raw.resources,
        health_check: raw.health_check,
        depends_on: raw.depends_on.into_iter().map(|edge| edge.0).collect(),
        stop_timeout: raw.stop_timeout,
    })
}

fn expand_source(raw: Source, path: &str) -> Result<normal::Source, Problem> {
    let foreign = |field: &str, kind: &str| {
        problem(
            format!("{path}.{field}"),
            format!("is only for sources of type {kind}"),
        )
    };
    match raw.kind {
        SourceKind::Pull => {
            for (field, given) in [
                ("context", raw.context.is_some()),
                ("dockerfile", raw.dockerfile.is_some()),
                ("tag", raw.tag.is_some()),
                ("build_args", !raw.build_args.is_empty()),
            ] {
                if given {
                    return Err(foreign(field, "build"));
                }
            }
            Ok(normal::Source::Pull {
                image: raw
                    .image
                    .ok_or_else(|| problem(path, "lacks the field image"))?,
                pull_policy: raw.pull_policy,
            })
        }
        SourceKind::Build => {
            if raw.image.is_some() {
                return Err(foreign("image", "pull"));
            }
            Ok(normal::Source::Build {
                context: raw
                    .context
                    .ok_or_else(|| problem(path, "lacks the field context"))?,
                dockerfile: raw.dockerfile,
                tag: raw.tag,
                build_args: raw.build_args,
                pull_policy: raw.pull_policy,
            })
        }
    }
}

fn problem(path: impl Into<String>, complaint: impl Into<String>) -> Problem {
    Problem {
        path: path.into(),
        complaint: complaint.into(),
    }
}
