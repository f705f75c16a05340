//! Pulls an image's blobs from a registry; the only module that names oci-client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use n0_future::StreamExt;
use oci_client::Reference;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use super::PackError;
use super::content::{Span, sha256};
use super::model::{self, ACCEPTED, Descriptor};

/// Time without a byte after which a registry is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Time to connect to a registry.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Credentials for a registry.
#[derive(Clone)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password or token.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// One image in a registry.
pub(super) struct Registry {
    client: Client,
    reference: Reference,
    auth: RegistryAuth,
    work: PathBuf,
}

/// The field that says what a manifest is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    media_type: Option<String>,
    manifests: Option<serde_json::Value>,
}

impl Registry {
    pub(super) fn open(
        reference: &str,
        login: Option<&Login>,
        plain_http: bool,
        work: &Path,
    ) -> Result<Self, PackError> {
        // Whoever comes first installs the provider; a second attempt is refused, and that is fine.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let parsed: Reference =
            reference
                .parse()
                .map_err(|error: oci_client::ParseError| PackError::Reference {
                    reference: reference.to_owned(),
                    reason: error.to_string(),
                })?;
        let client = Client::new(ClientConfig {
            protocol: if plain_http {
                ClientProtocol::Http
            } else {
                ClientProtocol::Https
            },
            platform_resolver: None,
            read_timeout: Some(READ_TIMEOUT),
            connect_timeout: Some(CONNECT_TIMEOUT),
            user_agent: concat!("archy/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        });
        let auth = match login {
            None => RegistryAuth::Anonymous,
            Some(Login { user, password }) => RegistryAuth::Basic(user.clone(), password.clone()),
        };
        Ok(Self {
            client,
            reference: parsed,
            auth,
            work: work.to_owned(),
        })
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> PackError {
        PackError::Registry {
            reference: self.reference.to_string(),
            reason: error.to_string(),
        }
    }

    /// Resolves the reference to a digest.
    pub(super) async fn root(&self) -> Result<Descriptor, PackError> {
        let bytes = self.manifest(&self.reference).await?;
        let typed: Typed = serde_json::from_slice(&bytes).map_err(|error| self.failed(&error))?;
        // Old OCI manifests do not repeat their type; an index is the one with a list.
        let media_type = typed.media_type.unwrap_or_else(|| {
            let position = usize::from(typed.manifests.is_none());
            ACCEPTED[position].to_owned()
        });
        let digest = sha256(&bytes);
        self.keep(&digest.to_hex(), &bytes).await?;
        Ok(Descriptor {
            media_type,
            digest,
            size: bytes.len() as u64,
            annotations: Default::default(),
        })
    }

    /// Downloads a blob once; its bytes are not checked yet.
    pub(super) async fn download(&self, blob: &Descriptor) -> Result<Span, PackError> {
        let path = self.work.join(blob.digest.to_hex());
        let span = |size_bytes| Span {
            path: path.clone(),
            offset: 0,
            size_bytes,
        };
        if let Ok(metadata) = tokio::fs::metadata(&path).await {
            return Ok(span(metadata.len()));
        }
        if model::is_index(&blob.media_type) || model::is_manifest(&blob.media_type) {
            let reference = self.reference.clone_with_digest(blob.digest.to_string());
            let bytes = self.manifest(&reference).await?;
            self.keep(&blob.digest.to_hex(), &bytes).await?;
            return Ok(span(bytes.len() as u64));
        }
        let descriptor = OciDescriptor {
            media_type: blob.media_type.clone(),
            digest: blob.digest.to_string(),
            size: i64::try_from(blob.size).unwrap_or(i64::MAX),
            ..OciDescriptor::default()
        };
        let pull = self.client.pull_blob_stream(&self.reference, &descriptor);
        let mut stream = pull.await.map_err(|error| self.failed(&error))?;
        let partial = path.with_extension("partial");
        let write_error = |error| PackError::io("write", &partial, error);
        let mut file = tokio::fs::File::create(&partial)
            .await
            .map_err(write_error)?;
        let mut size_bytes = 0u64;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| self.failed(&error))?;
            size_bytes += chunk.len() as u64;
            if size_bytes > blob.size {
                return Err(PackError::Damaged {
                    digest: blob.digest,
                    reason: format!("the registry sends more than its {} bytes", blob.size),
                });
            }
            file.write_all(&chunk).await.map_err(write_error)?;
        }
        file.flush().await.map_err(write_error)?;
        tokio::fs::rename(&partial, &path)
            .await
            .map_err(write_error)?;
        Ok(span(size_bytes))
    }

    async fn manifest(&self, reference: &Reference) -> Result<bytes::Bytes, PackError> {
        let pull = self
            .client
            .pull_manifest_raw(reference, &self.auth, &ACCEPTED);
        let (bytes, _) = pull.await.map_err(|error| self.failed(&error))?;
        Ok(bytes)
    }

    async fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), PackError> {
        let path = self.work.join(name);
        tokio::fs::write(&path, bytes)
            .await
            .map_err(|error| PackError::io("write", path, error))
    }
}
