//! What `${…}` in a manifest stands for on this node. Pure: what it needs to know is recorded beforehand.

use std::collections::BTreeSet;

use archy_registry::Slug;
use archy_registry::manifest::template::{Name, Part, PortRef, Template};
use archy_registry::manifest::{Container, InterfaceKind, Manifest, Protocol};
use serde::{Deserialize, Serialize};

use crate::names;
use crate::quadlet::{Facts, app_dir};
use crate::settings::Settings;

/// A value that is known beforehand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// It is this text.
    Text(String),
    /// It holds a secret, and so is put together only when podman is given it.
    Secret,
}

/// A name has no value here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The text is no template.
    #[error(transparent)]
    Template(#[from] archy_registry::manifest::template::TemplateError),
    /// The node does not know it, or the other app does not export it.
    #[error("${{{0}}} has no value on this node")]
    Missing(Name),
}

/// A part of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    /// A generated secret of the app itself.
    Secret(Slug),
    /// What another app exports, with a secret in it.
    Imported {
        app: Slug,
        name: Slug,
    },
}

/// What values are made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) settings: &'a Settings,
    pub(crate) facts: &'a Facts,
}

impl Known<'_> {
    /// Fills in all but secrets.
    pub(crate) fn pieces(&self, text: &str) -> Result<Vec<Piece>, ValueError> {
        let template: Template = text.parse()?;
        let mut pieces: Vec<Piece> = Vec::new();
        for part in template.parts {
            let piece = match part {
                Part::Text(text) => Piece::Text(text),
                Part::Name(Name::Secret(secret)) => {
                    let mut known = self.manifest.generated_secrets.iter();
                    // An owner's value can outlive the secret that it names.
                    if !known.any(|known| known.name == secret) {
                        return Err(ValueError::Missing(Name::Secret(secret)));
                    }
                    Piece::Secret(secret)
                }
                Part::Name(Name::Dependency { app, name }) => {
                    let full = Name::Dependency { app, name };
                    match (self.recorded(&full)?, full) {
                        (Value::Text(text), _) => Piece::Text(text.clone()),
                        (Value::Secret, Name::Dependency { app, name }) => {
                            Piece::Imported { app, name }
                        }
                        (Value::Secret, other) => return Err(ValueError::Missing(other)),
                    }
                }
                Part::Name(name) => Piece::Text(self.text(&name)?),
            };
            match (pieces.last_mut(), piece) {
                (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
                (_, piece) => pieces.push(piece),
            }
        }
        Ok(pieces)
    }

    fn recorded(&self, name: &Name) -> Result<&Value, ValueError> {
        let values = &self.settings.surroundings.values;
        values
            .get(&name.to_string())
            .ok_or_else(|| ValueError::Missing(name.clone()))
    }

    fn text(&self, name: &Name) -> Result<String, ValueError> {
        let missing = || ValueError::Missing(name.clone());
        match name {
            Name::NodeName | Name::NodeIp | Name::NodeTimezone => match self.recorded(name)? {
                Value::Text(text) => Ok(text.clone()),
                Value::Secret => Err(missing()),
            },
            Name::NodeArch => Ok(self.facts.platform.architecture.clone()),
            Name::AppId => {
                // A shadow has another name, but its data knows the app's.
                let shadow = self.settings.shadow.as_ref();
                let app = shadow.map_or(&self.manifest.app.id, |shadow| &shadow.of);
                Ok(app.to_string())
            }
            Name::AppVersion => Ok(self.manifest.app.version.clone()),
            Name::AppUrl => self.url().ok_or_else(missing),
            Name::AppDataDir => {
                let directory = app_dir(&self.facts.apps_dir, &self.manifest.app.id).join("data");
                Ok(directory.to_string_lossy().into_owned())
            }
            Name::AppPort(wanted) => self.port(wanted).ok_or_else(missing),
            Name::AppHost(container) => Ok(names::container(self.manifest, container)),
            Name::Secret(_) | Name::Dependency { .. } => Err(missing()),
        }
    }

    /// Where the first interface for people is opened, or else the first of all.
    fn url(&self) -> Option<String> {
        let mut interfaces = self.manifest.interfaces.iter();
        let interface = interfaces
            .clone()
            .find(|interface| interface.kind == InterfaceKind::Ui)
            .or_else(|| interfaces.next())?;
        let ip = self.text(&Name::NodeIp).ok()?;
        let port = self.port(&PortRef::Number(interface.port))?;
        let path = interface.path.as_deref().unwrap_or("/");
        Some(format!("http://{ip}:{port}{path}"))
    }

    /// The port on the node; TCP's where both transports have it.
    fn port(&self, wanted: &PortRef) -> Option<String> {
        let published = self.manifest.containers.iter().flat_map(|container| {
            let ports = container.ports.iter();
            ports.map(move |port| (&container.name, port))
        });
        let mut found: Vec<_> = published
            .filter(|(_, port)| match wanted {
                PortRef::Name(name) => port.name.as_ref() == Some(name),
                PortRef::Number(number) => port.container == *number,
            })
            .collect();
        found.sort_by_key(|(_, port)| port.protocol != Protocol::Tcp);
        let (container, port) = found.first()?;
        let mut bindings = self.settings.ports.iter();
        let binding = bindings.find(|binding| {
            binding.container == **container
                && binding.container_port == port.container
                && binding.protocol == port.protocol
        })?;
        Some(binding.host_port.to_string())
    }
}

