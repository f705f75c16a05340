use archy_registry::release::Release;

use super::*;
use crate::desired::{Before, Wish};
use crate::samples::{self, installed as known};
use crate::surroundings::Surroundings;

fn release(containers: &str) -> Release {
    samples::release("a", containers)
}

/// A container, which mounts volumes as `name: target`.
fn container(name: &str, users: &str, volumes: &[(&str, &str)]) -> String {
    let volumes: Vec<String> = volumes
        .iter()
        .map(|(name, target)| format!("{{name: {name}, target: {target}}}"))
        .collect();
    format!(
        "  - {{name: {name}, source: {{type: pull, image: localhost/a}}, user_namespace: {users}, volumes: [{}]}}\n",
        volumes.join(", ")
    )
}

fn refused(manifest: &Manifest, known: &Desired) -> Option<String> {
    let refusal = check_users(manifest, known).err()?;
    Some(refusal.to_string())
}

#[test]
fn data_stays_with_the_users_that_made_it() {
    let shared = release(&container("web", "shared", &[("data", "/data")]));
    let own = release(&container("web", "own", &[("data", "/data")]));
    let renamed = release(&container("web", "own", &[("more", "/data")]));
    let none = release(&container("web", "own", &[]));
    for wish in [Wish::Running, Wish::Stopped, Wish::Removed] {
        let installed = known(shared.clone(), wish);
        assert_eq!(refused(&shared.manifest, &installed), None);
        let words = refused(&own.manifest, &installed).unwrap();
        for part in ["volume data of a", "keep shared", "new volume name"] {
            assert!(words.contains(part), "{words}");
        }
        assert_eq!(refused(&renamed.manifest, &installed), None);
        assert_eq!(refused(&none.manifest, &installed), None);
        let back = refused(&shared.manifest, &known(own.clone(), wish)).unwrap();
        assert!(back.contains("keep own"), "{back}");
    }
    let dataless = known(release(&container("web", "shared", &[])), Wish::Running);
    assert_eq!(refused(&own.manifest, &dataless), None);
}

#[test]
fn data_of_the_version_before_counts() {
    let shared = known(
        release(&container("web", "shared", &[("data", "/data")])),
        Wish::Running,
    );
    let mut installed = known(release(&container("web", "own", &[])), Wish::Running);
    installed.before = Some(Box::new(Before {
        version: shared.version(),
        snapshot: None,
    }));
    let own = release(&container("web", "own", &[("data", "/data")]));
    assert!(refused(&own.manifest, &installed).is_some());
}

#[test]
fn data_that_an_image_declares_counts_where_it_is_still_mounted() {
    let mut installed = known(release(&container("web", "shared", &[])), Wish::Running);
    let declared = surroundings::image_volume(&"web".parse().unwrap(), "/cache");
    let declared = BTreeMap::from([("/cache".to_owned(), declared)]);
    installed.settings.surroundings = Surroundings {
        image_volumes: BTreeMap::from([("web".parse().unwrap(), declared)]),
        ..Surroundings::default()
    };
    for (containers, is_refused) in [
        (container("web", "shared", &[]), false),
        (container("web", "own", &[]), true),
        (container("web", "own", &[("cache", "/cache")]), false),
        (container("other", "own", &[]), false),
    ] {
        let found = refused(&release(&containers).manifest, &installed);
        assert_eq!(found.is_some(), is_refused, "{containers}: {found:?}");
    }
}

#[test]
fn users_of_its_own_own_the_next_id() {
    let mut release = release(&container("web", "own", &[("data", "/data")]));
    let data = "data".parse().unwrap();
    for (uid, shared, own) in [
        (None, None, None),
        (Some(0), None, Some(1)),
        (Some(33), Some(33), Some(34)),
    ] {
        let web = &mut release.manifest.containers[0];
        web.volumes[0].data_uid = uid;
        web.user_namespace = UserNamespace::Shared;
        assert_eq!(owner(&release.manifest, &data), shared);
        release.manifest.containers[0].user_namespace = UserNamespace::Own;
        assert_eq!(owner(&release.manifest, &data), own);
    }
    assert_eq!(owner(&release.manifest, &"other".parse().unwrap()), None);
}
