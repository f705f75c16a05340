//! `manifest.yml`: what is accepted, and what each refusal says.

use archy_registry::manifest::{self, Condition, HealthKind, Manifest, PullPolicy, Source};

use crate::common::{SITE, site};

const STACK: &str = include_str!("manifest/stack.yml");

/// Everything that is said about a manifest, as a person sees it.
fn said(yaml: &str) -> String {
    match manifest::parse(yaml) {
        Ok(parsed) => {
            let warnings: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
            format!("accepted; {}", warnings.join("; "))
        }
        Err(error) => error.to_string(),
    }
}

/// Says it for the site's manifest with one text replaced.
fn changed(from: &str, to: &str) -> String {
    assert!(SITE.contains(from), "{from}");
    said(&SITE.replacen(from, to, 1))
}

/// Says it for the site's manifest with lines added to its only container.
fn with(lines: &str) -> String {
    let indented: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    changed("    ports:", &format!("{indented}    ports:"))
}

#[test]
fn a_whole_stack_is_read() {
    let parsed = manifest::parse(STACK).unwrap();
    assert!(parsed.warnings.is_empty());
    insta::assert_json_snapshot!(parsed.manifest);
}

#[test]
fn the_old_single_container_forms_are_read() {
    let old = "
app: {id: old-app, name: Old, version: '1', tagline: Old, category: other}
container:
  image: docker.io/library/nginx:1.27
  pull_policy: always
";
    let parsed = manifest::parse(old).unwrap();
    let container = &parsed.manifest.containers[0];
    assert_eq!(container.name.as_str(), "old-app");
    let expected = Source::Pull {
        image: "docker.io/library/nginx:1.27".to_owned(),
        pull_policy: PullPolicy::Always,
    };
    assert_eq!(container.source, expected);
    insta::assert_snapshot!(said(old), @r#"accepted; line 4, column 10: container.image is the old form; write source: {type: pull, image: "docker.io/library/nginx:1.27"}"#);

    let single = SITE.replace("containers:\n  - name", "container:\n    name");
    assert_eq!(manifest::parse(&single).unwrap().manifest, site());
}

#[test]
fn a_dependency_may_be_written_as_a_name() {
    let manifest = manifest::parse(STACK).unwrap().manifest;
    let edges = &manifest.containers[1].depends_on;
    assert_eq!(edges[0].container.as_str(), "db");
    assert_eq!(edges[0].condition, Condition::Healthy);
    let check = manifest.containers[0].health_check.as_ref().unwrap();
    assert_eq!(check.kind, HealthKind::Exec);
}

#[test]
fn scalars_are_read_as_what_the_field_is() {
    let yaml = SITE.replace("version: 1.0.0", "version: 1.10").replace(
        "    ports:",
        "    environment: {PORT: 8080, ON: yes, RATIO: 0.10, EMPTY: ''}\n    resources: {cpus: 0.5, memory: 512M}\n    ports:",
    );
    let manifest = manifest::parse(&yaml).unwrap().manifest;
    assert_eq!(manifest.app.version, "1.10");
    let container = &manifest.containers[0];
    let values: Vec<_> = container.environment.values().map(String::as_str).collect();
    assert_eq!(values, ["", "yes", "8080", "0.10"]);
    assert_eq!(container.resources.cpus.unwrap().millis(), 500);
}

#[test]
fn users_of_its_own_are_written_down_and_others_are_not() {
    let written =
        |yaml: &str| serde_json::to_value(manifest::parse(yaml).unwrap().manifest).unwrap();
    let shared = SITE.replacen("    ports:", "    user_namespace: shared\n    ports:", 1);
    assert_eq!(written(&shared), written(SITE));
    let own = shared.replace("user_namespace: shared", "user_namespace: own");
    assert_eq!(written(&own)["containers"][0]["user_namespace"], "own");
    let max = own.replace("    ports:", "    user: '65534:65534'\n    ports:");
    assert!(manifest::parse(&max).is_ok());
}

/// Joins cases into one snapshot.
fn table(cases: &[(&str, String)]) -> String {
    cases
        .iter()
        .map(|(case, said)| format!("## {case}\n{said}\n"))
        .collect()
}

#[test]
fn faults_in_writing_say_where_and_what() {
    let said = table(&[
        ("unknown field", changed("    ports:", "    prots:")),
        ("unknown field, nothing near", with("privileged: true")),
        (
            "unknown field at the top",
            said(&format!("{SITE}volumes: []\n")),
        ),
        (
            "unknown field in flow style",
            changed("host: 8081", "hostt: 8081"),
        ),
        (
            "unknown field in source",
            changed("type: pull,", "type: pull, imag: x,"),
        ),
        (
            "unknown value",
            changed("category: publishing", "category: publishin"),
        ),
        ("unknown value of a container", with("user_namespace: host")),
        (
            "unknown value, nothing near",
            changed("category: publishing", "category: games"),
        ),
        ("missing field", changed("  version: 1.0.0\n", "")),
        (
            "missing field in a list",
            changed(
                "{type: pull, image: localhost/site:1}",
                "{image: localhost/site:1}",
            ),
        ),
        (
            "missing container",
            said("app: {id: a, name: A, version: '1', tagline: A, category: other}\n"),
        ),
        (
            "missing name",
            changed("  - name: web\n    source", "  - source"),
        ),
        (
            "both forms",
            said(&format!("{SITE}container: {{image: x}}\n")),
        ),
        ("image beside source", with("image: x")),
        (
            "foreign field of a source",
            changed("type: pull,", "type: pull, tag: x,"),
        ),
        (
            "list where a map belongs",
            changed("{type: pull, image: localhost/site:1}", "[pull]"),
        ),
        (
            "text where a number belongs",
            changed("container: 8080", "container: http"),
        ),
        (
            "number too large",
            changed("container: 8080", "container: 65536"),
        ),
        (
            "negative number",
            changed("container: 8080", "container: -1"),
        ),
        ("boolean", with("readonly_root: yes")),
        ("slug", changed("id: site", "id: My_Site")),
        ("span", with("stop_timeout: 10 seconds")),
        ("size", with("resources: {memory: lots}")),
        ("null", changed("name: Tiny Site", "name:")),
        (
            "twice",
            changed("  name: Tiny Site", "  name: Tiny Site\n  name: Other"),
        ),
        ("tab", changed("  name: Tiny Site", "\tname: Tiny Site")),
        ("broken flow", changed("host: 8081}]", "host: 8081]")),
        ("alias", said("a: &x [1]\nb: *x\n")),
        ("bomb", said("a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n")),
        ("merge key", said("app:\n  <<: {id: a}\n")),
        ("tag", changed("name: Tiny Site", "name: !!str Tiny Site")),
        ("second document", said(&format!("{SITE}---\n{SITE}"))),
        ("directive", said(&format!("%YAML 1.2\n---{SITE}"))),
        ("complex key", said("? [a, b]\n: c\n")),
        ("deep", said(&"[".repeat(100))),
        ("empty", said("")),
        ("not a map", said("hello\n")),
        ("too large", said(&" ".repeat(64 * 1024 + 1))),
    ]);
    insta::assert_snapshot!(said);
}

#[test]
fn faults_against_the_contract_say_where_and_what() {
    let said = table(&[
        (
            "line break in a value",
            with("environment: {A: \"x\\n[Service]\\nExecStart=/bin/sh\"}"),
        ),
        ("control character", with("command: [\"a\\u0007\"]")),
        ("NEL", with("command: [\"a\\u0085b\"]")),
        ("line separator", with("command: [\"a\\u2028b\"]")),
        ("NUL", with("entrypoint: [\"/bin/x\\0\"]")),
        (
            "bidi",
            changed("name: Tiny Site", "name: \"Tiny \\u202eetiS\""),
        ),
        (
            "environment name",
            with("environment: {1A: x, 'A B': y, 'A=B': z}"),
        ),
        (
            "environment twice",
            with("environment: {A: x}\nsecret_env: {A: password}"),
        ),
        ("unknown secret", with("secret_env: {PASSWORD: password}")),
        ("user", with("user: 'root;id'")),
        ("user too high", with("user: '70000'")),
        (
            "port 0",
            changed("container: 8080, host: 8081", "container: 0"),
        ),
        (
            "port twice",
            changed(
                "[{container: 8080, host: 8081}]",
                "[{container: 8080}, {container: 8080}]",
            ),
        ),
        (
            "host port twice",
            changed(
                "[{container: 8080, host: 8081}]",
                "[{container: 8080, host: 1}, {container: 81, host: 1}]",
            ),
        ),
        (
            "volume targets",
            with(
                "volumes:\n- {name: a, target: /}\n- {name: b, target: /data/../etc}\n- {name: c, target: data}\n- {name: d, target: /proc/sys}\n- {name: e, target: '/a:/b'}\n- {name: f, target: /a//b}\n- {name: g, target: /sys}",
            ),
        ),
        (
            "volume target twice",
            with("volumes: [{name: a, target: /a}, {name: b, target: /a}]"),
        ),
        (
            "volume owners",
            with(
                "volumes: [{name: a, target: /a, data_uid: 1}, {name: a, target: /b, data_uid: 2}]",
            ),
        ),
        (
            "capability",
            with("capabilities: [SYS_ADMIN, CAP_CHOWN, CHOWN, CHOWN]"),
        ),
        (
            "device",
            with("devices: [/dev/mem, /dev/sda, /dev/dri/../sda, /etc/passwd, /dev/dri]"),
        ),
        ("image", changed("localhost/site:1", "'Localhost/Site:1'")),
        (
            "image with an option",
            changed("localhost/site:1", "'--privileged'"),
        ),
        (
            "website",
            changed(
                "  category:",
                "  website: http://a.example\n  source: https://u:p@a.example\n  category:",
            ),
        ),
        ("health http", with("health_check: {type: http}")),
        (
            "health tcp",
            with("health_check: {type: tcp, port: 1, path: /, command: [a]}"),
        ),
        ("health exec", with("health_check: {type: exec, port: 1}")),
        (
            "health times",
            with("health_check: {type: tcp, port: 1, interval: 1500ms, timeout: 2h, retries: 0}"),
        ),
        ("depends on nothing", with("depends_on: [db]")),
        (
            "depends on itself",
            with("health_check: {type: tcp, port: 1}\ndepends_on: [web]"),
        ),
        (
            "circle",
            said(&STACK.replace(
                "# db waits here",
                "depends_on: [{container: web, condition: started}]",
            )),
        ),
        (
            "healthy without a check",
            said(&STACK.replace("{container: db, condition: started}", "plain")),
        ),
        (
            "host network",
            said(&STACK.replace("network_policy: outbound", "network_policy: host")),
        ),
        (
            "interface port",
            changed("port: 8080, type: ui", "port: 8081, type: ui"),
        ),
        (
            "interface path",
            changed("type: ui", "type: ui, path: 'javascript:alert(1)'"),
        ),
        (
            "secret kinds",
            said(&format!(
                "{SITE}generated_secrets:\n- {{name: a, kind: bcrypt}}\n- {{name: b, kind: bcrypt, from: a}}\n- {{name: b, kind: hex16, from: a}}\n"
            )),
        ),
        (
            "hooks",
            said(&format!(
                "{SITE}hooks:\n  post_install:\n  - exec: {{container: db, command: []}}\n  - copy_from_host: {{from: ../x, container: web, to: /proc/x}}\n"
            )),
        ),
        (
            "values",
            with(
                "environment: {A: '${HOME}', B: '${app.port.1}', C: '${secret.x} ${dependency.y.z}', D: '${app.host.z}', E: '${open', F: '$${HOME}'}",
            ),
        ),
        (
            "exports",
            said(&format!(
                "{SITE}exports:\n- {{name: a, value: '${{dependency.x.y}}'}}\n- {{name: a, value: '${{app.host.web}}'}}\n"
            )),
        ),
        (
            "tmpfs",
            with(
                "volumes: [{name: a, target: /a}]\ntmpfs: [{target: /a}, {target: /proc/x}, {target: /b, size: 1K}]",
            ),
        ),
        ("devices", with("devices: [nvidia.com/gpu, /dev/mem]")),
        (
            "users of its own",
            with(
                "user_namespace: own\nuser: '65535:65535'\nvolumes: [{name: a, target: /a, data_uid: 65535}]\ndevices: [/dev/dri]",
            ),
        ),
        (
            "users of its own and others in one volume",
            said(&STACK.replace(
                "image: localhost/blog-cron}",
                "image: localhost/blog-cron}\n    user_namespace: own",
            )),
        ),
        (
            "backup",
            said(&format!("{SITE}backup: {{exclude: [../x, /etc, 'a b']}}\n")),
        ),
        (
            "container name",
            said(&format!("{STACK}extensions: {{container_name: x}}\n")),
        ),
        ("version", changed("version: 1.0.0", "version: '1.0; rm'")),
        (
            "dependency",
            said(&format!(
                "{SITE}dependencies:\n- {{publisher: 'did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp', app: x, version: newest}}\n"
            )),
        ),
        (
            "dependency by name",
            said(&format!(
                "{SITE}dependencies:\n- {{publisher: bob, app: x}}\n"
            )),
        ),
    ]);
    insta::assert_snapshot!(said);
}

#[test]
fn every_text_refuses_line_breaks() {
    let normal = serde_json::to_value(manifest::parse(STACK).unwrap().manifest).unwrap();
    let mut paths = Vec::new();
    strings(&normal, String::new(), &mut paths);
    assert!(paths.len() > 60, "{}", paths.len());
    let markdown = ["/app/description", "/app/release_notes"];
    for path in paths {
        for poison in [
            "a\nb",
            "a\rb",
            "a\0b",
            "a\u{85}b",
            "a\u{2028}b",
            "\n[Service]\nExecStart=/bin/sh",
        ] {
            let mut changed = normal.clone();
            *changed.pointer_mut(&path).unwrap() = poison.into();
            let accepted = serde_json::from_value::<Manifest>(changed)
                .is_ok_and(|manifest| manifest.check().is_ok());
            let allowed = markdown.contains(&path.as_str())
                && !poison.contains(['\r', '\0', '\u{85}', '\u{2028}']);
            assert_eq!(accepted, allowed, "{path} {poison:?}");
        }
    }
}

/// Lists the JSON pointers of all texts.
fn strings(value: &serde_json::Value, path: String, found: &mut Vec<String>) {
    match value {
        serde_json::Value::String(_) => found.push(path),
        serde_json::Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                strings(item, format!("{path}/{index}"), found);
            }
        }
        serde_json::Value::Object(members) => {
            for (key, member) in members {
                strings(member, format!("{path}/{key}"), found);
            }
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

#[test]
fn the_apps_that_ship_with_the_project_are_read() {
    let apps = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../apps"));
    let mut read = 0;
    for entry in std::fs::read_dir(apps).unwrap() {
        let path = entry.unwrap().path().join("manifest.yml");
        let Ok(yaml) = std::fs::read_to_string(&path) else {
            continue;
        };
        let parsed = manifest::parse(&yaml).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let dir = path.parent().unwrap().file_name().unwrap();
        assert_eq!(
            dir.to_str(),
            Some(parsed.manifest.app.id.as_str()),
            "{path:?}"
        );
        read += 1;
    }
    assert!(read >= 3, "{read} apps");
}
