//! The node's figures in the text format of Prometheus.

use super::Node;
use crate::api::types::InstanceState;

impl Node {
    pub(super) fn metrics_text(&self) -> String {
        use std::fmt::Write;
        let mut text = String::new();
        let mut gauge = |name: &str, help: &str, value: u64| {
            let _ = writeln!(
                text,
                "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}"
            );
        };
        let jobs = self.jobs.now().map_or(0, |jobs| jobs.active_count());
        gauge(
            "archy_jobs_active",
            "Jobs that have not ended.",
            jobs as u64,
        );
        let observed = self.observed();
        let running = observed
            .apps
            .iter()
            .filter(|app| app.state == InstanceState::Running);
        gauge(
            "archy_instances",
            "Installed apps.",
            observed.apps.len() as u64,
        );
        gauge(
            "archy_instances_running",
            "Installed apps that run well.",
            running.count() as u64,
        );
        if let Some(swarm) = self.swarm.now() {
            let status = swarm.status();
            gauge("archy_blobs", "Blobs held.", status.blobs as u64);
            gauge("archy_blob_bytes", "Their size.", status.blob_bytes);
            gauge(
                "archy_bytes_served",
                "Bytes sent to other nodes since the start.",
                status.bytes_served,
            );
            gauge(
                "archy_bytes_fetched",
                "Verified bytes received since the start.",
                status.bytes_fetched,
            );
        }
        text
    }
}
