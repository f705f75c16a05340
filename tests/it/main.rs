//! End-to-end tests: the real daemon, podman, systemd, relays and browser on real nodes.

mod arrows;
#[expect(
    clippy::unwrap_used,
    reason = "a step of an attack that fails has failed the test"
)]
mod attacks;
mod backups;
// The daemon in this process with a machine that has no podman: archyd's own tests keep it.
#[expect(
    clippy::unwrap_used,
    dead_code,
    reason = "it is written for archyd's own tests, which need more of it"
)]
#[path = "../../node/tests/it/bed.rs"]
mod bed;
mod browser;
mod develop;
#[expect(
    clippy::unwrap_used,
    dead_code,
    reason = "it is written for archyd's own tests, which need more of it"
)]
#[path = "../../node/tests/it/http.rs"]
mod http;
mod journey;
mod kill;
#[expect(
    clippy::unwrap_used,
    dead_code,
    reason = "it is written for archyd's own tests, which need more of it"
)]
#[path = "../../node/tests/it/machine.rs"]
mod machine;
mod node;
mod orchestrator;
mod reconcile;
mod refusals;
#[expect(
    clippy::unwrap_used,
    reason = "it is written for archyd's own tests, which need more of it"
)]
#[path = "../../node/tests/it/shelf.rs"]
mod shelf;
mod stack;
mod stolen_key;
