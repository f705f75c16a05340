//! Checks values that the node fills in: `${…}` in environments and exports names only what there is.

use std::collections::BTreeSet;

use super::Report;
use crate::manifest::template::{Name, PortRef, Template};
use crate::manifest::{Manifest, NetworkPolicy, Protocol};
use crate::text;

pub(super) fn check(manifest: &Manifest, report: &mut Report) {
    for (index, container) in manifest.containers.iter().enumerate() {
        for (variable, value) in &container.environment {
            let path = format!("containers[{index}].environment.{variable}");
            report.at(path, |report| template(value, manifest, true, report));
        }
    }
    let mut names = BTreeSet::new();
    report.each("exports", &manifest.exports, 32, |report, _, export| {
        if !names.insert(export.name.clone()) {
            report.member("name", Err(format!("{} is taken", export.name)));
        }
        report.at("value", |report| {
            report.value(text::check_line(&export.value, 4096));
            template(&export.value, manifest, false, report);
        });
    });
}

impl Manifest {
    /// Checks a value that somebody else sets for a variable of the app, as the publisher's own are checked.
    ///
    /// # Errors
    ///
    /// What is wrong, completing the sentence that starts with the variable.
    pub fn check_value(&self, value: &str) -> Result<(), String> {
        complaints(value, self, true)
            .into_iter()
            .next()
            .map_or(Ok(()), Err)
    }
}

fn template(value: &str, manifest: &Manifest, own: bool, report: &mut Report) {
    for complaint in complaints(value, manifest, own) {
        report.problem(complaint);
    }
}

fn complaints(value: &str, manifest: &Manifest, own: bool) -> Vec<String> {
    let template: Template = match value.parse() {
        Ok(template) => template,
        Err(error) => return vec![error.to_string()],
    };
    let lacking = template.names().filter_map(|name| {
        let lack = exists(name, manifest, own).err()?;
        Some(format!("uses ${{{name}}}, but {lack}"))
    });
    lacking.collect()
}

fn exists(name: &Name, manifest: &Manifest, own: bool) -> Result<(), String> {
    let fits = |fits: bool, lack: &str| if fits { Ok(()) } else { Err(lack.to_owned()) };
    match name {
        Name::NodeName
        | Name::NodeIp
        | Name::NodeTimezone
        | Name::NodeArch
        | Name::AppId
        | Name::AppVersion
        | Name::AppDataDir => Ok(()),
        Name::AppUrl => fits(!manifest.interfaces.is_empty(), "the app has no interface"),
        Name::AppPort(wanted) => port(wanted, manifest),
        Name::AppHost(container) => {
            fits(
                manifest.network_policy != NetworkPolicy::Host,
                "under network_policy host containers have no names",
            )?;
            fits(
                manifest.containers.iter().any(|c| c.name == *container),
                "the app has no such container",
            )
        }
        Name::Secret(secret) => fits(
            manifest.generated_secrets.iter().any(|s| s.name == *secret),
            "generated_secrets lacks it",
        ),
        Name::Dependency { app, .. } => {
            fits(own, "an export cannot pass on what another app exports")?;
            fits(
                manifest.dependencies.iter().any(|other| other.app == *app),
                "dependencies lacks the app",
            )
        }
    }
}

/// A port is named once; a number may be published for both transports by one container.
fn port(wanted: &PortRef, manifest: &Manifest) -> Result<(), String> {
    let ports = manifest.containers.iter().flat_map(|c| &c.ports);
    let found: Vec<Protocol> = match wanted {
        PortRef::Name(name) => ports
            .filter(|port| port.name.as_ref() == Some(name))
            .map(|port| port.protocol)
            .collect(),
        PortRef::Number(number) => ports
            .filter(|port| port.container == *number)
            .map(|port| port.protocol)
            .collect(),
    };
    let different: BTreeSet<Protocol> = found.iter().copied().collect();
    match found.len() {
        0 => Err("no container publishes such a port".to_owned()),
        count if count == different.len() => Ok(()),
        _ => Err("several containers publish it; give the port a name".to_owned()),
    }
}
