//! The relay information document (NIP-11).

use serde_json::{Value, json};

use super::Config;
use crate::clock::FUTURE_SECONDS_MAX;
use crate::message::SUBSCRIPTION_ID_BYTES_MAX;

/// Returns the document.
///
/// <https://github.com/nostr-protocol/nips/blob/master/11.md>
pub(super) fn document(config: &Config) -> Value {
    let limits = &config.limits;
    json!({
        "name": config.name,
        "description": "Keeps announcements of apps for archy nodes.",
        "supported_nips": [1, 9, 11, 40],
        "software": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "limitation": {
            "max_message_length": limits.message_bytes_max,
            "max_subscriptions": limits.subscriptions_max,
            "max_limit": limits.limit_max,
            "default_limit": limits.limit_max,
            "max_subid_length": SUBSCRIPTION_ID_BYTES_MAX,
            "max_event_tags": limits.tags_max.max(limits.list_tags_max),
            "max_content_length": limits.content_bytes_max,
            "min_pow_difficulty": 0,
            "auth_required": false,
            "payment_required": false,
            "restricted_writes": true,
            "created_at_upper_limit": FUTURE_SECONDS_MAX,
        },
        "retention": [{ "kinds": config.accept.kinds, "count": limits.events_per_author_max }],
    })
}
