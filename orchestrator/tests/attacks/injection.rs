//! The injection table: every string of a manifest × every hostile text, as manifests to render.

use archy_registry::manifest::{self, Manifest};
use serde_json::Value;

/// A manifest that uses every field of the contract.
pub(crate) const FULL: &str = r#"
app:
  id: full
  name: Full
  version: 1.0.0
  tagline: Everything at once
  description: All of it
  category: other
  icon: icon.svg
  screenshots: [shots/one.png]
  website: https://example.org
  source: https://example.org/source
  license: MIT
  release_notes: None
containers:
  - name: web
    source: {type: pull, image: "localhost/full/web:latest"}
    entrypoint: ["/bin/web", "--flag"]
    command: ["serve", "all of it"]
    user: "1000:1000"
    environment:
      GREETING: "hello you"
      EMPTY: ""
      URL: "${app.url}?port=${app.port.main}&host=${node.ip}"
      DSN: "db://full:${secret.password}@${app.host.db}/x$${y}"
      NEWS: "${dependency.other.url}"
    secret_env: {PASSWORD: password}
    ports:
      - {name: main, container: 8080, host: 18080}
      - {container: 5353, protocol: udp}
    volumes:
      - {name: data, target: /data, data_uid: 33}
      - {name: shared, target: /shared, read_only: true}
    tmpfs:
      - {target: /cache, size: 16M}
    network_aliases: [www]
    devices: [/dev/dri, nvidia.com/gpu=all]
    capabilities: [NET_BIND_SERVICE, CHOWN]
    readonly_root: true
    resources: {memory: 64M, cpus: "0.5", pids: 64}
    health_check: {type: http, port: 8080, path: /health, interval: 10s, timeout: 3s, retries: 2, start_period: 20s}
    depends_on:
      - {container: db}
    stop_timeout: 7s
  - name: db
    source: {type: pull, image: "localhost/full/db:latest"}
    command: ["run", "the db"]
    user: mysql
    volumes:
      - {name: shared, target: /var/lib/db}
    health_check: {type: exec, command: ["/bin/check", "it"]}
  - name: cache
    source: {type: build, context: cache, dockerfile: Containerfile, tag: "localhost/full/cache:latest", build_args: {VERSION: "1"}}
    user_namespace: own
    health_check: {type: tcp, port: 6379}
generated_secrets:
  - {name: password, kind: hex32}
  - {name: hashed, kind: bcrypt, from: password}
dependencies:
  - {publisher: "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp", app: other, version: ">=1"}
exports:
  - {name: url, value: "http://${app.host.web}:8080/"}
hooks:
  post_install:
    - exec: {container: web, command: ["/bin/setup", "it all"], timeout: 30s}
    - copy_from_host: {from: /srv/shared/ca.pem, container: web, to: /data/ca.pem}
  pre_update:
    - exec: {container: db, command: ["/bin/dump", "it"]}
  post_update:
    - exec: {container: db, command: ["/bin/load", "it"]}
  pre_uninstall:
    - exec: {container: web, command: ["/bin/bye"], timeout: 5s}
interfaces:
  - {name: Full, port: 8080, path: /, type: ui}
