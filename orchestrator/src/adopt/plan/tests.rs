use archy_registry::manifest;
use serde_json::json;

use super::*;

const MANIFEST: &str = r#"
app: {id: notes, name: Notes, version: 1.0.0, tagline: Notes, category: other}
containers:
  - name: web
    source: {type: pull, image: "localhost/a:1"}
    environment: {MODE: plain, URL: "http://${app.host.web}/", DSN: "db:${secret.key}@db"}
    secret_env: {KEY: key, HASH: hash}
    ports: [{container: 80, host: 8000}, {container: 53, protocol: udp}]
    volumes: [{name: data, target: /data}]
    capabilities: [NET_BIND_SERVICE]
    devices: [/dev/dri]
generated_secrets: [{name: key, kind: hex32}, {name: hash, kind: bcrypt, from: key}]
network_policy: outbound
"#;

fn slug(text: &str) -> Slug {
    text.parse().unwrap()
}

fn parsed() -> Manifest {
    manifest::parse(MANIFEST).unwrap().manifest
}

/// A container whose record has these members besides the usual ones.
fn old(extra: serde_json::Value) -> Old {
    let mut record = json!({
        "Id": "a", "Name": "notes", "Image": "old", "ImageName": "localhost/old:1",
        "State": {"Status": "running", "Running": true},
        "Config": {"Env": []},
        "HostConfig": {
            "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8000"}], "53/udp": [{"HostIp": "", "HostPort": "53"}]},
            "NetworkMode": "pasta",
        },
        "Mounts": [{"Type": "volume", "Name": "v", "Source": "/volumes/v/_data", "Destination": "/data", "RW": true}],
        "NetworkSettings": {"Networks": {"pasta": {}}},
    });
    merge(&mut record, &extra);
    Old {
        found: serde_json::from_value(record).unwrap(),
        process_environment: Some(Vec::new()),
        new_image: "old".to_owned(),
        ..Old::default()
    }
}

