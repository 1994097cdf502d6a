//! What those who tried were told: their side of the books.

use std::collections::BTreeMap;
use std::sync::Arc;

use bursar::domain::id::{PaymentId, RequestId};
use bursar::edge::grpc::{AgentError, Bought};

/// What an agent was told: so much was charged for this request, as that payment.
#[derive(Clone, Debug)]
pub struct Told {
    /// Which payment; none where what was said names none.
    pub payment: Option<PaymentId>,
    /// Who asked.
    pub agent: Arc<str>,
    /// For which request of that agent.
    pub request: RequestId,
}

impl Told {
    /// What `bought` told `agent`, who asked for `request`.
    pub fn of(agent: &Arc<str>, request: RequestId, bought: &Bought) -> Self {
        Self { payment: bought.payment.parse().ok(), agent: Arc::clone(agent), request }
    }
}

/// What came of all that was tried.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    /// Every answer.
    pub told: Vec<Told>,
    /// Refusals, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Calls that nobody waited for.
    pub left: u64,
    /// Requests that were answered although another one had that name.
    pub confused: u64,
}

impl Tried {
    /// With what another one saw.
    pub fn add(&mut self, other: Self) {
        self.told.extend(other.told);
        self.left = self.left.saturating_add(other.left);
        self.confused = self.confused.saturating_add(other.confused);
        for (reason, count) in other.refused {
            let sum = self.refused.entry(reason).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    /// With one more refusal.
    pub fn refuse(&mut self, error: &AgentError) {
        let count = self.refused.entry(error.reason.clone()).or_default();
        *count = count.saturating_add(1);
    }
}
