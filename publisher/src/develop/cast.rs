//! What a manifest becomes when its app runs beside the installed one: pure.
//!
//! The developer's key signs what comes out, so it is a release like any other, and the orchestrator needs to know nothing of
//! development. Only the name, the ports and who the app's dependencies are differ; rights, network and devices stay.

use std::collections::BTreeSet;

use archy_orchestrator::shadow_name;
use archy_registry::manifest::Manifest;
use archy_registry::manifest::template::{Name, Part, Template};
use archy_registry::{Did, Slug};

/// What an app runs for, beside the app itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be used by its developer: `hello-dev`.
    Dev,
    /// To be taken through its states once: `hello-test`.
    Test,
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Test => "test",
        }
    }

    /// What is added to a port below 10000.
    fn shift(self) -> u16 {
        match self {
            Self::Dev => 10_000,
            Self::Test => 11_000,
        }
    }

    /// Names the instance of an app.
    pub fn name(self, app: &Slug) -> Slug {
        shadow_name(app, self.word(), |_| false)
            .expect("a slug has room for a letter and what it is for")
    }

    /// The port on the node that is wished instead of `port`: out of the way of the app itself and of the ports that nodes
    /// assign (20000 to 29999), as far as there is room.
    fn port(self, port: u16) -> u16 {
        if port < 10_000 {
            return port + self.shift();
        }
        let shift = 10_000 + self.shift();
        port.checked_add(shift).unwrap_or_else(|| port - shift)
    }
}

/// Makes the manifest that of the app's instance for `purpose`. It and the apps that it needs are `developer`'s.
pub fn cast(manifest: &Manifest, purpose: Purpose, developer: Did) -> Manifest {
    let mut cast = manifest.clone();
    let app = &manifest.app.id;
    cast.app.id = purpose.name(app);
    // Verbatim, it is the app's own.
    cast.extensions.container_name = None;
    for dependency in &mut cast.dependencies {
        dependency.app = Purpose::Dev.name(&dependency.app);
        dependency.publisher = developer;
    }
    let mut wished = BTreeSet::new();
    for container in &mut cast.containers {
        for value in container.environment.values_mut() {
            *value = renamed(value, app);
        }
        for port in &mut container.ports {
            let other = purpose.port(port.host.unwrap_or(port.container));
            port.host = wished.insert((other, port.protocol)).then_some(other);
        }
    }
    for export in &mut cast.exports {
        export.value = renamed(&export.value, app);
    }
    cast
}

/// Writes a value so that it means the same under the other name: `${app.id}` is still the app, and what other apps tell
/// comes from their development instances.
fn renamed(value: &str, app: &Slug) -> String {
    let Ok(mut template) = value.parse::<Template>() else {
        return value.to_owned();
    };
    for part in &mut template.parts {
        match part {
            Part::Name(Name::AppId) => *part = Part::Text(app.to_string()),
            Part::Name(Name::Dependency { app, .. }) => *app = Purpose::Dev.name(app),
            Part::Name(_) | Part::Text(_) => {}
        }
    }
    template.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVELOPER: &str = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";
    const YAML: &str = r#"
app: {id: notes, name: Notes, version: 1.0.0, tagline: A, category: other}
containers:
  - name: web
    source: {type: pull, image: "localhost/a:latest"}
    environment:
      NAME: "${app.id}"
      DATABASE: "${dependency.postgresql.url}"
      URL: "${app.url}"
      PLAIN: "$${app.id} costs $5"
    ports:
      - {container: 8080, host: 80}
      - {container: 9000}
      - {container: 51820, protocol: udp}
      - {container: 22000, protocol: tcp}
      - {container: 22000, protocol: udp}
    devices: [/dev/dri]
dependencies:
  - {publisher: "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK", app: postgresql, version: ">=17"}
exports: [{name: url, value: "http://${app.host.web}/${app.id}"}]
interfaces: [{name: Notes, port: 8080, type: ui}]
network_policy: outbound
extensions: {container_name: notes-of-old}
"#;

    #[test]
    fn an_instance_is_the_app_under_another_name_with_other_ports() {
        let manifest = archy_registry::manifest::parse(YAML).unwrap().manifest;
        let developer: Did = DEVELOPER.parse().unwrap();
        let dev = cast(&manifest, Purpose::Dev, developer);
        assert_eq!(dev.app.id.as_str(), "notes-dev");
        assert_eq!(dev.extensions.container_name, None);
        let web = &dev.containers[0];
        let told: Vec<&str> = web.environment.values().map(String::as_str).collect();
        assert_eq!(
            told,
            [
                "${dependency.postgresql-dev.url}",
                "notes",
                "$${app.id} costs $5",
                "${app.url}"
            ]
        );
        let ports: Vec<Option<u16>> = web.ports.iter().map(|port| port.host).collect();
        assert_eq!(
            ports,
            [10_080, 19_000, 31_820, 42_000, 42_000].map(Some),
            "{ports:?}"
        );
        let needed = &dev.dependencies[0];
        assert_eq!(
            (needed.app.as_str(), needed.publisher),
            ("postgresql-dev", developer)
        );
        assert_eq!(dev.exports[0].value, "http://${app.host.web}/notes");
        assert_eq!(web.devices, manifest.containers[0].devices);
        assert_eq!(dev.network_policy, manifest.network_policy);
        dev.check().unwrap();
        archy_orchestrator::quadlet::preview(&dev).unwrap();
    }

    #[test]
    fn a_test_wants_neither_the_name_nor_the_ports_of_a_development_instance() {
        let manifest = archy_registry::manifest::parse(YAML).unwrap().manifest;
        let developer: Did = DEVELOPER.parse().unwrap();
        let dev = cast(&manifest, Purpose::Dev, developer);
        let test = cast(&manifest, Purpose::Test, developer);
        assert_eq!(test.app.id.as_str(), "notes-test");
        for (dev, test) in dev.containers[0]
            .ports
            .iter()
            .zip(&test.containers[0].ports)
        {
            assert_ne!(dev.host, test.host);
        }
        // What an app under test needs is what its developer has installed.
        assert_eq!(test.dependencies, dev.dependencies);
    }

    #[test]
    fn every_port_has_another() {
        for purpose in [Purpose::Dev, Purpose::Test] {
            for port in 1..=u16::MAX {
                let other = purpose.port(port);
                assert!(other != port && other > 1024, "{port}: {other}");
            }
        }
    }
}
