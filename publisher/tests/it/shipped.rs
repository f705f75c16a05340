//! The apps that ship with the project keep the packaging contract.

use std::path::{Path, PathBuf};

use archy::app::App;
use archy::publish::source::{Place, assign};
use archy_registry::manifest::Source;

fn apps() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../apps");
    let mut apps: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("manifest.yml").is_file())
        .collect();
    apps.sort();
    apps
}

#[test]
fn every_app_is_valid_and_can_be_rendered() {
    assert_eq!(apps().len(), 10);
    for dir in apps() {
        let app =
            App::open(&dir).unwrap_or_else(|failure| panic!("{}: {failure:?}", dir.display()));
        assert!(app.warnings.is_empty(), "{:?}", app.warnings);
        assert!(app.icon.is_some());
        assert_eq!(
            dir.file_name().unwrap().to_str().unwrap(),
            app.manifest.app.id.as_str()
        );
        archy_orchestrator::quadlet::preview(&app.manifest).unwrap();
    }
}

/// `apps/build` finds contexts by their place; the manifests must mean the same.
#[test]
fn every_container_is_built_from_the_folder_of_its_name() {
    for dir in apps() {
        let app = App::open(&dir).unwrap();
        for container in &app.manifest.containers {
            let Source::Build { context, .. } = &container.source else {
                panic!("{} is not built here", container.name);
            };
            assert_eq!(context.to_string(), container.name.as_str());
            assert!(
                dir.join(container.name.as_str())
                    .join("Containerfile")
                    .is_file()
            );
        }
        let tags = assign(&app.manifest, &[]).unwrap();
        for (container, places) in tags {
            let tag = format!("localhost/{}-{container}:latest", app.manifest.app.id);
            assert_eq!(places, [Place::Podman(tag)]);
        }
    }
}

/// Nodes drop every capability, so nothing may need to become somebody else.
#[test]
fn every_container_runs_as_one_ordinary_user_on_a_read_only_root() {
    for dir in apps() {
        for container in App::open(&dir).unwrap().manifest.containers {
            assert!(
                container.user.is_some_and(|user| !user.starts_with('0')),
                "{}",
                container.name
            );
            assert!(
                container.readonly_root
                    && container.capabilities.is_empty()
                    && container.devices.is_empty()
            );
            assert!(container.health_check.is_some());
        }
    }
}

/// The manual's example is what people copy.
#[test]
fn the_manuals_example_is_valid() {
    let page = include_str!("../../../docs/src/developer/manifest.md");
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let (yaml, _) = rest.split_once("```").unwrap();
    let parsed = archy_registry::manifest::parse(yaml).unwrap_or_else(|error| panic!("{error}"));
    assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
    archy_orchestrator::quadlet::preview(&parsed.manifest).unwrap();
}
