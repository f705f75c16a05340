//! The apps of this repository as the gate publishes them: a sound release, one with another image, one that never gets
//! healthy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use archy_registry::Did;
use archy_registry::manifest::{self, Container, HealthCheck, HealthKind, Manifest};
use archyd::api::types::AppRef;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::archive;
use crate::stage::{Archyd, app_images, repository};

/// What the second release's marker file holds.
pub const SECOND: &str = "2";

/// An app of this repository.
#[derive(Debug, Clone)]
pub struct App {
    /// What it says of itself.
    pub manifest: Manifest,
    /// What the gate knows of it besides.
    pub notes: Notes,
}

/// What the gate knows of an app besides its manifest (`tests/gate/apps.json`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notes {
    /// How to talk to ports that do not speak HTTP.
    #[serde(default)]
    pub greetings: Vec<Greeting>,
    /// How to have the app itself keep something.
    pub record: Option<Record>,
}

/// What to send to a port, and how the answer begins: bytes in hexadecimal, or characters after `text:`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Greeting {
    /// Port of the container.
    pub port: u16,
    /// What to send.
    pub send: String,
    /// The answer's first bytes.
    pub answer: String,
}

/// How to have the app itself keep something. `{token}` stands for it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// In which container.
    pub container: String,
    /// argv that stores it, run once.
    pub write: Vec<String>,
    /// argv that prints it.
    pub read: Vec<String>,
    /// argv that removes it, so that it can be written again; none where that is not the app's to do.
    #[serde(default)]
    pub lose: Vec<String>,
}

impl App {
    /// The app's slug.
    pub fn slug(&self) -> &str {
        self.manifest.app.id.as_str()
    }
}

/// Reads the apps of this repository, all or those that are named.
///
/// # Errors
///
/// When a manifest or the notes are wrong, or there is no app of a name.
pub fn apps(wanted: &BTreeSet<String>) -> anyhow::Result<Vec<App>> {
    let notes = std::fs::read(repository().join("tests/gate/apps.json"))?;
    let mut notes: BTreeMap<String, Notes> =
        serde_json::from_slice(&notes).context("reading tests/gate/apps.json")?;
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(repository().join("apps"))? {
        let path = entry?.path().join("manifest.yml");
        if !path.is_file() {
            continue;
        }
        let manifest = manifest::parse(&std::fs::read_to_string(&path)?)
            .with_context(|| format!("reading {}", path.display()))?
            .manifest;
        let slug = manifest.app.id.to_string();
        let notes = notes.remove(&slug).unwrap_or_default();
        found.insert(slug, App { manifest, notes });
    }
    ensure!(
        notes.is_empty(),
        "tests/gate/apps.json tells of apps that are not there: {:?}",
        notes.keys()
    );
    for name in wanted {
        ensure!(found.contains_key(name), "there is no app {name} in apps/");
    }
    Ok(found
        .into_values()
        .filter(|app| wanted.is_empty() || wanted.contains(app.slug()))
        .collect())
}

/// Puts apps that need each other together, what is needed first; groups do not touch each other.
///
/// # Errors
///
/// When an app needs one that is not among them, or itself in a circle.
pub fn groups(apps: Vec<App>) -> anyhow::Result<Vec<Vec<App>>> {
    let mut groups: Vec<Vec<App>> = Vec::new();
    let mut waiting = apps;
    while !waiting.is_empty() {
        let placed = |slug: &str, groups: &[Vec<App>]| {
            let mut groups = groups.iter();
            groups.position(|group| group.iter().any(|app| app.slug() == slug))
        };
        let ready = waiting.iter().position(|app| {
            let mut needs = app.manifest.dependencies.iter();
            needs.all(|need| placed(need.app.as_str(), &groups).is_some())
        });
        let Some(ready) = ready else {
            let names: Vec<&str> = waiting.iter().map(App::slug).collect();
            bail!(
                "{names:?} need apps that are not among the chosen ones, or each other in a circle"
            );
        };
        let app = waiting.remove(ready);
        let mut homes: Vec<usize> = app
            .manifest
            .dependencies
            .iter()
            .filter_map(|need| placed(need.app.as_str(), &groups))
            .collect();
        homes.sort_unstable();
        homes.dedup();
        let mut group = Vec::new();
        for home in homes.into_iter().rev() {
            let mut joined = groups.remove(home);
            joined.append(&mut group);
            group = joined;
        }
        group.push(app);
        groups.push(group);
    }
    Ok(groups)
}