fn merge(into: &mut serde_json::Value, from: &serde_json::Value) {
    match (into.as_object_mut(), from.as_object()) {
        (Some(into), Some(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        _ => *into = from.clone(),
    }
}

fn planned(old: Old) -> Planned {
    plan(
        &parsed(),
        &BTreeMap::new(),
        &BTreeMap::from([(slug("web"), old)]),
        false,
    )
}

/// What is said besides what the usual container brings about.
fn news(extra: serde_json::Value) -> Vec<(Effect, String)> {
    let usual = planned(old(json!({}))).items;
    let items = planned(old(extra)).items.into_iter();
    items
        .filter(|item| !usual.contains(item))
        .map(|item| (item.effect, item.id))
        .collect()
}

#[test]
fn what_the_app_asks_for_is_kept_where_it_was() {
    let planned = planned(old(json!({})));
    assert!(
        planned.blocked(&BTreeSet::new()).is_empty(),
        "{:?}",
        planned.items
    );
    let ports: Vec<(u16, u16)> = planned
        .ports
        .iter()
        .map(|port| (port.host_port, port.container_port))
        .collect();
    assert_eq!(ports, [(53, 53), (8000, 80)]);
    assert_eq!(planned.bind, None);
    assert_eq!(
        planned.volumes[&slug("data")],
        PathBuf::from("/volumes/v/_data")
    );
    assert!(planned.containers.is_empty() && planned.secrets.is_empty());
}

#[test]
fn each_difference_has_its_item() {
    use Effect::{Changes, Keeps, Loses, Refuses};
    let nameless = "0".repeat(64);
    let mount = |kind: &str, name: &str, target: &str| {
        json!({"Mounts": [
            {"Type": "volume", "Name": "v", "Source": "/volumes/v/_data", "Destination": "/data"},
            {"Type": kind, "Name": name, "Source": "/home/x", "Destination": target},
        ]})
    };
    let table = [
        (
            json!({"Image": "other"}),
            vec![(Changes, "web.image.other")],
        ),
        (
            json!({"HostConfig": {"AutoRemove": true}}),
            vec![(Refuses, "web.container.removed")],
        ),
        (
            mount("bind", "", "/etc/x"),
            vec![(Loses, "web.data./etc/x")],
        ),
        (
            mount("tmpfs", "", "/cache"),
            vec![(Changes, "web.data./cache")],
        ),
        (json!({"Mounts": []}), vec![(Loses, "web.data./data")]),
        (
            json!({"Mounts": [{"Type": "volume", "Name": nameless, "Source": "/v", "Destination": "/data"}]}),
            vec![(Keeps, "web.data./data")],
        ),
        (
            json!({"HostConfig": {"PortBindings": {"9/tcp": [{"HostIp": "", "HostPort": "9"}]}}}),
            vec![(Loses, "web.port.9:9/tcp")],
        ),
        (
            json!({"HostConfig": {"PortBindings": {"80/tcp": null}}}),
            vec![(Changes, "web.port.80/tcp")],
        ),
        (
            json!({"HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000"}]}}}),
            vec![(Loses, "web.port.8000.address")],
        ),
        (
            json!({"HostConfig": {"CapAdd": ["CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE"]}}),
            vec![(Loses, "web.right.NET_ADMIN")],
        ),
        (
            json!({"HostConfig": {"Privileged": true, "Devices": [{"PathOnHost": "/dev/sda"}]}}),
            vec![(Loses, "web.right.privileged")],
        ),
        (
            json!({"HostConfig": {"Devices": [{"PathOnHost": "/dev/dri"}, {"PathOnHost": "/dev/sda"}]}}),
            vec![(Loses, "web.right./dev/sda")],
        ),
        (
            json!({"HostConfig": {"PidMode": "host", "UsernsMode": "keep-id"}}),
            vec![(Loses, "web.right.processes"), (Loses, "web.right.users")],
        ),
        (
            json!({"HostConfig": {"NetworkMode": "host"}}),
            vec![(Loses, "web.network.host")],
        ),
        (
            json!({"HostConfig": {"Memory": 67_108_864_u64}}),
            vec![(Keeps, "web.limit.memory")],
        ),
        (
            json!({"Config": {"Secrets": [{"Name": "pw"}]}}),
            vec![(Loses, "web.secret.file.pw")],
        ),
    ];
    for (extra, wanted) in table {
        let wanted: Vec<(Effect, String)> = wanted
            .into_iter()
            .map(|(effect, id)| (effect, id.to_owned()))
            .collect();
        assert_eq!(news(extra.clone()), wanted, "{extra}");
    }
}

#[test]
fn variables_stay_as_settings_and_secrets_become_secrets() {
    let environment = json!({"Config": {"Env": [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "container=podman",
        "MODE=plain", "URL=http://mine/", "MINE=a ${b}", "KEY=abc", "HASH=xyz", "API_TOKEN=t", "DSN=x", "BAD=a\nb",
        "IMAGE=1", "pw=*******",
    ]}});
    let mut old = old(environment);
    old.image_environment = vec!["IMAGE=1".to_owned()];
    let given = [
        ("PASSWORD", "hidden"),
        ("MODE", "plain"),
        ("NOTIFY_SOCKET", "/run/x"),
    ];
    old.process_environment = Some(
        given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    );
    let planned = planned(old);
    let edit = &planned.containers[&slug("web")];
    let kept: Vec<(&str, &str)> = edit
        .environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(kept, [("MINE", "a $${b}"), ("URL", "http://mine/")]);
    assert_eq!(
        planned.secrets,
        BTreeMap::from([(slug("key"), (slug("web"), "KEY".to_owned()))])
    );
    let lost: BTreeSet<String> = planned
        .blocked(&BTreeSet::new())
        .into_iter()
        .map(|item| item.id)
        .collect();
    let wanted = [
        "web.environment.API_TOKEN",
        "web.environment.BAD",
        "web.environment.DSN",
        "web.secret.HASH",
        "web.secret.PASSWORD",
    ];
    assert_eq!(lost, wanted.map(str::to_owned).into());
    assert!(planned.blocked(&lost).is_empty());
    for item in &planned.items {
        for value in ["abc", "xyz", "hidden", "mine"] {
            assert!(!item.words.contains(value), "{}", item.words);
        }
    }
}

