//! The machine's edges: systemd over D-Bus, podman over its socket, the journal. They know units and containers, no apps.

pub mod journal;
pub mod podman;
pub mod systemd;
