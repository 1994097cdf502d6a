//! How fast the channels of one pool are spent: what a deposit is sized by.

use std::time::Duration;

use crate::domain::money::Amount;
use crate::domain::time::Timestamp;

/// Over how long it is counted.
const SPAN: Duration = Duration::from_secs(600);

/// What was charged lately.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Burn {
    since: Timestamp,
    /// Since then.
    now: Amount,
    /// In the span before.
    before: Amount,
}

impl Burn {
    pub(super) fn add(&mut self, at: Timestamp, amount: Amount) {
        *self = self.turned(at);
        self.now = self.now.checked_add(amount).unwrap_or(self.now);
    }

    /// What was charged in a span: the last whole one, or this one where it is more already.
    pub(super) fn recent(self, at: Timestamp) -> Amount {
        let Self { now, before, .. } = self.turned(at);
        now.max(before)
    }

    fn turned(self, at: Timestamp) -> Self {
        let passed = at.since(self.since);
        if self.now.is_zero() && self.before.is_zero() {
            Self { since: at, ..self }
        } else if passed < SPAN {
            self
        } else if passed < SPAN.saturating_mul(2) {
            Self { since: self.since.after(SPAN), now: Amount::ZERO, before: self.now }
        } else {
            Self { since: at, now: Amount::ZERO, before: Amount::ZERO }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn what_was_spent_lately_counts_for_a_span_and_the_next_and_is_forgotten_then() {
        let mut burn = Burn::default();
        assert_eq!(burn.recent(at(1_000)), Amount::ZERO);
        burn.add(at(1_000), Amount::new(30));
        burn.add(at(1_500), Amount::new(20));
        assert_eq!(burn.recent(at(1_599)), Amount::new(50));
        assert_eq!(burn.recent(at(1_600)), Amount::new(50), "the span before");
        burn.add(at(1_700), Amount::new(70));
        assert_eq!(burn.recent(at(1_700)), Amount::new(70), "more already than before");
        assert_eq!(burn.recent(at(2_200)), Amount::new(70));
        assert_eq!(burn.recent(at(2_800)), Amount::ZERO);
    }
}
