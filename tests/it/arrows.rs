//! The dependency arrows of ARCHITECTURE.md: who may name whom, and which crate alone names an engine.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Third-party crates that exactly one member may name.
const ENGINES: &[(&str, &[&str])] = &[
    (
        "archy-swarm",
        &[
            "iroh",
            "iroh-blobs",
            "iroh-gossip",
            "iroh-mdns-address-lookup",
            "oci-client",
        ],
    ),
    (
        "archy-nostr",
        &["nostr-sdk", "nostr", "nostr-relay-builder"],
    ),
    ("archy-orchestrator", &["zbus", "zbus_systemd"]),
    (
        "archy-registry",
        &["ed25519-dalek", "bs58", "serde_json_canonicalizer"],
    ),
];

/// Members in the order of the arrows: each may name only those before it, as listed.
const MEMBERS: &[(&str, &[&str])] = &[
    ("archy-registry", &[]),
    ("archy-swarm", &["archy-registry"]),
    ("archy-nostr", &["archy-registry"]),
    ("archy-orchestrator", &["archy-registry"]),
    (
        "archy",
        &[
            "archy-nostr",
            "archy-orchestrator",
            "archy-registry",
            "archy-swarm",
        ],
    ),
    (
        "archyd",
        &[
            "archy-nostr",
            "archy-orchestrator",
            "archy-registry",
            "archy-swarm",
        ],
    ),
];

/// Direct dependencies that a member is built with (tests' own dependencies left out), by member.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let built_with = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter()
                .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
                .map(|dependency| text(&dependency["name"]))
                .collect();
            (text(&package["name"]), built_with)
        })
        .collect()
}

#[test]
fn members_name_only_what_the_arrows_allow() {
    let edges = edges();
    let own: BTreeSet<&str> = edges.keys().map(String::as_str).collect();
    for (member, allowed) in MEMBERS {
        let named: Vec<&str> = edges[*member]
            .iter()
            .map(String::as_str)
            .filter(|name| own.contains(name))
            .collect();
        assert_eq!(
            &named, allowed,
            "{member} names other members than ARCHITECTURE.md draws"
        );
    }
}

#[test]
fn engines_are_named_by_one_member_only() {
    for (owner, engines) in ENGINES {
        for (member, named) in edges() {
            let foreign: Vec<&str> = engines
                .iter()
                .copied()
                .filter(|engine| named.contains(*engine))
                .collect();
            assert!(
                member == *owner || foreign.is_empty(),
                "{member} names {foreign:?}, which belongs to {owner} alone"
            );
        }
    }
}

/// Every direct edge is a decision: a new one shows up in review as a line of this list.
#[test]
fn direct_dependencies_are_the_committed_list() {
    let list: String = edges()
        .into_iter()
        .map(|(member, named)| {
            let named: Vec<String> = named.into_iter().collect();
            format!("{member}: {}\n", named.join(" "))
        })
        .collect();
    insta::assert_snapshot!(list);
}