/// A release of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As it is in this repository.
    First,
    /// The same with another layer in each image.
    Second,
    /// The second with a health check that nothing can pass.
    Sick,
}

impl Kind {
    /// What the marker file of its images holds; the first release has none.
    pub const fn marker(self) -> Option<&'static str> {
        match self {
            Self::First => None,
            Self::Second | Self::Sick => Some(SECOND),
        }
    }
}

/// A release that the store nodes have heard of.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Which app.
    pub app: AppRef,
    /// Its version.
    pub version: String,
}

impl Offer {
    /// No release of the app.
    pub fn none(app: &App) -> Self {
        Self {
            app: AppRef {
                publisher: String::new(),
                slug: app.slug().to_owned(),
            },
            version: String::new(),
        }
    }
}

/// The publisher's node, its apps and what it published of them last.
#[derive(Debug)]
pub struct Shelf {
    publisher: Archyd,
    scratch: TempDir,
    newest: Mutex<BTreeMap<String, (Kind, u32, Offer)>>,
}

impl Shelf {
    /// Makes the publisher's keys.
    ///
    /// # Errors
    ///
    /// When the node refuses.
    pub async fn new(publisher: Archyd) -> anyhow::Result<Self> {
        publisher.has_identity().await?;
        Ok(Self {
            publisher,
            scratch: tempfile::tempdir().context("making a folder for images")?,
            newest: Mutex::new(BTreeMap::new()),
        })
    }

    /// The publisher's node.
    pub fn publisher(&self) -> &Archyd {
        &self.publisher
    }

    /// Publishes the app as `kind` unless its newest release is one, and waits until every store has heard of it.
    ///
    /// # Errors
    ///
    /// When the images are not built, `archy publish` refuses, or a store does not hear of it within a minute.
    pub async fn offer(&self, app: &App, kind: Kind, stores: &[Archyd]) -> anyhow::Result<Offer> {
        let mut newest = self.newest.lock().await;
        let last = newest.get(app.slug());
        if let Some((_, _, offer)) = last.filter(|(last, _, _)| *last == kind) {
            return Ok(offer.clone());
        }
        let counter = last.map_or(1, |(_, counter, _)| counter + 1);
        if counter == 1 {
            self.carry(app).await?;
        }
        let version = format!("{}+gate.{counter}", app.manifest.app.version);
        let app_ref = self
            .publish(app, kind, &version)
            .await
            .with_context(|| format!("publishing {} as {version}", app.slug()))?;
        for store in stores {
            store.hears_from(&app_ref).await?;
            store.comes_to_offer(&app_ref, &version).await?;
        }
        let offer = Offer {
            app: app_ref,
            version,
        };
        newest.insert(app.slug().to_owned(), (kind, counter, offer.clone()));
        Ok(offer)
    }

    /// Brings the app's folder and both forms of its images to the publisher's node.
    async fn carry(&self, app: &App) -> anyhow::Result<()> {
        let slug = app.slug();
        let node = &self.publisher.node;
        node.push(&repository().join("apps").join(slug), &folder(slug))
            .await?;
        for container in &app.manifest.containers {
            let name = container.name.as_str();
            let first = app_images().join(slug).join(format!("{name}.oci.tar"));
            ensure!(
                first.is_file(),
                "{} is missing: run make apps",
                first.display()
            );
            let second = self.scratch.path().join("second.oci.tar");
            archive::with_marker(&first, &second, SECOND)?;
            for (kind, file) in [(Kind::First, &first), (Kind::Second, &second)] {
                node.push(file, &image(slug, name, kind)).await?;
            }
        }
        Ok(())
    }

    async fn publish(&self, app: &App, kind: Kind, version: &str) -> anyhow::Result<AppRef> {
        let slug = app.slug();
        let node = &self.publisher.node;
        let manifest = self.manifest(app, kind, version).await?;
        let local: PathBuf = self.scratch.path().join("manifest.yml");
        // JSON is YAML.
        std::fs::write(&local, serde_json::to_vec_pretty(&manifest)?)?;
        node.push(&local, &format!("{}/manifest.yml", folder(slug)))
            .await?;
        let mut argv = vec![
            "archy".to_owned(),
            "--json".to_owned(),
            "publish".to_owned(),
            folder(slug),
        ];
        for container in &app.manifest.containers {
            let name = container.name.as_str();
            argv.push("--image".to_owned());
            argv.push(format!("{name}=oci-archive:{}", image(slug, name, kind)));
        }
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let said: Value = serde_json::from_str(&node.exec_ok(&argv).await?)?;
        serde_json::from_value(said["app"].clone())
            .with_context(|| format!("archy publish --json said: {said}"))
    }

