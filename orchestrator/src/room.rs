//! Whether podman's disk has room for a release's images. A copy of data is [measured](crate::snapshot) once the images
//! are there.

use std::collections::BTreeSet;

use archy_registry::OciDigest;
use archy_registry::manifest::UserNamespace;
use archy_registry::release::{Descriptor, Image, Platform, Release};

use crate::desired::{Desired, Stage, Wish};
use crate::disk;
use crate::install::{InstallError, MachineError};
use crate::orchestrator::Orchestrator;
use crate::preflight::Refusal;

/// Compressed layers take about this many times their size once unpacked.
const UNPACK_FACTOR: u64 = 3;

/// What podman has.
#[derive(Debug, Clone, Default)]
struct Here {
    /// Images, by their configurations.
    images: BTreeSet<OciDigest>,
    /// Layers, each with all below it: podman keeps one again for every other stack that it lies on.
    stacks: BTreeSet<Vec<OciDigest>>,
}

impl Here {
    /// What installed apps keep, for the platform.
    fn of(apps: &[Desired], platform: &Platform) -> Self {
        let mut here = Self::default();
        let apps = apps.iter().filter(|app| has_images(app));
        let images = apps.flat_map(Desired::versions).flat_map(|it| &it.images);
        for image in images.filter(|image| image.platform == *platform) {
            here.add(image);
        }
        here
    }

    fn add(&mut self, image: &Image) {
        self.images.insert(image.config.digest);
        self.stacks.extend(stacks(image).map(|(stack, _)| stack));
    }
}

/// Tells whether an app's images are in podman: not once it was removed, and not while it only claims containers.
fn has_images(app: &Desired) -> bool {
    app.wish != Wish::Removed && !matches!(app.stage, Stage::Adopted)
}

/// Lists an image's layers, each with all below it.
fn stacks(image: &Image) -> impl Iterator<Item = (Vec<OciDigest>, &Descriptor)> {
    let mut stack = Vec::new();
    image.layers.iter().map(move |layer| {
        stack.push(layer.diff_id.unwrap_or(layer.digest));
        (stack.clone(), layer)
    })
}

/// Bytes that podman takes for a release's images besides what it has.
fn needed_bytes(release: &Release, platform: &Platform, mut here: Here) -> u64 {
    let mut packed_bytes = 0_u64;
    let mut copied = BTreeSet::new();
    for image in &release.images {
        if image.platform != *platform || here.images.contains(&image.config.digest) {
            continue;
        }
        // podman unpacks the image of a container with users of its own once more, with other owners.
        let mut containers = release.manifest.containers.iter();
        let is_copied = containers
            .any(|one| one.name == image.container && one.user_namespace == UserNamespace::Own)
            && copied.insert(image.config.digest);
        for (stack, layer) in stacks(image) {
            let times = u64::from(here.stacks.insert(stack)) + u64::from(is_copied);
            packed_bytes = packed_bytes.saturating_add(layer.size_bytes.saturating_mul(times));
        }
    }
    packed_bytes.saturating_mul(UNPACK_FACTOR)
}

impl Orchestrator {
    /// Refuses a release whose images do not fit on podman's disk, beside those of the installed `apps`.
    pub(crate) async fn check_room_for_images(
        &self,
        release: &Release,
        apps: &[Desired],
    ) -> Result<(), InstallError> {
        let platform = &self.inner.facts.platform;
        let mut here = Here::of(apps, platform);
        let needed = needed_bytes(release, platform, here.clone());
        if needed == 0 {
            return Ok(());
        }
        let root = self.podman_root().await.map_err(MachineError::from)?;
        let Ok(free) = disk::free_bytes(&root) else {
            return Ok(());
        };
        if needed <= free {
            return Ok(());
        }
        // Only now is it worth asking podman, which may have images that no installed app needs, or needs yet.
        let podman = &self.inner.podman;
        for image in &release.images {
            let found = podman.image(&image.config.digest.to_hex()).await;
            if found.map_err(MachineError::from)?.is_some() {
                here.add(image);
            }
        }
        let needed = needed_bytes(release, platform, here);
        if needed <= free {
            return Ok(());
        }
        Err(InstallError::Refused(Refusal::Disk {
            needed_mib: needed.div_ceil(1 << 20),
            free_mib: free >> 20,
        }))
    }
}

