use super::*;

fn load(file: &str, environment: &[(&str, &str)], set: &[&str]) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("archyd.toml");
    std::fs::write(&path, file).unwrap();
    let mut environment: Environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    environment.insert("HOME".to_owned(), "/home/archy".to_owned());
    environment.insert("XDG_RUNTIME_DIR".to_owned(), "/run/user/1000".to_owned());
    let paths = Paths::discover(&environment, None).unwrap();
    let flags = Flags {
        file: Some(path.clone()),
        data_dir: None,
        set: set.iter().map(|s| (*s).to_owned()).collect(),
    };
    Config::load(&flags, &environment, &paths)
        .map_err(|error| error.to_string().replace(path.to_str().unwrap(), "FILE"))
}

#[test]
fn defaults_keep_to_this_machine_and_name_no_service() {
    let config = load("", &[], &[]).unwrap();
    assert_eq!(config.api.listen, "127.0.0.1:8480".parse().unwrap());
    assert_eq!(config.relay.listen, None);
    assert!(config.nostr.relays.is_empty());
    assert_eq!(config.swarm.relays, IrohRelays::Disabled);
}

#[test]
fn later_layers_win_key_by_key() {
    let file = "[api]\nlisten = \"127.0.0.1:1\"\nconnections_max = 7\n[node]\nname = \"file\"\n";
    let environment = [
        ("ARCHY_API_LISTEN", "127.0.0.1:2"),
        ("ARCHY_NODE_NAME", "environment"),
    ];
    let config = load(file, &environment, &["api.listen=127.0.0.1:3"]).unwrap();
    assert_eq!(config.api.listen.port(), 3);
    assert_eq!(config.node.name, "environment");
    assert_eq!(config.api.connections_max, 7);
    assert_eq!(config.jobs.parallel_max, 2);
}

#[test]
fn values_from_text_take_the_type_of_the_default() {
    let environment = [
        (
            "ARCHY_NOSTR_RELAYS",
            "ws://10.0.0.1:8490, wss://relay.example",
        ),
        ("ARCHY_SWARM_MDNS", "false"),
        ("ARCHY_SWARM_GOSSIP", "false"),
        ("ARCHY_RELAY_LISTEN", "0.0.0.0:8490"),
        ("ARCHY_SWARM_RELAYS", "n0"),
        ("ARCHY_JOBS_PARALLEL_MAX", "3"),
    ];
    let config = load("", &environment, &[]).unwrap();
    assert_eq!(config.nostr.relays.len(), 2);
    assert!(!config.swarm.mdns && !config.swarm.gossip);
    assert_eq!(config.relay.listen, Some("0.0.0.0:8490".parse().unwrap()));
    assert_eq!(config.swarm.relays, IrohRelays::N0);
    assert_eq!(config.jobs.parallel_max, 3);
}

#[test]
fn a_peer_is_an_id_and_addresses() {
    let id = "ab".repeat(32);
    let config = load(
        "",
        &[],
        &[&format!("swarm.peers={id}@10.0.0.2:8481+10.0.0.3:9")],
    )
    .unwrap();
    assert_eq!(config.swarm.peers[0].id.to_string(), id);
    assert_eq!(config.swarm.peers[0].addresses.len(), 2);
}

#[test]
fn a_quota_is_a_size_and_never_nothing() {
    let quota = |text: &str| {
        let config = load("", &[("ARCHY_SWARM_QUOTA", text)], &[]);
        config.map(|config| config.swarm.quota)
    };
    let cases = [
        ("auto", Quota::Auto),
        ("none", Quota::None),
        ("50 GB", Quota::Bytes(50_000_000_000)),
        ("512MB", Quota::Bytes(512_000_000)),
        ("1000", Quota::Bytes(1000)),
    ];
    for (text, expected) in cases {
        assert_eq!(quota(text), Ok(expected), "{text}");
    }
    for text in [
        "",
        "0",
        "0 GB",
        "-1",
        "1.5 GB",
        "5 GiB",
        "99999999999 TB",
        "much",
    ] {
        assert!(quota(text).is_err(), "{text}");
    }
}

#[test]
fn an_upload_limit_is_a_size_per_second() {
    let limit = |text: &str| {
        let config = load("", &[("ARCHY_SWARM_UPLOAD", text)], &[]);
        config.map(|config| config.swarm.upload.map(NonZeroU64::get))
    };
    assert_eq!(limit("none"), Ok(None));
    assert_eq!(limit("2 MB"), Ok(Some(2_000_000)));
    for text in ["", "0", "2 MB/s", "fast"] {
        assert!(limit(text).is_err(), "{text}");
    }
}

