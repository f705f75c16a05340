//! Makes the machine match the wish: Quadlet units, secrets, health, reconcile.
