//! The bounded memory of requests: the same request again is the same payment.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::id::{AgentId, Fingerprint, PaymentId, RequestId};
use crate::domain::time::Timestamp;

/// How far a request id's own time may be ahead of the ledger's.
pub const REQUEST_SKEW_MAX: Duration = Duration::from_secs(300);

/// What became of a request.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestState {
    /// Its payment is open or paid: it answers for the request.
    Taken,
    /// Its payment ended unpaid, by evidence: the next attempt may be made.
    Free {
        /// Its number.
        next: u32,
    },
}

/// A request that is remembered.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Its latest payment.
    pub payment: PaymentId,
    /// What it said.
    pub fingerprint: Fingerprint,
    /// Where it stands.
    pub state: RequestState,
}

/// All remembered requests, oldest first by their own ids' time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    kept: BTreeMap<(RequestId, AgentId), Remembered>,
    /// Ids made before this are refused: something that old may have been forgotten.
    floor_ms: u64,
}

impl Requests {
    /// What is remembered of a request.
    pub fn find(&self, agent: AgentId, request: RequestId) -> Option<&Remembered> {
        self.kept.get(&(request, agent))
    }

    /// The span in which a request's id must have been made to be taken at `now`.
    pub fn span(&self, now: Timestamp, memory: Duration) -> (Timestamp, Timestamp) {
        let floor = Timestamp::from_millis(self.floor_ms);
        (floor.max(now.before(memory)), now.after(REQUEST_SKEW_MAX))
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    pub(super) fn take(&mut self, agent: AgentId, request: RequestId, remembered: Remembered) {
        self.kept.insert((request, agent), remembered);
    }

    pub(super) fn free(&mut self, agent: AgentId, request: RequestId, next: u32) {
        if let Some(remembered) = self.kept.get_mut(&(request, agent)) {
            remembered.state = RequestState::Free { next };
        }
    }

    /// Forgets what is older than `memory`, and the oldest beyond `most`; what is forgotten raises the
    /// floor, so that it is refused and never taken for new.
    pub(super) fn forget(&mut self, now: Timestamp, memory: Duration, most: usize) {
        let oldest_ms = now.before(memory).as_millis();
        while let Some(((request, _), _)) = self.kept.first_key_value() {
            let made_at_ms = request.made_at_ms().unwrap_or(0);
            if made_at_ms >= oldest_ms && self.kept.len() <= most {
                return;
            }
            self.floor_ms = self.floor_ms.max(made_at_ms.saturating_add(1));
            self.kept.pop_first();
        }
    }
}
