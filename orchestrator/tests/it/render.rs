//! What releases become.

use std::path::PathBuf;

use archy_orchestrator::quadlet::{self, Facts, Limits, PodmanVersion};
use archy_orchestrator::settings::Settings;
use archy_orchestrator::surroundings::{Provider, Surroundings};
use archy_orchestrator::values::Value;
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
        podman: PodmanVersion::new(5, 4),
    }
}

/// What was found round the app that uses everything.
fn surroundings() -> Surroundings {
    let value = |name: &str, value| (name.to_owned(), value);
    let text = |text: &str| Value::Text(text.to_owned());
    let provider = Provider {
        containers: vec!["db".parse().unwrap(), "web".parse().unwrap()],
        reachable: vec!["web".parse().unwrap()],
    };
    let declared = (
        "/var/cache/db".to_owned(),
        "image-var-cache-db".parse().unwrap(),
    );
    Surroundings {
        values: [
            value("node.ip", text("192.168.1.10")),
            value("dependency.other.url", Value::Secret),
        ]
        .into(),
        providers: [("other".parse().unwrap(), provider)].into(),
        image_volumes: [("db".parse().unwrap(), [declared].into())].into(),
    }
}

fn settings(manifest: &Manifest) -> Settings {
    let settings = Settings::assign(manifest, &Settings::default(), |_, _| true).unwrap();
    let surroundings = match manifest.dependencies.is_empty() {
        true => Surroundings::default(),
        false => surroundings(),
    };
    Settings {
        surroundings,
        ..settings
    }
}

/// All files of a manifest, with what differs from run to run replaced.
fn rendered(manifest: Manifest) -> String {
    rendered_for(manifest, facts().podman).unwrap()
}

fn rendered_for(manifest: Manifest, podman: PodmanVersion) -> Result<String, String> {
    let release = verified(manifest);
    let facts = Facts { podman, ..facts() };
    let set = quadlet::render(&release, &settings(&release.manifest), &facts);
    let set = set.map_err(|error| error.to_string())?;
    let mut out = String::new();
    for (name, text) in set.files() {
        out.push_str(&format!("--- {name}\n"));
        for line in text.lines() {
            // The mark is a hash of everything, the publisher's key of this run included.
            match line.split_once("io.archy.unit=") {
                Some((key, _)) => out.push_str(&format!("{key}io.archy.unit=MARK\"\n")),
                None => out.push_str(&format!("{line}\n")),
            }
        }
        out.push('\n');
    }
    Ok(out
        .replace(&release.publisher.to_string(), "did:key:PUBLISHER")
        .replace(&release.hash().to_string(), "HASH"))
}

/// An app of the kind that a podman before 4.7 can keep its promises to.
const PLAIN: &str = r#"
app: {id: plain, name: Plain, version: 1.0.0, tagline: A page, category: other}
network_policy: host
containers:
  - name: web
    source: {type: pull, image: "localhost/plain:latest"}
    entrypoint: ["/bin/web", "a b"]
    secret_env: {PASSWORD: password}
    ports: [{container: 8080}]
    tmpfs: [{target: /cache, size: 16M}]
    devices: [/dev/dri]
    resources: {memory: 32M}
generated_secrets: [{name: password, kind: hex16}]
"#;

#[test]
fn each_podman_gets_the_keys_that_it_knows() {
    for (name, version) in [
        ("podman_4_7", PodmanVersion::new(4, 7)),
        ("podman_5_0", PodmanVersion::new(5, 0)),
        ("podman_5_4", PodmanVersion::new(5, 4)),
        ("podman_5_5", PodmanVersion::new(5, 5)),
        ("podman_6_0", PodmanVersion::new(6, 0)),
    ] {
        insta::assert_snapshot!(name, rendered_for(full(), version).unwrap());
    }
    for (name, version) in [
        ("podman_4_4_plain", PodmanVersion::OLDEST),
        ("podman_4_5_plain", PodmanVersion::new(4, 5)),
        ("podman_4_6_plain", PodmanVersion::new(4, 6)),
    ] {
        insta::assert_snapshot!(name, rendered_for(parse(PLAIN), version).unwrap());
    }
}

