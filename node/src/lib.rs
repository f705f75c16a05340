//! The node daemon: config, discovery, installs, JSON-RPC API, web UI.

pub mod api;
