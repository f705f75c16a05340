//! End-to-end tests, the test node, browser tests, benchmarks.

pub mod http;
pub mod node;
pub mod stage;
