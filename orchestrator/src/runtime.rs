//! The machine's edges: systemd and the network over D-Bus, podman over its socket, the journal. They know units and containers, no apps.

pub mod journal;
pub mod network;
pub mod podman;
pub mod systemd;
pub(crate) mod transient;
