//! What an image hands down to each of its containers, and how much of that a node takes; pure.
//!
//! podman keeps it with every container and lists most of it whenever it lists all containers: an image without measure
//! would make the one list unreadable from which a node knows how all its apps are.

use serde_json::Value;

/// Most bytes of labels, names and values together. In podman's list a byte can become six.
const LABELS_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of the manifest's annotations.
const ANNOTATIONS_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of variables.
const VARIABLES_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of the entry point, the command and all else that says how it runs.
const COMMAND_BYTES_MAX: usize = 32 * 1024;
/// Most volumes.
const VOLUMES_MAX: usize = 64;
/// Most bytes of the paths of volumes.
const VOLUMES_BYTES_MAX: usize = 16 * 1024;
/// Most ports; some images name each of a long range.
const PORTS_MAX: usize = 20_000;

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
            ("bytes of labels", self.labels_bytes, LABELS_BYTES_MAX),
            (
                "bytes of annotations",
                self.annotations_bytes,
                ANNOTATIONS_BYTES_MAX,
            ),
            (
                "bytes of variables",
                self.variables_bytes,
                VARIABLES_BYTES_MAX,
            ),
            ("bytes of commands", self.command_bytes, COMMAND_BYTES_MAX),
            ("volumes", self.volumes, VOLUMES_MAX),
            (
                "bytes of paths of volumes",
                self.volumes_bytes,
                VOLUMES_BYTES_MAX,
            ),
            ("exposed ports", self.ports, PORTS_MAX),
        ];
        let (what, there, most) = measures.into_iter().find(|(_, there, most)| there > most)?;
        Some(format!("{there} {what}, more than the {most} allowed"))
    }
}

/// Bytes of all texts and names in a value.
fn bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(bytes).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| name.len() + bytes(value))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
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
            "Labels": {"org.opencontainers.image.title": "x".repeat(30_000)},
            "Env": ["PATH=/usr/bin", "VERSION=1"],
            "Entrypoint": ["/bin/sh", "-c", "exec serve"],
            "Cmd": null,
            "Volumes": {"/data": {}, "/config": {}},
            "ExposedPorts": many(16_385),
            "User": "1000",
        });
        let annotations = json!({"org.opencontainers.image.base.name": "docker.io/library/alpine"});
        assert_eq!(Baggage::of(&config, &annotations).excess(), None);
        assert_eq!(Baggage::of(&Value::Null, &Value::Null).excess(), None);
        assert_eq!(Baggage::of(&json!([1]), &json!(true)).excess(), None);
    }

    #[test]
    fn more_than_is_allowed_is_told_in_words() {
        let long = |bytes: usize| "<".repeat(bytes);
        let labels: serde_json::Map<_, _> = (0..100)
            .map(|n| (format!("{n:03}"), json!(long(653))))
            .collect();
        let none = Value::Null;
        let cases = [
            (
                json!({"Labels": labels}),
                none.clone(),
                "65600 bytes of labels, more than the 65536 allowed",
            ),
            (
                none.clone(),
                json!({"a": long(65_536)}),
                "65537 bytes of annotations, more than the 65536 allowed",
            ),
            (
                json!({"Env": ["A=1", long(65_536)]}),
                none.clone(),
                "65539 bytes of variables, more than the 65536 allowed",
            ),
            (
                json!({"Cmd": [long(30_000)], "Entrypoint": [long(3000)]}),
                none.clone(),
                "33000 bytes of commands, more than the 32768 allowed",
            ),
            (
                json!({"Healthcheck": {"Test": ["CMD", long(32_768)]}}),
                none.clone(),
                "32775 bytes of commands, more than the 32768 allowed",
            ),
            (
                json!({"Volumes": many(65)}),
                none.clone(),
                "65 volumes, more than the 64 allowed",
            ),
            (
                json!({"Volumes": {long(16_385): {}}}),
                none.clone(),
                "16385 bytes of paths of volumes, more than the 16384 allowed",
            ),
            (
                json!({"ExposedPorts": many(20_001)}),
                none,
                "20001 exposed ports, more than the 20000 allowed",
            ),
        ];
        for (config, annotations, expected) in cases {
            let excess = Baggage::of(&config, &annotations).excess();
            assert_eq!(excess.as_deref(), Some(expected));
        }
    }
}
