//! What an update would gain and lose, read off the units.

use std::collections::BTreeMap;

use archy_orchestrator::quadlet;
use archy_orchestrator::{Granted, Right, RightKind, RightsDiff, diff};
use archy_registry::manifest::{self, Manifest, NetworkPolicy, Port, Protocol, Volume};
use proptest::prelude::*;

use crate::injection_table::full;

fn parse(container: &str) -> Manifest {
    let yaml = format!(
        "app: {{id: site, name: Site, version: 1.0.0, tagline: A page, category: other}}\n\
         containers:\n  - {{name: web, source: {{type: pull, image: \"localhost/site:latest\"}}{container}}}\n"
    );
    manifest::parse(&yaml).unwrap().manifest
}

fn files(manifest: &Manifest) -> BTreeMap<String, String> {
    quadlet::preview(manifest).unwrap().files()
}

fn granted(manifest: &Manifest) -> Granted {
    Granted::read(&manifest.app.id, &files(manifest)).unwrap()
}

fn words(rights: &[Right]) -> Vec<&str> {
    rights.iter().map(|right| right.text.as_str()).collect()
}

fn texts(diff: &RightsDiff) -> (Vec<&str>, Vec<&str>) {
    (words(&diff.gained), words(&diff.lost))
}

#[test]
fn every_kind_of_right_is_told_in_words() {
    let root = "Runs as the administrator of its own containers, which is no administrator of this machine.";
    for (before, after, gained, lost) in [
        ("", "", vec![], vec![]),
        (
            "",
            ", capabilities: [NET_ADMIN, CHOWN]",
            vec![
                "May configure the network of its containers (NET_ADMIN).",
                "May change who owns its files (CHOWN).",
            ],
            vec![],
        ),
        (
            ", devices: [/dev/dri]",
            ", devices: [/dev/dri/card0, /dev/kvm]",
            vec!["Uses the device /dev/kvm of this machine."],
            vec!["Uses the device /dev/dri of this machine."],
        ),
        (
            ", ports: [{container: 80, host: 8080}]",
            ", ports: [{container: 80, host: 8080}, {container: 53, host: 5353, protocol: udp}]",
            vec!["Can be opened from your network through port 5353 (UDP) of this machine."],
            vec![],
        ),
        (
            ", volumes: [{name: data, target: /data, read_only: true}]",
            ", volumes: [{name: data, target: /srv}]",
            vec!["Reads and writes a folder of its own, data."],
            vec![],
        ),
        (
            "",
            ", volumes: [{name: data, target: /data, data_uid: 999}]",
            vec!["Reads and writes a folder of its own, data."],
            vec![],
        ),
        (", user: \"1000\"", ", user: \"0\"", vec![root], vec![]),
        (
            ", user: \"1000:1000\"",
            ", user: \"999:999\"",
            vec!["Runs as user 999 with group 999."],
            vec!["Runs as user 1000 with group 1000."],
        ),
        (
            ", user: \"1000\"",
            "",
            vec!["Runs as whatever user its image names."],
            vec![],
        ),
        (
            ", resources: {memory: 512M, cpus: \"0.5\", pids: 64}",
            ", resources: {memory: 1G, cpus: \"1.5\"}",
            vec![
                "May use up to 1 GiB of memory rather than 512 MiB of memory.",
                "May use up to 1.5 processors rather than 0.5 processors.",
                "May use up to any number of processes rather than 64 processes.",
            ],
            vec![],
        ),
        (
            ", resources: {memory: 512M}",
            ", resources: {memory: 256M}",
            vec![],
            vec!["May use up to 512 MiB of memory rather than 256 MiB of memory."],
        ),
        (
            ", readonly_root: true",
            "",
            vec!["Can change its own program files while it runs."],
            vec![],
        ),
        (
            ", user_namespace: own",
            ", user_namespace: own, volumes: [{name: data, target: /data}]",
            vec!["Reads and writes a folder of its own, data."],
            vec![],
        ),
        (
            ", user_namespace: own",
            "",
            vec![
                "Runs with the users of all apps, of which the administrator is the account that runs archy.",
            ],
            vec![],
        ),
    ] {
        let found = diff(&granted(&parse(before)), &granted(&parse(after)));
        assert_eq!(texts(&found), (gained, lost), "{before} -> {after}");
    }
}

