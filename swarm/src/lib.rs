//! Moves bytes by digest over iroh; packs and serves OCI images; knows no apps.
