//! archy.
fn main() {}
