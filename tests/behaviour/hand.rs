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
pub struct Hand {
    forward: Arc<AtomicU64>,
    ahead: u64,
}

/// By how many seconds each part's clock is ahead of the machine's.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Skew {
    /// The chain's.
    pub chain: u64,
    /// The provider's.
    pub provider: u64,
    /// That of who settles for the provider.
    pub settler: u64,
    /// The payers' node's, and its directory's.
    pub node: u64,
}

impl Hand {
    /// Puts it forward by so many seconds, and every clock that is ahead of it too.
    pub fn forward(&self, seconds: u64) {
        self.forward.fetch_add(seconds, Ordering::SeqCst);
    }

    /// A clock that is so many seconds ahead of this one.
    pub fn ahead(&self, seconds: u64) -> Self {
        Self { forward: Arc::clone(&self.forward), ahead: self.ahead + seconds }
    }
}

#[async_trait]
impl Clock for Hand {
    fn now(&self) -> Timestamp {
        let seconds = self.forward.load(Ordering::SeqCst) + self.ahead;
        SystemClock.now().after(Duration::from_secs(seconds))
    }

    async fn sleep_until(&self, until: Timestamp) {
        while self.now() < until {
            let soon = SystemClock.now().after(Duration::from_millis(20));
            SystemClock.sleep_until(soon).await;
        }
    }
}