#[test]
fn each_step_outwards_is_a_gain_and_each_step_back_a_loss() {
    let mut isolated = parse(", ports: [{container: 80, host: 8080}]");
    isolated.network_policy = NetworkPolicy::Isolated;
    let (mut outbound, mut host) = (isolated.clone(), isolated.clone());
    outbound.network_policy = NetworkPolicy::Outbound;
    host.network_policy = NetworkPolicy::Host;
    let internet = "Can reach the internet and your local network.";
    let all = "Uses this machine's own network: it can reach every service on this machine and open any port.";
    let out = diff(&granted(&isolated), &granted(&outbound));
    assert_eq!(texts(&out), (vec![internet], vec![]));
    let further = diff(&granted(&outbound), &granted(&host));
    // The port that it published goes on being among those that it can open.
    assert_eq!(texts(&further), (vec![all], vec![]));
    let back = diff(&granted(&host), &granted(&isolated));
    assert_eq!(texts(&back), (vec![], vec![all]));
}

#[test]
fn secrets_and_containers_name_where_they_are() {
    let after = full();
    let mut before = full();
    before.containers.truncate(2);
    before.containers[0].secret_env.clear();
    let found = diff(&granted(&before), &granted(&after));
    assert_eq!(
        texts(&found).0,
        [
            "Is given the generated secret password (container web).",
            "Runs one container more, cache."
        ]
    );
    assert_eq!(found.gained[1].kind, RightKind::Container);
}

#[test]
fn a_setting_that_nobody_explained_is_a_right() {
    let manifest = parse("");
    let before = files(&manifest);
    for (file, line) in [
        ("archy.site.web.container", "[Container]\nUserNS=host\n"),
        (
            "archy.site.web.container",
            "[Container]\nVolume=/etc:/etc\n",
        ),
        (
            "archy.site.web.container",
            "[Container]\nPodmanArgs=\"--privileged\"\n",
        ),
        (
            "archy.site.web.container",
            "[Container]\nAddCapability=\"SYS_ADMIN\"\n",
        ),
        (
            "archy.site.web.container",
            "[Container]\nNetwork=container:other\n",
        ),
        (
            "archy.site.web.container",
            "[Service]\nExecStartPre=/bin/sh\n",
        ),
        ("archy.site.network", "[Network]\nOptions=parent=eth0\n"),
        (
            "archy.site.extra.volume",
            "[Volume]\nDevice=/dev/sda\nType=ext4\n",
        ),
        (
            "archy.site.extra.volume",
            "[Volume]\nType=none\nOptions=bind,uid=1,gid=2,exec\n",
        ),
        (
            "archy.site.extra.volume",
            "[Volume]\nVolumeName=a\n[Service]\nExecStartPost=podman unshare podman volume mount b\n",
        ),
        ("archy.site.kube", "[Kube]\nYaml=/tmp/x\n"),
    ] {
        let mut after = before.clone();
        after
            .entry(file.to_owned())
            .or_default()
            .push_str(&format!("\n{line}"));
        let app = &manifest.app.id;
        let (before, after) = (
            Granted::read(app, &before).unwrap(),
            Granted::read(app, &after).unwrap(),
        );
        let found = diff(&before, &after);
        assert_eq!(found.gained.len(), 1, "{line}: {found:?}");
        assert!(found.gained[0].weighty, "{line}: {found:?}");
        assert!(found.lost.is_empty(), "{line}: {found:?}");
    }
}

#[test]
fn a_missing_guard_is_a_right() {
    let manifest = parse("");
    let before = files(&manifest);
    for guard in ["DropCapability=all\n", "NoNewPrivileges=true\n"] {
        let mut after = before.clone();
        let unit = after.get_mut("archy.site.web.container").unwrap();
        assert!(unit.contains(guard));
        *unit = unit.replace(guard, "");
        let app = &manifest.app.id;
        let found = diff(
            &Granted::read(app, &before).unwrap(),
            &Granted::read(app, &after).unwrap(),
        );
        assert!(
            found.gained.len() == 1 && found.gained[0].weighty,
            "{found:?}"
        );
    }
}

