//! End-to-end tests: the real daemon, podman, systemd, relays and browser on real nodes.

mod arrows;
mod browser;
mod journey;
mod kill;
mod node;
mod refusals;
mod stack;
mod stolen_key;
