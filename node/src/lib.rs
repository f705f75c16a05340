//! The node daemon: config, discovery, installs, JSON-RPC API, web UI.

pub mod api;
pub mod auth;
pub mod config;
pub mod database;
pub mod jobs;
