//! Putting files into containers, and containers into networks.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::{ANSWER_BYTES_MAX, Podman, PodmanError, encode};

impl Podman {
    /// Unpacks a tar archive below a directory of a container; the files get the container's own user.
    ///
    /// podman resolves the directory inside the container, so that a link there leads nowhere else.
    ///
    /// # Errors
    ///
    /// [`PodmanError`], also when there is no such container or directory.
    pub async fn put_archive(
        &self,
        container: &str,
        directory: &str,
        archive: Bytes,
    ) -> Result<(), PodmanError> {
        let path = format!(
            "/containers/{}/archive?path={}",
            encode(container),
            encode(directory)
        );
        let action = format!("copy a file into {container}");
        self.request(&action, Method::PUT, &path, archive).await?;
        Ok(())
    }

    /// Puts a running container into one network more, where it is found by its name.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub async fn join_network(&self, network: &str, container: &str) -> Result<(), PodmanError> {
        let path = format!("/networks/{}/connect", encode(network));
        let action = format!("put {container} into the network {network}");
        let body = json!({"container": container});
        self.ask(&action, Method::POST, &path, &body).await?;
        Ok(())
    }

    /// Takes a container out of a network. One that is not in it is as good.
    ///
    /// # Errors
    ///
    /// [`PodmanError`].
    pub async fn leave_network(&self, network: &str, container: &str) -> Result<(), PodmanError> {
        let path = format!("/networks/{}/disconnect", encode(network));
        let action = format!("take {container} out of the network {network}");
        let body = json!({"container": container, "force": true});
        self.ask(&action, Method::POST, &path, &body).await?;
        Ok(())
    }

    /// Sends JSON and reads the whole answer.
    pub(super) async fn ask(
        &self,
        action: &str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Vec<u8>, PodmanError> {
        let body = Bytes::from(body.to_string());
        let answer = self.request(action, method, path, body).await?;
        self.within(action, answer.body.collect(ANSWER_BYTES_MAX))
            .await
    }
}
