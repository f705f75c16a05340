//! How the parts of the daemon are, for its operator.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::api::types::ComponentInfo;

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// On its way up.
    Starting,
    /// At work.
    Running,
    /// At work, with something missing.
    Degraded,
    /// Not at work.
    Stopped,
}

#[derive(Debug)]
struct Entry {
    state: State,
    last_error: Option<String>,
}

/// All parts.
#[derive(Debug, Clone, Default)]
pub struct Components(Arc<Mutex<BTreeMap<&'static str, Entry>>>);

impl Components {
    /// Notes how a part is; its last error stays.
    pub fn set(&self, name: &'static str, state: State) {
        let mut entries = self.lock();
        let entry = entries.entry(name).or_insert(Entry {
            state,
            last_error: None,
        });
        entry.state = state;
    }

    /// Notes that a part does not work as it should.
    pub fn fail(&self, name: &'static str, state: State, error: &dyn std::error::Error) {
        let text = crate::problem::causes(error).join(": ");
        tracing::warn!(component = name, error = %text, "a part of the daemon does not work as it should");
        self.note(name, state, text);
    }

    /// Notes that a part does not work as it should, when somebody else has logged why.
    pub fn note(&self, name: &'static str, state: State, last_error: String) {
        self.lock().insert(
            name,
            Entry {
                state,
                last_error: Some(last_error),
            },
        );
    }

    /// Lists them by name.
    pub fn list(&self) -> Vec<ComponentInfo> {
        self.lock()
            .iter()
            .map(|(name, entry)| ComponentInfo {
                name: (*name).to_owned(),
                state: match entry.state {
                    State::Starting => "starting",
                    State::Running => "running",
                    State::Degraded => "degraded",
                    State::Stopped => "stopped",
                }
                .to_owned(),
                last_error: entry.last_error.clone(),
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Entry>> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}