#[test]
fn users_of_its_own_are_known_in_every_form_and_no_others() {
    let gained = |text: &str| {
        let app = &"site".parse().unwrap();
        let read = |line: &str| {
            let unit = format!("[Container]\nImage=x\n{line}");
            let files = BTreeMap::from([("archy.site.web.container".to_owned(), unit)]);
            Granted::read(app, &files).unwrap()
        };
        let own = "UIDMap=0:1:65535\nGIDMap=0:1:65535\n";
        diff(&read(own), &read(text)).gained.len()
    };
    let option = |map: &str| format!("PodmanArgs=\"--uidmap={map}\" \"--gidmap={map}\"\n");
    assert_eq!(gained(&option("0:1:65535")), 0);
    assert_eq!(
        gained(&option("0:0:65535")),
        2,
        "one for all its options, one for the guard"
    );
    assert_eq!(gained("UIDMap=0:0:1\nGIDMap=0:1:65535\n"), 2);
    assert_eq!(gained(""), 1);
}

/// A stack whose rights are drawn at random.
fn any_manifest() -> impl Strategy<Value = Manifest> {
    let container = (
        proptest::sample::subsequence(vec!["CHOWN", "NET_ADMIN", "SETUID"], 0..=3),
        proptest::sample::subsequence(vec!["/dev/dri", "/dev/dri/card0", "/dev/kvm"], 0..=3),
        proptest::sample::subsequence(vec![(8080, 80), (5353, 53)], 0..=2),
        proptest::sample::subsequence(vec![("data", true), ("logs", false)], 0..=2),
        proptest::sample::select(vec![None, Some("0"), Some("1000"), Some("1000:1000")]),
        proptest::sample::select(vec![None, Some("64M"), Some("1G")]),
        any::<bool>(),
        any::<bool>(),
    );
    let policy = proptest::sample::select(vec![
        NetworkPolicy::Isolated,
        NetworkPolicy::Outbound,
        NetworkPolicy::Host,
    ]);
    (proptest::collection::vec(container, 1..=3), policy).prop_map(|(drawn, policy)| {
        let mut manifest = full();
        manifest.network_policy = policy;
        manifest.containers.truncate(drawn.len());
        let stack = manifest.containers.iter_mut().zip(drawn).enumerate();
        for (n, (container, drawn)) in stack {
            let (capabilities, devices, ports, volumes, user, memory, readonly, secret) = drawn;
            container.capabilities = capabilities.into_iter().map(str::to_owned).collect();
            container.devices = devices.into_iter().map(str::to_owned).collect();
            container.ports = ports
                .into_iter()
                .map(|(host, inside)| Port {
                    name: None,
                    container: inside + u16::try_from(n).unwrap() * 1000,
                    host: Some(host + u16::try_from(n).unwrap()),
                    protocol: if host == 5353 {
                        Protocol::Udp
                    } else {
                        Protocol::Tcp
                    },
                })
                .collect();
            container.volumes = volumes
                .into_iter()
                .map(|(name, read_only)| Volume {
                    name: name.parse().unwrap(),
                    target: format!("/{name}"),
                    read_only,
                    data_uid: None,
                })
                .collect();
            container.user = user.map(str::to_owned);
            container.resources.memory = memory.map(|memory| memory.parse().unwrap());
            container.readonly_root = readonly;
            container.depends_on.clear();
            container.environment.clear();
            if !secret {
                container.secret_env.clear();
            }
        }
        manifest
    })
}

proptest! {
    #[test]
    fn nothing_changes_between_a_release_and_itself(manifest in any_manifest()) {
        let found = diff(&granted(&manifest), &granted(&manifest));
        prop_assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn what_one_way_gains_the_way_back_loses(a in any_manifest(), b in any_manifest()) {
        let (a, b) = (granted(&a), granted(&b));
        let (there, back) = (diff(&a, &b), diff(&b, &a));
        prop_assert_eq!(there.gained, back.lost);
        prop_assert_eq!(there.lost, back.gained);
    }

    #[test]
    fn a_capability_more_is_always_seen(manifest in any_manifest()) {
        let mut more = manifest.clone();
        more.containers[0].capabilities.push("NET_RAW".to_owned());
        let found = diff(&granted(&manifest), &granted(&more));
        prop_assert_eq!(found.gained.len(), 1);
        prop_assert!(found.gained[0].weighty && found.lost.is_empty());
    }
}
