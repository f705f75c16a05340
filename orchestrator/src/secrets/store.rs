//! Podman's copies of secrets: made from the files, compared with them, never shown.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Instant;

use archy_registry::manifest::Container;
use archy_registry::{Blake3Hash, Slug};

use super::{SecretError, SecretValue, ensure, is_sound, lacking, read};
use crate::desired::Desired;
use crate::install::MachineError;
use crate::names;
use crate::neighbours::provider;
use crate::orchestrator::Orchestrator;
use crate::quadlet::app_dir;
use crate::runtime::podman::PodmanError;
use crate::values::{Known, Piece, secret_variables};

/// What is amiss with an app's secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Amiss {
    /// Names in podman that should be given to it again: their file is not as it should be.
    pub(crate) unsound: BTreeSet<String>,
    /// Names in podman of secrets with another value than they should have.
    pub(crate) different: BTreeSet<String>,
}

impl Orchestrator {
    /// Gives podman every secret that it lacks or has otherwise, making those that are new.
    pub(crate) async fn store_secrets(&self, desired: &Desired) -> Result<(), MachineError> {
        let slug = desired.slug();
        let wanted = desired.release.manifest.generated_secrets.clone();
        let directory = self.secrets_dir(slug);
        let mut kept = BTreeMap::new();
        for name in lacking(&directory, &wanted) {
            // The data is locked with what podman still has.
            let value = self
                .inner
                .podman
                .secret(&names::secret(slug, &name))
                .await?;
            let value = value.and_then(|value| SecretValue::of(&value));
            kept.extend(value.map(|value| (name, value)));
        }
        // Hashing with bcrypt takes a tenth of a second.
        let made = tokio::task::spawn_blocking(move || ensure(&directory, &wanted, &kept)).await;
        match made {
            Ok(made) => made?,
            Err(error) => return Err(MachineError::io("secrets")(io::Error::other(error))),
        };
        let values = self.secret_values(desired)?;
        let present = self.inner.podman.secrets().await?;
        let mut any_put = false;
        for (name, value) in values {
            let Some(value) = value else {
                if present.contains(&name) {
                    continue;
                }
                return Err(SecretError::Elsewhere(name).into());
            };
            let found = match present.contains(&name) {
                true => self.inner.podman.secret(&name).await?,
                false => None,
            };
            if found.is_none_or(|found| found != value.bytes()) {
                self.inner.podman.put_secret(&name, value.bytes()).await?;
                any_put = true;
            }
        }
        if any_put {
            self.make_podman_last().await?;
        }
        Ok(())
    }

    /// Compares an app's secrets in podman with their files.
    pub(crate) async fn secrets_amiss(
        &self,
        desired: &Desired,
        present: &BTreeMap<String, String>,
    ) -> Result<Amiss, PodmanError> {
        let slug = desired.slug();
        let mut amiss = Amiss::default();
        let generated: Vec<&Slug> = desired.secrets().collect();
        if !is_sound(&self.secrets_dir(slug), &generated) {
            amiss.unsound = generated
                .iter()
                .map(|name| names::secret(slug, name))
                .collect();
            return Ok(amiss);
        }
        // What cannot be worked out now is left as it is.
        for (name, value) in self.secret_values(desired).unwrap_or_default() {
            let (Some(value), Some(stamp)) = (value, present.get(&name)) else {
                continue;
            };
            let hash = Blake3Hash::of(&value.bytes());
            let now = Instant::now();
            if self.sight(|sight| sight.is_same(&name, stamp, hash, now)) {
                continue;
            }
            let found = match self.inner.podman.secret(&name).await {
                // One that podman lists and cannot tell is given to it again.
                Err(PodmanError::Refused { .. } | PodmanError::Answer { .. }) => {
                    amiss.unsound.insert(name);
                    continue;
                }
                found => found?,
            };
            match found {
                Some(found) if found != value.bytes() => {
                    amiss.different.insert(name);
                }
                Some(_) if !stamp.is_empty() => {
                    self.sight(|sight| sight.compared(&name, stamp, hash, now));
                }
                _ => {}
            }
        }
        Ok(amiss)
    }

    /// Works out what podman should have, by name there; `None` where another app's part cannot be had.
    fn secret_values(
        &self,
        desired: &Desired,
    ) -> Result<BTreeMap<String, Option<SecretValue>>, SecretError> {
        let slug = desired.slug();
        let mut values = BTreeMap::new();
        for name in desired.secrets() {
            let value = self.secret_of(slug, name)?;
            values.insert(names::secret(slug, name), Some(value));
        }
        for container in &desired.manifest().containers {
            for variable in secret_variables(container, &desired.settings) {
                let name = names::value_secret(&container.name, variable);
                let value = self.composed(desired, container, variable)?;
                values.insert(names::secret_named(slug, &name), value);
            }
        }
        Ok(values)
    }

