//! (packing follows)
