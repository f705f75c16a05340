//! What releases become.

use std::path::PathBuf;

use archy_orchestrator::quadlet::{self, Facts, Limits};
use archy_orchestrator::settings::Settings;
use archy_orchestrator::{RightKind, rights};
use archy_registry::manifest::{self, Manifest, NetworkPolicy};

use crate::injection_table::full;
use crate::support::{platform, verified};

const SITE: &str = r#"
app: {id: site, name: Site, version: 1.0.0, tagline: A page, category: other}
containers:
  - name: web
    source: {type: pull, image: "localhost/site:latest"}
    user: "1000:1000"
    readonly_root: true
    ports: [{container: 8080}]
    resources: {memory: 32M, pids: 16}
    health_check: {type: http, port: 8080, interval: 10s, start_period: 10s}
    stop_timeout: 5s
"#;

fn parse(yaml: &str) -> Manifest {
    manifest::parse(yaml).unwrap().manifest
}

fn facts() -> Facts {
    Facts {
        apps_dir: PathBuf::from("/home/owner/.local/share/archy/apps"),
        probe: PathBuf::from("/home/owner/.local/share/archy/bin/probe"),
        root: "0123456789abcdef".to_owned(),
        platform: platform(),
        limits: Limits::ALL,
    }
}

/// All files of a manifest, with what differs from run to run replaced.
fn rendered(manifest: Manifest) -> String {
    let release = verified(manifest);
    let settings = Settings::assign(&release.manifest, &Settings::default(), |_, _| true).unwrap();
    let set = quadlet::render(&release, &settings, &facts()).unwrap();
    let mut out = String::new();
    for (name, text) in set.files() {
        out.push_str(&format!("--- {name}\n{text}\n"));
    }
    out.replace(&release.publisher.to_string(), "did:key:PUBLISHER")
        .replace(&release.hash().to_string(), "HASH")
}

#[test]
fn a_static_site() {
    insta::assert_snapshot!(rendered(parse(SITE)));
}

#[test]
fn a_stack_with_everything() {
    insta::assert_snapshot!(rendered(full()));
}

#[test]
fn the_node_s_own_network_publishes_nothing() {
    let mut manifest = parse(SITE);
    manifest.network_policy = NetworkPolicy::Host;
    let text = rendered(manifest);
    assert!(text.contains("Network=host"));
    assert!(!text.contains("PublishPort") && !text.contains(".network"));
}

#[test]
fn outbound_has_a_way_out() {
    let mut manifest = parse(SITE);
    manifest.network_policy = NetworkPolicy::Outbound;
    assert!(rendered(manifest).contains("Internal=false"));
}

#[test]
fn a_machine_without_controllers_gets_no_limits() {
    let release = verified(parse(SITE));
    let settings = Settings::assign(&release.manifest, &Settings::default(), |_, _| true).unwrap();
    let limits = Limits::from_controllers("cpu io");
    let set = quadlet::render(&release, &settings, &Facts { limits, ..facts() }).unwrap();
    assert!(
        !set.files()
            .values()
            .any(|text| text.contains("--memory") || text.contains("--pids"))
    );
}

#[test]
fn another_platform_has_no_image() {
    let release = verified(parse(SITE));
    let mut facts = facts();
    facts.platform.architecture = "riscv64".to_owned();
    let settings = Settings::assign(&release.manifest, &Settings::default(), |_, _| true).unwrap();
    let error = quadlet::render(&release, &settings, &facts).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the release has no image of container web for linux/riscv64"
    );
}

#[test]
fn a_port_that_is_taken_is_replaced_and_one_that_was_given_is_kept() {
    let manifest = full();
    let first = Settings::assign(&manifest, &Settings::default(), |port, _| port != 18080).unwrap();
    let ports: Vec<u16> = first
        .ports
        .iter()
        .map(|binding| binding.host_port)
        .collect();
    assert_eq!(ports, [20000, 20000], "one for TCP, one for UDP");
    let again = Settings::assign(&manifest, &first, |_, _| true).unwrap();
    assert_eq!(again, first, "a reinstall finds its ports again");
    let moved = Settings::assign(&manifest, &first, |port, _| port != 20000).unwrap();
    assert_eq!(moved.ports[0].host_port, 18080);
    let mut host = parse(SITE);
    host.network_policy = NetworkPolicy::Host;
    assert!(Settings::assign(&host, &Settings::default(), |port, _| port != 8080).is_err());
}

#[test]
fn rights_are_plain_sentences() {
    let say = |manifest: &Manifest| {
        let rights = rights(manifest).unwrap();
        let lines = rights
            .iter()
            .map(|right| format!("{:?}: {}", right.kind, right.text));
        lines.collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!("rights_of_a_static_site", say(&parse(SITE)));
    insta::assert_snapshot!("rights_of_everything", say(&full()));
    let mut host = parse(SITE);
    host.network_policy = NetworkPolicy::Host;
    let rights = rights(&host).unwrap();
    assert!(
        rights
            .iter()
            .any(|right| right.kind == RightKind::Network && right.weighty)
    );
}
