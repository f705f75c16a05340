//! End-to-end tests, the test node, browser tests, benchmarks.

pub mod hostile;
pub mod http;
pub mod node;
pub mod stage;
