//! Empty: stands in for a dependency of a binary that is not built.