#[test]
fn what_an_old_podman_cannot_keep_is_refused_in_words() {
    let healthy = "network_policy: host";
    for (yaml, words) in [
        (SITE.to_owned(), "to wait until a container is healthy"),
        (
            PLAIN.replace(healthy, "network_policy: isolated"),
            "a network of its own",
        ),
        (
            PLAIN.replace(
                "    tmpfs:",
                "    volumes: [{name: data, target: /data}]\n    tmpfs:",
            ),
            "volumes",
        ),
    ] {
        for version in [PodmanVersion::OLDEST, PodmanVersion::new(4, 6)] {
            let error = rendered_for(parse(&yaml), version).unwrap_err();
            assert!(
                error.contains(words) && error.contains("podman 4.7"),
                "{error}"
            );
            assert!(error.contains("update podman"), "{error}");
        }
        rendered_for(parse(&yaml), PodmanVersion::new(4, 7)).unwrap();
    }
}

#[test]
fn no_unit_of_a_podman_before_5_5_has_a_key_that_drops_it() {
    for minor in 0..5 {
        let text = rendered_for(full(), PodmanVersion::new(5, minor)).unwrap();
        assert!(!text.contains("\nMemory="), "{text}");
    }
}

#[test]
fn users_of_its_own_are_the_next_ones_and_own_its_data() {
    let volumes = "    volumes: [{name: root, target: /a, data_uid: 0}, {name: www, target: /b, data_uid: 33}, {name: any, target: /c}]\n";
    let shared = SITE.replace("    stop_timeout", &format!("{volumes}    stop_timeout"));
    let own = shared.replace(
        "    stop_timeout",
        "    user_namespace: own\n    stop_timeout",
    );
    let owners = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with("Options="));
        lines.map(str::to_owned).collect()
    };
    let text = rendered(parse(&shared));
    assert!(!text.to_lowercase().contains("uidmap"), "{text}");
    assert!(!text.contains("ExecStartPost"), "{text}");
    let meant = ["Options=bind", "Options=bind", "Options=bind,uid=33,gid=33"];
    assert_eq!(owners(&text), meant);
    for (version, lines) in [
        (
            PodmanVersion::new(4, 7),
            "\"--uidmap=0:1:65535\" \"--gidmap=0:1:65535\" ",
        ),
        (
            PodmanVersion::new(4, 8),
            "\nUIDMap=0:1:65535\nGIDMap=0:1:65535\n",
        ),
    ] {
        let text = rendered_for(parse(&own), version).unwrap();
        assert!(text.contains(lines), "{text}");
        for volume in ["any", "root", "www"] {
            let held = format!(
                "\n[Service]\nExecStartPost=podman unshare podman volume mount archy.site.{volume}\n"
            );
            assert!(text.contains(&held), "{text}");
        }
        let meant = [
            "Options=bind",
            "Options=bind,uid=1,gid=1",
            "Options=bind,uid=34,gid=34",
        ];
        assert_eq!(owners(&text), meant);
    }
}

#[test]
fn a_unit_s_mark_changes_with_the_unit() {
    let mark = |manifest: &Manifest| {
        let files = quadlet::preview(manifest).unwrap().files();
        let text = files["archy.site.web.container"].clone();
        let (_, mark) = text.split_once("io.archy.unit=").unwrap();
        mark[..16].to_owned()
    };
    let mut manifest = parse(SITE);
    let first = mark(&manifest);
    assert_eq!(mark(&manifest), first);
    manifest.containers[0].ports[0].host = Some(9999);
    assert_ne!(mark(&manifest), first);
}

#[test]
fn no_secret_is_in_a_unit_and_every_value_is_filled_in() {
    let text = rendered(full());
    for line in [
        r#"Environment="URL=http://192.168.1.10:18080/?port=18080&host=192.168.1.10""#,
        r#"Secret="archy.full.web.DSN,type=env,target=DSN""#,
        r#"Secret="archy.full.web.NEWS,type=env,target=NEWS""#,
        "Network=archy.full.network:alias=web,alias=www",
        "Network=archy.full.uses.other.network",
        "Volume=archy.full.volume.image-var-cache-db.volume:/var/cache/db",
        "Options=bind,uid=33,gid=33",
        "Wants=archy.other.web.service",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}\n{text}");
    }
    assert!(!text.contains("${"), "{text}");
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
