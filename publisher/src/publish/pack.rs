//! Packs the images of every container for every platform that all of them have.

use std::collections::{BTreeMap, BTreeSet};

use archy_registry::Slug;
use archy_registry::manifest::{Container, Manifest, Source};
use archy_registry::release::{Image, Platform};
use archy_swarm::image::{self, ImageSource, Packed};

use super::Request;
use super::source::{self, Place};
use crate::develop::images::Podman;
use crate::failure::{Class, Failure};
use crate::output::Output;
use crate::text::{count, size};

/// The image of one container for one platform.
#[derive(Debug)]
pub struct PackedImage {
    /// The container.
    pub container: Slug,
    /// Its image.
    pub packed: Packed,
}

impl PackedImage {
    /// Describes it for a release.
    pub fn image(&self) -> Image {
        Image {
            container: self.container.clone(),
            platform: self.packed.platform.clone(),
            manifest: self.packed.manifest.clone(),
            config: self.packed.config.clone(),
            layers: self.packed.layers.clone(),
        }
    }
}

/// Writes a platform as people do.
pub fn platform_text(platform: &Platform) -> String {
    format!("{}/{}", platform.os, platform.architecture)
}

/// Finds the places of every container's images, and builds what nothing else names and whose context changed.
///
/// # Errors
///
/// When an argument names no container, or an image cannot be built.
pub(crate) async fn sources(
    request: &Request<'_>,
    manifest: &Manifest,
    output: &Output,
) -> Result<Vec<(Slug, Vec<Place>)>, Failure> {
    let places = source::assign(manifest, request.images)?;
    if request.build {
        let is_built = |container: &Container| {
            matches!(container.source, Source::Build { .. })
                && !request.images.iter().any(|image| image.is_of(container))
        };
        let podman = Podman::new(output);
        podman.make(request.dir, manifest, is_built).await?;
    }
    Ok(places)
}

/// Packs every image.
///
/// # Errors
///
/// When an image cannot be packed, or the containers have no platform in common.
pub(crate) async fn all(
    request: &Request<'_>,
    places: &[(Slug, Vec<Place>)],
    output: &Output,
) -> Result<Vec<PackedImage>, Failure> {
    let mut offers = Vec::new();
    for (container, places) in places {
        offers.push((container, offer(request, container, places).await?));
    }
    let platforms = common(&offers, request.platforms)?;
    let mut images = Vec::new();
    for (container, offer) in &offers {
        for platform in &platforms {
            let source = &offer[platform];
            let packed = image::pack(source, platform, &request.work_dir).await?;
            let bytes = packed.descriptors().map(|blob| blob.size_bytes).sum();
            output.progress(format_args!(
                "packed {container} for {}: {}, {}",
                platform_text(platform),
                count(packed.layers.len(), "layer"),
                size(bytes)
            ));
            images.push(PackedImage {
                container: (*container).clone(),
                packed,
            });
        }
    }
    Ok(images)
}

type Offer = BTreeMap<Platform, ImageSource>;

/// Learns for which platforms a container has an image, and where.
async fn offer(
    request: &Request<'_>,
    container: &Slug,
    places: &[Place],
) -> Result<Offer, Failure> {
    let mut offer = Offer::new();
    for place in places {
        let source = place.image_source(&request.podman_socket);
        let platforms = match place {
            // One name in the local podman is one image; asking would export it twice.
            Place::Podman(_) if request.platforms.len() <= 1 => {
                vec![
                    request
                        .platforms
                        .first()
                        .cloned()
                        .unwrap_or_else(Platform::host),
                ]
            }
            Place::Podman(_) | Place::Layout(..) | Place::Archive(..) | Place::Registry(_) => {
                image::platforms(&source, &request.work_dir)
                    .await
                    .map_err(|error| {
                        Failure::from(error).hint(format!("It was looked for in {source}"))
                    })?
            }
        };
        for platform in platforms {
            let name = platform_text(&platform);
            if offer.insert(platform, source.clone()).is_some() {
                let text = format!("container {container} has two images for {name}");
                return Err(Failure::usage(text));
            }
        }
    }
    Ok(offer)
}

/// Chooses the platforms for which every container has an image.
fn common(offers: &[(&Slug, Offer)], wanted: &[Platform]) -> Result<Vec<Platform>, Failure> {
    let missing = |container: &Slug, platform: &Platform, offer: &Offer| {
        let there: Vec<String> = offer.keys().map(platform_text).collect();
        let text = format!(
            "container {container} has no image for {}; there is one for: {}",
            platform_text(platform),
            there.join(", ")
        );
        Failure::new(Class::NotFound, "image", text)
    };
    for platform in wanted {
        if let Some((container, offer)) = offers
            .iter()
            .find(|(_, offer)| !offer.contains_key(platform))
        {
            return Err(missing(container, platform, offer));
        }
    }
    if !wanted.is_empty() {
        let wanted: BTreeSet<&Platform> = wanted.iter().collect();
        return Ok(wanted.into_iter().cloned().collect());
    }
    let (_, first) = offers
        .first()
        .ok_or_else(|| Failure::refused("manifest", "the app has no container"))?;
    let in_all =
        |platform: &&Platform| offers.iter().all(|(_, offer)| offer.contains_key(platform));
    let platforms: Vec<Platform> = first.keys().filter(in_all).cloned().collect();
    if platforms.is_empty() {
        let (platform, container, offer) = offers
            .iter()
            .find_map(|(container, offer)| {
                let lacking = first
                    .keys()
                    .find(|platform| !offer.contains_key(platform))?;
                Some((lacking, container, offer))
            })
            .ok_or_else(|| Failure::new(Class::NotFound, "image", "the image has no platform"))?;
        return Err(missing(container, platform, offer));
    }
    Ok(platforms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(architecture: &str) -> Platform {
        Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
        }
    }

    fn offer(architectures: &[&str]) -> Offer {
        let source = ImageSource::OciLayout {
            dir: "x".into(),
            name: None,
        };
        architectures
            .iter()
            .map(|name| (platform(name), source.clone()))
            .collect()
    }

    #[test]
    fn a_release_has_the_platforms_that_all_containers_have() {
        let (web, db): (Slug, Slug) = ("web".parse().unwrap(), "db".parse().unwrap());
        let offers = [
            (&web, offer(&["amd64", "arm64", "riscv64"])),
            (&db, offer(&["amd64", "arm64"])),
        ];
        assert_eq!(
            common(&offers, &[]).unwrap(),
            [platform("amd64"), platform("arm64")]
        );
        assert_eq!(
            common(&offers, &[platform("arm64")]).unwrap(),
            [platform("arm64")]
        );
        let failure = common(&offers, &[platform("riscv64")]).unwrap_err();
        assert_eq!(
            failure.error,
            "container db has no image for linux/riscv64; there is one for: linux/amd64, linux/arm64"
        );
        let offers = [(&web, offer(&["amd64"])), (&db, offer(&["arm64"]))];
        let failure = common(&offers, &[]).unwrap_err();
        assert_eq!(
            failure.error,
            "container db has no image for linux/amd64; there is one for: linux/arm64"
        );
    }
}
