//! The grammar of `archy settings`.

use std::str::FromStr;

use archy_registry::Slug;
use clap::Args;

/// `archy settings`
#[derive(Debug, Args)]
pub struct SettingsArgs {
    /// The installed app
    pub app: Slug,
    /// An environment variable: CONTAINER.NAME=VALUE
    #[arg(long, value_name = "SETTING")]
    pub env: Vec<Named>,
    /// An environment variable back as its publisher says: CONTAINER.NAME
    #[arg(long, value_name = "SETTING")]
    pub unset_env: Vec<Named>,
    /// A memory limit: CONTAINER=512M
    #[arg(long, value_name = "SETTING")]
    pub memory: Vec<Named>,
    /// Processors: CONTAINER=1.5
    #[arg(long, value_name = "SETTING")]
    pub cpus: Vec<Named>,
    /// Most processes and threads: CONTAINER=100
    #[arg(long, value_name = "SETTING")]
    pub pids: Vec<Named>,
    /// The port on the node: CONTAINER:PORT=NODE_PORT, or CONTAINER:PORT/udp=NODE_PORT
    #[arg(long, value_name = "SETTING")]
    pub port: Vec<PortName>,
    /// All of a container back as its publisher says
    #[arg(long, value_name = "CONTAINER")]
    pub reset: Vec<Slug>,
    /// Return as soon as the node has taken the job
    #[arg(long)]
    pub no_wait: bool,
}

impl SettingsArgs {
    /// Tells whether anything is to be changed.
    pub fn changes(&self) -> bool {
        let lists = [
            &self.env,
            &self.unset_env,
            &self.memory,
            &self.cpus,
            &self.pids,
        ];
        lists.iter().any(|list| !list.is_empty()) || !self.port.is_empty() || !self.reset.is_empty()
    }
}

/// A setting of a container: `CONTAINER=VALUE`, `CONTAINER.NAME=VALUE` or `CONTAINER.NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The container.
    pub container: String,
    /// What comes after the dot.
    pub name: Option<String>,
    /// What comes after the first equals sign.
    pub value: Option<String>,
}

impl FromStr for Named {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (left, value) = match text.split_once('=') {
            Some((left, value)) => (left, Some(value.to_owned())),
            None => (text, None),
        };
        let (container, name) = match left.split_once('.') {
            Some((container, name)) => (container, Some(name.to_owned())),
            None => (left, None),
        };
        if container.is_empty() || name.as_deref() == Some("") {
            return Err("write CONTAINER.NAME=VALUE or CONTAINER=VALUE");
        }
        Ok(Self {
            container: container.to_owned(),
            name,
            value,
        })
    }
}

/// `CONTAINER:PORT=NODE_PORT`, with `/udp` after PORT for UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortName {
    /// The container.
    pub container: String,
    /// Port inside it.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// Port on the node.
    pub host_port: u16,
}

impl FromStr for PortName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write CONTAINER:PORT=NODE_PORT, as in web:8080=9000";
        let (left, host_port) = text.split_once('=').ok_or(wrong)?;
        let (container, port) = left.rsplit_once(':').ok_or(wrong)?;
        let (port, protocol) = match port.split_once('/') {
            None | Some((_, "tcp")) => (port.split('/').next().unwrap_or(port), "tcp"),
            Some((port, "udp")) => (port, "udp"),
            Some(_) => return Err("a port is tcp or udp"),
        };
        Ok(Self {
            container: container.to_owned(),
            port: port.parse().map_err(|_| wrong)?,
            protocol,
            host_port: host_port.parse().map_err(|_| wrong)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read() {
        let named: Named = "web.URL=http://a/?b=c".parse().unwrap();
        assert_eq!(
            (
                named.container.as_str(),
                named.name.as_deref(),
                named.value.as_deref()
            ),
            ("web", Some("URL"), Some("http://a/?b=c"))
        );
        let limit: Named = "db=512M".parse().unwrap();
        assert_eq!((limit.name, limit.value.as_deref()), (None, Some("512M")));
        for text in ["", "=1", ".X=1", "web.=1"] {
            assert!(text.parse::<Named>().is_err(), "{text}");
        }
        let port: PortName = "web:53/udp=5353".parse().unwrap();
        assert_eq!(
            (port.port, port.protocol, port.host_port),
            (53, "udp", 5353)
        );
        let port: PortName = "web:80=9000".parse().unwrap();
        assert_eq!(
            (port.port, port.protocol, port.host_port),
            (80, "tcp", 9000)
        );
        for text in [
            "web=80",
            "web:80",
            "web:x=1",
            "web:80/sctp=1",
            "web:80=70000",
        ] {
            assert!(text.parse::<PortName>().is_err(), "{text}");
        }
    }
}
