//! Whether the documents of an image say the same to every reader: podman's (Go's encoding/json) takes a member whose name
//! differs in case, ours does not; pure.

use serde_json::Value;

/// Finds a member of a manifest that podman may read as another one, and says so.
pub(super) fn in_manifest(manifest: &Value) -> Option<String> {
    let layers = manifest["layers"].as_array();
    mistaken(
        manifest,
        &["schemaVersion", "mediaType", "config", "layers"],
    )
    .or_else(|| in_descriptor(&manifest["config"]))
    .or_else(|| layers?.iter().find_map(in_descriptor))
}

/// Finds a member of a configuration that podman may read as another one, and says so.
pub(super) fn in_config(config: &Value) -> Option<String> {
    mistaken(config, &["config", "rootfs"])
        .or_else(|| mistaken(&config["rootfs"], &["type", "diff_ids"]))
}

fn in_descriptor(descriptor: &Value) -> Option<String> {
    mistaken(descriptor, &["mediaType", "digest", "size"])
}

fn mistaken(object: &Value, names: &[&str]) -> Option<String> {
    object.as_object()?.keys().find_map(|key| {
        let mut names = names.iter();
        let name = names.find(|name| *name != key && folded(name) == folded(key))?;
        Some(format!(
            "it has a member {key:?} that may pass for {name:?}"
        ))
    })
}

/// A name as Go compares it: beside their other case, only these two characters pass for ASCII letters (Unicode's simple
/// case folding).
fn folded(name: &str) -> String {
    let letters = name.chars().map(|letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    });
    letters.collect()
}