#[test]
fn other_programs_variables_are_left_alone() {
    load(
        "",
        &[("ARCHY_NODE", "/run/x.sock"), ("ARCHY_DATA_DIR", "/d")],
        &[],
    )
    .unwrap();
}

/// File, environment, flags, and how the message begins.
type Mistake = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
    &'static str,
);

#[test]
fn mistakes_are_named() {
    let table: &[Mistake] = &[
        (
            "[api]\nlisen = \"x\"\n",
            &[],
            &[],
            "unknown key api.lisen in FILE; did you mean api.listen?",
        ),
        ("listen = \"x\"\n", &[], &[], "unknown key listen in FILE"),
        (
            "[web]\nport = 1\n",
            &[],
            &[],
            "unknown key web.port in FILE",
        ),
        (
            "",
            &[("ARCHY_API_LISTN", "x")],
            &[],
            "unknown key api.listn in ARCHY_API_LISTN; did you mean api.listen?",
        ),
        (
            "",
            &[],
            &["nostr.relay=ws://x"],
            "unknown key nostr.relay in --set; did you mean nostr.relays?",
        ),
        (
            "",
            &[],
            &["nostr.relays"],
            "--set nostr.relays: write section.key=value",
        ),
        (
            "[api]\nlisten = 80\n",
            &[],
            &[],
            "api.listen in FILE: expected string, found integer",
        ),
        (
            "[api]\nlisten = \"here\"\n",
            &[],
            &[],
            "api.listen in FILE: invalid socket address syntax",
        ),
        (
            "",
            &[("ARCHY_SWARM_MDNS", "yes")],
            &[],
            "swarm.mdns in ARCHY_SWARM_MDNS: \"yes\" is neither true nor false",
        ),
        (
            "",
            &[],
            &["relay.listen=8490"],
            "relay.listen in --set: \"8490\" is not an address: write IP:PORT",
        ),
        (
            "",
            &[],
            &["swarm.relays=on"],
            "swarm.relays in --set: \"on\" is neither \"disabled\", \"n0\" nor a URL",
        ),
        (
            "",
            &[],
            &["swarm.peers=x"],
            "swarm.peers in --set: \"x\" is not a peer: write ENDPOINT-ID@IP:PORT, further addresses after a +",
        ),
        (
            "",
            &[],
            &["nostr.relays=http://x"],
            "nostr.relays in --set: \"http://x\" is not the address of a Nostr relay: its scheme is neither ws nor wss; write it like wss://relay.example.org",
        ),
        (
            "",
            &[],
            &["api.allowed_hosts=http://x/"],
            "api.allowed_hosts in the configuration: write host names only, without scheme, port or path",
        ),
        (
            "",
            &[],
            &["jobs.parallel_max=0"],
            "jobs.parallel_max in the configuration: must be 1 to 64",
        ),
    ];
    for (file, environment, set, message) in table {
        let error = load(file, environment, set).unwrap_err();
        assert!(error.starts_with(message), "{error} is not {message}");
    }
}

#[test]
fn a_file_that_was_asked_for_must_exist() {
    let environment: Environment = [("HOME", "/h"), ("XDG_RUNTIME_DIR", "/r")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let paths = Paths::discover(&environment, None).unwrap();
    let missing = Flags {
        file: Some("/nowhere/archyd.toml".into()),
        ..Flags::default()
    };
    assert!(matches!(
        Config::load(&missing, &environment, &paths),
        Err(ConfigError::Read { .. })
    ));
    assert!(Config::load(&Flags::default(), &environment, &paths).is_ok());
}

#[test]
fn paths_follow_xdg() {
    let mut environment: Environment = [("HOME", "/h"), ("XDG_RUNTIME_DIR", "/r")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let paths = Paths::discover(&environment, None).unwrap();
    assert_eq!(paths.data_dir, PathBuf::from("/h/.local/share/archy"));
    assert_eq!(paths.socket(), PathBuf::from("/r/archy/archyd.sock"));
    environment.insert("ARCHY_DATA_DIR".to_owned(), "/d".to_owned());
    assert_eq!(
        Paths::discover(&environment, None).unwrap().data_dir,
        PathBuf::from("/d")
    );
    environment.remove("XDG_RUNTIME_DIR");
    assert!(Paths::discover(&environment, None).is_err());
}
