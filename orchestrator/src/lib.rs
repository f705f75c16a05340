//! Makes the machine match the wish: Quadlet units, secrets, health, reconcile.

mod disk;
pub mod names;
pub mod quadlet;
pub mod runtime;
pub mod settings;
