//! The command line for app developers and node owners.
