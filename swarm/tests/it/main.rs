//! Swarm nodes that talk over real UDP sockets on the loopback interface.

mod access;
mod fetch;
mod resume;
mod support;
