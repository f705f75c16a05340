//! A place for a part of the daemon that comes up later than the API.

use tokio::sync::watch;

/// Empty until its part is up; whoever needs the part waits for it.
#[derive(Debug, Clone)]
pub struct Slot<T>(watch::Sender<Option<T>>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl<T: Clone> Slot<T> {
    /// Puts the part in.
    pub fn put(&self, part: T) {
        self.0.send_replace(Some(part));
    }

    /// Returns the part if it is up.
    pub fn now(&self) -> Option<T> {
        self.0.borrow().clone()
    }

    /// Waits for the part.
    pub async fn ready(&self) -> T {
        let mut parts = self.0.subscribe();
        let part = parts
            .wait_for(Option::is_some)
            .await
            .expect("this slot holds a sender")
            .clone();
        part.expect("waited until it is there")
    }
}
