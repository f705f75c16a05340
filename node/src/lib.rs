//! The node daemon: config, discovery, installs, JSON-RPC API, web UI.

pub mod api;
pub mod auth;
pub mod components;
pub mod config;
pub mod daemon;
pub mod database;
pub mod follow;
pub mod install;
pub mod jobs;
pub mod judge;
pub mod machine;
pub mod markdown;
pub mod node;
mod observations;
pub mod policy;
pub mod problem;
pub mod refusals;
pub mod registries;
mod scores;
pub mod seeders;
pub mod seeding;
pub mod setup;
pub mod slot;
pub mod storage;
mod view;
pub mod voice;
mod wellbeing;
