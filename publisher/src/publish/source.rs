//! Where each container's image comes from: what `--image` says, or what the manifest implies.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use archy_registry::Slug;
use archy_registry::manifest::{Container, Manifest};
use archy_swarm::image::ImageSource;

use crate::develop::images;
use crate::failure::Failure;

/// A value of `--image`: `[CONTAINER=]SOURCE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageArgument {
    /// The container, if it is named.
    pub container: Option<Slug>,
    /// Where the image is.
    pub place: Place,
}

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The local podman.
    Podman(String),
    /// A directory in OCI layout, and the name of the image in it.
    Layout(PathBuf, Option<String>),
    /// An OCI archive, and the name of the image in it.
    Archive(PathBuf, Option<String>),
    /// A registry.
    Registry(String),
}

impl ImageArgument {
    /// Tells whether it says where a container's image is.
    pub fn is_of(&self, container: &Container) -> bool {
        self.container
            .as_ref()
            .is_none_or(|name| *name == container.name)
    }
}

impl FromStr for ImageArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = text
            .split_once('=')
            .and_then(|(name, rest)| Some((name.parse().ok()?, rest)));
        let (container, place) = named.map_or((None, text), |(name, rest)| (Some(name), rest));
        Ok(Self {
            container,
            place: place.parse()?,
        })
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let file = |rest: &str| match rest.split_once(':') {
            Some((path, name)) => (PathBuf::from(path), Some(name.to_owned())),
            None => (PathBuf::from(rest), None),
        };
        let place = match text.split_once(':') {
            Some(("containers-storage", name)) => Self::Podman(name.to_owned()),
            Some(("oci", rest)) => {
                let (dir, name) = file(rest);
                Self::Layout(dir, name)
            }
            Some(("oci-archive", rest)) => {
                let (archive, name) = file(rest);
                Self::Archive(archive, name)
            }
            Some(("docker", rest)) if rest.starts_with("//") => {
                Self::Registry(rest[2..].to_owned())
            }
            _ => {
                return Err("say where the image is: containers-storage:NAME, oci:DIR, oci-archive:FILE or docker://REF"
                    .to_owned());
            }
        };
        Ok(place)
    }
}

impl Place {
    /// Names the image for the packer.
    pub fn image_source(&self, podman_socket: &Path) -> ImageSource {
        match self.clone() {
            Self::Podman(name) => ImageSource::Podman {
                socket: podman_socket.to_owned(),
                name,
            },
            Self::Layout(dir, name) => ImageSource::OciLayout { dir, name },
            Self::Archive(file, name) => ImageSource::OciArchive { file, name },
            Self::Registry(reference) => ImageSource::Registry {
                plain_http: is_loopback(&reference),
                reference,
                login: None,
            },
        }
    }
}

/// A registry on this machine speaks HTTP, as for podman and docker.
fn is_loopback(reference: &str) -> bool {
    let host = reference.split('/').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    ["localhost", "127.0.0.1", "[::1]"].contains(&host)
}

/// Finds the places of every container's images, in the manifest's order. A container has several where
/// each holds the image for another platform. Where no argument says it, the local podman has it under the name that the
/// manifest gives it.
///
/// # Errors
///
/// When an argument names no container of the manifest.
pub fn assign(
    manifest: &Manifest,
    arguments: &[ImageArgument],
) -> Result<Vec<(Slug, Vec<Place>)>, Failure> {
    let names: Vec<&Slug> = manifest
        .containers
        .iter()
        .map(|container| &container.name)
        .collect();
    let listed = || {
        names
            .iter()
            .map(|name| name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    for argument in arguments {
        match &argument.container {
            Some(name) if !names.contains(&name) => {
                let text = format!(
                    "--image names the container {name}, the manifest has: {}",
                    listed()
                );
                return Err(Failure::usage(text));
            }
            None if names.len() > 1 => {
                let text = format!(
                    "the app has several containers ({}): write --image CONTAINER=SOURCE",
                    listed()
                );
                return Err(Failure::usage(text));
            }
            Some(_) | None => {}
        }
    }
    manifest
        .containers
        .iter()
        .map(|container| {
            let places: Vec<Place> = arguments
                .iter()
                .filter(|argument| argument.is_of(container))
                .map(|argument| argument.place.clone())
                .collect();
            let places = if places.is_empty() {
                vec![Place::Podman(images::name(&manifest.app.id, container))]
            } else {
                places
            };
            Ok((container.name.clone(), places))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(text: &str) -> ImageArgument {
        text.parse().unwrap()
    }

    #[test]
    fn every_kind_of_source_is_read() {
        let podman = Place::Podman("localhost/web:latest".to_owned());
        assert_eq!(
            argument("containers-storage:localhost/web:latest").place,
            podman
        );
        assert_eq!(
            argument("web=containers-storage:localhost/web:latest")
                .container
                .unwrap()
                .as_str(),
            "web"
        );
        assert_eq!(
            argument("oci:/a/b").place,
            Place::Layout("/a/b".into(), None)
        );
        assert_eq!(
            argument("db=oci-archive:x.tar:localhost/db:1").place,
            Place::Archive("x.tar".into(), Some("localhost/db:1".to_owned()))
        );
        assert_eq!(
            argument("docker://a/b@sha256:0").place,
            Place::Registry("a/b@sha256:0".to_owned())
        );
        for text in [
            "",
            "web",
            "web=",
            "localhost/web",
            "docker:a",
            "web=./web.tar",
        ] {
            assert!(text.parse::<ImageArgument>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_registries_on_this_machine_speak_http() {
        assert!(
            is_loopback("localhost:5000/x")
                && is_loopback("127.0.0.1/x")
                && is_loopback("[::1]:5000/x")
        );
        assert!(
            !is_loopback("registry.example.org:5000/localhost")
                && !is_loopback("localhost.example.org/x")
        );
    }

    #[test]
    fn arguments_find_their_containers() {
        let yaml = crate::app::scaffold::files(&"notes".parse().unwrap())[0]
            .1
            .clone();
        let manifest = archy_registry::manifest::parse(&yaml).unwrap().manifest;
        let assigned = assign(&manifest, &[]).unwrap();
        assert_eq!(
            assigned[0].1,
            [Place::Podman("localhost/notes-web:latest".to_owned())]
        );
        let assigned = assign(&manifest, &[argument("oci:amd"), argument("web=oci:arm")]).unwrap();
        assert_eq!(assigned[0].1.len(), 2);
        let failure = assign(&manifest, &[argument("db=oci:x")]).unwrap_err();
        assert_eq!(
            failure.error,
            "--image names the container db, the manifest has: web"
        );
    }
}
