//! What exists and who vouches for it: manifests, DID signatures, releases, trust, SQLite.
