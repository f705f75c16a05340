//! Which steps of an app's hooks are done, on disk.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use archy_registry::Blake3Hash;
use serde::{Deserialize, Serialize};

use super::{HookError, Moment};
use crate::disk;

/// The id of podman's session of a step that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session(pub(super) String);

/// How far one hook is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    /// The release whose hook it is: another one's begins anew.
    release: Blake3Hash,
    /// Steps that are done.
    done: usize,
    /// The next step, once it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<Session>,
}

/// All hooks of one app.
#[derive(Debug)]
pub(super) struct Markers {
    path: PathBuf,
    hooks: BTreeMap<Moment, Progress>,
}

impl Markers {
    pub(super) fn load(path: PathBuf) -> Result<Self, HookError> {
        let read = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        };
        match read {
            Ok(hooks) => Ok(Self { path, hooks }),
            Err(source) => Err(HookError::Markers { path, source }),
        }
    }

    /// Begins a release's hook, or goes on with it. Nothing is written before a step is begun or done.
    pub(super) fn begin(&mut self, moment: Moment, release: Blake3Hash) {
        let progress = self.hooks.get(&moment);
        if progress.is_none_or(|progress| progress.release != release) {
            let progress = Progress {
                release,
                done: 0,
                session: None,
            };
            self.hooks.insert(moment, progress);
        }
    }

    pub(super) fn done(&self, moment: Moment) -> usize {
        self.hooks.get(&moment).map_or(0, |progress| progress.done)
    }

    /// Tells whether a step of this release's hook is on record.
    pub(super) fn has_begun(&self, moment: Moment, release: Blake3Hash) -> bool {
        let progress = self.hooks.get(&moment);
        progress.is_some_and(|progress| progress.release == release)
    }

    pub(super) fn session(&self, moment: Moment) -> Option<&Session> {
        self.hooks.get(&moment)?.session.as_ref()
    }

    pub(super) fn note(&mut self, moment: Moment, session: Session) -> Result<(), HookError> {
        self.change(moment, |progress| progress.session = Some(session))
    }

    /// Forgets a session that failed, so that the step is begun anew.
    pub(super) fn drop_session(&mut self, moment: Moment) -> Result<(), HookError> {
        self.change(moment, |progress| progress.session = None)
    }

    pub(super) fn finish(&mut self, moment: Moment) -> Result<(), HookError> {
        self.change(moment, |progress| {
            progress.done += 1;
            progress.session = None;
        })
    }

    pub(super) fn forget(&mut self, moments: &[Moment]) -> Result<(), HookError> {
        let known = self.hooks.len();
        self.hooks.retain(|moment, _| !moments.contains(moment));
        if self.hooks.len() == known {
            return Ok(());
        }
        self.save()
    }

    fn change(
        &mut self,
        moment: Moment,
        change: impl FnOnce(&mut Progress),
    ) -> Result<(), HookError> {
        if let Some(progress) = self.hooks.get_mut(&moment) {
            change(progress);
        }
        self.save()
    }

    fn save(&self) -> Result<(), HookError> {
        let bytes = serde_json::to_vec_pretty(&self.hooks).expect("markers are plain data");
        disk::replace(&self.path, &bytes, 0o600).map_err(|source| HookError::Markers {
            path: self.path.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOOK: Moment = Moment::PreUpdate;

    #[test]
    fn a_killed_node_goes_on_with_the_next_step() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("hooks.json");
        let load = || {
            let mut markers = Markers::load(path.clone()).unwrap();
            markers.begin(HOOK, Blake3Hash::of(b"one"));
            markers
        };
        let mut markers = load();
        assert_eq!((markers.done(HOOK), markers.session(HOOK)), (0, None));
        markers.note(HOOK, Session("s".to_owned())).unwrap();
        assert_eq!(load().session(HOOK), Some(&Session("s".to_owned())));
        load().finish(HOOK).unwrap();
        assert_eq!((load().done(HOOK), load().session(HOOK)), (1, None));
        assert!(load().has_begun(HOOK, Blake3Hash::of(b"one")));
        let fresh = Markers::load(path.clone()).unwrap();
        assert!(!fresh.has_begun(HOOK, Blake3Hash::of(b"two")));
        assert!(!fresh.has_begun(Moment::PostUpdate, Blake3Hash::of(b"one")));
        load().note(HOOK, Session("t".to_owned())).unwrap();
        load().drop_session(HOOK).unwrap();
        assert_eq!((load().done(HOOK), load().session(HOOK)), (1, None));
    }

    #[test]
    fn another_release_and_another_try_begin_anew() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("hooks.json");
        let mut markers = Markers::load(path.clone()).unwrap();
        for moment in [HOOK, Moment::PostInstall] {
            markers.begin(moment, Blake3Hash::of(b"one"));
            markers.finish(moment).unwrap();
        }
        let mut other = Markers::load(path.clone()).unwrap();
        other.begin(HOOK, Blake3Hash::of(b"two"));
        assert_eq!(other.done(HOOK), 0);
        markers.forget(&[HOOK, Moment::PostUpdate]).unwrap();
        let markers = Markers::load(path).unwrap();
        assert_eq!(
            (markers.done(HOOK), markers.done(Moment::PostInstall)),
            (0, 1)
        );
    }

    #[test]
    fn a_damaged_file_is_no_licence_to_repeat_everything() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("hooks.json");
        std::fs::write(&path, "{").unwrap();
        assert!(Markers::load(path).is_err());
    }
}
