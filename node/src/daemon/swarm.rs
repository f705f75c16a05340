//! The swarm as a part of the daemon.

use std::time::Duration;

use archy_swarm::{Config as SwarmConfig, Discovery, RelayMode, Swarm, UploadLimits};
use jiff::Zoned;
use tokio_util::sync::CancellationToken;

use crate::components::State;
use crate::config::{Config, IrohRelays, Paths, Quota};
use crate::node::Node;

/// Wait before the swarm is started again, e.g. because its port is in use.
const RETRY: Duration = Duration::from_secs(10);

/// Runs the swarm until stopped, or until its endpoint has closed by itself: then the daemon is to start anew, since all parts
/// hold this swarm. An address that is gone is waited for by that start, with everything else running.
pub(super) async fn run(node: Node, config: Config, paths: Paths, stop: CancellationToken) {
    let config = translate(&config, &paths);
    loop {
        // The token only ends with the last stage, when nobody fetches any more.
        match Swarm::start(config.clone(), stop.child_token()).await {
            Ok(swarm) => {
                tracing::info!(endpoint = %swarm.endpoint().id, "the swarm is up");
                node.components.set("swarm", State::Running);
                node.seeding.apply(&swarm, &Zoned::now());
                node.swarm.put(swarm.clone());
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = swarm.closed() => tracing::error!(
                        listen = ?config.bind,
                        "the swarm's endpoint has closed by itself; an address of swarm.listen that this machine has lost does that"
                    ),
                }
                swarm.shutdown().await;
                return;
            }
            Err(error) => node.components.fail("swarm", State::Degraded, &error),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// What the settings let the swarm give away.
pub(super) fn ceiling(config: &Config) -> UploadLimits {
    UploadLimits {
        is_paused: false,
        bytes_per_second: config.swarm.upload,
        peer_bytes_per_second: config.swarm.upload_per_node,
    }
}

fn translate(config: &Config, paths: &Paths) -> SwarmConfig {
    let mut swarm = SwarmConfig::new(&paths.data_dir);
    swarm.dir = paths.data_dir.join("blobs");
    swarm.key_file = paths.keys_dir().join("endpoint.key");
    swarm.bind.clone_from(&config.swarm.listen);
    swarm.peers.clone_from(&config.swarm.peers);
    swarm.relay_mode = match &config.swarm.relays {
        IrohRelays::Disabled => RelayMode::Disabled,
        IrohRelays::N0 => RelayMode::N0,
        IrohRelays::Custom(urls) => RelayMode::Custom(urls.clone()),
    };
    swarm.room.quota_bytes = match config.swarm.quota {
        Quota::Auto => None,
        Quota::Bytes(bytes) => Some(bytes),
        Quota::None => Some(u64::MAX),
    };
    // Nothing is given away before it is known what its owner wants.
    swarm.uploads = UploadLimits {
        is_paused: true,
        ..ceiling(config)
    };
    swarm.discovery = Discovery {
        mdns: config.swarm.mdns,
        n0: config.swarm.relays == IrohRelays::N0,
        gossip: config.swarm.gossip,
    };
    swarm
}
