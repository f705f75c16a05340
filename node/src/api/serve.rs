//! HTTP/1.1 servers on TCP and on a Unix socket, with caps on time and connections.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::guard::Connection;

/// A client must send a request's header within this time.
const HEADER_TIME_MAX: Duration = Duration::from_secs(10);
/// Connections that the Unix socket serves at once.
const UNIX_CONNECTIONS_MAX: usize = 64;
/// Pause after an accept that failed, e.g. for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// The API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The Unix socket cannot be made.
    #[error("could not listen on {}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another daemon listens there.
    #[error("another archyd listens on {} already; stop it first", .0.display())]
    InUse(PathBuf),
}

/// Serves TCP connections until `stop`, then lets requests in flight end.
pub async fn serve_tcp(
    listener: TcpListener,
    router: Router,
    connections_max: usize,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(connections_max));
    let tasks = TaskTracker::new();
    loop {
        let Some(slot) = slot(&slots, &stop).await else {
            break;
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted.and_then(|(stream, remote)| Ok((stream.local_addr()?, remote, stream))) {
            Ok((local, remote, stream)) => {
                let _ = stream.set_nodelay(true);
                let connection = Connection { local, remote };
                let router = router.clone();
                let service = tower::service_fn(move |mut request: http::Request<_>| {
                    request.extensions_mut().insert(connection);
                    router.clone().oneshot(request)
                });
                tasks.spawn(serve(stream, service, slot, stop.clone()));
            }
            Err(error) => refused(&error, &stop).await,
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// Makes the Unix socket, mode 0600; one that a dead daemon left is replaced.
///
/// # Errors
///
/// [`ServeError::InUse`] when somebody answers on it.
pub async fn bind_unix(path: &Path) -> Result<UnixListener, ServeError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let failed = |source| ServeError::Socket {
        path: path.to_owned(),
        source,
    };
    if let Some(dir) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed)?;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    if tokio::net::UnixStream::connect(path).await.is_ok() {
        return Err(ServeError::InUse(path.to_owned()));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Serves the Unix socket to processes of this user (and root) until `stop`.
pub async fn serve_unix(listener: UnixListener, router: Router, stop: CancellationToken) {
    let own = rustix::process::getuid().as_raw();
    let slots = Arc::new(Semaphore::new(UNIX_CONNECTIONS_MAX));
    let tasks = TaskTracker::new();
    loop {
        let Some(slot) = slot(&slots, &stop).await else {
            break;
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted.and_then(|(stream, _)| Ok((stream.peer_cred()?.uid(), stream))) {
            Ok((uid, stream)) if uid == own || uid == 0 => {
                let service = router.clone();
                tasks.spawn(serve(stream, service, slot, stop.clone()));
            }
            Ok((uid, _)) => tracing::warn!(uid, "refused another user on the Unix socket"),
            Err(error) => refused(&error, &stop).await,
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

async fn slot(slots: &Arc<Semaphore>, stop: &CancellationToken) -> Option<OwnedSemaphorePermit> {
    tokio::select! {
        () = stop.cancelled() => None,
        slot = Arc::clone(slots).acquire_owned() => slot.ok(),
    }
}

async fn refused(error: &std::io::Error, stop: &CancellationToken) {
    tracing::warn!(%error, "could not accept a connection");
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(ACCEPT_RETRY) => {}
    }
}

async fn serve<S, T>(stream: S, service: T, _slot: OwnedSemaphorePermit, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: tower::Service<
            http::Request<axum::body::Body>,
            Response = axum::response::Response,
            Error = std::convert::Infallible,
        > + Clone
        + Send
        + 'static,
    T::Future: Send,
{
    let service = service.map_request(|request: http::Request<hyper::body::Incoming>| {
        request.map(axum::body::Body::new)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
