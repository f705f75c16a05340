//! What an image hands down to each of its containers, and how much of that a node takes; pure.
//!
//! podman keeps it with every container and lists most of it whenever it lists all containers: an image without measure
//! would make the one list unreadable from which a node knows how all its apps are. So texts are measured as podman writes
//! them there: in JSON, where a byte can become six.

use serde_json::Value;

/// Most bytes of labels in JSON, names and values together; some builders put lists of all packages there.
const LABELS_BYTES_MAX: usize = 384 * 1024;
/// Most bytes of the manifest's annotations in JSON.
const ANNOTATIONS_BYTES_MAX: usize = 384 * 1024;
/// Most bytes of variables in JSON.
const VARIABLES_BYTES_MAX: usize = 384 * 1024;
/// Most bytes in JSON of the entry point, the command and all else that says how it runs.
const COMMAND_BYTES_MAX: usize = 192 * 1024;
/// Most volumes.
const VOLUMES_MAX: usize = 64;
/// Most bytes of the paths of volumes in JSON.
const VOLUMES_BYTES_MAX: usize = 96 * 1024;
/// Most ports; some images name each of a long range, twice: 32 768 for what a TURN server uses over TCP and UDP.
const PORTS_MAX: usize = 40_000;

/// How much an image hands down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Baggage {
    labels_bytes: usize,
    annotations_bytes: usize,
    variables_bytes: usize,
    command_bytes: usize,
    volumes: usize,
    volumes_bytes: usize,
    ports: usize,
}

impl Baggage {
    /// Measures the member `config` of an OCI image configuration (image-spec `config.md`) and the annotations of its
    /// manifest; either may be missing.
    pub fn of(config: &Value, annotations: &Value) -> Self {
        let count = |member: &Value| member.as_object().map_or(0, serde_json::Map::len);
        let mut baggage = Self {
            annotations_bytes: bytes(annotations),
            volumes: count(&config["Volumes"]),
            ports: count(&config["ExposedPorts"]),
            ..Self::default()
        };
        for (name, member) in config.as_object().into_iter().flatten() {
            match name.as_str() {
                "Labels" => baggage.labels_bytes = bytes(member),
                "Env" => baggage.variables_bytes = bytes(member),
                "Volumes" => baggage.volumes_bytes = bytes(member),
                "ExposedPorts" => {}
                // The user, the directory and the signal, health checks and what is yet to come.
                _ => baggage.command_bytes += bytes(member),
            }
        }
        baggage
    }

    /// Says what there is too much of; `None` when a node takes it.
    pub fn excess(&self) -> Option<String> {
        let measures = [
            (
                "bytes of labels in JSON",
                self.labels_bytes,
                LABELS_BYTES_MAX,
            ),
            (
                "bytes of annotations in JSON",
                self.annotations_bytes,
                ANNOTATIONS_BYTES_MAX,
            ),
            (
                "bytes of variables in JSON",
                self.variables_bytes,
                VARIABLES_BYTES_MAX,
            ),
            (
                "bytes of commands in JSON",
                self.command_bytes,
                COMMAND_BYTES_MAX,
            ),
            ("volumes", self.volumes, VOLUMES_MAX),
            (
                "bytes of paths of volumes in JSON",
                self.volumes_bytes,
                VOLUMES_BYTES_MAX,
            ),
            ("exposed ports", self.ports, PORTS_MAX),
        ];
        let (what, there, most) = measures.into_iter().find(|(_, there, most)| there > most)?;
        Some(format!("{there} {what}, more than the {most} allowed"))
    }
}

/// Bytes of all texts and names in a value, as JSON.
fn bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text_bytes(text),
        Value::Array(items) => items.iter().map(bytes).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| text_bytes(name) + bytes(value))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Bytes of a text in JSON as Go's encoding/json writes it, without the quotation marks.
fn text_bytes(text: &str) -> usize {
    text.chars().map(character_bytes).sum()
}

