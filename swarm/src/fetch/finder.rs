//! How a fetch that hears from nobody is helped to more endpoints.

use std::fmt;
use std::sync::Arc;

use archy_registry::release::Endpoint;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

/// Looks for endpoints that may have what is fetched, somewhere that the swarm knows nothing of. It is asked at most once
/// in a fetch, when nothing has come for a while; what it finds is a hint, to be proven like any other.
#[derive(Clone)]
pub struct Finder(Arc<dyn Fn() -> BoxFuture<'static, Vec<Endpoint>> + Send + Sync>);

impl Finder {
    /// Looks by calling `find`, whose future may be dropped at any time.
    pub fn new<F>(find: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Vec<Endpoint>> + Send + 'static,
    {
        Self(Arc::new(move || find().boxed()))
    }

    pub(super) fn find(&self) -> BoxFuture<'static, Vec<Endpoint>> {
        (self.0)()
    }
}

impl fmt::Debug for Finder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Finder")
    }
}