    /// The app's manifest as this release has it. What it depends on comes from the same publisher.
    async fn manifest(&self, app: &App, kind: Kind, version: &str) -> anyhow::Result<Manifest> {
        let mut manifest = app.manifest.clone();
        version.clone_into(&mut manifest.app.version);
        if !manifest.dependencies.is_empty() {
            let identity = ["archy", "--json", "identity", "show"];
            let identity: Value =
                serde_json::from_str(&self.publisher.node.exec_ok(&identity).await?)?;
            let own: Did = serde_json::from_value(identity["did"].clone())?;
            for dependency in &mut manifest.dependencies {
                dependency.publisher = own;
            }
        }
        if kind == Kind::Sick {
            let last: Option<&mut Container> = manifest.containers.last_mut();
            last.context("an app without containers")?.health_check = Some(hopeless()?);
        }
        Ok(manifest)
    }
}

/// A check of a port on which nothing listens, and which gives up soon.
fn hopeless() -> anyhow::Result<HealthCheck> {
    Ok(HealthCheck {
        kind: HealthKind::Tcp,
        port: Some(9),
        path: None,
        command: Vec::new(),
        interval: Some("1s".parse()?),
        timeout: Some("1s".parse()?),
        retries: Some(2),
        start_period: Some("5s".parse()?),
    })
}

fn folder(slug: &str) -> String {
    format!("/home/archy/gate/{slug}")
}

fn image(slug: &str, container: &str, kind: Kind) -> String {
    let form = match kind {
        Kind::First => "1",
        Kind::Second | Kind::Sick => SECOND,
    };
    format!("/home/archy/gate/{slug}-{container}-{form}.oci.tar")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(slug: &str, needs: &[&str]) -> App {
        let mut manifest = apps(&BTreeSet::from(["hello".to_owned()])).unwrap()[0]
            .manifest
            .clone();
        manifest.app.id = slug.parse().unwrap();
        let needs = needs.iter().map(|need| {
            serde_json::from_value(serde_json::json!({
                "publisher": "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
                "app": need,
            }))
            .unwrap()
        });
        manifest.dependencies = needs.collect();
        App {
            manifest,
            notes: Notes::default(),
        }
    }

    fn grouped(apps: Vec<App>) -> Vec<Vec<String>> {
        let groups = groups(apps).unwrap();
        let slugs = |group: &Vec<App>| group.iter().map(|app| app.slug().to_owned()).collect();
        groups.iter().map(slugs).collect()
    }

    #[test]
    fn what_is_needed_comes_first_and_groups_do_not_touch() {
        let apps = vec![
            app("viewer", &["database"]),
            app("alone", &[]),
            app("both", &["database", "broker"]),
            app("database", &[]),
            app("broker", &[]),
        ];
        let groups = grouped(apps);
        assert_eq!(groups.len(), 2, "{groups:?}");
        assert!(groups.contains(&vec!["alone".to_owned()]), "{groups:?}");
        let large = groups.iter().find(|group| group.len() == 4).unwrap();
        let at = |slug: &str| large.iter().position(|found| found == slug).unwrap();
        assert!(at("database") < at("viewer") && at("database") < at("both"));
        assert!(at("broker") < at("both"));
    }

    #[test]
    fn what_is_needed_must_be_there() {
        groups(vec![app("viewer", &["database"])]).unwrap_err();
        groups(vec![app("a", &["b"]), app("b", &["a"])]).unwrap_err();
    }

    #[test]
    fn every_app_of_this_repository_can_be_put_to_the_test() {
        let all = apps(&BTreeSet::new()).unwrap();
        assert!(all.len() >= 8, "{} apps", all.len());
        for app in &all {
            for greeting in &app.notes.greetings {
                super::super::talk::bytes(&greeting.send).unwrap();
                super::super::talk::bytes(&greeting.answer).unwrap();
                let mut interfaces = app.manifest.interfaces.iter();
                assert!(interfaces.any(|interface| interface.port == greeting.port));
            }
            if let Some(record) = &app.notes.record {
                let mut containers = app.manifest.containers.iter();
                assert!(containers.any(|c| c.name.as_str() == record.container));
            }
        }
        groups(all).unwrap();
        apps(&BTreeSet::from(["nothing-like-it".to_owned()])).unwrap_err();
    }
}