fn character_bytes(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        // Two for \u{8} and \u{c} from Go 1.22 on, which podman need not be made with.
        '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => 6,
        other => other.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn many(count: usize) -> Value {
        let members = (0..count).map(|n| (format!("/{n}"), json!({})));
        members.collect::<serde_json::Map<_, _>>().into()
    }

    #[test]
    fn what_real_images_hand_down_is_taken() {
        let config = json!({
            "Labels": {
                "org.opencontainers.image.title": "x".repeat(30_000),
                "io.buildpacks.build.metadata": r#"{"bom":[{"name":"a"}]}"#.repeat(9_000),
            },
            "Env": ["PATH=/usr/bin", "VERSION=1"],
            "Entrypoint": ["/bin/sh", "-c", "exec serve"],
            "Cmd": null,
            "Volumes": {"/data": {}, "/config": {}},
            "ExposedPorts": many(32_768),
            "User": "1000",
        });
        let annotations = json!({"org.opencontainers.image.base.name": "docker.io/library/alpine"});
        assert_eq!(Baggage::of(&config, &annotations).excess(), None);
        assert_eq!(Baggage::of(&Value::Null, &Value::Null).excess(), None);
        assert_eq!(Baggage::of(&json!([1]), &json!(true)).excess(), None);
    }

    #[test]
    fn more_than_is_allowed_is_told_in_words() {
        let long = |bytes: usize| "a".repeat(bytes);
        // Six bytes each in JSON.
        let escaped = |count: usize| "<".repeat(count);
        let labels: serde_json::Map<_, _> = (0..100)
            .map(|n| (format!("{n:03}"), json!(escaped(655))))
            .collect();
        let none = Value::Null;
        let cases = [
            (
                json!({"Labels": labels}),
                none.clone(),
                "393300 bytes of labels in JSON, more than the 393216 allowed",
            ),
            (
                none.clone(),
                json!({"a": escaped(65_536)}),
                "393217 bytes of annotations in JSON, more than the 393216 allowed",
            ),
            (
                json!({"Env": ["A=1", long(393_216)]}),
                none.clone(),
                "393219 bytes of variables in JSON, more than the 393216 allowed",
            ),
            (
                json!({"Cmd": [escaped(30_000)], "Entrypoint": [escaped(3000)]}),
                none.clone(),
                "198000 bytes of commands in JSON, more than the 196608 allowed",
            ),
            (
                json!({"Healthcheck": {"Test": ["CMD", long(196_608)]}}),
                none.clone(),
                "196615 bytes of commands in JSON, more than the 196608 allowed",
            ),
            (
                json!({"Volumes": many(65)}),
                none.clone(),
                "65 volumes, more than the 64 allowed",
            ),
            (
                json!({"Volumes": {long(98_305): {}}}),
                none.clone(),
                "98305 bytes of paths of volumes in JSON, more than the 98304 allowed",
            ),
            (
                json!({"ExposedPorts": many(40_001)}),
                none,
                "40001 exposed ports, more than the 40000 allowed",
            ),
        ];
        for (config, annotations, expected) in cases {
            let excess = Baggage::of(&config, &annotations).excess();
            assert_eq!(excess.as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_text_is_measured_as_podman_writes_it() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("a\"b\\c", r#"a\"b\\c"#),
            ("\n\r\t", r"\n\r\t"),
            ("\0\u{8}\u{c}\u{1f}", r"\u0000\u0008\u000c\u001f"),
            ("<&>", r"\u003c\u0026\u003e"),
            ("\u{2028}\u{2029}", r"\u2028\u2029"),
            ("\u{7f}ü€🦀\u{2027}", "\u{7f}ü€🦀\u{2027}"),
        ] {
            assert_eq!(bytes(&json!(text)), expected.len(), "{text:?}");
            assert_eq!(
                bytes(&json!({text: [text]})),
                2 * expected.len(),
                "{text:?}"
            );
        }
    }
}
