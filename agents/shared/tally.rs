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
        self.paid += 1;
        self.took.push(took);
    }

    /// Counts a refusal.
    pub fn refused(&mut self, error: &AgentError) {
        *self.refused.entry(error.reason.clone()).or_default() += 1;
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: Self) {
        self.paid += other.paid;
        self.took.extend(other.took);
        for (reason, count) in other.refused {
            *self.refused.entry(reason).or_default() += count;
        }
    }
}