/// Lists the names in a manifest's values, those of its exports too.
pub(crate) fn names_in(manifest: &Manifest) -> BTreeSet<Name> {
    let environments = manifest
        .containers
        .iter()
        .flat_map(|c| c.environment.values());
    let exports = manifest.exports.iter().map(|export| &export.value);
    let mut found: BTreeSet<Name> = environments
        .chain(exports)
        .flat_map(|text| names(text))
        .collect();
    if found.contains(&Name::AppUrl) {
        found.insert(Name::NodeIp);
    }
    found
}

/// Lists the names in a text; none in one that is no template.
pub(crate) fn names(text: &str) -> Vec<Name> {
    let template: Option<Template> = text.parse().ok();
    let template = template.into_iter();
    template
        .flat_map(|template| template.names().cloned().collect::<Vec<_>>())
        .collect()
}

/// Lists a container's variables whose values hold a secret, as podman is given them.
pub(crate) fn secret_variables<'m>(
    container: &'m Container,
    settings: &Settings,
) -> impl Iterator<Item = &'m String> {
    let values = settings.surroundings.values.clone();
    let variables = container.environment.iter();
    variables
        .filter(move |(_, text)| {
            names(text).iter().any(|name| {
                matches!(name, Name::Secret(_))
                    || values.get(&name.to_string()) == Some(&Value::Secret)
            })
        })
        .map(|(variable, _)| variable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Wish;
    use crate::samples::{installed, release};

    #[test]
    fn what_an_owner_sets_is_filled_in_like_what_the_publisher_wrote() {
        let notes = release(
            "notes",
            "  - {name: web, source: {type: pull, image: localhost/a}, environment: {A: one}}\n\
             generated_secrets: [{name: key, kind: hex16}]\n",
        );
        let mut notes = installed(notes, Wish::Running);
        assert_eq!(notes.podman_secrets(), ["key"]);
        let edit = serde_json::json!({"containers": {"web": {"environment": {
            "A": "${node.ip}", "URL": "x:${secret.key}", "PRICE": "$${secret.key}",
        }}}});
        let edit = serde_json::from_value(edit).unwrap();
        let edited = notes.settings.edited(&edit, &notes.release.manifest);
        notes.settings = edited.unwrap();
        assert_eq!(notes.podman_secrets(), ["key", "web.URL"]);
        let manifest = notes.manifest();
        assert!(names_in(&manifest).contains(&Name::NodeIp));
        let facts = crate::quadlet::tests_facts();
        let known = Known {
            manifest: &manifest,
            settings: &notes.settings,
            facts: &facts,
        };
        let key: Slug = "key".parse().unwrap();
        assert_eq!(
            known.pieces("x:${secret.key}").unwrap(),
            [Piece::Text("x:".to_owned()), Piece::Secret(key)]
        );
        // The next version may have no such secret any more.
        let gone = known.pieces("x:${secret.gone}").unwrap_err();
        assert_eq!(gone.to_string(), "${secret.gone} has no value on this node");
    }
}
