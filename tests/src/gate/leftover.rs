//! What a node still has of an app that is gone. Reads only.

use crate::node::TestNode;

/// What podman and systemd have of the app whose slug is the first argument and whose label is the second.
const RUNNING: &str = r#"
set -e
slug=$1
label=$2
say() { while read -r found; do echo "$1 $found"; done; }
ls -d ".config/containers/systemd/archy/$slug" 2>/dev/null | say 'unit folder' || true
systemctl --user list-units --all --plain --no-legend "archy.$slug.*" "archy.$slug-*" | say unit
systemctl --user list-unit-files --no-legend "archy.$slug.*" "archy.$slug-*" | say 'unit file'
podman ps --all --format '{{.Names}}' --filter "label=io.archy.app=$label" | say container
podman ps --all --format '{{.Names}}' --filter "name=^$slug(-|$)" | say container
podman network ls --format '{{.Name}}' --filter "name=^archy\.$slug$" | say network
podman volume ls --format '{{.Name}}' --filter "name=^archy\.$slug\." | say volume
podman secret ls --format '{{.Name}}' | grep "^archy\.$slug\." | say secret || true
podman images --all --format '{{.Repository}}:{{.Tag}}' | grep "/archy/$slug/" | say image || true
"#;

/// Files that bear the app's name.
const STORED: &str = r#"
find .local/share/archy .config/archy .config/containers \
  \( -name "$1" -o -name "$1.*" -o -name ".purging-$1" -o -name "archy.$1.*" \) 2>/dev/null | say file || true
"#;

/// What podman has of anything.
const ANYTHING: &str = r#"
set -e
say() { while read -r found; do echo "$1 $found"; done; }
podman ps --all --format '{{.Names}}' | say container
podman network ls --format '{{.Name}}' | grep -v '^podman$' | say network || true
podman volume ls --format '{{.Name}}' | say volume
podman secret ls --format '{{.Name}}' | say secret
podman images --all --format '{{.ID}} {{.Repository}}:{{.Tag}}' | say image
"#;

/// Lists what the node still has of an app besides its data.
///
/// # Errors
///
/// When podman or systemd do not answer.
pub async fn running(node: &TestNode, slug: &str, label: &str) -> anyhow::Result<Vec<String>> {
    lines(node, RUNNING, &[slug, label]).await
}

/// Lists what the node still has of an app, its data included.
///
/// # Errors
///
/// When podman or systemd do not answer.
pub async fn anything_of(node: &TestNode, slug: &str, label: &str) -> anyhow::Result<Vec<String>> {
    lines(node, &format!("{RUNNING}{STORED}"), &[slug, label]).await
}

/// Lists everything that podman has.
///
/// # Errors
///
/// When podman does not answer.
pub async fn anything(node: &TestNode) -> anyhow::Result<Vec<String>> {
    lines(node, ANYTHING, &[]).await
}

async fn lines(node: &TestNode, script: &str, arguments: &[&str]) -> anyhow::Result<Vec<String>> {
    let mut argv = vec!["sh", "-c", script, "sh"];
    argv.extend(arguments);
    let said = node.exec_ok(&argv).await?;
    Ok(said.lines().map(str::to_owned).collect())
}
