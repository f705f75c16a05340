//! Values that the node fills in: texts with `${…}` from a closed list of names.
//!
//! Only reads and writes the names; what they stand for is the node's to say.

use std::fmt;
use std::str::FromStr;

use crate::id::Slug;

/// Every name that a value may hold, as the documentation writes them.
pub const NAMES: [&str; 12] = [
    "node.name",
    "node.ip",
    "node.timezone",
    "node.arch",
    "app.id",
    "app.version",
    "app.url",
    "app.data_dir",
    "app.port.PORT",
    "app.host.CONTAINER",
    "secret.NAME",
    "dependency.APP.NAME",
];

/// A text in which `${name}` stands for a value and `$${` for `${`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The parts, in order.
    pub parts: Vec<Part>,
}

/// One part of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Taken as it is.
    Text(String),
    /// Filled in by the node.
    Name(Name),
}

/// What a node fills in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// The machine's host name.
    NodeName,
    /// The machine's address in the owner's network.
    NodeIp,
    /// The machine's time zone, as in `Europe/Berlin`.
    NodeTimezone,
    /// The platform's architecture in OCI's words, as in `arm64`.
    NodeArch,
    /// The app's slug.
    AppId,
    /// The app's version.
    AppVersion,
    /// Where the app's first interface is opened.
    AppUrl,
    /// The directory on the node with a directory per volume.
    AppDataDir,
    /// The port on the node of a published port, by name or by its number inside the container.
    AppPort(PortRef),
    /// The DNS name of a container.
    AppHost(Slug),
    /// A generated secret.
    Secret(Slug),
    /// A value that another app exports.
    Dependency {
        /// The other app's slug.
        app: Slug,
        /// The name under which it is exported.
        name: Slug,
    },
}

/// A published port, by name or number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortRef {
    /// Its name in the manifest.
    Name(Slug),
    /// Its number inside the container.
    Number(u16),
}

/// A text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `${` without `}`.
    #[error("has ${{ without }}; write $${{ for the characters themselves")]
    Open,
    /// A name that no node knows.
    #[error(
        "uses ${{{0}}}, which nodes do not know; they know {list} (write $${{ for the characters ${{ themselves)",
        list = NAMES.join(", ")
    )]
    Unknown(String),
}

impl Template {
    /// Returns the names, in order.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.parts.iter().filter_map(|part| match part {
            Part::Name(name) => Some(name),
            Part::Text(_) => None,
        })
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            if rest[..start].ends_with('$') {
                plain.push_str(&rest[..start - 1]);
                plain.push_str("${");
                rest = &rest[start + 2..];
                continue;
            }
            plain.push_str(&rest[..start]);
            let (name, after) = rest[start + 2..]
                .split_once('}')
                .ok_or(TemplateError::Open)?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Name(name.parse()?));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }
}

/// Writes what reads as the same template again.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(&text.replace("${", "$${"))?,
                Part::Name(name) => write!(f, "${{{name}}}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Name {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let unknown = || TemplateError::Unknown(text.chars().take(60).collect());
        let slug = |text: &str| text.parse::<Slug>().map_err(|_| unknown());
        let words: Vec<&str> = text.split('.').collect();
        Ok(match words[..] {
            ["node", "name"] => Self::NodeName,
            ["node", "ip"] => Self::NodeIp,
            ["node", "timezone"] => Self::NodeTimezone,
            ["node", "arch"] => Self::NodeArch,
            ["app", "id"] => Self::AppId,
            ["app", "version"] => Self::AppVersion,
            ["app", "url"] => Self::AppUrl,
            ["app", "data_dir"] => Self::AppDataDir,
            ["app", "port", port] => Self::AppPort(match port.parse::<u16>() {
                Ok(number) if number.to_string() == port => PortRef::Number(number),
                _ => PortRef::Name(slug(port)?),
            }),
            ["app", "host", container] => Self::AppHost(slug(container)?),
            ["secret", name] => Self::Secret(slug(name)?),
            ["dependency", app, name] => Self::Dependency {
                app: slug(app)?,
                name: slug(name)?,
            },
            _ => return Err(unknown()),
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeName => f.write_str("node.name"),
            Self::NodeIp => f.write_str("node.ip"),
            Self::NodeTimezone => f.write_str("node.timezone"),
            Self::NodeArch => f.write_str("node.arch"),
            Self::AppId => f.write_str("app.id"),
            Self::AppVersion => f.write_str("app.version"),
            Self::AppUrl => f.write_str("app.url"),
            Self::AppDataDir => f.write_str("app.data_dir"),
            Self::AppPort(PortRef::Name(port)) => write!(f, "app.port.{port}"),
            Self::AppPort(PortRef::Number(port)) => write!(f, "app.port.{port}"),
            Self::AppHost(container) => write!(f, "app.host.{container}"),
            Self::Secret(secret) => write!(f, "secret.{secret}"),
            Self::Dependency { app, name } => write!(f, "dependency.{app}.{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<String> {
        let template: Template = text.parse().unwrap();
        let parts = template.parts.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Name(name) => format!("<{name}>"),
        });
        parts.collect()
    }

    #[test]
    fn names_are_told_from_text() {
        for (text, expected) in [
            ("", vec![]),
            ("plain $HOME $ {x}", vec!["plain $HOME $ {x}"]),
            ("$${app.url}", vec!["${app.url}"]),
            ("$$${app.url}", vec!["$${app.url}"]),
            ("$${a$${b", vec!["${a${b"]),
            (
                "http://${node.ip}:${app.port.8080}/",
                vec!["http://", "<node.ip>", ":", "<app.port.8080>", "/"],
            ),
            ("${app.port.web}", vec!["<app.port.web>"]),
            (
                "${secret.db-password}${dependency.bitcoin.rpc-url}",
                vec!["<secret.db-password>", "<dependency.bitcoin.rpc-url>"],
            ),
            ("${app.host.db}", vec!["<app.host.db>"]),
        ] {
            assert_eq!(parts(text), expected, "{text}");
            assert_eq!(text.parse::<Template>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "${",
            "a ${b",
            "${}",
            "${HOME}",
            "${node}",
            "${node.name.x}",
            "${app.port.}",
            "${app.port.080}",
            "${app.port.A}",
            "${secret.}",
            "${dependency.a}",
            "${ node.ip }",
            "${node.ip:-x}",
        ] {
            assert!(text.parse::<Template>().is_err(), "{text}");
        }
        let error = "${HOME}".parse::<Template>().unwrap_err().to_string();
        assert!(
            error.contains("${HOME}") && error.contains("node.ip"),
            "{error}"
        );
    }
}
