//! The clock: the only way time enters the runtime.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::domain::time::Timestamp;

/// Reads the time and waits for it.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The wall clock's time; it may jump, and the ledger never lets that turn its own time back.
    fn now(&self) -> Timestamp;

    /// Returns once `now()` is at least `until`. Cancel-safe.
    async fn sleep_until(&self, until: Timestamp);
}

/// A clock that stands still until told otherwise: the in-memory twin.
#[derive(Clone, Default)]
pub struct ManualClock {
    now: Arc<Mutex<Timestamp>>,
    moved: Arc<Notify>,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self { now: Arc::new(Mutex::new(now)), moved: Arc::default() }
    }

    /// Shows `now` from here on and wakes whoever waited for it.
    pub fn set(&self, now: Timestamp) {
        *self.now.lock().expect("no holder of the clock panics") = now;
        self.moved.notify_waiters();
    }

    /// Moves on by `span`.
    pub fn advance(&self, span: std::time::Duration) {
        self.set(self.now().after(span));
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().expect("no holder of the clock panics")
    }

    async fn sleep_until(&self, until: Timestamp) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            // Registered before the time is read, so that no move in between is missed.
            moved.as_mut().enable();
            if self.now() >= until {
                return;
            }
            moved.await;
        }
    }
}
