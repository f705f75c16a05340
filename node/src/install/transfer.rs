//! A fetch's progress in words.

use archy_swarm::fetch::ProviderProgress;
use archy_swarm::image::delta::Plan;
use archy_swarm::{Fetched, Progress, ProviderKind};

use crate::api::types::{ProviderShare, Transfer};
pub(super) use crate::problem::megabytes;

/// Returns how far it is (0–1), a sentence, and the figures; `spared_bytes` were not even asked for.
pub(super) fn describe(progress: &Progress, spared_bytes: u64) -> (f64, String, Transfer) {
    let fraction = if progress.bytes_total == 0 {
        0.0
    } else {
        progress.bytes_done as f64 / progress.bytes_total as f64
    };
    let left = progress.bytes_total.saturating_sub(progress.bytes_done);
    let seconds_left = left
        .checked_div(progress.bytes_per_second)
        .and_then(|seconds| u32::try_from(seconds).ok());
    let providers = progress.providers.len();
    let message = format!(
        "Fetching {} of {}{}",
        megabytes(progress.bytes_done),
        megabytes(progress.bytes_total),
        match providers {
            0 => String::new(),
            1 => " from 1 node".to_owned(),
            n => format!(" from {n} nodes"),
        }
    );
    let transfer = Transfer {
        done_bytes: progress.bytes_done,
        total_bytes: progress.bytes_total,
        bytes_per_second: progress.bytes_per_second,
        seconds_left,
        whole_bytes: progress.bytes_total.saturating_add(spared_bytes),
        reused_bytes: progress.bytes_reused.saturating_add(spared_bytes),
        providers: progress
            .providers
            .iter()
            .map(|provider| ProviderShare {
                id: provider.id.to_string(),
                kind: match provider.kind {
                    ProviderKind::Lan => "lan",
                    ProviderKind::Origin => "origin",
                    ProviderKind::Peer => "peer",
                }
                .to_owned(),
                bytes: provider.bytes,
            })
            .collect(),
    };
    (fraction, message, transfer)
}

/// Returns a sentence and the figures of a fetch that has ended.
pub(super) fn summarise(fetched: &Fetched, spared_bytes: u64) -> (String, Transfer) {
    let progress = Progress {
        bytes_done: fetched.bytes_total,
        bytes_total: fetched.bytes_total,
        bytes_reused: fetched.bytes_reused,
        providers: fetched
            .providers
            .iter()
            .filter(|provider| provider.bytes > 0)
            .map(|provider| ProviderProgress {
                id: provider.id,
                kind: provider.kind,
                bytes: provider.bytes,
            })
            .collect(),
        ..Progress::default()
    };
    let (_, message, transfer) = describe(&progress, spared_bytes);
    (message, transfer)
}

/// Says how much a plan fetches.
pub(super) fn needs(plan: &Plan) -> String {
    format!(
        "Needs {} of {}",
        megabytes(plan.bytes_needed),
        megabytes(plan.bytes_of_all)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_become_a_sentence() {
        let mut progress = Progress {
            bytes_done: 38_200_000,
            bytes_total: 412_000_000,
            bytes_per_second: 10_000_000,
            ..Progress::default()
        };
        progress.bytes_reused = 12_000_000;
        let (fraction, message, transfer) = describe(&progress, 100_000_000);
        assert_eq!(transfer.whole_bytes, 512_000_000);
        assert_eq!(transfer.reused_bytes, 112_000_000);
        assert_eq!(
            message,
            "Fetching 38 of 412 MB".replace("38 of", "38 MB of")
        );
        assert_eq!(transfer.seconds_left, Some(37));
        assert!((fraction - 0.0927).abs() < 0.001);
        progress.bytes_per_second = 0;
        assert_eq!(describe(&progress, 0).2.seconds_left, None);
        assert_eq!(describe(&Progress::default(), 0).0, 0.0);
    }
}
