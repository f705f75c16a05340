//! Announces and hears of releases over Nostr relays.
