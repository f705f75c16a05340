//! archyd.
fn main() {}