    fn composed(
        &self,
        desired: &Desired,
        container: &Container,
        variable: &str,
    ) -> Result<Option<SecretValue>, SecretError> {
        let known = self.known(desired);
        let text = container.environment.get(variable);
        let pieces = text.and_then(|text| known.pieces(text).ok());
        let mut value = String::new();
        for piece in pieces.into_iter().flatten() {
            match piece {
                Piece::Text(text) => value.push_str(&text),
                Piece::Secret(name) => value.push_str(&self.secret_of(desired.slug(), &name)?.0),
                Piece::Imported { app, name } => match self.imported(desired, &app, &name) {
                    Some(text) => value.push_str(&text),
                    None => return Ok(None),
                },
            }
        }
        Ok((!value.is_empty()).then_some(SecretValue(value)))
    }

    /// What an app that `desired` depends on exports, with the secrets in it; `None` when that cannot be had.
    fn imported(&self, desired: &Desired, app: &Slug, name: &Slug) -> Option<String> {
        let other = self.inner.store.load(app).ok()??;
        let manifest = &desired.release.manifest;
        let other = provider(manifest, app, std::slice::from_ref(&other))?;
        let mut exports = other.release.manifest.exports.iter();
        let export = exports.find(|export| export.name == *name)?;
        let mut value = String::new();
        for piece in self.known(other).pieces(&export.value).ok()? {
            match piece {
                Piece::Text(text) => value.push_str(&text),
                Piece::Secret(name) => value.push_str(&self.secret_of(app, &name).ok()?.0),
                Piece::Imported { .. } => return None,
            }
        }
        Some(value)
    }

    fn known<'a>(&'a self, desired: &'a Desired) -> Known<'a> {
        Known {
            manifest: &desired.release.manifest,
            settings: &desired.settings,
            facts: &self.inner.facts,
        }
    }

    fn secret_of(&self, app: &Slug, name: &Slug) -> Result<SecretValue, SecretError> {
        let path = self.secrets_dir(app).join(name.as_str());
        read(&path)?.ok_or_else(|| SecretError::Io {
            path,
            source: io::Error::from(io::ErrorKind::NotFound),
        })
    }

    /// Makes a value that the app had before this node ran it one of its secrets.
    pub(crate) fn import_secret(
        &self,
        app: &Slug,
        name: &Slug,
        value: &str,
    ) -> Result<(), SecretError> {
        let path = self.secrets_dir(app).join(name.as_str());
        super::write(&path, value).map_err(|source| SecretError::Io { path, source })
    }

    /// Refuses to go on with a secret that was to be taken over and that nobody has any more.
    pub(crate) fn expect_secret(
        &self,
        app: &Slug,
        name: &Slug,
        variable: &str,
    ) -> Result<(), SecretError> {
        super::expect(&self.secrets_dir(app), name, variable)
    }

    fn secrets_dir(&self, app: &Slug) -> std::path::PathBuf {
        app_dir(&self.inner.facts.apps_dir, app).join("secrets")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::desired::Wish;
    use crate::samples::{installed, release};

    const OTHER: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";

    #[test]
    fn a_secret_is_imported_only_from_the_app_that_is_meant() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path();
        let mut config = Config::usual(home, home.join("run"), home.join("data"));
        config.podman = home.join("no-podman");
        let orchestrator = Orchestrator::connect(config).unwrap();
        let container = "source: {type: pull, image: localhost/a}";
        let mut bank = installed(
            release(
                "bank",
                &format!(
                    "  - {{name: api, {container}}}\n\
                     generated_secrets: [{{name: token, kind: hex16}}]\n\
                     exports: [{{name: token, value: 'x:${{secret.token}}'}}]\n"
                ),
            ),
            Wish::Running,
        );
        let (app, token): (Slug, Slug) = ("bank".parse().unwrap(), "token".parse().unwrap());
        orchestrator.import_secret(&app, &token, "secret").unwrap();
        let user = |publisher: &dyn std::fmt::Display| {
            let rest = format!(
                "  - {{name: web, {container}, environment: {{X: '${{dependency.bank.token}}'}}}}\n\
                 dependencies: [{{publisher: '{publisher}', app: bank}}]\n"
            );
            installed(release("teller", &rest), Wish::Running)
        };
        let imported = |user: &Desired| orchestrator.imported(user, &app, &token);
        let (teller, reader) = (user(&bank.app.publisher), user(&OTHER));
        assert_eq!(imported(&teller), None);
        orchestrator.inner.store.save(&bank).unwrap();
        assert_eq!(imported(&teller).as_deref(), Some("x:secret"));
        assert_eq!(imported(&reader), None);
        bank.wish = Wish::Removed;
        orchestrator.inner.store.save(&bank).unwrap();
        assert_eq!(imported(&teller), None);
    }
}
