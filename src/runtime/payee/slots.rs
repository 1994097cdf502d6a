//! How many calls run at once.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::negotiation::Load;
use crate::ports::clock::Clock;
use crate::ports::paid_service::ServiceError;
use crate::runtime::limits::Limited;

/// When a caller that was turned away may come again, in milliseconds: about one short inference.
const BUSY_RETRY_MS: u64 = 100;

/// Paid calls that may wait for their turn, for each one that may run.
const WAITING_PER_SLOT: u32 = 64;

/// How long a paid call waits for its turn before it is turned away.
const TURN_MAX: Duration = Duration::from_secs(20);

/// A bounded count of what runs. Who asks for a price is turned away while it is full; who has signed
/// waits for a turn, because the signature is out and cannot be called back.
pub(super) struct Slots {
    free: Arc<Semaphore>,
    waiting: AtomicU32,
    bound: u32,
}

/// Leave to run, given back when dropped.
pub(super) struct Slot(#[expect(dead_code, reason = "its drop is its use")] OwnedSemaphorePermit);

/// One that waits, counted.
struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Slots {
    pub(super) fn new(bound: u32) -> Self {
        let permits = usize::try_from(bound).unwrap_or(Semaphore::MAX_PERMITS);
        let free = Arc::new(Semaphore::new(permits));
        Self { free, waiting: AtomicU32::new(0), bound }
    }

    /// Leave to run, once it is this caller's turn.
    ///
    /// # Errors
    /// [`ServiceError::RateLimited`] where too many wait, or the turn does not come in time.
    pub(super) async fn take(&self, clock: &dyn Clock) -> Result<Slot, ServiceError> {
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        // Made before the bound is looked at, so that it is counted out in any case.
        let _waiting = Waiting(&self.waiting);
        if before >= self.bound.saturating_mul(WAITING_PER_SLOT) {
            return Err(busy());
        }
        let turn = within(clock, TURN_MAX, Arc::clone(&self.free).acquire_owned()).await;
        let permit = turn.ok_or_else(busy)?.expect("the slots are never closed");
        Ok(Slot(permit))
    }

    /// Whether nobody could run now.
    ///
    /// # Errors
    /// [`ServiceError::RateLimited`] at the bound.
    pub(super) fn check(&self) -> Result<(), ServiceError> {
        let Load { running, limit } = self.load();
        if running < limit { Ok(()) } else { Err(busy()) }
    }

    /// What runs and what waits to.
    pub(super) fn load(&self) -> Load {
        let free = u32::try_from(self.free.available_permits()).unwrap_or(u32::MAX);
        let running = self.bound.saturating_sub(free);
        let waiting = self.waiting.load(Ordering::Acquire);
        Load { running: running.saturating_add(waiting), limit: self.bound }
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
pub(super) fn within<F: Future>(
    clock: &dyn Clock,
    span: Duration,
    future: F,
) -> impl Future<Output = Option<F::Output>> {
    // Boxed: who waits for a future that it was given has room for it twice.
    let future = Box::pin(future);
    async move {
        let until = clock.now().after(span);
        tokio::select! {
            biased;
            output = future => Some(output),
            () = clock.sleep_until(until) => None,
        }
    }
}