backup:
  exclude: [data/cache/**]
"#;

/// A manifest of one container, with what only such a one can have.
const NAMED: &str = r#"
app: {id: named, name: Named, version: 1.0.0, tagline: One container, category: other}
containers:
  - name: web
    source: {type: pull, image: "localhost/named/web:latest"}
    environment: {GREETING: hello}
extensions: {container_name: well-known}
"#;

/// Texts that try to become more than a value.
pub(crate) fn hostile() -> Vec<String> {
    let mut texts: Vec<String> = [
        "a\nExecStartPre=/bin/sh",
        "a\r\n[Service]\r\nExecStartPre=/bin/sh",
        "a\rb",
        "a\0b",
        "a\u{85}ExecStartPre=/bin/sh",
        "a\u{2028}b",
        "a\u{2029}b",
        "a\u{7f}b",
        "a\tb",
        "\\",
        "a\\",
        "a\\\\",
        "a\\\nb",
        "%h %n %%",
        "100%",
        "%",
        "$HOME",
        "${HOME}",
        "$$",
        "a $HOME b",
        "\"",
        "'",
        "a\" --privileged \"b",
        "a' --privileged 'b",
        "\\x22 --privileged \\x22",
        ";",
        " ; ",
        "a ; /bin/sh -c id",
        "a; b",
        "-v/:/host",
        "--privileged",
        "@/bin/sh",
        "+/bin/sh",
        "!/bin/sh",
        "|/bin/sh",
        ":/bin/sh",
        "[Service]",
        "#comment",
        "; comment",
        "a=b",
        "=",
        "../../etc",
        "/etc/passwd",
        "/data:/host:rw",
        "a,type=mount,target=/etc/shadow",
        "a b c",
        " lead and trail ",
        "",
        " ",
        "\u{a0}",
        "a\u{3000}b",
        "é ü 漢 🦀",
        "\u{202e}gnp.exe",
        "[\"/bin/sh\",\"-c\",\"id\"]",
        "{{.Env}}",
        "`id`",
        "$(id)",
        "a|b&c>d<e*f?g~",
        "CMD",
        "NONE",
        "none",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.push("a".repeat(1 << 20));
    texts.push("a".repeat(40_000));
    texts
}

/// One manifest of the table.
pub(crate) struct Case {
    /// The slug of the manifest that was changed.
    pub(crate) base: String,
    /// The field that holds the text, as a JSON pointer.
    pub(crate) field: String,
    /// The text.
    pub(crate) text: String,
    /// The manifest; `None` where the types already refuse the text.
    pub(crate) manifest: Option<Manifest>,
}

/// The manifest that uses every field.
pub(crate) fn full() -> Manifest {
    manifest::parse(FULL)
        .expect("the full manifest is valid")
        .manifest
}

/// The manifests that use every field between them.
pub(crate) fn bases() -> [Manifest; 2] {
    let named = manifest::parse(NAMED).expect("the manifest of one container is valid");
    [full(), named.manifest]
}

/// Every string field, and every key of a map, of every base × every hostile text. The manifests skip
/// [`Manifest::check`], so that rendering itself is put to the test.
pub(crate) fn cases() -> Vec<Case> {
    bases().iter().flat_map(cases_of).collect()
}

fn cases_of(manifest: &Manifest) -> Vec<Case> {
    let base = serde_json::to_value(manifest).expect("a manifest is plain data");
    let mut places = Vec::new();
    walk(&base, String::new(), &mut places);
    let mut cases = Vec::new();
    for place in places {
        for text in hostile() {
            let mut changed = base.clone();
            match &place {
                Place::Value(pointer) => {
                    if let Some(value) = changed.pointer_mut(pointer) {
                        *value = Value::String(text.clone());
                    }
                }
                Place::Key(pointer, key) => {
                    let map = changed.pointer_mut(pointer).and_then(Value::as_object_mut);
                    if let Some(map) = map
                        && let Some(value) = map.remove(key)
                    {
                        map.insert(text.clone(), value);
                    }
                }
            }
            let field = match &place {
                Place::Value(pointer) => pointer.clone(),
                Place::Key(pointer, key) => format!("{pointer}/{key} (the key)"),
            };
            let changed = serde_json::from_value(changed).ok();
            cases.push(Case {
                base: manifest.app.id.to_string(),
                field,
                text,
                manifest: changed,
            });
        }
    }
    cases
}

enum Place {
    Value(String),
    Key(String, String),
}

fn walk(value: &Value, pointer: String, places: &mut Vec<Place>) {
    match value {
        Value::String(_) => places.push(Place::Value(pointer)),
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                walk(value, format!("{pointer}/{index}"), places);
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                let maps = ["environment", "secret_env", "build_args"];
                if maps.iter().any(|map| pointer.ends_with(map)) {
                    places.push(Place::Key(pointer.clone(), key.clone()));
                }
                walk(value, format!("{pointer}/{key}"), places);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
