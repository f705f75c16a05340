//! Stands in for TLS in look-ups on the internet that the relay never makes here: it speaks plain HTTP.

use std::task::{Context, Poll};

use hyper::Uri;
use hyper::client::HttpConnector;
use hyper::service::Service;

/// A connector without TLS.
#[derive(Clone, Debug)]
pub struct HttpsConnector<T>(T);

impl HttpsConnector<HttpConnector> {
    /// Makes one.
    #[allow(clippy::new_without_default, reason = "the signature of what it stands in for")]
    pub fn new() -> Self {
        Self(HttpConnector::new())
    }
}

impl Service<Uri> for HttpsConnector<HttpConnector> {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = <HttpConnector as Service<Uri>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        self.0.call(uri)
    }
}
