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
            json!({"Path": "redis-server", "Args": ["--requirepass", "x"]}),
            vec![(Loses, "web.container.command")],
        ),
        (
            json!({"Config": {"User": "1000:1000"}}),
            vec![(Loses, "web.container.user")],
        ),
        (
            json!({"HostConfig": {"CpuQuota": 150_000, "CpuPeriod": 100_000, "NanoCpus": 1_500_000_000}}),
            vec![(Keeps, "web.limit.cpus")],
        ),
        (
            json!({"HostConfig": {"CpuQuota": i64::MAX, "CpuPeriod": 1000}}),
            vec![(Loses, "web.limit.cpus")],
        ),
        (
            json!({"HostConfig": {"PidsLimit": 100}}),
            vec![(Keeps, "web.limit.pids")],
        ),
        (
            json!({"HostConfig": {"PidsLimit": -1}}),
            vec![(Loses, "web.limit.pids")],
        ),
        (
            json!({"HostConfig": {"Tmpfs": {"/cache": "rw,size=1m", "/data": ""}, "ReadonlyRootfs": false}, "Mounts": []}),
            vec![(Loses, "web.data./cache"), (Changes, "web.data./data")],
        ),
        (
            json!({"HostConfig": {"ShmSize": 1 << 30}}),
            vec![(Loses, "web.limit.shm")],
        ),
        (
            json!({"HostConfig": {"ExtraHosts": ["db:10.0.0.1"]}}),
            vec![(Loses, "web.network.hosts")],
        ),
        (
            json!({"HostConfig": {"GroupAdd": ["keep-groups", "video"]}}),
            vec![(Loses, "web.right.groups")],
        ),
        (
            json!({"HostConfig": {"Ulimits": [{"Name": "RLIMIT_MEMLOCK", "Soft": -1, "Hard": -1}]}}),
            vec![(Loses, "web.limit.ulimit.memlock")],
        ),
        (
            json!({"Config": {"CreateCommand": [
                "podman", "run", "--ulimit", "nofile=9:9", "--ulimit=memlock=-1", "--sysctl=net.core.somaxconn=9", "a",
            ]}}),
            vec![
                (Loses, "web.right.sysctl"),
                (Loses, "web.limit.ulimit.nofile"),
            ],
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
fn what_podman_fills_in_is_no_difference() {
    let usual = json!({
        "Path": "/run/podman-init", "Args": ["--", "/entry", "serve"],
        "Config": {
            "Cmd": ["serve"], "Entrypoint": ["/entry"], "User": "app", "StopTimeout": 10,
            "CreateCommand": ["podman", "run", "-d", "--init", "--read-only", "--name", "notes", "localhost/old:1"],
        },
        "HostConfig": {
            "CpuQuota": 0, "CpuPeriod": 0, "NanoCpus": 0, "PidsLimit": 2048, "ShmSize": 65_536_000,
            "Tmpfs": {"/run": "rw", "/tmp": "rw"}, "ReadonlyRootfs": true, "ExtraHosts": [], "GroupAdd": ["keep-groups"],
            "Ulimits": [
                {"Name": "RLIMIT_NOFILE", "Soft": 524_288, "Hard": 524_288},
                {"Name": "RLIMIT_NPROC", "Soft": 1_048_576, "Hard": 1_048_576},
            ],
        },
    });
    let bare = json!({"HostConfig": {"Tmpfs": null, "ExtraHosts": null, "GroupAdd": null, "Ulimits": null}});
    let usually = planned(old(json!({}))).items;
    for record in [usual, bare] {
        let mut old = old(record);
        old.image.entrypoint = Some(vec!["/entry".to_owned()]);
        old.image.cmd = Some(vec!["serve".to_owned()]);
        old.image.user = Some("app".to_owned());
        let planned = planned(old);
        assert_eq!(planned.items, usually);
        assert!(planned.containers.is_empty());
    }
}

#[test]
fn a_command_and_a_user_of_its_own_are_lost_unless_the_app_has_them() {
    let list = |words: &str| -> Vec<String> {
        let words = words.split_ascii_whitespace();
        words.map(str::to_owned).collect()
    };
    // What runs, and of the image and then the app: entrypoint, command, user; whether each is lost.
    type Asked = (&'static str, &'static str, &'static str);
    let table: [(&str, &str, Asked, Asked, bool, bool); 10] = [
        ("/e a", "", ("/e", "a", ""), ("", "", ""), false, false),
        ("/e a", "", ("/e", "a", "app"), ("", "", "1"), false, false),
        ("/e b", "0", ("/e", "a", ""), ("", "", ""), true, false),
        (
            "/e b",
            "0:0",
            ("/e", "a", "app"),
            ("", "b", "root"),
            false,
            false,
        ),
        ("/e b", "9", ("/e", "a", "app"), ("", "c", ""), true, true),
        ("/e", "app", ("/e", "a", "app"), ("", "", ""), true, false),
        (
            "x y",
            "9:9",
            ("/e", "a", ""),
            ("x", "y", "9:9"),
            false,
            false,
        ),
        ("x y", "9:9", ("/e", "a", ""), ("x", "", "9"), true, true),
        ("/e b", "", ("/e", "a", ""), ("/e", "b", ""), false, false),
        ("x", "", ("", "", ""), ("", "", ""), true, false),
    ];
    for (runs, user, image, app, no_command, no_user) in table {
        let words = list(runs);
        let (path, args) = words.split_first().unwrap();
        // podman writes a program without arguments twice.
        let args = if args.is_empty() { &words } else { args };
        let mut old = old(json!({"Path": path, "Args": args, "Config": {"User": user}}));
        old.image.entrypoint = Some(list(image.0));
        old.image.cmd = Some(list(image.1));
        old.image.user = Some(image.2.to_owned());
        let mut manifest = parsed();
        let container = &mut manifest.containers[0];
        container.entrypoint = list(app.0);
        container.command = list(app.1);
        container.user = Some(app.2.to_owned()).filter(|user| !user.is_empty());
        let containers = BTreeMap::from([(slug("web"), old)]);
        let planned = plan(&manifest, &BTreeMap::new(), &containers, false);
        let lost: Vec<String> = planned
            .blocked(&BTreeSet::new())
            .into_iter()
            .map(|item| item.id)
            .collect();
        let wanted = [
            (no_command, "web.container.command"),
            (no_user, "web.container.user"),
        ];
        let wanted: Vec<&str> = wanted.iter().filter(|one| one.0).map(|one| one.1).collect();
        assert_eq!(lost, wanted, "{runs} {user} {image:?} {app:?}");
    }
}

#[test]
fn limits_become_settings() {
    let limited = json!({"HostConfig": {
        "Memory": 67_108_864_u64, "CpuQuota": 150_000, "CpuPeriod": 100_000, "PidsLimit": 100,
    }});
    let mut manifest = parsed();
    let edit = |manifest: &Manifest| {
        let containers = BTreeMap::from([(slug("web"), old(limited.clone()))]);
        plan(manifest, &BTreeMap::new(), &containers, false)
            .containers
            .remove(&slug("web"))
    };
    let kept = edit(&manifest).unwrap();
    assert_eq!(kept.memory.map(|size| size.bytes()), Some(67_108_864));
    assert_eq!(
        kept.cpus.map(|cpus| cpus.to_string()).as_deref(),
        Some("1.5")
    );
    assert_eq!(kept.pids, Some(100));
    manifest.containers[0].resources = archy_registry::manifest::Resources {
        memory: kept.memory,
        cpus: kept.cpus,
        pids: kept.pids,
    };
    assert_eq!(edit(&manifest), None);
}

#[test]
fn variables_stay_as_settings_and_secrets_become_secrets() {
    let environment = json!({"Config": {"Env": [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "container=podman",
        "MODE=plain", "URL=http://mine/", "MINE=a ${b}", "KEY=abc", "HASH=xyz", "API_TOKEN=t", "DSN=x", "BAD=a\nb",
        "IMAGE=1", "pw=*******",
    ]}});
    let mut old = old(environment);
    old.image.env = Some(vec!["IMAGE=1".to_owned()]);
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
