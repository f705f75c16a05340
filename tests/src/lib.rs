//! End-to-end tests, the test node, browser tests, benchmarks.

pub mod node;
