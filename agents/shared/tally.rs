//! What a paying agent counts while it works.

use std::collections::BTreeMap;
use std::time::Duration;

use bursar::edge::grpc::AgentError;

/// What an agent got and what it was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls that were paid and answered.
    pub paid: u64,
    /// Refusals, by reason.
    pub refused: BTreeMap<String, u64>,
    /// How long each paid call took.
    pub took: Vec<Duration>,
}

impl Tally {
    /// Counts an answer.
    pub fn answered(&mut self, took: Duration) {
        self.paid = self.paid.saturating_add(1);
        self.took.push(took);
    }

    /// Counts a refusal.
    pub fn refused(&mut self, error: &AgentError) {
        self.count(error.reason.clone(), 1);
    }

    fn count(&mut self, reason: String, more: u64) {
        let count = self.refused.entry(reason).or_default();
        *count = count.saturating_add(more);
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: Self) {
        self.paid = self.paid.saturating_add(other.paid);
        self.took.extend(other.took);
        for (reason, count) in other.refused {
            self.count(reason, count);
        }
    }
}
