//! Keeps a provider listed: announces, and renews before the lease ends.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::listing::SignedListing;
use crate::domain::time::Timestamp;
use crate::ports::clock::Clock;
use crate::ports::directory::Directory;

/// The first wait after a failed announcement; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(200);

/// The longest wait between two tries.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Makes a fresh signed listing as of now.
pub type Lister = Arc<dyn Fn(Timestamp) -> SignedListing + Send + Sync>;

/// Announces one provider.
pub struct Announcer {
    directory: Arc<dyn Directory>,
    clock: Arc<dyn Clock>,
    lister: Lister,
}

impl Announcer {
    /// An announcer of what `lister` makes.
    pub fn new(directory: Arc<dyn Directory>, clock: Arc<dyn Clock>, lister: Lister) -> Self {
        Self { directory, clock, lister }
    }

    /// Announces once. When to do it again: two thirds into the lease.
    ///
    /// # Errors
    /// As the directory says.
    pub async fn announce(&self) -> Result<Timestamp, crate::ports::directory::DirectoryError> {
        let now = self.clock.now();
        let until = self.directory.announce((self.lister)(now)).await?;
        let lease = until.since(now);
        Ok(now.after(lease.checked_mul(2).and_then(|twice| twice.checked_div(3)).unwrap_or(lease)))
    }

    /// Announces again and again, until dropped.
    pub async fn run(&self) {
        let mut wait = RETRY_MIN;
        loop {
            let next = match self.announce().await {
                Ok(next) => {
                    wait = RETRY_MIN;
                    next.max(self.clock.now().after(RETRY_MIN))
                }
                Err(problem) => {
                    tracing::warn!(%problem, "listing not announced");
                    let next = self.clock.now().after(wait);
                    wait = wait.saturating_mul(2).min(RETRY_MAX);
                    next
                }
            };
            self.clock.sleep_until(next).await;
        }
    }
}