#[cfg(test)]
mod tests {
    use archy_registry::Blake3Hash;

    use super::*;
    use crate::samples;

    fn platform() -> Platform {
        Platform::host()
    }

    fn descriptor(name: &str, size_bytes: u64) -> Descriptor {
        Descriptor {
            media_type: String::new(),
            digest: OciDigest::from_sha256(*Blake3Hash::of(name.as_bytes()).as_bytes()),
            size_bytes,
            blake3: Blake3Hash::of(name.as_bytes()),
            diff_id: None,
        }
    }

    /// A release of containers, each with its layers' names and sizes; `own` has users of its own.
    fn release(containers: &[(&str, &[(&str, u64)])]) -> Release {
        let yaml: String = containers
            .iter()
            .map(|(name, _)| {
                let users = match *name {
                    "own" => "own",
                    _ => "shared",
                };
                format!("  - {{name: {name}, source: {{type: pull, image: \"localhost/a:1\"}}, user_namespace: {users}}}\n")
            })
            .collect();
        let mut release = samples::release("a", &yaml);
        for (name, layers) in containers {
            release.images.push(Image {
                container: name.parse().unwrap(),
                platform: platform(),
                manifest: descriptor("manifest", 1),
                config: descriptor(&format!("{layers:?}"), 1),
                layers: layers.iter().map(|(n, s)| descriptor(n, *s)).collect(),
            });
        }
        release
    }

    #[test]
    fn only_what_podman_lacks_takes_room() {
        // What is installed, what comes, what it takes packed.
        type Containers = &'static [(&'static str, &'static [(&'static str, u64)])];
        const OLD: Containers = &[("web", &[("base", 100), ("one", 10)])];
        let table: [(Containers, Containers, u64); 9] = [
            (&[], OLD, 110),
            // A setting, a rollback, the same anew.
            (OLD, OLD, 0),
            (OLD, &[("web", &[("base", 100), ("two", 20)])], 20),
            // What lies on something else is another layer to podman.
            (OLD, &[("web", &[("other", 5), ("one", 10)])], 15),
            // Once for two containers.
            (
                &[],
                &[("web", &[("base", 100)]), ("db", &[("base", 100)])],
                100,
            ),
            // Twice for one with users of its own, whether or not another one has the same.
            (&[], &[("own", &[("base", 100)])], 200),
            (
                &[],
                &[("own", &[("base", 100)]), ("db", &[("base", 100)])],
                200,
            ),
            (OLD, &[("own", &[("base", 100), ("two", 20)])], 140),
            (
                &[("own", &[("base", 100)])],
                &[("own", &[("base", 100)])],
                0,
            ),
        ];
        for (old, new, packed) in table {
            let apps = match old {
                [] => Vec::new(),
                old => vec![samples::installed(release(old), Wish::Running)],
            };
            let here = Here::of(&apps, &platform());
            let needed = needed_bytes(&release(new), &platform(), here);
            assert_eq!(needed, packed * 3, "{old:?} {new:?}");
        }
    }

    #[test]
    fn apps_without_images_have_none() {
        let of = |change: fn(&mut Desired)| {
            let mut app = samples::installed(release(&[("web", &[("base", 100)])]), Wish::Running);
            change(&mut app);
            let here = Here::of(std::slice::from_ref(&app), &platform());
            needed_bytes(&app.release, &platform(), here)
        };
        assert_eq!(of(|_| ()), 0);
        assert_eq!(of(|app| app.wish = Wish::Stopped), 0);
        assert_eq!(of(|app| app.wish = Wish::Removed), 300);
        assert_eq!(of(|app| app.stage = Stage::Adopted), 300);
        let mut here = Here::default();
        let coming = release(&[("web", &[("base", 100)])]);
        coming.images.iter().for_each(|image| here.add(image));
        assert_eq!(needed_bytes(&coming, &platform(), here), 0);
    }
}
