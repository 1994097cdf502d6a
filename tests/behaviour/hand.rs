//! A clock of the tests' own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bursar::domain::time::Timestamp;
use bursar::edge::clock::SystemClock;
use bursar::ports::clock::Clock;

/// The machine's clock, put forward by hand.
#[derive(Clone, Default)]
pub struct Hand(Arc<AtomicU64>);

impl Hand {
    /// Puts it forward by so many seconds.
    pub fn forward(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for Hand {
    fn now(&self) -> Timestamp {
        SystemClock.now().after(Duration::from_secs(self.0.load(Ordering::SeqCst)))
    }

    async fn sleep_until(&self, until: Timestamp) {
        while self.now() < until {
            let soon = SystemClock.now().after(Duration::from_millis(20));
            SystemClock.sleep_until(soon).await;
        }
    }
}
