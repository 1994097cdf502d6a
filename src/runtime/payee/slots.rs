//! How many calls run at once.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::domain::negotiation::Load;
use crate::ports::clock::Clock;
use crate::ports::paid_service::ServiceError;
use crate::runtime::limits::Limited;

/// When a caller that was turned away may come again, in milliseconds: about one short inference.
const BUSY_RETRY_MS: u64 = 100;

/// A bounded count of what runs.
pub(super) struct Slots {
    running: Arc<AtomicU32>,
    bound: u32,
}

/// Leave to run, given back when dropped.
pub(super) struct Slot(Arc<AtomicU32>);

impl Slots {
    pub(super) fn new(bound: u32) -> Self {
        Self { running: Arc::default(), bound }
    }

    /// Leave to run.
    ///
    /// # Errors
    /// [`ServiceError::RateLimited`] at the bound.
    pub(super) fn take(&self) -> Result<Slot, ServiceError> {
        let before = self.running.fetch_add(1, Ordering::AcqRel);
        // Made before the bound is looked at, so that it is given back in any case.
        let slot = Slot(Arc::clone(&self.running));
        if before < self.bound { Ok(slot) } else { Err(busy()) }
    }

    /// Whether nobody could run now.
    ///
    /// # Errors
    /// [`ServiceError::RateLimited`] at the bound.
    pub(super) fn check(&self) -> Result<(), ServiceError> {
        let Load { running, limit } = self.load();
        if running < limit { Ok(()) } else { Err(busy()) }
    }

    pub(super) fn load(&self) -> Load {
        Load { running: self.running.load(Ordering::Acquire), limit: self.bound }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn busy() -> ServiceError {
    ServiceError::RateLimited { retry_after_ms: BUSY_RETRY_MS }
}

/// A limit as a caller hears it.
pub(super) fn too_fast(limited: &Limited) -> ServiceError {
    ServiceError::RateLimited { retry_after_ms: limited.retry_after_ms().unwrap_or(BUSY_RETRY_MS) }
}

/// What `future` gives, or `None` once `span` has passed.
pub(super) async fn within<F: Future>(
    clock: &dyn Clock,
    span: Duration,
    future: F,
) -> Option<F::Output> {
    let until = clock.now().after(span);
    tokio::select! {
        biased;
        output = future => Some(output),
        () = clock.sleep_until(until) => None,
    }
}
