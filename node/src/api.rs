//! The API: JSON-RPC 2.0, server-sent events, sessions, and the types they share with clients.

pub mod types;
