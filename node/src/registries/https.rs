//! One GET over HTTPS, as far as it is allowed to reach and to cost; the only module here that opens sockets.
//!
//! Names are resolved here and the connection goes to the very address that was checked, on every redirect
//! anew, so that neither DNS nor a server can lead a request into the owner's network.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyStream, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use url::Url;

use super::body::{self, BodyError, Limits};
use super::location::{Reach, check_url};

/// Redirects followed.
const REDIRECTS_MAX: usize = 5;
/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 4;
/// Time to reach one address.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Time to the first line of an answer.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// Slowest body that is waited for.
const BYTES_PER_SECOND_MIN: u64 = 10 * 1024;
/// Longest ETag that is kept, in bytes.
const ETAG_BYTES_MAX: usize = 256;

/// Asks over HTTPS. Cheap to clone.
#[derive(Clone)]
pub(super) struct Https {
    tls: TlsConnector,
}

/// What came of asking.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    /// 304: what the ETag names is current.
    Unchanged,
    /// New bytes, and the ETag that names them.
    New {
        /// The body.
        bytes: Vec<u8>,
        /// Its ETag.
        etag: Option<String>,
    },
}

/// Asking failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpsError {
    /// The certificates of the owner's own authority.
    #[error("cannot read certificates from {path}")]
    Authority {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The name has no address.
    #[error("{host} cannot be found")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The name leads to an address that must not be asked.
    #[error("{host} leads to {address}, an address of a private network")]
    Private {
        /// The name.
        host: String,
        /// Where it leads.
        address: std::net::IpAddr,
    },
    /// No connection.
    #[error("{host} does not answer")]
    Connect {
        /// The name.
        host: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The certificate does not hold, or no TLS.
    #[error("no secure connection to {host}")]
    Tls {
        /// The name.
        host: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not HTTP.
    #[error("{host} does not speak HTTP")]
    Http {
        /// The name.
        host: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// No answer in time.
    #[error("{0} did not answer in time")]
    Silent(String),
    /// Another status than 200.
    #[error("{host} answers {status}")]
    Status {
        /// The name.
        host: String,
        /// The status.
        status: StatusCode,
    },
    /// A redirect to nowhere, or one too many.
    #[error("{host} redirects to {to:?}, which is not followed: {why}")]
    Redirect {
        /// The name.
        host: String,
        /// Where to.
        to: String,
        /// Why not.
        why: &'static str,
    },
    /// The body.
    #[error("{host}'s answer was not taken")]
    Body {
        /// The name.
        host: String,
        /// Why.
        #[source]
        source: BodyError,
    },
}

impl Https {
    /// Trusts the web's certificate authorities, and those in the PEM file `authority`.
    pub(super) fn new(authority: Option<&Path>) -> Result<Self, HttpsError> {
        let mut roots = rustls::RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        if let Some(path) = authority {
            let failed = |source: Box<dyn std::error::Error + Send + Sync>| HttpsError::Authority {
                path: path.display().to_string(),
                source,
            };
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| failed(error.into()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| failed(error.into()))?;
                roots
                    .add(certificate)
                    .map_err(|error| failed(error.into()))?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring's provider has the cipher suites of the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Gets `url`, or learns that what `etag` names is current.
    pub(super) async fn get(
        &self,
        url: &Url,
        etag: Option<&str>,
        size_bytes_max: usize,
        time_max: Duration,
    ) -> Result<Fetched, HttpsError> {
        let reach = Reach::of(url);
        let deadline = Instant::now() + time_max;
        let limits = Limits {
            size_bytes_max,
            bytes_per_second_min: BYTES_PER_SECOND_MIN,
            deadline,
        };
        let mut url = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let host = host(&url);
            // The connection's task ends with this set.
            let mut tasks = JoinSet::new();
            let head = self.head(&url, reach, etag, &mut tasks);
            let head_deadline = deadline.min(Instant::now() + HEAD_TIME_MAX + CONNECT_TIME_MAX);
            let response = timeout_at(head_deadline, head)
                .await
                .map_err(|_| HttpsError::Silent(host.clone()))??;
            let status = response.status();
            if status == StatusCode::NOT_MODIFIED && etag.is_some() {
                return Ok(Fetched::Unchanged);
            }
            if status.is_redirection() {
                url = redirect(&url, &host, &response)?;
                continue;
            }
            if status != StatusCode::OK {
                return Err(HttpsError::Status { host, status });
            }
            let etag = response
                .headers()
                .get(header::ETAG)
                .and_then(|etag| etag.to_str().ok())
                .filter(|etag| etag.len() <= ETAG_BYTES_MAX)
                .map(str::to_owned);
            let declared = response
                .headers()
                .get(header::CONTENT_LENGTH)
                .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
            if declared.is_some_and(|length| length > size_bytes_max as u64) {
                let source = BodyError::TooLarge(size_bytes_max);
                return Err(HttpsError::Body { host, source });
            }
            let frames = BodyStream::new(response.into_body());
            let data = frames.try_filter_map(|frame| async { Ok(frame.into_data().ok()) });
            let bytes = body::collect(data, limits)
                .await
                .map_err(|source| HttpsError::Body { host, source })?;
            return Ok(Fetched::New { bytes, etag });
        }
        Err(HttpsError::Redirect {
            host: host(&url),
            to: url.to_string(),
            why: "there were too many redirects before",
        })
    }

    async fn head(
        &self,
        url: &Url,
        reach: Reach,
        etag: Option<&str>,
        tasks: &mut JoinSet<()>,
    ) -> Result<http::Response<Incoming>, HttpsError> {
        let host = host(url);
        let stream = connect(url, reach, &host).await?;
        let name = server_name(url).ok_or_else(|| HttpsError::Tls {
            host: host.clone(),
            source: std::io::Error::other("the host is no name that a certificate can have"),
        })?;
        let stream = self
            .tls
            .connect(name, stream)
            .await
            .map_err(|source| HttpsError::Tls {
                host: host.clone(),
                source,
            })?;
        let http = |source| HttpsError::Http {
            host: host.clone(),
            source,
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(http)?;
        tasks.spawn(async move {
            // What breaks the connection shows in the answer, or in the lack of one.
            let _ = connection.await;
        });
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(&url[url::Position::BeforePath..url::Position::AfterQuery])
            .header(
                header::HOST,
                &url[url::Position::BeforeHost..url::Position::AfterPort],
            )
            .header(
                header::USER_AGENT,
                concat!("archyd/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::ACCEPT, "application/json")
            .header(header::ACCEPT_ENCODING, "identity");
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .expect("a parsed URL and an ETag that came in a header make a request");
        sender.send_request(request).await.map_err(http)
    }
}

/// Resolves, checks and connects: what was checked is what is connected to.
async fn connect(url: &Url, reach: Reach, host: &str) -> Result<TcpStream, HttpsError> {
    let port = url.port_or_known_default().unwrap_or(443);
    let addresses: Vec<SocketAddr> = match url.host() {
        Some(url::Host::Ipv4(ip)) => vec![(ip, port).into()],
        Some(url::Host::Ipv6(ip)) => vec![(ip, port).into()],
        Some(url::Host::Domain(name)) => tokio::net::lookup_host((name, port))
            .await
            .map_err(|source| HttpsError::Resolve {
                host: host.to_owned(),
                source,
            })?
            .collect(),
        None => Vec::new(),
    };
    // One private address among several is a trap as well.
    if let Some(private) = addresses.iter().find(|to| !reach.allows(**to)) {
        return Err(HttpsError::Private {
            host: host.to_owned(),
            address: private.ip(),
        });
    }
    let mut last = std::io::Error::other("the name has no address");
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        let connecting = TcpStream::connect(address);
        match tokio::time::timeout(CONNECT_TIME_MAX, connecting).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = std::io::ErrorKind::TimedOut.into(),
        }
    }
    Err(HttpsError::Connect {
        host: host.to_owned(),
        source: last,
    })
}

fn redirect(
    from: &Url,
    host: &str,
    response: &http::Response<Incoming>,
) -> Result<Url, HttpsError> {
    let to = response
        .headers()
        .get(header::LOCATION)
        .and_then(|to| to.to_str().ok())
        .unwrap_or_default();
    let refused = |why| HttpsError::Redirect {
        host: host.to_owned(),
        to: to.chars().take(200).collect(),
        why,
    };
    let url = from.join(to).map_err(|_| refused("it is no URL"))?;
    check_url(&url).map_err(|_| refused("it is not a plain https:// URL"))?;
    Ok(url)
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

fn server_name(url: &Url) -> Option<ServerName<'static>> {
    match url.host()? {
        url::Host::Domain(name) => ServerName::try_from(name.to_owned()).ok(),
        url::Host::Ipv4(ip) => Some(ServerName::from(std::net::IpAddr::V4(ip))),
        url::Host::Ipv6(ip) => Some(ServerName::from(std::net::IpAddr::V6(ip))),
    }
}
