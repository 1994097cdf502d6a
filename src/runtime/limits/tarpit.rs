//! Answers late who is refused again and again: a loop that asks anew as soon as it is refused makes no more
//! requests than its answers let it, and what refusing costs is left to those who pay.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{Key, Limits};
use crate::domain::id::AgentId;
use crate::domain::policy::Rates;
use crate::ports::clock::Clock;

/// An agent's refusals that are answered at once: as many as a minute brings, and two a second from then on.
pub const AT_ONCE: Rates =
    Rates { calls_per_minute: Some(120), concurrency: None, nano_per_minute: None };

/// How much later the others are answered.
pub const LATE: Duration = Duration::from_millis(250);

/// Refusals that wait at most; whoever is refused beyond that is answered at once.
pub const WAITING_MAX: usize = 4096;

/// Holds refusals up.
pub struct Tarpit {
    seen: Limits,
    waiting: Semaphore,
    clock: Arc<dyn Clock>,
}

impl Tarpit {
    /// One by this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let waiting = Semaphore::new(WAITING_MAX);
        Self { seen: Limits::new(Arc::clone(&clock)), waiting, clock }
    }

    /// Returns when a refusal of `agent`'s may be answered. Nothing of the refused call may be kept meanwhile
    /// that another could use.
    pub async fn hold_up(&self, agent: AgentId) {
        if self.seen.admit(&[(Key::Agent(agent), AT_ONCE)]).is_ok() {
            return;
        }
        if let Ok(_place) = self.waiting.try_acquire() {
            self.clock.sleep_until(self.clock.now().after(LATE)).await;
        }
    }
}