#[test]
fn podman_tells_no_secret_of_what_stands_still() {
    let mut old = old(json!({"Config": {"Env": ["pw=*******"]}}));
    old.process_environment = None;
    let planned = planned(old);
    let refused: Vec<&str> = planned
        .items
        .iter()
        .filter(|item| item.effect == Effect::Refuses)
        .map(|item| item.id.as_str())
        .collect();
    assert_eq!(refused, ["web.secret.HASH", "web.secret.KEY"]);
}

#[test]
fn nothing_that_is_refused_can_be_accepted() {
    let mut old = old(json!({}));
    old.in_pod = true;
    let containers = BTreeMap::from([(slug("web"), old)]);
    let planned = plan(&parsed(), &BTreeMap::new(), &containers, true);
    let all: BTreeSet<String> = planned.items.iter().map(|item| item.id.clone()).collect();
    let blocked: Vec<String> = planned
        .blocked(&all)
        .into_iter()
        .map(|item| item.id)
        .collect();
    assert_eq!(blocked, ["web.data.kept", "web.container.pod"]);
}

#[test]
fn data_of_others_is_not_given_to_users_of_its_own() {
    let mut manifest = parsed();
    manifest.containers[0].devices.clear();
    manifest.containers[0].user_namespace = UserNamespace::Own;
    let refused = |old: Old| {
        let containers = BTreeMap::from([(slug("web"), old)]);
        let planned = plan(&manifest, &BTreeMap::new(), &containers, false);
        assert!(planned.volumes.is_empty());
        let items = planned.items.into_iter();
        items
            .filter(|item| item.effect == Effect::Refuses)
            .map(|item| item.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(refused(old(json!({}))), ["web.data./data"]);
    assert!(refused(old(json!({"Mounts": []}))).is_empty());
}

#[test]
fn one_address_of_all_ports_stays() {
    let bindings = |first: &str, second: &str| {
        json!({"HostConfig": {"PortBindings": {
            "80/tcp": [{"HostIp": first, "HostPort": "8000"}],
            "53/udp": [{"HostIp": second, "HostPort": "53"}],
        }}})
    };
    let table = [
        ("127.0.0.1", "127.0.0.1", Some("127.0.0.1"), 0),
        ("127.0.0.1", "0.0.0.0", None, 1),
        ("::1", "::1", None, 2),
        ("0.0.0.0", "", None, 0),
    ];
    for (first, second, bind, lost) in table {
        let planned = planned(old(bindings(first, second)));
        assert_eq!(
            planned.bind.map(|ip| ip.to_string()).as_deref(),
            bind,
            "{first} {second}"
        );
        assert_eq!(
            planned.blocked(&BTreeSet::new()).len(),
            lost,
            "{first} {second}"
        );
    }
}

#[test]
fn who_else_is_in_its_network_is_named() {
    let mut old = old(json!({}));
    old.neighbours = BTreeMap::from([
        ("pasta".to_owned(), vec!["other".to_owned()]),
        ("mine".to_owned(), vec!["db".to_owned()]),
        ("alone".to_owned(), Vec::new()),
    ]);
    let blocked = planned(old).blocked(&BTreeSet::new());
    assert_eq!(blocked.len(), 1);
    assert!(blocked[0].words.contains("db"), "{}", blocked[0].words);
}

#[test]
fn data_is_one_whoever_mounts_it() {
    let mut manifest = parsed();
    let mut second = manifest.containers[0].clone();
    second.name = slug("worker");
    second.ports.clear();
    manifest.containers.push(second);
    let other = json!({"Mounts": [{"Type": "volume", "Name": "w", "Source": "/volumes/w/_data", "Destination": "/data"}],
        "HostConfig": {"PortBindings": {"80/tcp": null, "53/udp": null}}});
    for (extra, refused) in [
        (other, true),
        (
            json!({"HostConfig": {"PortBindings": {"80/tcp": null, "53/udp": null}}}),
            false,
        ),
    ] {
        let containers =
            BTreeMap::from([(slug("web"), old(json!({}))), (slug("worker"), old(extra))]);
        let planned = plan(&manifest, &BTreeMap::new(), &containers, false);
        let found = planned
            .items
            .iter()
            .any(|item| item.effect == Effect::Refuses);
        assert_eq!(found, refused);
    }
}
