//! What a run of the gate is asked to do, from the environment that `make gate` passes on and the command line.

use std::collections::BTreeSet;

use anyhow::{Context, bail, ensure};

/// Most nodes that a run boots besides the publisher's: one letter of the alphabet each.
const NODES_MAX: usize = 8;

/// What `PROVE` says for all apps.
const EVERY_APP: &str = "1";

/// What a run is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How often each app goes through all states on each node (`ITERATIONS`).
    pub iterations: u32,
    /// How many nodes install (`NODES`).
    pub nodes: usize,
    /// How many apps of one node are worked on at the same time (`JOBS`).
    pub jobs: usize,
    /// Which apps; all without any (`APPS`, with spaces or commas between).
    pub apps: BTreeSet<String>,
    /// Apps of which each check is also given something broken, which it must see (`PROVE`, as `APPS`; 1 is all).
    pub prove: BTreeSet<String>,
    /// Whether the report becomes a page of the book (`--docs`).
    pub docs: bool,
}

impl Options {
    /// Reads the options.
    ///
    /// # Errors
    ///
    /// When a value is out of its range or an argument is unknown; the text says which.
    pub fn parse(
        variable: impl Fn(&str) -> Option<String>,
        arguments: impl IntoIterator<Item = String>,
    ) -> anyhow::Result<Self> {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let number = |name: &str, default: usize, max: usize| {
            let Some(text) = variable(name) else {
                return Ok(default);
            };
            let value: usize = text
                .trim()
                .parse()
                .with_context(|| format!("{name}={text} is not a number"))?;
            ensure!(
                (1..=max).contains(&value),
                "{name}={value} is not within 1 to {max}"
            );
            Ok(value)
        };
        let names = |name: &str| -> BTreeSet<String> {
            let text = variable(name).unwrap_or_default();
            let names = text.split([' ', ',']).filter(|one| !one.is_empty());
            names.map(str::to_owned).collect()
        };
        let mut options = Self {
            iterations: u32::try_from(number("ITERATIONS", 5, 1000)?)?,
            nodes: number("NODES", 2, NODES_MAX)?,
            jobs: number("JOBS", 2, 64)?,
            apps: names("APPS"),
            prove: names("PROVE"),
            docs: false,
        };
        for argument in arguments {
            match argument.as_str() {
                "--docs" => options.docs = true,
                _ => bail!("{argument} is unknown; there is --docs"),
            }
        }
        Ok(options)
    }

    /// Tells whether the checks of an app are also given something broken.
    pub fn proves(&self, app: &str) -> bool {
        self.prove.contains(EVERY_APP) || self.prove.contains(app)
    }

    /// Names the nodes that install: `b`, `c` and so on.
    pub fn node_names(&self) -> Vec<String> {
        ('b'..='z').take(self.nodes).map(String::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(variables: &[(&str, &str)], arguments: &[&str]) -> anyhow::Result<Options> {
        Options::parse(
            |name| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            },
            arguments.iter().map(|argument| (*argument).to_owned()),
        )
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let options = parse(&[("APPS", ""), ("NODES", " ")], &[]).unwrap();
        assert_eq!((options.iterations, options.nodes, options.jobs), (5, 2, 2));
        assert!(options.apps.is_empty() && !options.docs && !options.proves("hello"));
        assert_eq!(options.node_names(), ["b", "c"]);
    }

    #[test]
    fn everything_can_be_said() {
        let variables = [
            ("ITERATIONS", "1"),
            ("NODES", "3"),
            ("JOBS", "4"),
            ("APPS", "hello, radicale wordpress"),
            ("PROVE", "1"),
        ];
        let options = parse(&variables, &["--docs"]).unwrap();
        assert_eq!((options.iterations, options.nodes, options.jobs), (1, 3, 4));
        assert!(options.apps.iter().eq(["hello", "radicale", "wordpress"]));
        assert!(options.docs && options.proves("hello"));
        let one = parse(&[("PROVE", "hello")], &[]).unwrap();
        assert!(one.proves("hello") && !one.proves("radicale"));
        assert_eq!(options.node_names(), ["b", "c", "d"]);
    }

    #[test]
    fn nonsense_is_named() {
        for (variables, arguments, named) in [
            (&[("NODES", "0")][..], &[][..], "NODES=0"),
            (&[("NODES", "99")], &[], "NODES=99"),
            (&[("ITERATIONS", "often")], &[], "ITERATIONS=often"),
            (&[], &["--dosc"], "--dosc"),
        ] {
            let error = parse(variables, arguments).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
