//! Rootless podman over its REST socket: what there is, images in and out, secrets, events.
//!
//! The only module that knows podman's API. It starts no container of ours; systemd does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use archy_registry::release::Baggage;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;

mod exec;
mod foreign;
mod http_client;
mod inside;
mod model;
mod stream;

pub use exec::{ExecSession, Executed};
pub use foreign::{Inspection, RestartPolicy};
use http_client::{Answer, HttpError, send};
pub use model::{
    Actor, Container, Event, HealthCheckRun, HealthLog, Image, ImageConfig, PublishedPort,
    PullLine, Version, is_exactly,
};
use model::{HandedDown, Info, Inspected, InspectedSecret, ListedSecret, Named};
pub use stream::Events;
use stream::JsonLines;

/// The API version in every path; podman answers to any that it still knows.
const API: &str = "/v4.4.0/libpod";
/// Longest that podman may take for anything but pulls and streams.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// podman could not be asked or said no.
#[derive(Debug, thiserror::Error)]
pub enum PodmanError {
    /// Nothing answers on the socket.
    #[error("cannot reach podman on {socket}: run `systemctl --user enable --now podman.socket`")]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke or made no sense.
    #[error("the connection to podman broke while it should {action}")]
    Broken {
        /// What was asked for.
        action: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// podman took too long.
    #[error("podman does not {action} within {} s", ANSWER_TIMEOUT.as_secs())]
    Slow {
        /// What was asked for.
        action: String,
    },
    /// podman refused.
    #[error("podman does not {action}: {message}")]
    Refused {
        /// What was asked for.
        action: String,
        /// HTTP status.
        status: u16,
        /// podman's words.
        message: String,
    },
    /// The answer has no end that anybody waits for.
    #[error(
        "podman's answer is longer than {} MiB while it should {action}: something that it has, such as a label of a \
         container, is far too long",
        ANSWER_BYTES_MAX / (1024 * 1024)
    )]
    Long {
        /// What was asked for.
        action: String,
    },
    /// The answer was not what the API promises.
    #[error("podman gave an answer that cannot be read while it should {action}")]
    Answer {
        /// What was asked for.
        action: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl PodmanError {
    /// Tells whether podman said that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}

/// podman's REST service.
#[derive(Debug, Clone)]
pub struct Podman {
    socket: PathBuf,
}

impl Podman {
    /// Names the socket; every call connects anew.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// Returns the socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks whether podman answers; returns its API version.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub async fn ping(&self) -> Result<String, PodmanError> {
        let answer = self
            .request("answer", Method::GET, "/_ping", Bytes::new())
            .await?;
        let version = answer.headers.get("Libpod-API-Version");
        Ok(version
            .and_then(|version| version.to_str().ok())
            .unwrap_or_default()
            .to_owned())
    }

    /// Returns podman's version.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub async fn version(&self) -> Result<Version, PodmanError> {
        self.read("tell its version", "/version").await
    }

    /// Returns the directory that podman keeps images and secrets in.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub(crate) async fn graph_root(&self) -> Result<PathBuf, PodmanError> {
        let info: Info = self.read("tell of itself", "/info").await?;
        Ok(info.store.graph_root)
    }

    /// Lists all containers, running or not.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub async fn containers(&self) -> Result<Vec<Container>, PodmanError> {
        self.read("list containers", "/containers/json?all=true")
            .await
    }

    /// Lists the containers of these names, running or not; names that nothing has are left out.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub async fn containers_named(&self, names: &[String]) -> Result<Vec<Container>, PodmanError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        // podman takes each for a regular expression, which finds more than the one.
        let patterns: Vec<String> = names.iter().map(|name| format!("^{name}$")).collect();
        let mut found = self.containers_with("name", &patterns).await?;
        found.retain(|container| container.names.iter().any(|name| names.contains(name)));
        Ok(found)
    }

    /// Lists the containers that have a label with this value, running or not.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub async fn containers_labelled(
        &self,
        label: &str,
        value: &str,
    ) -> Result<Vec<Container>, PodmanError> {
        self.containers_with("label", &[format!("{label}={value}")])
            .await
    }

    /// Lists containers by one of podman's filters. Of many containers, those that it leaves out cost podman next to
    /// nothing.
    async fn containers_with(
        &self,
        filter: &str,
        values: &[String],
    ) -> Result<Vec<Container>, PodmanError> {
        let filters = serde_json::json!({ filter: values }).to_string();
        let path = format!("/containers/json?all=true&filters={}", encode(&filters));
        self.read("list containers", &path).await
    }

    /// Returns a container's health as last checked; `None` when it has no check or does not exist.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub async fn health(&self, container: &str) -> Result<Option<HealthLog>, PodmanError> {
        let path = format!("/containers/{}/json", encode(container));
        match self.read::<Inspected>("inspect a container", &path).await {
            Ok(inspected) => Ok(inspected.state.health),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a container with its anonymous volumes, stopping it first. A missing one is as good.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub async fn remove_container(&self, name: &str) -> Result<(), PodmanError> {
        let path = format!("/containers/{}?force=true&v=true&ignore=true", encode(name));
        self.remove(&format!("remove the container {name}"), &path)
            .await
    }

    /// Returns an image; `None` when podman does not have it.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub async fn image(&self, reference: &str) -> Result<Option<Image>, PodmanError> {
        let path = format!("/images/{}/json", encode(reference));
        match self
            .read(&format!("inspect the image {reference}"), &path)
            .await
        {
            Ok(image) => Ok(Some(image)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Measures what an image hands down to its containers; `None` when podman does not have it.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub async fn baggage(&self, reference: &str) -> Result<Option<Baggage>, PodmanError> {
        let path = format!("/images/{}/json", encode(reference));
        let action = format!("inspect the image {reference}");
        match self.read::<HandedDown>(&action, &path).await {
            Ok(image) => Ok(Some(image.baggage())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Pulls an image by reference from a registry that speaks plain HTTP; returns its id.
    ///
    /// # Errors
    ///
    /// [`PodmanError`], with podman's own words when the pull fails.
    pub async fn pull(
        &self,
        reference: &str,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<String, PodmanError> {
        // The reference may hold a secret path, so that messages name its end only.
        let shown = reference.rsplit('/').next().unwrap_or_default();
        let action = format!("pull the image {shown}");
        let path = format!(
            "/images/pull?reference={}&tlsVerify=false&policy=always",
            encode(reference)
        );
        let mut answer = self
            .request(&action, Method::POST, &path, Bytes::new())
            .await?;
        let mut lines = JsonLines::default();
        let mut id = None;
        while let Some(line) = lines.next::<PullLine>(&mut answer.body, &action).await? {
            if let Some(message) = line.error {
                return Err(PodmanError::Refused {
                    action,
                    status: 500,
                    message,
                });
            }
            if !line.stream.is_empty() {
                progress(line.stream.trim_end());
            }
            id = line.id.or(id);
        }
        id.ok_or_else(|| PodmanError::Refused {
            action,
            status: 500,
            message: "it ended without an image".to_owned(),
        })
    }

    /// Gives an image another name.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<(), PodmanError> {
        let path = format!(
            "/images/{}/tag?repo={}&tag={tag}",
            encode(image),
            encode(repository)
        );
        let action = format!("name an image {repository}");
        self.request(&action, Method::POST, &path, Bytes::new())
            .await?;
        Ok(())
    }

    /// Removes a name of an image, and the image with its last name. Never by force: that would remove containers.
    ///
    /// # Errors
    ///
    /// [`PodmanError`], also when a container uses the image.
    pub async fn remove_image(&self, reference: &str) -> Result<(), PodmanError> {
        let path = format!("/images/{}?force=false", encode(reference));
        self.remove(&format!("remove the image {reference}"), &path)
            .await
    }

    /// Creates a secret from bytes.
    ///
    /// # Errors
    ///
    /// [`PodmanError`], also when one of that name exists.
    pub async fn create_secret(&self, name: &str, value: Bytes) -> Result<(), PodmanError> {
        let path = format!("/secrets/create?name={}", encode(name));
        let action = format!("create the secret {name}");
        self.request(&action, Method::POST, &path, value).await?;
        Ok(())
    }

    /// Gives a secret a value, whether or not it had another one.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub(crate) async fn put_secret(&self, name: &str, value: Bytes) -> Result<(), PodmanError> {
        let path = format!("/secrets/create?name={}&replace=true", encode(name));
        let action = format!("create the secret {name}");
        let put = self
            .request(&action, Method::POST, &path, value.clone())
            .await;
        match put {
            Ok(_) => Ok(()),
            // Before podman 4.7 a secret is not replaced in one step.
            Err(PodmanError::Refused { .. }) => {
                self.remove_secret(name).await?;
                self.create_secret(name, value).await
            }
            Err(error) => Err(error),
        }
    }

    /// Returns a secret's value; `None` when there is no such secret, or a podman before 4.7 keeps it to itself.
    ///
    /// # Errors
    ///
    /// [`PodmanError`]; its message never holds the value.
    pub(crate) async fn secret(&self, name: &str) -> Result<Option<Bytes>, PodmanError> {
        let path = format!("/secrets/{}/json?showsecret=true", encode(name));
        match self
            .read::<InspectedSecret>("inspect a secret", &path)
            .await
        {
            Ok(inspected) => Ok(Some(Bytes::from(inspected.secret_data)).filter(|b| !b.is_empty())),
            Err(error) if error.is_not_found() => Ok(None),
            // The reader's message could quote what it read.
            Err(PodmanError::Answer { action, .. }) => Err(PodmanError::Answer {
                action,
                source: serde::de::Error::custom("another form than was expected"),
            }),
            Err(error) => Err(error),
        }
    }

    /// Lists the names of all secrets.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub async fn secrets(&self) -> Result<Vec<String>, PodmanError> {
        Ok(self.secret_stamps().await?.into_keys().collect())
    }

    /// Lists all secrets, each with a mark that changes with its value; empty where podman keeps none.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub(crate) async fn secret_stamps(&self) -> Result<BTreeMap<String, String>, PodmanError> {
        let listed: Option<Vec<ListedSecret>> = self.read("list secrets", "/secrets/json").await?;
        let stamped = listed.into_iter().flatten().map(|secret| {
            let ListedSecret {
                id,
                updated_at,
                spec,
            } = secret;
            let stamp = match updated_at.is_empty() {
                true => String::new(),
                false => format!("{id} {updated_at}"),
            };
            (spec.name, stamp)
        });
        Ok(stamped.collect())
    }

    /// Removes a secret. A missing one is as good.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub async fn remove_secret(&self, name: &str) -> Result<(), PodmanError> {
        let path = format!("/secrets/{}", encode(name));
        self.remove(&format!("remove the secret {name}"), &path)
            .await
    }

    /// Lists the names of all networks.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub async fn networks(&self) -> Result<Vec<String>, PodmanError> {
        self.names("list networks", "/networks/json").await
    }

    /// Removes a network. A missing one is as good.
    ///
    /// # Errors
    ///
    /// [`PodmanError`], also when a container uses it.
    pub async fn remove_network(&self, name: &str) -> Result<(), PodmanError> {
        let path = format!("/networks/{}", encode(name));
        self.remove(&format!("remove the network {name}"), &path)
            .await
    }

    /// Lists the names of all volumes.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub async fn volumes(&self) -> Result<Vec<String>, PodmanError> {
        self.names("list volumes", "/volumes/json").await
    }

    /// Removes a volume. One that binds a directory leaves that as it is. A missing one is as good.
    ///
    /// # Errors
    ///
    /// [`PodmanError`], also when a container uses it.
    pub async fn remove_volume(&self, name: &str) -> Result<(), PodmanError> {
        let path = format!("/volumes/{}", encode(name));
        self.remove(&format!("remove the volume {name}"), &path)
            .await
    }

    /// Follows all that happens to containers, networks and volumes from now on.
    ///
    /// # Errors
    ///
    /// [`PodmanError`] when the stream cannot be opened.
    pub async fn events(&self) -> Result<Events, PodmanError> {
        let filters = r#"{"type":["container","network","volume"]}"#;
        let path = format!("/events?stream=true&filters={}", encode(filters));
        let answer = self
            .request("report events", Method::GET, &path, Bytes::new())
            .await?;
        Ok(Events {
            body: answer.body,
            lines: JsonLines::default(),
        })
    }

    async fn names(&self, action: &str, path: &str) -> Result<Vec<String>, PodmanError> {
        let listed: Option<Vec<Named>> = self.read(action, path).await?;
        Ok(listed
            .into_iter()
            .flatten()
            .map(|named| named.name)
            .collect())
    }

    async fn read<T: DeserializeOwned>(&self, action: &str, path: &str) -> Result<T, PodmanError> {
        let answer = self
            .request(action, Method::GET, path, Bytes::new())
            .await?;
        let body = self
            .within(action, answer.body.collect(ANSWER_BYTES_MAX))
            .await?;
        serde_json::from_slice(&body).map_err(|source| PodmanError::Answer {
            action: action.to_owned(),
            source,
        })
    }

    async fn remove(&self, action: &str, path: &str) -> Result<(), PodmanError> {
        let removed = self
            .request(action, Method::DELETE, path, Bytes::new())
            .await;
        match removed {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Sends a request; an answer that is no success becomes an error with podman's message.
    async fn request(
        &self,
        action: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Answer, PodmanError> {
        let path = format!("{API}{path}");
        let answer = self
            .within(action, send(&self.socket, method, &path, body))
            .await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let status = answer.status;
        let body = self
            .within(action, answer.body.collect(ANSWER_BYTES_MAX))
            .await?;
        Err(PodmanError::Refused {
            action: action.to_owned(),
            status: status.as_u16(),
            message: message(status, &body),
        })
    }

    async fn within<T>(
        &self,
        action: &str,
        work: impl Future<Output = Result<T, HttpError>>,
    ) -> Result<T, PodmanError> {
        match tokio::time::timeout(ANSWER_TIMEOUT, work).await {
            Err(_) => Err(PodmanError::Slow {
                action: action.to_owned(),
            }),
            Ok(Err(HttpError::Connect(source))) => Err(PodmanError::Connect {
                socket: self.socket.clone(),
                source,
            }),
            Ok(Err(error)) => Err(broken(action, error)),
            Ok(Ok(value)) => Ok(value),
        }
    }
}

fn broken(action: &str, error: HttpError) -> PodmanError {
    let action = action.to_owned();
    match error {
        HttpError::Long { .. } => PodmanError::Long { action },
        HttpError::Connect(_) | HttpError::Broken(_) | HttpError::Request(_) => {
            PodmanError::Broken {
                action,
                source: Box::new(error),
            }
        }
    }
}

/// podman's errors are `{"cause","message","response"}`.
fn message(status: StatusCode, body: &[u8]) -> String {
    let error: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = error
        .as_ref()
        .and_then(|error| error.get("message")?.as_str());
    message.map_or_else(|| status.to_string(), str::to_owned)
}

/// Percent-encodes everything but what can stand anywhere in a path or query.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
